"""A model's engine that is started when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, Protocol, TypeVar

from mcp_server.errors import MCPError, ProviderStreamCut, ProviderUnavailable
from mcp_server.providers.local.suspects import Suspects

PAUSE_SECONDS: Final = 10.0
"""How long a model that failed to load is not loaded again, unless its files have changed."""


class LoadFailed(Exception):
    """A model cannot be loaded; the message says why."""


class Engine(Protocol):
    """A loaded model, in a process of its own."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        ...

    async def outcome(self) -> str:
        """How its process ended, to complete "the process of the model X …"."""
        ...

    async def close(self) -> None:
        """End its process, whatever that does, and wait for it."""
        ...


AnyEngine = TypeVar("AnyEngine", bound=Engine)


class LazyEngine(Generic[AnyEngine]):
    """An engine that is started when it is needed, once for all callers, and again after it was lost.

    Args:
        model: the name of the model.
        check: looks at the model's files, and clears :attr:`failure` if they have changed. Raises :class:`LoadFailed`.
        start: loads the model. Raises :class:`LoadFailed`.
    """

    def __init__(
        self,
        model: str,
        check: Callable[[], Awaitable[object]],
        start: Callable[[], Coroutine[Any, Any, AnyEngine]],
    ) -> None:
        self.failure = ""
        """Why the last start failed; empty if it did not, or if the files have changed since."""
        self.suspects = Suspects(model)
        """The requests that its processes ended with."""
        self._model = model
        self._check = check
        self._start = start
        self._engine: AnyEngine | None = None
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

    async def engine(self) -> AnyEngine:
        """The engine. A caller that is cancelled while it waits does not stop the start.

        Raises:
            ProviderUnavailable: it cannot be started.
        """
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

    async def lost(self, engine: AnyEngine, *, begun: bool) -> MCPError:
        """The error of a call whose process ended. The engine is given up, and the next call starts another."""
        if self._closed:
            return self._stopped()
        outcome = await engine.outcome()
        if self._engine is engine:
            self._engine = None
            ending = asyncio.create_task(engine.close())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        kind = ProviderStreamCut if begun else ProviderUnavailable
        return kind(
            f"the process of the model {self._model} {outcome}; the next call starts it again",
            metadata={"model": self._model, "cause": "process"},
            retry_after=1,
        )

    async def close(self) -> None:
        """End it, also while it starts."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._engine is not None:
            await self._engine.close()
        await asyncio.gather(*self._ending)

    async def _begin(self) -> AnyEngine | ProviderUnavailable:
        try:
            previous, self._engine = self._engine, None
            if previous is not None:
                await previous.close()
            # What the one before took is free only when that has ended.
            await asyncio.gather(*self._ending)
            await self._check()
        except LoadFailed as failed:
            # Looking at files is cheap: every call may do it.
            self.failure = str(failed)
            return self._unavailable(None)
        else:
            return await self._try_start()
        finally:
            self._starting = None

    async def _try_start(self) -> AnyEngine | ProviderUnavailable:
        clock = asyncio.get_running_loop().time
        pause = self._retry_at - clock()
        if self.failure and pause > 0:
            return self._unavailable(pause)
        try:
            self._engine = await self._start()
        except LoadFailed as failed:
            self.failure = str(failed)
            self._retry_at = clock() + PAUSE_SECONDS
            return self._unavailable(PAUSE_SECONDS)
        self.failure = ""
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
