"""How the demo writes an answer: token by token, at its pace, up to its limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

from mcp_server.interfaces import (
    Finish,
    Progress,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.providers.demo.failures import SILENCE, Failure
from mcp_server.providers.demo.plan import Plan
from mcp_server.providers.demo.tokens import tokens_of
from mcp_server.values import FinishReason, GenerationConfig, Logprob, Usage, UsageSource

FOREVER: Final = 10**9
"""How long a silence without a given length lasts, in seconds: every limit of the server is shorter."""

Pause = Callable[[float], Awaitable[None]]
"""Waits for so many seconds, unless the provider is closed."""


class Writing:
    """One answer as it is written.

    Args:
        model: its model, for messages.
        config: the limit and the stop strings.
        input_tokens: the length of the prompt.
        room: how many tokens of an answer fit the context window.
        pause: waits.
    """

    def __init__(self, model: str, config: GenerationConfig, *, input_tokens: int, room: int, pause: Pause) -> None:
        self._model = model
        self._config = config
        self._input_tokens = input_tokens
        self._limit = room if config.max_output_tokens is None else min(room, config.max_output_tokens)
        self._pause = pause
        self._written = self._thought = 0

    async def write(self, plan: Plan, interval: float) -> AsyncIterator[ProviderEvent]:
        """Write the answer, a token every ``interval`` seconds."""
        waited = 0.0
        while waited < plan.wait:
            yield Progress(stage="reading")
            step = min(1.0, plan.wait - waited)
            await self._pause(step)
            waited += step
        loop = asyncio.get_running_loop()
        begin = loop.time()
        stops = Stops(self._config.stop)
        reason = FinishReason.TOOL_CALLS if plan.calls else plan.reason
        for event in _events(plan, self._config.logprobs):
            if plan.failure is not None and self._written >= plan.failure.after:
                break
            if not isinstance(event, ToolCallStart):
                if self._written >= self._limit:
                    reason = FinishReason.LENGTH
                    break
                await self._pause(begin + (self._written + 1) * interval - loop.time())
                self._written += 1
                self._thought += isinstance(event, ReasoningDelta)
            if not isinstance(event, TextDelta):
                for text in stops.rest():
                    yield text
                yield event
                continue
            for text in stops.add(event):
                yield text
            if stops.reached:
                reason = FinishReason.STOP
                break
        if plan.failure is not None and not stops.reached and reason is not FinishReason.LENGTH:
            for text in stops.rest():
                yield text
            await self._fail(plan.failure)
        for text in stops.rest():
            yield text
        yield Finish(reason=reason, usage=self._usage())

    async def _fail(self, failure: Failure) -> None:
        if failure.kind == SILENCE:
            await self._pause(FOREVER if failure.seconds is None else failure.seconds)
        raise failure.error(self._model)

    def _usage(self) -> Usage:
        return Usage(
            input_tokens=self._input_tokens,
            output_tokens=self._written,
            reasoning_tokens=self._thought,
            source=UsageSource.REPORTED,
        )


class Stops:
    """Holds back what may be the beginning of a stop string.

    Args:
        stops: the stop strings.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.reached = False
        """Whether a stop string has come. Nothing follows it."""
        self._stops = stops
        self._held: list[TextDelta] = []

    def add(self, event: TextDelta) -> list[TextDelta]:
        """What may be sent now that a token has come."""
        if not self._stops:
            return [event]
        self._held.append(event)
        text = "".join([each.text for each in self._held])
        found = [text.find(stop) for stop in self._stops if stop in text]
        if found:
            self.reached = True
            sent = _cut(self._held, min(found))
            self._held = []
            return sent
        kept = max([_overlap(text, stop) for stop in self._stops])
        free, sent = len(text) - kept, []
        while self._held and len(self._held[0].text) <= free:
            free -= len(self._held[0].text)
            sent.append(self._held.pop(0))
        return sent

    def rest(self) -> list[TextDelta]:
        """What was held back, when no more text comes."""
        held, self._held = self._held, []
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text are the beginning of a stop string."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


def _cut(events: list[TextDelta], length: int) -> list[TextDelta]:
    """The first ``length`` characters."""
    sent: list[TextDelta] = []
    for event in events:
        if length <= 0:
            break
        whole = len(event.text) <= length
        sent.append(event if whole else TextDelta(text=event.text[:length], logprobs=event.logprobs))
        length -= len(event.text)
    return sent


def _events(plan: Plan, logprobs: int | None) -> Iterator[ProviderEvent]:
    """All of an answer, a token each; the beginning of a tool call is none."""
    for token in plan.reasoning:
        yield ReasoningDelta(text=token)
    drawn = plan.opening
    for token in plan.tokens:
        if plan.refuses:
            yield RefusalDelta(text=token)
        elif logprobs is None:
            yield TextDelta(text=token)
        else:
            certain = Logprob(token=token, logprob=0.0)
            top = (certain,) if logprobs else ()
            yield TextDelta(text=token, logprobs=(drawn or Logprob(token=token, logprob=0.0, top=top),))
            drawn = None
    for call in plan.calls:
        yield ToolCallStart(id=call.id, name=call.name)
        for token in tokens_of(call.arguments_json):
            yield ToolArgumentsDelta(id=call.id, text=token)
