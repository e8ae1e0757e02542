"""What a model's ``generation_config.json`` says of its answers, followed as transformers' ``generate`` does."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

import torch
from transformers import GenerationConfig
from transformers.generation import logits_process
from transformers.generation.stopping_criteria import StopStringCriteria

from mcp_server.providers.huggingface.worker.failures import CannotLoad

NOT_FOLLOWED: Final = (
    "assistant_early_exit",
    "constraints",
    "diversity_penalty",
    "dola_layers",
    "force_words_ids",
    "guidance_scale",
    "max_time",
    "num_beam_groups",
    "num_beams",
    "penalty_alpha",
    "prompt_lookup_num_tokens",
    "token_healing",
    "use_mtp",
    "watermarking_config",
)
"""What it can ask for that changes answers and is not done here: other ways of decoding than sampling and greedy."""
OFF: Final = (None, False, 0, 1)
"""Values of these with which they ask for nothing."""
DEFAULTS: Final = {
    "do_sample": False,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
}
"""What ``generate`` takes where a file has nothing."""
Processor = logits_process.LogitsProcessor


class AnswerRules:
    """The rules that a model's files have for all of its answers.

    Args:
        config: what ``generation_config.json`` says.
        tokenizer: the model's, which stop strings need.
        ends: the tokens that end an answer.
        vocabulary: how many tokens there are.

    Raises:
        CannotLoad: the file contradicts itself.
    """

    def __init__(self, config: GenerationConfig, tokenizer: Any, *, ends: Sequence[int], vocabulary: int) -> None:
        self.ignored = tuple(name for name in NOT_FOLLOWED if getattr(config, name, None) not in OFF)
        """The names of what it asks for and does not get."""
        self.max_new_tokens: int | None = config.max_new_tokens
        """The most tokens of an answer whose call sets no limit."""
        self.max_length: int | None = config.max_length
        """The same with its prompt; a limit of the answer goes before it."""
        self._config = copy.deepcopy(config)
        for name, value in DEFAULTS.items():
            if getattr(config, name) is None:
                setattr(self._config, name, value)
        self._ends = torch.tensor(sorted(ends)) if ends else None
        try:
            self._stop_strings = StopStringCriteria(tokenizer, config.stop_strings) if config.stop_strings else None
            rules = [
                *self.processors(prompt=1, limit=1, repetition_penalty=None, no_repeat_ngram_size=None),
                *self.warpers(temperature=1.0, top_k=None, top_p=None, min_p=None, typical_p=None),
            ]
            for rule in rules:
                rule(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, vocabulary))
        except Exception as error:  # each of transformers' classes raises its own
            text = " ".join(str(error).split())[:200]
            raise CannotLoad(f"its generation_config.json is invalid: {type(error).__name__}: {text}") from error

    @property
    def temperature(self) -> float:
        """The temperature of answers whose call sets none; 0 is greedy."""
        return float(self._config.temperature) if self._config.do_sample else 0.0

    def stops(self, tokens: torch.Tensor) -> bool:
        """Whether ``tokens``, the prompt and the answer, end with a stop string of the file, part of the answer."""
        return self._stop_strings is not None and bool(self._stop_strings(tokens.unsqueeze(0), None).any())

    @property
    def reads_answers(self) -> bool:
        """Whether :meth:`stops` can be true."""
        return self._stop_strings is not None

    def processors(
        self,
        *,
        prompt: int,
        limit: int,
        repetition_penalty: float | None,
        no_repeat_ngram_size: int | None,
        ends: bool = True,
    ) -> list[Processor]:
        """What forbids and favours tokens in an answer, in the order of ``generate``.

        Args:
            prompt: the length of the prompt in tokens.
            limit: the most tokens of the answer.
            repetition_penalty: of the call, instead of the file's.
            no_repeat_ngram_size: likewise.
            ends: whether the answer may end before its limit.
        """
        config, end_tokens, made = self._config, self._ends, logits_process
        repetition = config.repetition_penalty if repetition_penalty is None else repetition_penalty
        found: list[Processor] = []
        if config.sequence_bias is not None:
            found.append(made.SequenceBiasLogitsProcessor(config.sequence_bias))
        if repetition != 1.0:
            found.append(made.RepetitionPenaltyLogitsProcessor(float(repetition)))
        if size := config.no_repeat_ngram_size if no_repeat_ngram_size is None else no_repeat_ngram_size:
            found.append(made.NoRepeatNGramLogitsProcessor(size))
        if config.bad_words_ids is not None:
            found.append(made.NoBadWordsLogitsProcessor(config.bad_words_ids, end_tokens))
        if config.min_length and end_tokens is not None:
            found.append(made.MinLengthLogitsProcessor(config.min_length, end_tokens))
        if config.min_new_tokens and end_tokens is not None:
            found.append(made.MinNewTokensLengthLogitsProcessor(prompt, config.min_new_tokens, end_tokens))
        if config.forced_bos_token_id is not None:
            found.append(made.ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
        if config.forced_eos_token_id is not None and ends:
            found.append(made.ForcedEOSTokenLogitsProcessor(prompt + limit, config.forced_eos_token_id))
        if config.remove_invalid_values:
            found.append(made.InfNanRemoveLogitsProcessor())
        if config.exponential_decay_length_penalty is not None and end_tokens is not None:
            found.append(
                made.ExponentialDecayLengthPenalty(config.exponential_decay_length_penalty, end_tokens, prompt)
            )
        if config.suppress_tokens is not None:
            found.append(made.SuppressTokensLogitsProcessor(config.suppress_tokens))
        if config.begin_suppress_tokens is not None:
            begin = prompt if prompt > 1 or config.forced_bos_token_id is None else prompt + 1
            found.append(made.SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin))
        return found

    def warpers(
        self,
        *,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        min_p: float | None,
        typical_p: float | None,
    ) -> list[Processor]:
        """What narrows the choice of a sampled token, in the order of ``generate``; ``None``: as the file says."""
        config, made = self._config, logits_process
        found: list[Processor] = [made.TemperatureLogitsWarper(temperature)]
        if config.top_h is not None:
            found.append(made.TopHLogitsWarper(top_h=config.top_h))
        if count := config.top_k if top_k is None else top_k:
            found.append(made.TopKLogitsWarper(count))
        if (share := config.top_p if top_p is None else top_p) < 1.0:
            found.append(made.TopPLogitsWarper(float(share)))
        if least := config.min_p if min_p is None else min_p:
            found.append(made.MinPLogitsWarper(float(least)))
        if (typical := config.typical_p if typical_p is None else typical_p) < 1.0:
            found.append(made.TypicalLogitsWarper(float(typical)))
        if 0.0 < config.epsilon_cutoff < 1.0:
            found.append(made.EpsilonLogitsWarper(config.epsilon_cutoff))
        if 0.0 < config.eta_cutoff < 1.0:
            found.append(made.EtaLogitsWarper(config.eta_cutoff))
        return found
