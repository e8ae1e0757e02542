"""Turns texts into vectors, as the model's files say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as NormalizerSequence

from mcp_server.errors import ContextTooLong, ProviderUnavailable
from mcp_server.providers.huggingface import embedding_files, files
from mcp_server.providers.huggingface.embedding_files import EmbeddingFiles
from mcp_server.providers.huggingface.protocol import Embed, Vectors
from mcp_server.providers.huggingface.worker import trial
from mcp_server.providers.huggingface.worker.failures import CannotLoad
from mcp_server.providers.huggingface.worker.loading import Loaded
from mcp_server.providers.huggingface.worker.pooling import POOLS, layer_of

BATCH_TOKENS: Final = 2048
"""How many tokens are computed at once, padding included: a stop waits for so long. A longer text is computed alone."""
BATCH_TEXTS: Final = 64
"""How many texts are computed, or made tokens of, at once."""
UNLIMITED: Final = 10**9
"""The limit of tokenizers without one is larger."""

Stop = Callable[[], bool]


class Embedding:
    """Makes vectors: pooled and so on as the files of sentence-transformers say; without them the mean, of length 1.

    Args:
        loaded: the model.
        name: what calls name it by.

    Raises:
        CannotLoad: the files ask for what is not known here, or the model cannot be used.
    """

    def __init__(self, loaded: Loaded, name: str) -> None:
        self._model, self._tokenizer, self._name = loaded.model, loaded.tokenizer, name
        self._model.config.use_cache = False  # nothing is continued
        try:
            self._files = EmbeddingFiles() if loaded.folder is None else embedding_files.read(loaded.folder)
        except files.BadFiles as error:
            raise CannotLoad(str(error)) from error
        self._layers = [layer_of(layer).to(self._model.device) for layer in self._files.layers]
        if self._files.lower_case:
            _lower_case(self._tokenizer)
        self.window = _window(loaded, self._files)
        """The most tokens of a text; 0: not known."""
        self._padding = next(
            (id for id in (self._tokenizer.pad_token_id, self._model.config.pad_token_id) if id is not None), 0
        )
        self._pads = self._padding_is_harmless()

    @torch.inference_mode()
    def vectors(self, question: Embed, stop: Stop) -> Vectors | None:
        """One vector a text, or ``None`` if ``stop`` was true in between.

        Raises:
            ContextTooLong: a text is longer than the model reads.
            ProviderUnavailable: the model's numbers are not finite.
        """
        described = self._files
        named = question.prompt_name
        prompt = described.default_prompt if named is None else described.prompts[named]
        encoded: list[tuple[int, ...]] = []
        for start in range(0, len(question.texts), BATCH_TEXTS):
            if stop():
                return None
            texts = [prompt + text for text in question.texts[start : start + BATCH_TEXTS]]
            encoded += [tuple(tokens) for tokens in self._tokenizer(texts)["input_ids"]]
        longest = max(len(tokens) for tokens in encoded)
        if self.window and longest > self.window:
            raise ContextTooLong(
                f"a text has {longest} tokens, and the model {self._name} reads {self.window}: send less",
                metadata={"model": self._name, "tokens": str(longest), "limit": str(self.window)},
            )
        skipped = 0 if described.include_prompt or not prompt else self._length_of(prompt)
        # Equal texts are computed once.
        found: dict[tuple[int, ...], bytes] = {}
        for batch in self._batches(sorted(dict.fromkeys(encoded), key=len)):
            if stop():
                return None
            computed = self._computed(batch, skipped)
            if not computed.isfinite().all():
                raise ProviderUnavailable(
                    f"the model {self._name} made numbers that are NaN or infinite of these texts; with dtype float32 "
                    "or bfloat16 fewer overflow",
                    metadata={"model": self._name},
                )
            found |= {tokens: vector.numpy().tobytes() for tokens, vector in zip(batch, computed, strict=True)}
        return Vectors(
            id=question.id,
            vectors=[found[tokens] for tokens in encoded],
            tokens=sum(len(tokens) for tokens in encoded),
        )

    def _batches(self, texts: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
        """Texts of about one length, the shortest first, so that little is computed for padding."""
        batch: list[tuple[int, ...]] = []
        for tokens in texts:
            full = len(batch) == BATCH_TEXTS or (len(batch) + 1) * len(tokens) > BATCH_TOKENS
            if batch and (full or (len(tokens) > len(batch[-1]) and not self._pads)):
                yield batch
                batch = []
            batch.append(tokens)
        yield batch

    def _computed(self, batch: Sequence[Sequence[int]], skipped: int) -> torch.Tensor:
        """The vectors, ``(texts, dimensions)``, in 32 bits and in main memory."""
        try:
            return self._compute(batch, skipped)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        middle = len(batch) // 2
        return torch.cat([self._computed(batch[:middle], skipped), self._computed(batch[middle:], skipped)])

    def _compute(self, batch: Sequence[Sequence[int]], skipped: int) -> torch.Tensor:
        device, longest = self._model.device, max(len(tokens) for tokens in batch)
        ids = torch.tensor([[*tokens, *[self._padding] * (longest - len(tokens))] for tokens in batch], device=device)
        lengths = torch.tensor([[len(tokens)] for tokens in batch], device=device)
        places = torch.arange(longest, device=device)
        mask = (places < lengths).long()
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        counted = mask * (places >= skipped)
        vectors = torch.cat([POOLS[kind](hidden, counted) for kind in self._files.pooling], dim=-1)
        for layer in self._layers:
            vectors = layer(vectors)
        return vectors[:, : self._files.truncate or None].cpu()

    def _length_of(self, prompt: str) -> int:
        """The tokens of a prompt, without a mark that ends it."""
        tokens = self._tokenizer(prompt)["input_ids"]
        return len(tokens) - (tokens[-1] in self._tokenizer.all_special_ids)

    @torch.inference_mode()
    def _padding_is_harmless(self) -> bool:
        """Whether a text has one vector, whatever is beside it."""
        texts = trial.texts(self._model)
        try:
            alone = torch.cat([self._compute([text], 0) for text in texts])
            together = self._compute(texts, 0)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever the model's code raises, it does not work
            raise trial.failed(self._model, error) from error
        return all(
            trial.near(one, other, trial.tolerance(self._model)) for one, other in zip(together, alone, strict=True)
        )


def _window(loaded: Loaded, described: EmbeddingFiles) -> int:
    """The most tokens of a text; 0: not known."""
    limits = [loaded.facts.context_window]
    if not described.max_tokens and loaded.tokenizer.model_max_length < UNLIMITED:
        limits.append(loaded.tokenizer.model_max_length)
    for name, module in loaded.model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # Where padding has a position, texts begin after it.
            taken = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - taken)
    return min([limit for limit in limits if limit > 0], default=0)


def _lower_case(tokenizer: Any) -> None:
    backend = tokenizer.backend_tokenizer
    steps = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = NormalizerSequence([Lowercase(), *steps])
