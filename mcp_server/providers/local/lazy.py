"""A model's engine that is started when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from mcp_server.errors import MCPError, ProviderStreamCut, ProviderUnavailable


class LoadFailed(Exception):
    """A model cannot be loaded; the message says why."""


class Engine(Protocol):
    """A loaded model, in a process of its own."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        ...

    async def close(self) -> None:
        """End its process, whatever that does, and wait for it."""
        ...


AnyEngine = TypeVar("AnyEngine", bound=Engine)


class LazyEngine(Generic[AnyEngine]):
    """An engine that is started when it is needed, once for all callers, and again after it was lost."""

    def __init__(self, model: str, start: Callable[[], Coroutine[Any, Any, AnyEngine]]) -> None:
        self.failure = ""
        """Why the last start failed; empty if it did not."""
        self._model = model
        self._start = start
        self._engine: AnyEngine | None = None
        self._starting: asyncio.Task[AnyEngine | str] | None = None
        self._closed = False

    @property
    def loaded(self) -> bool:
        """Whether it is loaded."""
        return self._engine is not None and self._engine.alive

    @property
    def loading(self) -> bool:
        """Whether it is being loaded."""
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
        if isinstance(started, str):
            raise ProviderUnavailable(
                f"the model {self._model} cannot be loaded: {started}", metadata={"model": self._model}
            )
        return started

    async def lost(self, engine: AnyEngine, *, begun: bool) -> MCPError:
        """The error of a call whose connection broke. The engine is given up, and the next call starts another."""
        if self._closed:
            return self._stopped()
        if self._engine is engine:
            self._engine = None
        await engine.close()
        kind = ProviderStreamCut if begun else ProviderUnavailable
        return kind(
            f"the process that runs the model {self._model} has ended: send the call again",
            metadata={"model": self._model},
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

    async def _begin(self) -> AnyEngine | str:
        try:
            previous, self._engine = self._engine, None
            if previous is not None:
                await previous.close()
            self._engine = await self._start()
            self.failure = ""
        except LoadFailed as failed:
            self.failure = str(failed)
            return self.failure
        else:
            return self._engine
        finally:
            self._starting = None

    def _stopped(self) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"the model {self._model} is no longer served: the server is stopping", retry_after=1
        )
