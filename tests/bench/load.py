"""The load: generated stubs on grpc.aio, in the benchmark's own process, whose CPU time is not counted."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import grpc
import msgspec

from contextprotocol.v1 import chat_pb2, chat_pb2_grpc, message_pb2, session_pb2, session_pb2_grpc, turn_pb2

STALL: Final = 0.2
"""A gap between two deltas of a paced stream that counts as a stall, in seconds."""


class Streamed(msgspec.Struct):
    """What one stream showed."""

    tokens: int
    first: float
    """Seconds to the first delta."""
    longest_gap: float
    """The longest wait between two deltas, in seconds."""


class Load:
    """Calls one server.

    Args:
        port: the server's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._chat: Any = chat_pb2_grpc.ChatServiceStub(self._channel)
        self._sessions: Any = session_pb2_grpc.SessionServiceStub(self._channel)
        self._merged = self._channel.unary_stream(
            "/contextprotocol.v1.ChatService/StreamMerged",
            request_serializer=chat_pb2.ChatRequest.SerializeToString,
            response_deserializer=turn_pb2.TurnEvent.FromString,
        )

    async def session(self, name: str, messages: int) -> str:
        """Begin a session with a history."""
        session = await self._sessions.CreateSession(session_pb2.CreateSessionRequest(session_id=name))
        history = [_message(number % 2) for number in range(messages)]
        for begin in range(0, messages, 500):
            batch = history[begin : begin + 500]
            await self._sessions.AppendMessages(session_pb2.AppendMessagesRequest(parent=session.name, messages=batch))
        return str(session.name)

    async def unary(self, calls: int, sessions: list[str], *, history: int = 0) -> float:
        """``calls`` chats, one after the other on each session at once; seconds that one took. Without sessions, on as
        many connections as ``sessions`` has empty names; ``history`` messages go with each request."""
        before = [_message(number % 2) for number in range(history)]

        async def caller(session: str) -> None:
            request = chat_pb2.ChatRequest(session=session, model="upstream/unary", messages=[*before, _message(0)])
            for _ in range(calls // len(sessions)):
                await self._chat.Chat(request)

        begin = time.perf_counter()
        await asyncio.gather(*[caller(session) for session in sessions])
        return (time.perf_counter() - begin) / (calls // len(sessions))

    async def stream(self, model: str, *, merged: bool = False, session: str = "") -> Streamed:
        """One stream to its end."""
        request = chat_pb2.ChatRequest(session=session, model=f"upstream/{model}", messages=[_message(0)])
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

    async def streams(
        self, model: str, *, at_once: int, rounds: int, merged: bool = False, spread: float = 0.0
    ) -> list[Streamed]:
        """``at_once`` streams side by side, ``rounds`` times; their starts spread over that many seconds."""

        async def caller(number: int) -> list[Streamed]:
            await asyncio.sleep(spread * number / at_once)
            return [await self.stream(model, merged=merged) for _ in range(rounds)]

        callers = await asyncio.gather(*[caller(number) for number in range(at_once)])
        return [streamed for streams in callers for streamed in streams]

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def _message(turn: int) -> message_pb2.Message:
    role = message_pb2.ROLE_ASSISTANT if turn else message_pb2.ROLE_USER
    return message_pb2.Message(
        role=role, parts=[message_pb2.Part(text="The quick brown fox jumps over the lazy dog. " * 2)]
    )
