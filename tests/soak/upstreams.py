"""A load on a server whose providers misbehave: odd answers and faults of one, strict refusals of another.

Whatever they do, every session can go on, an answer is stored whole or not at all, the ledger has each call once, and
no caller opens the circuit breaker of a model for others.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from contextprotocol.v1 import chat_pb2, message_pb2, model_pb2, session_pb2, turn_pb2
from mcp_server.settings import load
from mcp_server.testing import running
from tests.models.conftest import tables
from tests.models.fates import LATER
from tests.models.stage import MODEL, NAMES, REPORTED, SUCCEEDED, reason_of
from tests.providers.answers import CASES, Failure
from tests.providers.test_openai_odd import reply
from tests.upstream.books import Call
from tests.upstream.faults import FAULTS, SUCCESSES
from tests.upstream.replies import Answer, Plan, Refusal, Reply, ToolCall
from tests.upstream.server import Upstream
from tests.upstream.strict import problem
from tests.wire import Refused, Wire, user

ROUTING: Final = {
    "max_attempts": 2,
    "backoff": 0.01,
    "max_backoff": 0.05,
    "first_token_timeout": 1,
    "fallback_timeout": 0.5,
    "silence_timeout": 0.5,
    "retry_after_wait": 0,
    "circuit_seconds": 0.2,
}
PATIENT: Final = "first_token_timeout = 60\nfallback_timeout = 60\nsilence_timeout = 60"
"""Of the strict provider, which is never silent: what it reports is to be in the ledger."""
BAD_CALLERS: Final = 4
"""How many sessions send what makes a server fail: fewer than open a circuit breaker."""
TURNS_OF_A_SESSION: Final = 40
HEAVY: Final = ("enormous line", "header bomb", "compressed bomb")
"""Faults that take a while, and less often than others come."""
PATIENCE: Final = 60.0
"""Seconds after which a call that is still without an end counts as lost."""
REFUSED: Final = "refuse this"
CRASHES: Final = "crash on this"
TOOL: Final = "weather"
_TOOLS: Final = (
    ToolCall(id="call_1", name=TOOL, arguments=('{"city": ', '"Oslo"}')),
    ToolCall(id="call_1", name=TOOL, arguments=("{",)),
    ToolCall(id="x" * 300, name="an invented name!", arguments=("",)),
    ToolCall(id="", name=TOOL, arguments=("[1]",)),
)
"""Good and bad ones."""


@dataclass(slots=True)
class Books:
    """What was counted on both sides.

    Attributes:
        calls: that arrived, by provider.
        rows: of ledgers, by provider.
        unanswered: of them, those without any answer: a request may be lost with its connection, or given up before it
            arrives.
        tokens_sent: that the strict provider reported.
        tokens_kept: of them, what the ledgers have.
        outcomes: of turns.
        problems: what must not be.
    """

    calls: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    tokens_sent: int = 0
    tokens_kept: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def close(self, name: str, upstream: Upstream) -> None:
        """Count the calls of an upstream that have ended, and forget them."""
        ended = [call for call in upstream.calls if call.ended.is_set()]
        upstream.calls[:] = [call for call in upstream.calls if not call.ended.is_set()]
        self.calls[name] += len(ended)
        if name == NAMES[1]:
            self.tokens_sent += sum((call.reported or {}).get("total_tokens", 0) for call in ended)


def strict(books: Books, generator: random.Random, *, odd: bool) -> Plan:
    """An upstream that refuses what the strictest servers refuse.

    Args:
        books: get a problem for each conversation that it refuses: none of ours may be.
        generator: decides.
        odd: whether it gives odd answers and fails; else it answers well, with tool calls of all kinds.
    """
    cases = [case for case in CASES.values() if not isinstance(case.expected, Failure) or not case.expected.retry_after]
    faults = [name for name in FAULTS if name not in (*HEAVY, *LATER)]

    def plan(call: Call) -> Reply:
        messages = call.body["messages"]
        if wrong := problem(messages):
            books.problems.append(wrong)
            return Refusal(status=400, message=wrong, type="invalid_request_error")
        text = str(messages[-1]["content"])
        if REFUSED in text:
            return Refusal(status=400, message="it cannot be", type="invalid_request_error", code="invalid_value")
        if CRASHES in text:
            return FAULTS["500"]
        choice = generator.random()
        if odd and choice < 0.3:
            return reply(generator.choice(cases))
        if odd and choice < 0.7:
            return FAULTS[generator.choice(HEAVY if generator.random() < 0.01 else faults)]
        if odd and choice < 0.8:
            return generator.choice([*SUCCESSES.values()])
        tools = generator.sample(_TOOLS, generator.randrange(4)) if generator.random() < 0.5 else ()
        return Answer(tools=tuple(tools), finish="tool_calls" if tools else "stop")

    return plan


class Caller:
    """One session after the other, each with turns of all kinds.

    Args:
        wire: stubs.
        name: begins the ids of its sessions.
        bad: whether it also sends what makes a server fail.
        generator: decides.
        books: are kept.
    """

    def __init__(self, wire: Wire, name: str, generator: random.Random, books: Books, *, bad: bool) -> None:
        self._wire = wire
        self._name = name
        self._random = generator
        self._books = books
        self._bad = bad
        self._serial = 0
        self._session = ""
        self._turns = 0
        self._count = 0
        """How many messages the session must have."""
        self._open: Sequence[str] = ()
        """The ids of the tool calls that wait for results."""

    async def run(self, end: float) -> None:
        """Go on until the event loop's clock shows ``end``."""
        while asyncio.get_running_loop().time() < end:
            if not self._session or self._turns == TURNS_OF_A_SESSION:
                await self._begin()
            async with asyncio.timeout(PATIENCE):
                await self._turn()

    async def last_turn(self) -> bool:
        """Whether the session can go on when all providers do what they should."""
        if not self._session:
            return True
        return await self._turn(text="the last one")

    async def _begin(self) -> None:
        if self._session:
            await self._wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=self._session))
        self._serial += 1
        self._session = (await self._wire.create(f"{self._name}-{self._serial}")).name
        self._turns = self._count = 0
        self._open = ()

    async def _turn(self, text: str = "") -> bool:
        """One turn; returns whether it succeeded."""
        request = chat_pb2.ChatRequest(session=self._session, messages=self._messages(text))
        for name in (TOOL, "search"):
            request.tools.add(name=name)
        if not text:
            request.model = self._random.choice(["", "", f"{NAMES[1]}/{MODEL}"])
        self._turns += 1
        try:
            turn = await self._ask(request)
        except grpc.aio.AioRpcError as error:
            refused = Refused()
            refused.__exit__(type(error), error, None)
            self._books.outcomes[refused.reason or refused.code.name] += 1
            self._check_error(refused)
            turn = await self._turn_named(refused.metadata.get("turn", ""))
        else:
            self._books.outcomes["SUCCEEDED"] += 1
        succeeded = turn.state == SUCCEEDED
        if succeeded:
            self._count += len(request.messages) + 1
            self._open = [part.tool_call.id for part in turn.message.parts if part.HasField("tool_call")]
        self._book(turn)
        session = await self._wire.sessions.GetSession(session_pb2.GetSessionRequest(name=self._session))
        if session.message_count != self._count or session.active_turn:
            self._books.problems.append(f"{session.message_count} messages, not {self._count}, {session.active_turn!r}")
        return succeeded

    def _messages(self, text: str) -> list[message_pb2.Message]:
        messages = []
        if self._open:
            message = message_pb2.Message(role=message_pb2.ROLE_TOOL)
            for id in self._open:
                message.parts.add().tool_result.CopyFrom(
                    message_pb2.ToolResult(tool_call_id=id, parts=[message_pb2.Part(text="fog")])
                )
            messages.append(message)
        kinds = ["How are you?", "x" * 2000, "Grüße, 你好 🙂", REFUSED, *([CRASHES] * 3 if self._bad else [])]
        return [*messages, user(text or self._random.choice(kinds))]

    async def _ask(self, request: chat_pb2.ChatRequest) -> turn_pb2.Turn:
        if self._random.random() < 0.5:
            return await self._turn_named((await self._wire.chat.Chat(request)).turn)
        stream = self._wire.chat.StreamChat(request)
        name = ""
        while (event := await stream.read()) is not grpc.aio.EOF:
            name = name or event.started.turn
        return await self._turn_named(name)

    async def _turn_named(self, name: str) -> turn_pb2.Turn:
        if not name:
            return turn_pb2.Turn()
        turn: turn_pb2.Turn = await self._wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
        return turn

    def _check_error(self, refused: Refused) -> None:
        if refused.reason in ("INTERNAL", "") or (f"{NAMES[1]}: " in refused.details and "circuit" in refused.details):
            self._books.problems.append(f"{refused.reason or refused.code}: {refused.details}")

    def _book(self, turn: turn_pb2.Turn) -> None:
        for row in turn.attempts:
            self._books.rows[row.provider] += 1
            self._books.unanswered[row.provider] += reason_of(row) in ("PROVIDER_UNAVAILABLE", "PROVIDER_TIMEOUT")
            if row.provider == NAMES[1] and row.usage.source == REPORTED:
                self._books.tokens_kept += row.usage.input_tokens + row.usage.output_tokens


