"""A model's engine that is started when it is first needed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
import structlog

from mcp_server.errors import MCPError, ProviderStreamCut, ProviderUnavailable
from mcp_server.interfaces import LoadCounts, LoadedModel, Progress
from mcp_server.providers.local.suspects import Suspects

log = structlog.get_logger("contextprotocol.providers")

SIGN_SECONDS: Final = 0.5
"""How often a model that is being loaded shows a sign of life."""
PAUSE_SECONDS: Final = 10.0
"""How long a model that failed to load is not loaded again, unless its files have changed."""
EXPECTED_SECONDS: Final = 10.0
"""How long a model that was loaded for a call waits for that call, whatever ``keep_alive`` is."""


class LoadFailed(Exception):
    """A model cannot be loaded; the message says why."""


class Engine(Protocol):
    """A loaded model, in a process of its own."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        ...

    @property
    def pid(self) -> int:
        """The number of its process."""
        ...

    async def outcome(self) -> str:
        """How its process ended, to complete "the process of the model X …"."""
        ...

    async def close(self) -> None:
        """End its process, whatever that does, and wait for it."""
        ...


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Do not make it."""
        ...


class Timers(Protocol):
    """What measures time: an event loop, or in tests a clock that is set by hand."""

    def time(self) -> float:
        """The time, in seconds."""
        ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        """Call ``callback`` at that time."""
        ...


AnyEngine = TypeVar("AnyEngine", bound=Engine)


class LazyEngine(Generic[AnyEngine]):
    """An engine that is started when it is needed, once for all callers, and again after it was lost. It is ended when
    no call has used it for a while.

    Args:
        model: the name of the model.
        check: looks at the model's files, and clears :attr:`failure` if they have changed. Raises :class:`LoadFailed`.
        start: loads the model. Raises :class:`LoadFailed`.
        keep_alive: how long it stays loaded after its last call, in seconds; ``None``: without a limit.
        timers: what measures that; ``None``: the event loop.
    """

    def __init__(
        self,
        model: str,
        check: Callable[[], Awaitable[object]],
        start: Callable[[], Coroutine[Any, Any, AnyEngine]],
        *,
        keep_alive: float | None = None,
        timers: Timers | None = None,
    ) -> None:
        self.failure = ""
        """Why the last start failed; empty if it did not, or if the files have changed since."""
        self.suspects = Suspects(model)
        """The requests that its processes ended with."""
        self.counts = LoadCounts()
        """How often it was started and ended."""
        self._model = model
        self._check = check
        self._start = start
        self._keep_alive = keep_alive
        self._timers = timers
        self._engine: AnyEngine | None = None
        self._load_time = 0
        self._calls = 0
        self._waiting = 0
        self._expected: deque[float] = deque()
        self._idle_since = 0.0
        self._unload_now = False
        self._timer: Timer | None = None
        self._starting: asyncio.Task[AnyEngine | ProviderUnavailable] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._retry_at = 0.0
        self._closed = False

    @property
    def loaded(self) -> bool:
        """Whether it is loaded."""
        return self._engine is not None and self._engine.alive

    @property
    def loading(self) -> bool:
        """Whether it is being fetched or loaded."""
        return self._starting is not None

    def facts(self) -> LoadedModel | None:
        """What an operator sees of it; ``None`` while it is neither loaded nor being loaded."""
        if not (self.loaded or self.loading):
            return None
        engine, due = self._engine, self._unload_at()
        return LoadedModel(
            model=self._model,
            loading=engine is None,
            loads=self.counts.loads - (engine is not None),
            pid=engine.pid if engine is not None else None,
            load_time=self._load_time if engine is not None else None,
            calls=self._calls,
            unload_in=None if due is None or engine is None else max(due - self._clock.time(), 0.0),
        )

    @contextlib.asynccontextmanager
    async def use(self, *, last: bool = True) -> AsyncIterator[AnyEngine]:
        """The engine, which stays loaded within this context. A caller that is cancelled while it waits does not stop
        the start.

        Args:
            last: whether it is the call itself that a model may have been loaded for, and not its preparation.

        Raises:
            ProviderUnavailable: it cannot be started.
        """
        self._calls += 1
        self._forget_expected()
        if last and self._expected:
            self._expected.popleft()
        try:
            yield await self._loaded()
        finally:
            self._calls -= 1
            self._left()

    async def load(self) -> AsyncIterator[Progress]:
        """Start it, and end when it has started, with a sign of life at intervals. It then waits for a call.

        Raises:
            ProviderUnavailable: it cannot be started.
        """
        self._forget_expected()
        if self.loaded and not self._closed:
            self._expected.append(self._clock.time() + EXPECTED_SECONDS)
            return
        self._waiting += 1
        loading = asyncio.ensure_future(self._loaded())
        try:
            while not (await asyncio.wait([loading], timeout=SIGN_SECONDS))[0]:
                yield Progress(stage="loading")
            await loading
            self._expected.append(self._clock.time() + EXPECTED_SECONDS)
        finally:
            # A caller that leaves does not stop the start itself.
            loading.cancel()
            self._waiting -= 1
            self._left()

    def unload(self) -> None:
        """End it as soon as no call uses it; the next call starts it again."""
        if self._engine is not None or self._starting is not None:
            self._unload_now = True
            self._expected.clear()
            self._schedule()

    async def lost(self, engine: AnyEngine, *, begun: bool) -> MCPError:
        """The error of a call whose process ended. The engine is given up, and the next call starts another."""
        outcome = "" if self._closed else await engine.outcome()
        if self._closed:  # also if only meanwhile
            return self._stopped()
        if self._engine is engine:
            self._end()
        kind = ProviderStreamCut if begun else ProviderUnavailable
        return kind(
            f"the process of the model {self._model} {outcome}; the next call starts it again",
            metadata={"model": self._model, "cause": "process"},
            retry_after=1,
        )

    async def close(self) -> None:
        """End it, also while it starts."""
        self._closed = True
        self._schedule()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._engine is not None:
            await self._engine.close()
        await asyncio.gather(*self._ending)

    # -- ending it --------------------------------------------------------------------------------------------------

    @property
    def _clock(self) -> Timers:
        return self._timers if self._timers is not None else asyncio.get_running_loop()

    def _unload_at(self) -> float | None:
        """When it is to be ended if no call comes; ``None``: not as things are."""
        if self._calls or self._waiting:
            return None
        if self._unload_now:
            return self._idle_since
        if self._keep_alive is None:
            return None
        return max([self._idle_since + self._keep_alive, *self._expected])

    def _forget_expected(self) -> None:
        """Forget calls that did not come."""
        while self._expected and self._expected[0] <= self._clock.time():
            self._expected.popleft()

    def _left(self) -> None:
        """Note that a call has ended, or that a load has."""
        self._idle_since = self._clock.time()
        self._schedule()

    def _schedule(self) -> None:
        """End it when that is due, and not before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed or self._engine is None or (due := self._unload_at()) is None:
            return
        if due > self._clock.time():
            self._timer = self._clock.call_at(due, self._schedule)
            return
        log.info("model unloaded", model=self._model, idle_seconds=round(self._clock.time() - self._idle_since, 1))
        self._end()

    def _end(self) -> None:
        """Give the engine up: from here on no call gets it. Its process ends in the background."""
        engine, self._engine = self._engine, None
        assert engine is not None
        self._unload_now = False
        self.counts = msgspec.structs.replace(self.counts, unloads=self.counts.unloads + 1)
        ending = asyncio.create_task(engine.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    # -- starting it ------------------------------------------------------------------------------------------------

    async def _loaded(self) -> AnyEngine:
        """The engine, started if need be."""
        if self._closed:
            raise self._stopped()
        if self._engine is not None and self._engine.alive:
            return self._engine
        if self._starting is None:
            self._starting = asyncio.create_task(self._begin(), name=f"loading {self._model}")
        starting = self._starting
        await asyncio.wait([starting])
        if self._closed:
            raise self._stopped()
        started = starting.result()
        if isinstance(started, ProviderUnavailable):
            # Each caller gets an error of its own: they are raised, and so changed, side by side.
            raise ProviderUnavailable(started.message, metadata=started.metadata, retry_after=started.retry_after)
        return started

    async def _begin(self) -> AnyEngine | ProviderUnavailable:
        try:
            if self._engine is not None:
                self._end()
            if self._ending:
                # What the one before took is free only when that has ended. A stop of this start does not stop that.
                await asyncio.wait(self._ending)
            await self._check()
        except LoadFailed as failed:
            # Looking at files is cheap: every call may do it.
            self.failure = str(failed)
            return self._unavailable(None)
        else:
            return await self._try_start()
        finally:
            self._starting = None
            self._unload_now = self._unload_now and self._engine is not None
            # Those who asked for it may have left.
            self._schedule()

    async def _try_start(self) -> AnyEngine | ProviderUnavailable:
        clock = self._clock.time
        pause = self._retry_at - clock()
        if self.failure and pause > 0:
            return self._unavailable(pause)
        begin = time.perf_counter()
        try:
            self._engine = await self._start()
        except LoadFailed as failed:
            self.failure = str(failed)
            self._retry_at = clock() + PAUSE_SECONDS
            return self._unavailable(PAUSE_SECONDS)
        seconds = time.perf_counter() - begin
        self.failure = ""
        self._load_time = time.time_ns()
        self._idle_since = clock()
        self.counts = msgspec.structs.replace(
            self.counts, loads=self.counts.loads + 1, load_seconds=self.counts.load_seconds + seconds
        )
        log.info("model loaded", model=self._model, pid=self._engine.pid, seconds=round(seconds, 2))
        return self._engine

    def _unavailable(self, pause: float | None) -> ProviderUnavailable:
        again = "" if pause is None else f"; next attempt in {pause:.0f} s"
        return ProviderUnavailable(
            f"the model {self._model} cannot be loaded: {self.failure}{again}",
            metadata={"model": self._model, "cause": "load"},
            retry_after=pause,
        )

    def _stopped(self) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"the model {self._model} is no longer served: the server is stopping", retry_after=1
        )
