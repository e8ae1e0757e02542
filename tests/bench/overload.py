"""What one process answers when more is asked of it than it can do, and how soon it says that it lives.

Two kinds of callers: those that obey wait for each answer, and after a refusal as long as they are asked to; the others
send at a fixed rate whatever happens, on many connections, and give up after a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from contextprotocol.v1 import chat_pb2
from mcp_server.settings import ServerSettings
from tests.bench.flood import Connection, Ended
from tests.bench.load import chat_request
from tests.bench.rows import NONE, Row, at_least, compared, limited
from tests.bench.run import Run

CHAT: Final = "/contextprotocol.v1.ChatService/Chat"
OBEDIENT: Final = "that obey"
FIXED: Final = "at a fixed rate"
CALLERS: Final = 64
"""So many that wait for their answers saturate one process."""
CONNECTIONS: Final = 200
PATIENCE: Final = 5
"""After how many seconds a caller at a fixed rate gives up."""
PAUSE: Final = 0.1
"""How long an obedient caller waits after a refusal that does not say how long; it doubles with each."""
MAX_PAUSE: Final = 2.0
TICK: Final = 0.002
HEALTH_INTERVAL: Final = 0.02
MOST: Final = 5
"""By how much the load is exceeded at most."""
FEW: Final = 48
"""How many calls may wait to be looked at where the latency counts most."""


class Phase:
    """What was seen while one load lasted.

    Attributes:
        over: whether it is over. What is answered later does not count.
        cpu: the CPU time of the server, in seconds.
        memory: of the server at the end, in bytes.
        answers: the latency of each answer, in seconds.
        health: the latency of each check of the health, in seconds; infinite if it failed.
    """

    def __init__(self) -> None:
        self.over = False
        self.cpu = 0.0
        self.memory = 0
        self.answers: list[float] = []
        self.health: list[float] = []
        self._seconds = 0.0

    def note(self, ended: Ended) -> None:
        """Count a call that has ended."""
        if ended.answered and not self.over:
            self.answers.append(ended.seconds)

    def end(self, seconds: float) -> None:
        """End it after so many seconds."""
        self.over, self._seconds = True, seconds

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.answers) / self._seconds

    @property
    def per_cpu(self) -> float:
        """Answers for a second of CPU time."""
        return len(self.answers) / self.cpu

    @property
    def latency(self) -> float:
        """The median latency of the answers, in milliseconds; infinite if there was none."""
        return statistics.median(self.answers) * 1000 if self.answers else float("inf")


class Callers:
    """Calls of many callers to one server.

    Args:
        connections: are used in turn.
    """

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._phase = Phase()
        request = chat_request("unary")
        request.ClearField("request_id")
        # Fields may be in any order: what differs comes last.
        self._request = (
            request.SerializeToString() + chat_pb2.ChatRequest(request_id="0" * 32).SerializeToString()[:-32]
        )
        self._next = 0

    async def obedient(self, phase: Phase, callers: int, seconds: float) -> None:
        """So many callers, each with one call at a time; until the first answer at least."""

        def caller(connection: Connection) -> None:
            pause = PAUSE

            def call() -> None:
                if not phase.over:
                    connection.call(self._body(), ended)

            def ended(call_ended: Ended) -> None:
                nonlocal pause
                phase.note(call_ended)
                if call_ended.answered:
                    pause = PAUSE
                    call()
                else:
                    self._loop.call_later(call_ended.pushback or pause, call)
                    pause = min(2 * pause, MAX_PAUSE)

            call()

        for _ in range(callers):
            caller(self._connection())
        begin = self._loop.time()
        while (now := self._loop.time()) < begin + seconds or not phase.answers:  # noqa: ASYNC110  # a time, not an event
            await asyncio.sleep(TICK)
        phase.end(now - begin)

    async def at_rate(self, phase: Phase, rate: float, seconds: float) -> None:
        """So many calls a second."""
        begin, sent = self._loop.time(), 0
        while (now := self._loop.time()) < begin + seconds:
            while sent < (now - begin) * rate:
                sent += 1
                connection = self._connection()
                if connection.in_flight < connection.max_streams:
                    connection.call(self._body(), phase.note, timeout=PATIENCE)
            await asyncio.sleep(TICK)
        phase.end(now - begin)

    async def idle(self) -> None:
        """Return when all calls have ended."""
        while any(connection.in_flight for connection in self._connections):  # noqa: ASYNC110  # calls are no tasks
            await asyncio.sleep(TICK)

    def _connection(self) -> Connection:
        self._next += 1
        return self._connections[self._next % len(self._connections)]

    def _body(self) -> bytes:
        return self._request + uuid.uuid4().hex.encode()


@contextlib.asynccontextmanager
async def calling(port: int) -> AsyncIterator[Callers]:
    """Connect the callers to the server on that port."""
    async with contextlib.AsyncExitStack() as stack:
        connections = []
        for _ in range(CONNECTIONS):
            connections.append(await Connection.open(port, CHAT))
            stack.callback(connections[-1].close)
        yield Callers(connections)


@contextlib.asynccontextmanager
async def checking(port: int, phase: Phase) -> AsyncIterator[None]:
    """Check the health meanwhile."""

    async def check() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                begin = time.perf_counter()
                try:
                    await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
                except grpc.aio.AioRpcError:
                    phase.health.append(float("inf"))
                else:
                    phase.health.append(time.perf_counter() - begin)
                await asyncio.sleep(HEALTH_INTERVAL)

    task = asyncio.create_task(check())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Measurement:
    """What was measured of one server, by the load.

    Args:
        max_pending: the setting of the server.
    """

    def __init__(self, max_pending: int) -> None:
        self.max_pending = max_pending
        self.phases: dict[tuple[str, int], list[Phase]] = {}

    def goodput(self, kind: str, factor: int) -> float:
        """The answers for the CPU time of the server, in per cent of those at the load that saturates it."""
        pairs = zip(self.phases[OBEDIENT, 1], self.phases[kind, factor], strict=True)
        return statistics.median(more.per_cpu / one.per_cpu * 100 for one, more in pairs)

    def latency(self, kind: str, factor: int) -> float:
        """The median latency of the answers, in milliseconds."""
        return statistics.median(phase.latency for phase in self.phases[kind, factor])

    def memory(self, kind: str, factor: int) -> float:
        """The most memory of the server, in MB."""
        return max(phase.memory for phase in self.phases[kind, factor]) / 1e6

    def health(self) -> float:
        """The latency that 99 of 100 checks of the health stay under at all loads, in milliseconds."""
        checks = sorted(check for phases in self.phases.values() for phase in phases for check in phase.health)
        return checks[len(checks) * 99 // 100] * 1000


async def measured(run: Run, max_pending: int, factors: Sequence[int]) -> Measurement:
    """Measure a server. Every round has all loads, so that what disturbs the machine disturbs all alike."""
    seconds = run.size.overload
    measurement = Measurement(max_pending)
    async with run.system(max_pending=max_pending) as (process, _), calling(process.port) as callers:
        await callers.obedient(Phase(), CALLERS, seconds)

        @contextlib.asynccontextmanager
        async def phase(kind: str, factor: int) -> AsyncIterator[Phase]:
            await callers.idle()
            begun = Phase()
            measurement.phases.setdefault((kind, factor), []).append(begun)
            async with checking(process.port, begun):
                before = process.cpu()
                yield begun
                begun.cpu, begun.memory = process.cpu() - before, process.memory()

        for _ in range(run.size.overload_rounds):
            async with phase(OBEDIENT, 1) as one:
                await callers.obedient(one, CALLERS, seconds)
            for factor in factors:
                async with phase(OBEDIENT, factor) as more:
                    await callers.obedient(more, factor * CALLERS, seconds)
                async with phase(FIXED, factor) as more:
                    await callers.at_rate(more, factor * one.rate, seconds)
    return measurement


async def overload(run: Run) -> None:
    """Goodput, latency and health at twice and five times the load that saturates the server, as it is set by default,
    and with few calls that may wait to be looked at."""
    default = await measured(run, ServerSettings().max_pending, (2, MOST))
    small = await measured(run, FEW, (MOST,))
    rows = run.rows
    capacity = statistics.median(phase.rate for phase in default.phases[OBEDIENT, 1])
    what = f"unary chats a second, {CALLERS} callers"
    rows.append(Row(what=what, floor="", system=f"{capacity:,.0f}", ratio="", budget=NONE, met=True))
    for kind, budget in ((OBEDIENT, 90), (FIXED, 60)):
        for factor in (2, MOST):
            what = f"goodput at {factor} × the load, callers {kind}"
            rows.append(at_least(what, default.goodput(kind, factor), budget, "%"))
    for kind, budget in ((OBEDIENT, 90), (FIXED, 60)):
        what = f"goodput at {MOST} ×, callers {kind}, {FEW} calls may wait"
        rows.append(at_least(what, small.goodput(kind, MOST), budget, "%"))
        what = f"latency at {MOST} ×, callers {kind}, {FEW} calls may wait"
        rows.append(compared(what, small.latency(OBEDIENT, 1), small.latency(kind, MOST), 2, "ms"))
    what = f"memory at {MOST} ×, callers {FIXED}, against the load that saturates"
    rows.append(compared(what, default.memory(OBEDIENT, 1), default.memory(FIXED, MOST), 2, "MB"))
    rows.append(limited("99 of 100 checks of the health meanwhile", default.health(), 100, "ms"))
