"""Which token comes next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch

from mcp_server.providers.huggingface.options import GenerateOptions
from mcp_server.providers.huggingface.worker.generation_config import AnswerRules
from mcp_server.values import GenerationConfig

SEEDS: Final = 2**63
GREEDY: Final = 1e-6
"""Below this temperature the likeliest token is all that is left, and 32 bits are too few to divide by it."""


class NoToken(Exception):
    """There is no token to choose; the message says why."""


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        config: what the call says.
        options: what it says besides.
        rules: what the model's files say.
        prompt: the tokens of the prompt.
        limit: the most tokens of the answer.
        ends: the tokens that end an answer.
    """

    def __init__(
        self,
        config: GenerationConfig,
        options: GenerateOptions,
        *,
        rules: AnswerRules,
        prompt: Sequence[int],
        limit: int,
        ends: Sequence[int],
    ) -> None:
        self.stopped = False
        """Whether a stop string of the model's files was met."""
        self._rules = rules
        temperature = rules.temperature if config.temperature is None else config.temperature
        self._temperature = temperature if temperature >= GREEDY else 0.0
        self._processors = rules.processors(
            prompt=len(prompt),
            limit=limit,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            ends=not options.ignore_eos,
        )
        self._warpers = (
            rules.warpers(
                temperature=self._temperature,
                top_k=options.top_k,
                top_p=config.top_p,
                min_p=options.min_p,
                typical_p=options.typical_p,
            )
            if self._temperature
            else []
        )
        self._frequency = config.frequency_penalty or 0.0
        self._presence = config.presence_penalty or 0.0
        self._written: dict[int, int] = {}
        self._never = list(ends) if options.ignore_eos else []
        self._tokens = torch.tensor(prompt)
        self._random = torch.Generator()
        if config.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(config.seed % SEEDS)

    @property
    def plain(self) -> bool:
        """Whether it always takes the likeliest token."""
        return not (self._temperature or self._processors or self._frequency or self._presence or self._never)

    def choose(self, logits: torch.Tensor) -> int:
        """The next token, by what the model gives each token of its vocabulary: ``(vocabulary,)``.

        Raises:
            NoToken: there is none to choose.
        """
        token = _likeliest(logits)[0] if self.plain else self._choose(logits)
        self._written[token] = self._written.get(token, 0) + 1
        if self._processors or self._rules.reads_answers:
            self._tokens = torch.cat([self._tokens, torch.tensor([token])])
            self.stopped = self._rules.stops(self._tokens)
        return token

    def _choose(self, logits: torch.Tensor) -> int:
        scores = logits.to("cpu", torch.float32, copy=True).unsqueeze(0)
        tokens = self._tokens.unsqueeze(0)
        for processor in self._processors:
            scores = processor(tokens, scores)
        if self._written and (self._frequency or self._presence):
            counts = torch.tensor(list(self._written.values()), dtype=torch.float32)
            scores[0, list(self._written)] -= self._frequency * counts + self._presence
        if self._never:
            scores[0, self._never] = -torch.inf
        likeliest, best = _likeliest(scores[0])
        if not self._temperature:
            return likeliest
        # Only differences count; with the largest at 0, no temperature makes one of them overflow.
        scores = scores - best
        for warper in self._warpers:
            scores = warper(tokens, scores)
        return int(torch.multinomial(torch.softmax(scores[0], dim=-1), 1, generator=self._random))


def _likeliest(scores: torch.Tensor) -> tuple[int, float]:
    # A maximum is NaN where one of its numbers is.
    best, token = scores.max(dim=-1)
    value = float(best)
    if value == -math.inf:
        raise NoToken("the rules of its generation_config.json and of the call allow no further token")
    if not math.isfinite(value):
        raise NoToken("its numbers are NaN or infinite for this prompt; with dtype float32 or bfloat16 fewer overflow")
    return int(token), value
