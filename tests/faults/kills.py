"""A server that is killed again and again while callers talk to it, and all that must hold in its next life."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from contextprotocol.v1 import chat_pb2, generation_pb2, session_pb2, turn_pb2
from tests.faults.caller import Received, may_pass
from tests.killable import JOURNAL_INTERVAL, Killable, calls_in, words
from tests.wire import Wire, text_of, user

CALLERS: Final = 8
LONGEST: Final = 100
"""Words in an answer."""
MARGIN: Final = JOURNAL_INTERVAL + 0.5
"""Seconds after which what was heard must have been written down, if writing takes no time."""

SUCCEEDED: Final = turn_pb2.TURN_STATE_SUCCEEDED
INTERRUPTED: Final = turn_pb2.TURN_STATE_INTERRUPTED


@dataclass(slots=True)
class Caller:
    """One session, its turns one after the other, each sent until it has ended."""

    session: str
    created: bool = False
    number: int = 0
    request: chat_pb2.ChatRequest | None = None
    received: Received = field(default_factory=Received)
    received_at: list[tuple[float, str]] = field(default_factory=list)
    """The text at some times, as it was in the present attempt."""
    killed_at: float = 0.0
    history: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """What a run came to."""

    kills: int = 0
    succeeded: int = 0
    """Turns."""
    interrupted: int = 0
    """Attempts that a kill ended."""
    replayed: int = 0
    """Turns that had been committed, unknown to their callers."""
    kept: int = 0
    """Characters that interrupted attempts had on the disk."""


class Lives:
    """The lives of one server.

    Args:
        folder: where it keeps its file.
        generator: decides when it dies.
    """

    def __init__(self, folder: Path, generator: random.Random) -> None:
        self.tally = Tally()
        self._folder = folder
        self._random = generator
        self._callers = [Caller(f"caller-{number}") for number in range(CALLERS)]
        self._slowest_write = 0.0
        """Seconds that a write took at most in the last life: the machine may have other things to do."""

    async def run(self, kills: int, *, longest: float) -> Tally:
        """Live and die so often, each life no longer than so many seconds; then once without being killed."""
        for _ in range(kills):
            await self._live(self._random.uniform(0.02, longest))
            self.tally.kills += 1
        await self._live(None)
        return self.tally

    async def _live(self, seconds: float | None) -> None:
        async with Killable(self._folder) as server:
            before = await asyncio.gather(*[self._check(server.wire, caller) for caller in self._callers])
            ends = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(self._write(server.wire))
                for caller, turn in zip(self._callers, before, strict=True):
                    group.create_task(self._call(server.wire, caller, turn, ends))
                if seconds is None:
                    ends.set()
                    writing.cancel()
                else:
                    await asyncio.sleep(seconds)
                    server.kill()
                    for caller in self._callers:
                        caller.killed_at = time.monotonic()
            if seconds is None:
                await asyncio.gather(*[self._check(server.wire, caller) for caller in self._callers])

    async def _write(self, wire: Wire) -> None:
        """See how long a write takes, again and again until the server is gone."""
        self._slowest_write, began = 0.0, time.monotonic()
        try:
            while True:
                began = time.monotonic()
                await wire.sessions.CreateSession(session_pb2.CreateSessionRequest())
                self._slowest_write = max(self._slowest_write, time.monotonic() - began)
                await asyncio.sleep(JOURNAL_INTERVAL)
        except grpc.aio.AioRpcError as error:
            if not may_pass(error):
                raise
        self._slowest_write = max(self._slowest_write, time.monotonic() - began)

    async def _check(self, wire: Wire, caller: Caller) -> turn_pb2.Turn | None:
        """What the last life left of a caller's session; return the turn that its caller still waits for."""
        if not caller.created:
            return None
        name = f"sessions/{caller.session}"
        session = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name=name))
        assert session.active_turn == ""
        history = await _history(wire, name)
        assert session.message_count == len(history)
        listed = await wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent=name, page_size=1000))
        assert {turn.state for turn in listed.turns} <= {SUCCEEDED, INTERRUPTED}
        found = None
        request = caller.request
        if request is not None:
            mine = [turn.name for turn in listed.turns if turn.request_id == request.request_id]
            assert len(mine) <= 1
            assert mine or not caller.received.turn, "what was heard of is gone"
            if mine:
                found = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=mine[0]))
                self._check_turn(caller, found)
        expected = list(caller.history)
        if found is not None and found.state == SUCCEEDED:
            expected += _exchange(found, request)
        assert history == expected
        return found

    def _check_turn(self, caller: Caller, turn: turn_pb2.Turn) -> None:
        assert caller.request is not None
        question = text_of(caller.request.messages[0])
        whole, stored = "".join(words(question)), text_of(turn.message)
        outcomes = [attempt.outcome for attempt in turn.attempts]
        if turn.state == SUCCEEDED:
            assert stored == whole
            assert outcomes == [INTERRUPTED] * (len(outcomes) - 1) + [SUCCEEDED]
            return
        assert outcomes == [INTERRUPTED] * len(outcomes)
        assert caller.received.completed is None, "it was said to be complete"
        assert whole.startswith(stored)
        # A turn may wait for the write of others, and then for its own.
        margin = MARGIN + 2 * self._slowest_write
        old = [text for at, text in caller.received_at if at < caller.killed_at - margin]
        assert not old or len(stored) >= len(old[-1]), "what had been heard long before the kill was not written down"
        self.tally.interrupted += 1
        self.tally.kept += len(stored)

    async def _call(self, wire: Wire, caller: Caller, left: turn_pb2.Turn | None, ends: asyncio.Event) -> None:
        """Talk until the server is gone, or the present turn has ended and ``ends`` is set."""
        try:
            if not caller.created:
                name = caller.session
                await wire.sessions.CreateSession(session_pb2.CreateSessionRequest(session_id=name, request_id=name))
                caller.created = True
            while True:
                await self._turn(wire, caller, left)
                left = None
                if ends.is_set():
                    return
        except grpc.aio.AioRpcError as error:
            if not may_pass(error):
                raise

    async def _turn(self, wire: Wire, caller: Caller, left: turn_pb2.Turn | None) -> None:
        if caller.request is None:
            caller.number += 1
            question = f"{self._random.randrange(1, LONGEST)} {caller.session} {caller.number}"
            caller.received = Received()
            caller.request = chat_pb2.ChatRequest(
                session=f"sessions/{caller.session}",
                messages=[user(question)],
                model="words/words",
                request_id=str(caller.number),
                on_disconnect=generation_pb2.ON_DISCONNECT_CONTINUE,
            )
        request, received = caller.request, caller.received
        caller.received_at = []
        question = text_of(request.messages[0])
        calls = calls_in(self._folder)[question]
        await self._stream(wire, caller, left)
        assert received.completed is not None
        assert received.text == text_of(received.completed.message) == "".join(words(question))
        attempts, asked = received.completed.attempts, calls_in(self._folder)[question]
        # An attempt is written down before the provider is asked.
        assert 1 <= asked <= len(attempts)
        if left is not None and left.state == SUCCEEDED:
            assert asked == calls, "a turn that was finished ran again"
            assert attempts == left.attempts
            self.tally.replayed += 1
        else:
            assert asked == calls + 1
            assert len(attempts) == (len(left.attempts) if left is not None else 0) + 1
        caller.history += [("USER", question), ("ASSISTANT", received.text)]
        caller.request = None
        self.tally.succeeded += 1

    async def _stream(self, wire: Wire, caller: Caller, left: turn_pb2.Turn | None) -> None:
        request, received = chat_pb2.ChatRequest(), caller.received
        assert caller.request is not None
        request.CopyFrom(caller.request)
        if received.sequence is not None:
            request.after_sequence = received.sequence
        stream = wire.chat.StreamChat(request)
        # Whoever has heard of an attempt that died may hear more of it from the journal, and is then told to drop it.
        dropped = received.sequence is None or left is None or left.state != INTERRUPTED
        while (event := await stream.read()) is not grpc.aio.EOF:
            received.add(event)
            if event.HasField("switched"):
                dropped, caller.received_at = True, []
            assert dropped or not event.HasField("completed"), event
            caller.received_at.append((time.monotonic(), received.text))


def _exchange(turn: turn_pb2.Turn, request: chat_pb2.ChatRequest | None) -> list[tuple[str, str]]:
    assert request is not None
    return [("USER", text_of(request.messages[0])), ("ASSISTANT", text_of(turn.message))]


async def _history(wire: Wire, session: str) -> Sequence[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    token = ""
    while True:
        request = session_pb2.ListMessagesRequest(parent=session, page_size=1000, page_token=token)
        page = await wire.sessions.ListMessages(request)
        found += [("USER" if message.role == 2 else "ASSISTANT", text_of(message)) for message in page.messages]
        token = page.next_page_token
        if not token:
            return found
