"""Which token comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.generation import logits_process

from mcp_server.values import GenerationConfig

SEEDS = 2**63


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        config: what the call says.
        options: what it says besides: ``ignore_eos``, ``min_p``, ``repetition_penalty``, ``top_k``, ``typical_p``.
        defaults: what the model's files say, as a ``transformers.GenerationConfig``.
        prompt: the tokens of the prompt.
        ends: the tokens that end an answer.
    """

    def __init__(
        self,
        config: GenerationConfig,
        options: Mapping[str, Any],
        *,
        defaults: Any,
        prompt: Sequence[int],
        ends: Sequence[int],
    ) -> None:
        usual = (defaults.temperature or 1.0) if defaults.do_sample else 0.0
        self._temperature = usual if config.temperature is None else config.temperature
        self._warpers = [] if not self._temperature else _warpers(config, options, defaults, self._temperature)
        self._repetition = _first(options.get("repetition_penalty"), defaults.repetition_penalty, 1.0)
        self._frequency = config.frequency_penalty or 0.0
        self._presence = config.presence_penalty or 0.0
        self._written: dict[int, int] = {}
        self._seen = set(prompt) if self._repetition != 1.0 else set()
        self._never = list(ends) if options.get("ignore_eos") else []
        self._random = torch.Generator()
        if config.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(config.seed % SEEDS)

    @property
    def plain(self) -> bool:
        """Whether it always takes the likeliest token."""
        return not (self._temperature or self._frequency or self._presence or self._never or self._repetition != 1.0)

    def choose(self, logits: torch.Tensor) -> int:
        """The next token, by what the model gives each token of its vocabulary: ``(vocabulary,)``."""
        token = self._choose(logits)
        self._written[token] = self._written.get(token, 0) + 1
        if self._repetition != 1.0:
            self._seen.add(token)
        return token

    def _choose(self, logits: torch.Tensor) -> int:
        if self.plain:
            return int(logits.argmax())
        logits = logits.to("cpu", torch.float32, copy=True)
        if self._seen:
            seen = torch.tensor(sorted(self._seen))
            values = logits[seen]
            logits[seen] = torch.where(values < 0, values * self._repetition, values / self._repetition)
        if self._written and (self._frequency or self._presence):
            counts = torch.tensor(list(self._written.values()), dtype=torch.float32)
            logits[torch.tensor(list(self._written))] -= self._frequency * counts + self._presence
        if self._never:
            logits[self._never] = -torch.inf
        if not self._temperature:
            return int(logits.argmax())
        row = logits.unsqueeze(0)
        for warper in self._warpers:
            row = warper(None, row)
        return int(torch.multinomial(torch.softmax(row[0], dim=-1), 1, generator=self._random))


def _warpers(
    config: GenerationConfig, options: Mapping[str, Any], defaults: Any, temperature: float
) -> list[logits_process.LogitsProcessor]:
    warpers: list[logits_process.LogitsProcessor] = [logits_process.TemperatureLogitsWarper(float(temperature))]
    if top_k := int(_first(options.get("top_k"), defaults.top_k, 0)):
        warpers.append(logits_process.TopKLogitsWarper(top_k))
    if (top_p := _first(config.top_p, defaults.top_p, 1.0)) < 1.0:
        warpers.append(logits_process.TopPLogitsWarper(float(top_p)))
    if min_p := _first(options.get("min_p"), defaults.min_p, 0.0):
        warpers.append(logits_process.MinPLogitsWarper(float(min_p)))
    if (typical_p := _first(options.get("typical_p"), defaults.typical_p, 1.0)) < 1.0:
        warpers.append(logits_process.TypicalLogitsWarper(float(typical_p)))
    return warpers


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
