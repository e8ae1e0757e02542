"""One answer while it is written."""

from __future__ import annotations

import time

import torch

from mcp_server.interfaces import GenerateRequest
from mcp_server.providers.huggingface import options
from mcp_server.providers.huggingface.protocol import AnyMessage, Done, Reading
from mcp_server.providers.huggingface.worker.batch import BatchRow
from mcp_server.providers.huggingface.worker.conversation import Prompt
from mcp_server.providers.huggingface.worker.sampling import Sampler
from mcp_server.providers.huggingface.worker.text import AnswerText, Detokenizer
from mcp_server.providers.huggingface.worker.writer import Writer
from mcp_server.values import FinishReason, Logprob


class Row(BatchRow):
    """An answer, from its prompt to its last token.

    Args:
        id: the question.
        request: what is asked.
        prompt: its tokens.
        writer: the model.
    """

    def __init__(self, id: int, request: GenerateRequest, prompt: Prompt, writer: Writer) -> None:
        super().__init__(writer.steps.new_cache(), len(prompt.tokens))
        self.id = id
        self.prompt = prompt.tokens
        self.read = 0
        """How many tokens of the prompt have been read."""
        self._told = time.monotonic()
        self._limit = writer.output_limit(len(prompt.tokens), request.config.max_output_tokens)
        self._top = request.config.logprobs
        chosen = options.decode(options.GenerateOptions, request.provider_options, writer.name)
        self._sampler = Sampler(
            request.config,
            chosen,
            rules=writer.rules,
            prompt=prompt.tokens,
            limit=self._limit,
            ends=sorted(writer.ends),
        )
        self._ends = frozenset() if chosen.ignore_eos else writer.ends
        self._characters = Detokenizer(writer.decode, prompt.tokens)
        self._text = AnswerText(
            id,
            stops=request.config.stop,
            thinks=writer.thinks,
            calls=writer.calls and bool(request.tools),
            written=prompt.written,
        )
        self._count = 0
        self._thought = 0

    @property
    def begun(self) -> bool:
        """Whether it has a token."""
        return self._count > 0

    @property
    def unread(self) -> int:
        """How many tokens of the prompt are still to be read."""
        return len(self.prompt) - self.read

    def sign_of_life(self, interval: float) -> Reading | None:
        """A message that its prompt is being read, unless one was sent less than ``interval`` seconds ago."""
        now = time.monotonic()
        if now - self._told < interval:
            return None
        self._told = now
        return Reading(id=self.id)

    def write(self, logits: torch.Tensor) -> tuple[list[AnyMessage], bool]:
        """Take one token: the messages that it completes, and whether the answer continues.

        Args:
            logits: what the model gives each token of its vocabulary, ``(vocabulary,)``.
        """
        token = self._sampler.choose(logits)
        self._count += 1
        self._thought += self._text.thinking
        if token in self._ends:
            return [*self._text.end(), self._done(FinishReason.STOP)], False
        logprob = None if self._top is None else self._logprob(logits, token, self._top)
        events: list[AnyMessage] = [*self._text.push(self._characters.push(token), logprob)]
        if self._text.stopped:
            return [*events, self._done(FinishReason.STOP)], False
        if self._sampler.stopped:
            return [*events, *self._text.end(), self._done(FinishReason.STOP)], False
        if self._count >= self._limit:
            return [*events, *self._text.end(), self._done(FinishReason.LENGTH)], False
        self.token = token
        self.length += 1
        return events, True

    def _done(self, reason: FinishReason) -> Done:
        if self._text.called and reason is FinishReason.STOP:
            reason = FinishReason.TOOL_CALLS
        return Done(
            id=self.id,
            reason=reason,
            input_tokens=len(self.prompt),
            output_tokens=self._count,
            reasoning_tokens=self._thought,
        )

    def _logprob(self, logits: torch.Tensor, token: int, top: int) -> Logprob:
        likely = torch.log_softmax(logits.float(), dim=-1)
        best = likely.topk(min(top, len(likely))) if top else None
        others = (
            ()
            if best is None
            else tuple(
                [
                    Logprob(token=self._characters.alternative(int(other)), logprob=float(value))
                    for value, other in zip(best.values.tolist(), best.indices.tolist(), strict=True)
                ]
            )
        )
        return Logprob(token=self._characters.alternative(token), logprob=float(likely[token]), top=others)
