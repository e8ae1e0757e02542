"""Where the parts meet: stores, providers, middleware and edges are built, started and stopped here, nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import operator
import signal
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import structlog

from mcp_server.errors import ConfigError
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Provider, SharedStore, Store
from mcp_server.middleware.access import AccessLog
from mcp_server.middleware.metrics import Metrics
from mcp_server.models.inventory import Inventory
from mcp_server.rpc.server import GRPCServer
from mcp_server.sessions.context_types import load_context_types
from mcp_server.sessions.manager import MCPSessionManager
from mcp_server.sessions.ownership import LEASE_SECONDS, Ownership
from mcp_server.settings import (
    Config,
    HuggingFaceSettings,
    LlamaCppSettings,
    OpenAISettings,
    ProviderSettings,
)
from mcp_server.stores.memory import MemoryStore
from mcp_server.turns.registry import TurnRegistry
from mcp_server.values import SECOND, Capabilities, Clock

PROVIDER_ENTRY_POINTS: Final = "contextprotocol.providers"
"""Where packages register provider classes by name."""

log = structlog.get_logger("contextprotocol.server")


class UnifiedMCPServer:
    """The server: sessions with memory over swappable model providers.

    ::

        async with UnifiedMCPServer(config) as server:
            await server.wait_for_signal()

    Args:
        config: its settings.
        providers: more providers, by name; one of the same name takes the place of a configured one.
        clock: tells the time, in nanoseconds since the Unix epoch.
    """

    def __init__(
        self, config: Config, *, providers: Mapping[str, Provider] | None = None, clock: Clock = time.time_ns
    ) -> None:
        self.config = config
        self.address = config.server.address
        """Where it listens; once started, with the port that it got."""
        self.metrics_port: int | None = None
        """The port of the metrics; ``None`` while they are not served."""
        self._extra_providers = dict(providers or {})
        self._clock = clock
        self._running = contextlib.AsyncExitStack()
        self._stopped = False
        self._urged = asyncio.Event()

    @property
    def port(self) -> int:
        """The port of :attr:`address`."""
        return int(self.address.rpartition(":")[2])

    async def idle(self) -> None:
        """Return when no turn runs."""
        await self._turns.idle()

    async def start(self) -> None:
        """Open the store, listen, and serve.

        Raises:
            ConfigError: something that the settings name cannot be used; nothing is left running.
        """
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._running = stack.pop_all()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        config = self.config
        metrics = Metrics()
        access = AccessLog()
        observers = (metrics, access)

        store = _store(config)
        await store.open()
        stack.push_async_callback(store.close)

        providers = {name: _provider(name, settings) for name, settings in config.providers.items()}
        providers.update(self._extra_providers)
        for provider in providers.values():
            stack.push_async_callback(provider.close)

        ownership = Ownership(
            uuid.uuid4().hex,
            self._clock,
            lease_seconds=LEASE_SECONDS if isinstance(store, SharedStore) else None,
        )
        sessions = MCPSessionManager(store, ownership, config.sessions)
        context_types = load_context_types()
        turns = TurnRegistry(
            store,
            ownership,
            config.turns,
            max_messages=config.window.max_messages,
            context_types=context_types,
            observers=observers,
        )
        inventory = Inventory(providers, config.models, config.routing)
        metrics.watch_circuits(
            {name: partial(getattr, circuit, "wait") for name, circuit in inventory.circuits.items()}
        )
        gateway = Gateway(
            sessions=sessions,
            turns=turns,
            inventory=inventory,
            context_types=context_types,
            clock=self._clock,
            models=config.models,
            turn_settings=config.turns,
            observers=observers,
        )

        self._sessions, self._turns = sessions, turns
        if interrupted := await turns.recover():
            log.warning("turns interrupted by the last stop", turns=interrupted)
        if config.metrics.address:
            self.metrics_port = metrics.serve(config.metrics.address)
            stack.callback(metrics.close)
        housekeeping = asyncio.create_task(self._keep_house(store, metrics), name="housekeeping")
        stack.push_async_callback(_cancelled, housekeeping)
        for repeated in (turns.beat, turns.journal, turns.renew_leases):
            stack.push_async_callback(_cancelled, asyncio.create_task(repeated(), name=repeated.__name__))

        server = GRPCServer(gateway, [access, metrics])
        port = await server.start(config.server.address)
        self.address = f"{config.server.address.rpartition(':')[0]}:{port}"
        server.health.set_serving(True)
        self._server = server

    async def stop(self, grace: float | None = None) -> None:
        """Turn NOT_SERVING; after ``drain_delay`` refuse new work, let turns end for ``grace`` seconds, interrupt the
        rest, and close.

        Args:
            grace: seconds; ``None``: as configured.
        """
        if self._stopped:
            return
        self._stopped = True
        async with self._running:
            self._server.health.set_serving(False)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.server.drain_delay):
                    await self._urged.wait()
                    grace = 0
            await self._turns.drain(self.config.server.drain_timeout if grace is None else grace)
            # Every turn has ended: what is left is to let the last messages out.
            await self._server.stop(1)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def wait_for_signal(self) -> None:
        """Return at the first SIGTERM or SIGINT. After it, a second one makes :meth:`stop` wait for nothing more."""
        loop = asyncio.get_running_loop()
        first = asyncio.Event()

        def on_signal() -> None:
            if first.is_set():
                self._urged.set()
                self._turns.interrupt()
            first.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await first.wait()

    async def sweep(self) -> None:
        """Delete what has expired and what is kept no longer. The server does it by itself from time to time."""
        if deleted := await self._sessions.sweep(int(self.config.turns.retention * SECOND)):
            log.info("expired sessions deleted", sessions=deleted)

    async def _keep_house(self, store: Store, metrics: Metrics) -> None:
        """For ever: sweep, and count what is left."""
        while True:
            try:
                await self.sweep()
                metrics.count_sessions((await store.counts(self._clock()))["sessions"])
            except Exception as error:  # told to the log, and tried again: it must not end for good
                log.error("sweep failed", exc_info=error)
            await asyncio.sleep(self.config.sessions.sweep_interval)


def _store(config: Config) -> Store:
    if config.store.type == "memory":
        return MemoryStore()
    from mcp_server.stores.sqlite import SQLiteStore

    return SQLiteStore(config.store.path)


def _provider(name: str, settings: ProviderSettings) -> Provider:
    if isinstance(settings, LlamaCppSettings):
        from mcp_server.model_files import local_model
        from mcp_server.providers.llama_cpp import LlamaCppProvider

        try:
            models = [local_model(model, **msgspec.structs.asdict(file)) for model, file in settings.models.items()]
        except ConfigError as error:
            raise ConfigError(f"providers.{name}.models: {error}") from error
        return LlamaCppProvider(models, parallel=settings.parallel, threads=settings.threads)
    if isinstance(settings, HuggingFaceSettings):
        return _huggingface(settings)
    if isinstance(settings, OpenAISettings):
        return _openai(name, settings)
    secrets = {key: secret.reveal() for key, secret in settings.secrets.items()}
    try:
        provider: Provider = _class(settings.class_)(**settings.options, **secrets)
    except Exception as error:
        why = str(error)
        for secret in secrets.values():  # a class may say what it did not like
            why = why.replace(secret, "***")
        raise ConfigError(f"providers.{name}.class: {settings.class_} cannot be used: {why}") from error
    return provider


def _huggingface(settings: HuggingFaceSettings) -> Provider:
    from mcp_server.providers.huggingface import HuggingFaceProvider, TransformersModel

    models = []
    for name, model in settings.models.items():
        fields = {key: value for key, value in msgspec.structs.asdict(model).items() if value is not None}
        if "path" not in fields:
            fields.setdefault("source", name)
        models.append(TransformersModel(name=name, **fields))
    return HuggingFaceProvider(
        models,
        parallel=settings.parallel,
        max_queued=settings.max_queued,
        threads=settings.threads,
        device=settings.device,
        dtype=settings.dtype,
    )


def _openai(name: str, settings: OpenAISettings) -> Provider:
    try:
        from mcp_server.providers.openai import ModelOptions, OpenAIProvider, Options, Prefill
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"providers.{name}.type: openai needs the extra `openai`: pip install 'contextprotocol[openai]'"
        ) from error
    ssl_context = None
    if settings.ca_file is not None:
        try:
            ssl_context = ssl.create_default_context(cafile=settings.ca_file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"providers.{name}.ca_file: {settings.ca_file} cannot be used: {error}") from error
    models = {}
    for model, known in settings.models.items():
        fields = {key: value for key, value in msgspec.structs.asdict(known).items() if value is not None}
        if known.capabilities is not None:
            fields["capabilities"] = Capabilities(**dict.fromkeys(known.capabilities, True))
        models[model] = ModelOptions(**{**fields, "prefill": Prefill(known.prefill)})
    keys = (settings.api_key,) if settings.api_key is not None else settings.api_keys
    return OpenAIProvider(
        Options(
            name=name,
            base_url=settings.base_url,
            api_version=settings.api_version,
            organization=settings.organization,
            project=settings.project,
            models=models,
            other_models=settings.other_models,
            output_limit=settings.output_limit or "",
            stream_usage=settings.stream_usage,
            base64_embeddings=settings.base64_embeddings,
            reasoning_field=settings.reasoning_field or "",
            connect_timeout=settings.connect_timeout,
            keep_alive=settings.keep_alive,
            key_rest=settings.key_rest,
        ),
        keys=[key.reveal() for key in keys],
        headers={header: value.reveal() for header, value in settings.headers.items()},
        ssl_context=ssl_context,
        proxy=settings.proxy.reveal() if settings.proxy is not None else None,
    )


def _class(name: str) -> Callable[..., Any]:
    """The class of a custom provider: ``package.module:Class``, or the name of an entry point."""
    module, colon, attribute = name.partition(":")
    if colon:
        loaded: Callable[..., Any] = operator.attrgetter(attribute)(importlib.import_module(module))
        return loaded
    found = importlib.metadata.entry_points(group=PROVIDER_ENTRY_POINTS, name=name)
    if not found:
        raise LookupError(f"no installed package has an entry point {name!r} in the group {PROVIDER_ENTRY_POINTS}")
    return next(iter(found)).load()  # type: ignore[no-any-return]  # whatever it is, it is called next


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
