"""Turns texts into vectors, as the model's files say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from mcp_server.errors import ContextTooLong
from mcp_server.providers.huggingface import files
from mcp_server.providers.huggingface.protocol import Embed, Vectors
from mcp_server.providers.huggingface.worker.loading import CannotLoad, Loaded

BATCH: Final = 16
"""How many texts are embedded before a cancellation is looked for."""

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the vectors of the tokens, ``(texts, tokens, width)``, and which of them count, ``(texts, tokens)``, to one
vector a text, ``(texts, width)``."""


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _first(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[:, 0]


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]


POOLS: Final[dict[str, Pool]] = {"mean": _mean, "cls": _first, "lasttoken": _last}
MODES: Final = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "lasttoken"}
"""What older files call them, after ``pooling_mode_``."""


class Embedding:
    """Makes vectors: pooled and normalised as ``modules.json`` says; without one, the mean, of length 1.

    Args:
        loaded: the model.
        name: what calls name it by.

    Raises:
        CannotLoad: the files ask for what is not known here.
    """

    def __init__(self, loaded: Loaded, name: str) -> None:
        self._model, self._tokenizer, self._name = loaded.model, loaded.tokenizer, name
        self._window = loaded.facts.context_window
        self._prefix = ""
        self._pool: Pool = _mean
        self._normalise = True
        if (loaded.folder / "modules.json").is_file():
            self._pool, self._normalise = _modules(loaded.folder)
        described = loaded.folder / "config_sentence_transformers.json"
        if described.is_file():
            prompts = files.table(described)
            self._prefix = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name"), "")

    @torch.inference_mode()
    def vectors(self, question: Embed, stop: Callable[[], bool]) -> Vectors | None:
        """One vector a text, or ``None`` if ``stop`` was true in between.

        Raises:
            ContextTooLong: a text is longer than the model reads.
        """
        encoded = self._tokenizer([self._prefix + text for text in question.texts])["input_ids"]
        longest = max(len(tokens) for tokens in encoded)
        if self._window and longest > self._window:
            raise ContextTooLong(
                f"a text has {longest} tokens, and the model {self._name} reads {self._window}: send less",
                metadata={"model": self._name, "tokens": str(longest), "limit": str(self._window)},
            )
        # Texts of one length together, so that little is computed for padding.
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        vectors = [b""] * len(encoded)
        for start in range(0, len(order), BATCH):
            if stop():
                return None
            batch = order[start : start + BATCH]
            for index, vector in zip(batch, self._embedded([encoded[index] for index in batch]), strict=True):
                vectors[index] = vector
        return Vectors(id=question.id, vectors=vectors, tokens=sum(len(tokens) for tokens in encoded))

    def _embedded(self, batch: Sequence[Sequence[int]]) -> list[bytes]:
        inputs = self._tokenizer.pad({"input_ids": batch}, return_tensors="pt").to(self._model.device)
        hidden = self._model(**inputs).last_hidden_state
        pooled = self._pool(hidden, inputs["attention_mask"]).float()
        if self._normalise:
            pooled = torch.nn.functional.normalize(pooled, dim=1)
        return [vector.numpy().tobytes() for vector in pooled.cpu()]


def _modules(folder: Path) -> tuple[Pool, bool]:
    pool: Pool = _mean
    normalise = False
    for module in _listed(folder / "modules.json"):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pool = _pool(files.table(folder / str(module.get("path", "")) / "config.json"))
        elif kind == "Normalize":
            normalise = True
        elif kind != "Transformer":
            raise CannotLoad(f"its modules.json names a module {kind}, which is not known here")
    return pool, normalise


def _pool(config: dict[str, Any]) -> Pool:
    mode = config.get("pooling_mode")
    if mode is None:
        on = [key.removeprefix("pooling_mode_") for key, value in config.items() if value is True]
        chosen = [name for name in on if f"pooling_mode_{name}" in config]
        mode = MODES.get(chosen[0], chosen[0]) if len(chosen) == 1 else ", ".join(chosen)
    if mode not in POOLS:
        raise CannotLoad(f"its files ask for the pooling {mode!r}; known are {', '.join(POOLS)}")
    return POOLS[mode]


def _listed(file: Path) -> list[dict[str, Any]]:
    import msgspec

    try:
        return msgspec.json.decode(file.read_bytes(), type=list[dict[str, Any]])
    except (OSError, msgspec.MsgspecError) as error:
        raise CannotLoad(f"{file} is damaged: {error}") from error
