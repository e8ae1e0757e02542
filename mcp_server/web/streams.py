"""Turns as streams of server-sent events, and as whole answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Final

from mcp_server.errors import ProviderStreamCut
from mcp_server.gateway import TurnReader
from mcp_server.interfaces import Call
from mcp_server.values import (
    Completed,
    Delta,
    Heartbeat,
    Logprob,
    PartStarted,
    Queued,
    Started,
    Switched,
    SwitchMode,
    Window,
)
from mcp_server.web.exchange import Exchange, json_headers

EVENTS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
"""The headers of a stream of events. Proxies must not gather it."""


class AnswerEvents(ABC):
    """The events of one answer in the form of an API. A method returns one event, several, or none."""

    keep_alive: ClassVar[bytes] = b": keep-alive\n\n"
    """Is sent while there is nothing else to send: a comment, which clients skip."""

    @abstractmethod
    def begin(self, turn: str, model: str, window: Window) -> bytes:
        """The answer begins.

        Args:
            turn: the full name of its turn.
            model: ``provider/model``.
            window: the length of the prompt.
        """

    def continue_with(self, model: str) -> None:  # noqa: B027  # most APIs have no place for it
        """What follows is of this model."""

    @abstractmethod
    def part(self, event: PartStarted) -> bytes:
        """A part begins."""

    @abstractmethod
    def delta(self, event: Delta) -> bytes:
        """A piece of a part."""

    @abstractmethod
    def end(self, completed: Completed) -> bytes:
        """The answer ends, and with it the stream."""


Headers = Callable[[], Awaitable[Mapping[str, str]]]


async def stream(call: Call, exchange: Exchange, reader: TurnReader, events: AnswerEvents, headers: Headers) -> None:
    """Send a turn as events. The response begins with the first of them, so that an earlier error has its own status.

    Args:
        call: the call.
        exchange: takes the events.
        reader: reads the turn.
        events: encodes its events.
        headers: makes the headers.
    """
    model, window, begun = "", Window(), False
    reader.skip_abandoned()
    with reader:
        async for _, event in reader:
            data = b""
            if type(event) is Delta:
                data = events.delta(event)
            elif type(event) is Started or type(event) is Queued:
                call.turn = event.turn
                if type(event) is Started:
                    model, window = event.model, event.window
                continue
            elif type(event) is Switched:
                model, window = event.to_model, event.window
                if begun:
                    if event.mode is SwitchMode.RESTARTED:
                        raise _begun_anew(call)
                    events.continue_with(model)
                continue
            elif type(event) is Heartbeat:
                data = events.keep_alive
            else:
                if not begun:
                    begun = True
                    data = events.begin(call.turn, model, window)
                if type(event) is PartStarted:
                    data += events.part(event)
                elif type(event) is Completed:
                    data += events.end(event)
            if data:
                if not exchange.started:
                    await exchange.start(200, {**EVENTS, **await headers()})
                await exchange.write(data)
    await exchange.finish()


async def respond(
    call: Call,
    exchange: Exchange,
    reader: TurnReader,
    *,
    events: AnswerEvents | None,
    body: Callable[[Completed, list[Logprob] | None], bytes],
    headers: Headers,
    logprobs: bool = False,
) -> None:
    """Send a turn: as events, or as one answer at its end.

    Args:
        call: the call.
        exchange: takes the response.
        reader: reads the turn.
        events: encodes its events; ``None``: the caller wants one answer.
        body: encodes that, with the log probabilities if they are wanted.
        headers: makes the headers.
        logprobs: whether they are.
    """
    if events is not None:
        await stream(call, exchange, reader, events, headers)
        return
    completed, tokens = await whole(call, reader, logprobs=logprobs)
    await exchange.answer(200, json_headers(await headers()), body(completed, tokens))


def _begun_anew(call: Call) -> ProviderStreamCut:
    return ProviderStreamCut(
        "the answer began anew after a part of it was sent: send the request again", metadata={"turn": call.turn}
    )


async def whole(call: Call, reader: TurnReader, *, logprobs: bool) -> tuple[Completed, list[Logprob] | None]:
    """The end of a turn, and the log probabilities of its answer if they are wanted."""
    found: list[Logprob] | None = None
    with reader:
        if logprobs:
            found = []
            async for _, event in reader:
                if type(event) is Delta:
                    found += event.logprobs
                elif type(event) is Switched and event.mode is SwitchMode.RESTARTED:
                    found.clear()
            completed = event
        else:
            completed = await reader.last()
    assert type(completed) is Completed
    call.turn = completed.message.turn
    return completed, found
