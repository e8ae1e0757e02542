"""Providers that do what none should: the turn ends one way or the other, soon, and its session goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import pytest

from contextprotocol.v1 import chat_pb2, turn_pb2
from mcp_server.interfaces import (
    Finish,
    GenerateRequest,
    ProviderEvent,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.settings import Config
from mcp_server.values import (
    Capabilities,
    FinishReason,
    Logprob,
    Model,
    Usage,
)
from tests.conftest import Serve
from tests.wire import Wire, user

BOUND = 8.0
"""Seconds in which anything is over: some times what a provider is given to stop."""

Bad = Callable[[], Any]


class Odd:
    """Answers the first call as it is told, and every other one well."""

    def __init__(self, bad: Bad) -> None:
        self.bad = bad
        self.calls = 0

    async def models(self) -> Sequence[Model]:
        return [Model(name="scripted", capabilities=Capabilities(chat=True))]

    def generate(self, _: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        self.calls += 1
        answer: AsyncIterator[ProviderEvent] = self.bad() if self.calls == 1 else _well()
        return answer

    async def close(self) -> None: ...


async def _well() -> AsyncIterator[ProviderEvent]:
    yield "well"
    yield Finish()


def yielding(*events: Any) -> Bad:
    """Yields these after a word, and ends well if it is let."""

    async def bad() -> AsyncIterator[Any]:
        yield "so "
        for event in events:
            yield event
        yield Finish()

    return bad


GARBAGE = {
    "nothing": yielding(None),
    "a number": yielding(5),
    "bytes": yielding(b"bytes"),
    "text that is none": yielding(TextDelta(text=None)),  # type: ignore[arg-type]  # that is the point, here and below
    "text that is a number": yielding(TextDelta(text=5)),  # type: ignore[arg-type]
    "reasoning that is none": yielding(ReasoningDelta(text=None)),  # type: ignore[arg-type]
    "logprobs that are none": yielding(TextDelta(text="x", logprobs=(None,))),  # type: ignore[arg-type]
    "logprobs of nothing": yielding(TextDelta(text="x", logprobs=(Logprob(token=None, logprob="x"),))),  # type: ignore[arg-type]
    "a call without an id": yielding(ToolCallStart(id=None, name=None)),  # type: ignore[arg-type]
    "arguments without a call": yielding(ToolArgumentsDelta(id="a", text="{}")),
    "a reason that is a word": yielding(Finish(reason="because")),  # type: ignore[arg-type]
    "a reason that is none": yielding(Finish(reason=None)),  # type: ignore[arg-type]
    "usage that is a word": yielding(Finish(usage="much")),  # type: ignore[arg-type]
    "tokens that are none": yielding(Finish(usage=Usage(input_tokens=None))),  # type: ignore[arg-type]
    "tokens that are a word": yielding(Finish(usage=Usage(output_tokens="many"))),  # type: ignore[arg-type]
    "half a token": yielding(Finish(usage=Usage(output_tokens=0.5))),  # type: ignore[arg-type]
    "less than no tokens": yielding(Finish(usage=Usage(output_tokens=-1))),
    "more tokens than fit": yielding(Finish(usage=Usage(output_tokens=1 << 70))),
    "more than an end": yielding(Finish(), "more", Finish(reason=FinishReason.LENGTH)),
    "half a character": yielding("\ud800", "x\udfff"),
    "a character of nothing": yielding("\x00"),
}


def _raises(error: BaseException) -> Bad:
    async def bad() -> AsyncIterator[Any]:
        yield "so "
        raise error

    return bad


def _no_generator() -> Any:
    return None


def _no_call() -> Any:
    raise ValueError("not even that")


class _Iterates:
    """An iterator that cannot be closed."""

    def __aiter__(self) -> _Iterates:
        return self

    async def __anext__(self) -> str:
        raise StopAsyncIteration


async def _hangs_at_the_end() -> AsyncIterator[Any]:
    try:
        yield "so "
        yield Finish()
    finally:
        await asyncio.Event().wait()


async def _raises_at_the_end() -> AsyncIterator[Any]:
    try:
        yield "so "
        yield Finish()
    finally:
        raise ValueError("not closed")


async def _goes_on() -> AsyncIterator[Any]:
    with contextlib.suppress(GeneratorExit):
        yield "so "
        yield Finish()
    yield "more"


ODD = {
    "its own cancellation": _raises(asyncio.CancelledError()),
    "an end of its own": _raises(GeneratorExit()),
    "an end of iteration": _raises(StopIteration()),
    "an end of another iteration": _raises(StopAsyncIteration()),
    "no generator": _no_generator,
    "no call": _no_call,
    "no way to close it": _Iterates,
}
AT_THE_END = {"hangs": _hangs_at_the_end, "raises": _raises_at_the_end, "goes on": _goes_on}


async def still_well(wire: Wire, before: int) -> None:
    """The session is free, and nothing is left of the turn before; whatever is recorded of it can be read."""
    async with asyncio.timeout(BOUND):
        listed = await wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent="sessions/tour"))
        for turn in listed.turns:
            await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=turn.name))
            assert turn.state in (turn_pb2.TURN_STATE_SUCCEEDED, turn_pb2.TURN_STATE_FAILED)
        assert (await wire.say("And now?")).completed.message.parts[0].text == "well"
        assert len(await wire.history()) == before + 2


@pytest.mark.parametrize("bad", [*GARBAGE.values(), *ODD.values()], ids=[*GARBAGE, *ODD])
async def test_garbage_ends_its_turn_and_nothing_else(serve: Serve, config: Config, bad: Bad) -> None:
    """As a whole answer or as an error, told as such to everybody who asks; another turn is not disturbed."""
    wire = await serve(config, providers={"scripted": Odd(bad)})
    await wire.create()
    request = chat_pb2.ChatRequest(session="sessions/tour", messages=[user("Tell me.")], request_id="r")
    outcomes = []
    for _ in range(2):
        try:
            async with asyncio.timeout(BOUND):
                answer = await wire.chat.Chat(request)
            outcomes.append(answer.SerializeToString(deterministic=True))
        except grpc.aio.AioRpcError as error:
            outcomes.append((error.code(), error.details()))
            assert error.details(), "no reason"
    assert outcomes[0] == outcomes[1]
    await still_well(wire, 2 if isinstance(outcomes[0], bytes) else 0)


@pytest.mark.parametrize("bad", AT_THE_END.values(), ids=AT_THE_END)
async def test_an_answer_that_is_whole_is_kept_however_its_provider_ends(
    serve: Serve, config: Config, bad: Bad
) -> None:
    """What happens behind the end of an answer takes nothing from it."""
    wire = await serve(config, providers={"scripted": Odd(bad)})
    await wire.create()
    async with asyncio.timeout(BOUND):
        answer = await wire.say("Tell me.")
    assert answer.completed.message.parts[0].text == "so "
    await still_well(wire, 2)
