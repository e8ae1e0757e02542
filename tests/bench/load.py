"""The load: generated stubs on grpc.aio, in the benchmark's own process, whose CPU time is not counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self

import grpc
import msgspec

from contextprotocol.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    generation_pb2,
    message_pb2,
    session_pb2,
    session_pb2_grpc,
    turn_pb2,
    turn_pb2_grpc,
)
from tests.bench.processes import Watchers

STALL: Final = 0.2
"""A gap between two deltas of a paced stream that counts as a stall, in seconds."""
_OPTIONS: Final = [("grpc.service_config", json.dumps({"connectionScaling": {"maxConnectionsPerSubchannel": 10}}))]
"""A server limits the calls on one connection."""
MERGED: Final = "merged"
"""Stands for the floor that merges, where the name of a turn is expected."""
TEXT: Final = "The quick brown fox jumps over the lazy dog. " * 2


class Streamed(msgspec.Struct):
    """What one stream showed."""

    tokens: int
    first: float
    """Seconds to the first delta."""
    longest_gap: float
    """The longest wait between two deltas, in seconds."""


class Load:
    """Calls one server. As clients do unasked, it gives each turn a ``request_id`` of its own.

    Args:
        port: the server's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)
        self._chat: Any = chat_pb2_grpc.ChatServiceStub(self._channel)
        self._sessions: Any = session_pb2_grpc.SessionServiceStub(self._channel)
        self._turns: Any = turn_pb2_grpc.TurnServiceStub(self._channel)
        self._merged = self._channel.unary_stream(
            "/contextprotocol.v1.ChatService/StreamMerged",
            request_serializer=chat_pb2.ChatRequest.SerializeToString,
            response_deserializer=turn_pb2.TurnEvent.FromString,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()

    # -- one call -----------------------------------------------------------------------------------------------------

    async def create(self, _: object = None) -> str:
        """Begin a session, and return its name."""
        session = await self._sessions.CreateSession(session_pb2.CreateSessionRequest())
        return str(session.name)

    async def refused(self, path: str, body: bytes) -> None:
        """Send the bytes as a request, and wait for the end of the call, which is no success."""
        call: Any = self._channel.unary_unary(path)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call(body)

    async def read(self, session: str) -> None:
        """Read a session."""
        await self._sessions.GetSession(session_pb2.GetSessionRequest(name=session))

    async def session(self, messages: int) -> str:
        """Begin a session with a history."""
        name = await self.create()
        history = [_message(number % 2) for number in range(messages)]
        for begin in range(0, messages, 500):
            batch = history[begin : begin + 500]
            await self._sessions.AppendMessages(session_pb2.AppendMessagesRequest(parent=name, messages=batch))
        return name

    async def turn(self, session: str, before: Iterable[message_pb2.Message] = ()) -> None:
        """A unary chat in a session, or in none; ``before`` goes first."""
        await self._chat.Chat(chat_request("unary", session, before))

    async def stream(self, model: str, *, merged: bool = False, session: str = "") -> Streamed:
        """One stream to its end."""
        request = chat_request(model, session)
        result = Streamed(tokens=0, first=0.0, longest_gap=0.0)
        begin = last = time.perf_counter()
        async for event in (self._merged if merged else self._chat.StreamChat)(request):
            if not event.delta.text:
                continue
            now = time.perf_counter()
            if result.tokens:
                result.longest_gap = max(result.longest_gap, now - last)
            else:
                result.first = now - begin
            last = now
            result.tokens += event.delta.text.count(" token")
        return result

    async def cancelled(self, session: str) -> None:
        """A stream that is left at its first token, which stops its turn."""
        request = chat_request("paced", session)
        request.on_disconnect = generation_pb2.ON_DISCONNECT_CANCEL
        request.if_busy = generation_pb2.IF_BUSY_QUEUE  # the turn of the call before may be about to end
        call = self._chat.StreamChat(request)
        async for event in call:
            if event.delta.text:
                break
        call.cancel()

    async def read_turn(self, turn: str) -> None:
        """Read a turn to its end."""
        async for _ in self._turns.StreamTurn(turn_pb2.StreamTurnRequest(name=turn)):
            pass

    async def watched(self, watchers: Watchers) -> float:
        """One stream whose turn others watch; seconds to its first delta."""
        begin, first = time.perf_counter(), 0.0
        async for event in self._chat.StreamChat(chat_request("late")):
            if event.WhichOneof("event") == "started":
                watchers.watch(event.started.turn)
            elif event.delta.text and not first:
                first = time.perf_counter() - begin
        await watchers.done()
        return first

    async def accompanied(self, watchers: Watchers) -> float:
        """The same of the floor, which others ask the same at the same time."""
        watchers.watch(MERGED)
        stream = await self.stream("late", merged=True)
        await watchers.done()
        return stream.first

    # -- many calls ---------------------------------------------------------------------------------------------------

    async def each(self, call: Callable[[str], Awaitable[object]], arguments: Iterable[str], *, at_once: int) -> None:
        """``call`` with each of the arguments, ``at_once`` side by side."""
        left = iter(arguments)

        async def caller() -> None:
            for argument in left:
                await call(argument)

        await asyncio.gather(*[caller() for _ in range(at_once)])

    async def unary(self, calls: int, sessions: list[str], *, history: int = 0) -> None:
        """``calls`` chats, one after the other on each session at once. Without sessions, side by side as many as
        ``sessions`` has empty names; ``history`` messages go with each request."""
        before = [_message(number % 2) for number in range(history)]

        async def caller(session: str) -> None:
            for _ in range(calls // len(sessions)):
                await self.turn(session, before)

        await asyncio.gather(*[caller(session) for session in sessions])

    async def streams(
        self, model: str, *, at_once: int, rounds: int, merged: bool = False, spread: float = 0.0
    ) -> list[Streamed]:
        """``at_once`` streams side by side, ``rounds`` times; their starts spread over that many seconds."""

        async def caller(number: int) -> list[Streamed]:
            await asyncio.sleep(spread * number / at_once)
            return [await self.stream(model, merged=merged) for _ in range(rounds)]

        callers = await asyncio.gather(*[caller(number) for number in range(at_once)])
        return [streamed for streams in callers for streamed in streams]


def chat_request(model: str, session: str = "", before: Iterable[message_pb2.Message] = ()) -> chat_pb2.ChatRequest:
    """A chat with that model of the upstream; the messages ``before`` go first."""
    return chat_pb2.ChatRequest(
        session=session, model=f"upstream/{model}", messages=[*before, _message(0)], request_id=uuid.uuid4().hex
    )


def _message(turn: int) -> message_pb2.Message:
    role = message_pb2.ROLE_ASSISTANT if turn else message_pb2.ROLE_USER
    return message_pb2.Message(role=role, parts=[message_pb2.Part(text=TEXT)])