async def soak(folder: Path, *, sessions: int, seconds: float, seed: int) -> Books:
    """So many callers at once, for so long."""
    books = Books()
    generator = random.Random(f"{seed}/upstreams")  # noqa: S311  # no secret
    async with AsyncExitStack() as stack:
        plans = [strict(books, generator, odd=odd) for odd in (True, False)]
        upstreams = [await stack.enter_async_context(Upstream(plan)) for plan in plans]
        file = folder / "upstreams.toml"
        own = ['[metrics]\naddress = ""', f'[store]\ntype = "sqlite"\npath = "{folder}/upstreams.db"']
        file.write_text("\n\n".join([*tables(upstreams, routing=ROUTING, models={NAMES[1]: PATIENT}), *own]))
        server = await stack.enter_async_context(running(load(file, {})))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        wire = Wire(server, channel)
        callers = []
        for number in range(sessions):
            own_choices = random.Random(f"{seed}/upstreams/{number}")  # noqa: S311  # no secret
            callers.append(Caller(wire, f"caller-{number}", own_choices, books, bad=number < BAD_CALLERS))
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(wire, upstreams, books))
            end = asyncio.get_running_loop().time() + seconds
            running_callers = [group.create_task(caller.run(end)) for caller in callers]
            await asyncio.wait(running_callers)
            watching.cancel()
        upstreams[0].plan = upstreams[1].plan
        await asyncio.sleep(ROUTING["circuit_seconds"])  # the circuit breaker of the first lets calls through again
        stuck = [await caller.last_turn() for caller in callers].count(False)
        if stuck:
            books.problems.append(f"{stuck} sessions that cannot go on")
        for name, upstream in zip(NAMES, upstreams, strict=False):
            async with asyncio.timeout(PATIENCE):
                await upstream.idle()
            books.close(name, upstream)
    return books


async def _watch(wire: Wire, upstreams: Sequence[Upstream], books: Books) -> None:
    """Close the books of calls that have ended, and see that the strict provider stays ready."""
    request = model_pb2.GetModelRequest(name=f"models/{NAMES[1]}/{MODEL}")
    while True:
        await asyncio.sleep(0.5)
        for name, upstream in zip(NAMES, upstreams, strict=False):
            books.close(name, upstream)
        model = await wire.models.GetModel(request)
        if model.state != model_pb2.Model.STATE_READY or model.state_reason:
            books.problems.append(f"{model.name}: {model.state_reason}")
