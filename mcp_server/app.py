"""The server: its parts are built, started and stopped here, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import structlog

from mcp_server.accounts import Accounts
from mcp_server.admin.listeners import AdminListeners
from mcp_server.admin.models import LoadedModels
from mcp_server.admin.pages import AdminPages
from mcp_server.admin.readiness import Readiness
from mcp_server.admission import AllOf, TurnLimit
from mcp_server.api.conversions import Conversions
from mcp_server.api.paging import PageTokens
from mcp_server.api.services import services as contract_services
from mcp_server.errors import ConfigError
from mcp_server.flow import Flow
from mcp_server.gateway import Gateway
from mcp_server.interfaces import (
    AccountStore,
    Admission,
    Authenticator,
    ContextType,
    GRPCService,
    Middleware,
    Provider,
    SharedStore,
    Store,
    TurnObserver,
)
from mcp_server.keys import KeyManager, ensure_first_key, first_key_file, settings_keys
from mcp_server.lifecycle import Housekeeping, background, follow_settings, stop_signal
from mcp_server.middleware.access import AccessLog
from mcp_server.middleware.authentication import Authentication, Identities, KeyAuthenticator
from mcp_server.middleware.guarded import GuardedObserver
from mcp_server.middleware.metrics import Metrics
from mcp_server.models.inventory import Inventory
from mcp_server.pipeline import Pipeline
from mcp_server.plugins import Registry, build, build_all
from mcp_server.provider_set import ProviderSet
from mcp_server.reloading import Reloader
from mcp_server.rpc.channelz import channelz_service
from mcp_server.rpc.descriptors import DescriptorWatch
from mcp_server.rpc.server import GRPCServer
from mcp_server.rpc.tls import ListenerCertificates, read_files
from mcp_server.sessions.context_types import BUILT_IN as CONTEXT_TYPES
from mcp_server.sessions.hub import SessionHub
from mcp_server.sessions.manager import MCPSessionManager
from mcp_server.sessions.ownership import LEASE_SECONDS, Ownership
from mcp_server.settings import Config, Loaded, WebSettings, check_exposure
from mcp_server.settings.changes import Changes
from mcp_server.turns.registry import TurnRegistry
from mcp_server.values import Clock

if TYPE_CHECKING:
    from mcp_server.certificate_files import CertificateFiles
    from mcp_server.middleware.tracing import Tracing
    from mcp_server.web.server import WebServer

log = structlog.get_logger("contextprotocol.server")

_NO_WEB: Final = "web.address: the HTTP edge is not installed: pip install 'contextprotocol[web]', or set it to \"\""


class _Parts(NamedTuple):
    """What is built and then opened."""

    store: Store
    identities: Identities
    tokens: PageTokens
    flow: Flow
    metrics: Metrics
    ownership: Ownership
    server: GRPCServer
    pages: AdminPages


class UnifiedMCPServer:
    """The server: sessions with memory over swappable model providers.

    ::

        async with UnifiedMCPServer(config) as server:
            await server.wait_for_signal()

    Args:
        config: its settings.
        providers: further providers by name; one with the name of a configured provider replaces it.
        store: the store, instead of the configured one.
        middleware: further middleware, entered inside the configured one.
        authenticators: asked who makes a call, beside the configured ones; callers then need credentials.
        observers: further observers of turns.
        context_types: further context types by name.
        services: further gRPC services.
        admission: decides who may begin work, after the configured limit and rules.
        default_web: ``host:port`` of the HTTP edge if the settings do not say; if it is in use, the edge is not served.
        clock: the time, in nanoseconds since the Unix epoch.
    """

    def __init__(
        self,
        config: Config,
        *,
        providers: Mapping[str, Provider] | None = None,
        store: Store | None = None,
        middleware: Sequence[Middleware] = (),
        authenticators: Sequence[Authenticator] = (),
        observers: Sequence[TurnObserver] = (),
        context_types: Mapping[str, ContextType] | None = None,
        services: Sequence[GRPCService] = (),
        admission: Admission | None = None,
        default_web: str = "",
        clock: Clock = time.time_ns,
    ) -> None:
        self._config = config
        self.address = config.server.address
        """The address that it listens on; once started, with the actual port."""
        self.admin_address = ""
        """``host:port`` of the admin pages, once started; empty if they are not served."""
        self.metrics_address = ""
        """The same of the metrics: that of the admin pages, unless they have a port of their own."""
        self.web_address = ""
        """The same of the HTTP edge."""
        self.web_url = ""
        """The address of the HTTP edge as a browser needs it; empty if it is not served."""
        self._providers = dict(providers or {})
        self._store = store
        self._middleware = tuple(middleware)
        self._authenticators = tuple(authenticators)
        self._observers = tuple(observers)
        self._context_types = dict(context_types or {})
        self._services = tuple(services)
        self._admission = admission
        self._default_web = default_web
        self._clock = clock
        self._running = contextlib.AsyncExitStack()
        self._server: GRPCServer | None = None
        self._web: WebServer | None = None
        self._reloader: Reloader | None = None
        self._stopped = False
        self._urged = asyncio.Event()

    @property
    def config(self) -> Config:
        """The settings in effect."""
        return self._config if self._reloader is None else self._reloader.config

    @property
    def port(self) -> int:
        """The port of :attr:`address`."""
        return int(self.address.rpartition(":")[2])

    @property
    def metrics_port(self) -> int | None:
        """The port of :attr:`metrics_address`; ``None`` if the metrics are not served."""
        return int(self.metrics_address.rpartition(":")[2]) if self.metrics_address else None

    def http_application(self) -> Any:
        """The HTTP edge as an ASGI application, to mount in an application of your own. It has the settings ``[web]``
        but for the address, and answers while the server runs.

        Raises:
            ConfigError: the extra ``web`` is not installed.
        """
        assert self._reloader is not None, "the server has not started"
        return self._http_application()

    async def idle(self) -> None:
        """Return when no turn is running."""
        await self._turns.idle()

    async def start(self) -> None:
        """Open the store, listen, and serve.

        Raises:
            ConfigError: a part of the settings cannot be used; nothing is left running.
        """
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._running = stack.pop_all()

    async def check(self) -> None:
        """Build all that :meth:`start` builds, and close it again. No store is opened, no model is loaded, nothing
        listens, and nobody is called.

        Raises:
            ConfigError: a part of the settings cannot be used, as at the start.
        """
        async with contextlib.AsyncExitStack() as stack:
            await self._build(stack)

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        """Build the parts, then open them in the order in which they need each other."""
        async with contextlib.AsyncExitStack() as built:
            parts = await self._build(built)
            await parts.store.open()
            stack.push_async_callback(parts.store.close)
            stack.push_async_exit(built.pop_all())  # before the store is closed
        await parts.identities.open()
        if self._stored_keys is not None:
            keys = self._keys.settings_keys
            await ensure_first_key(self._stored_keys, first_key_file(self.config), keys, self._clock)
        if self._authenticated is not None:
            await stack.enter_async_context(background("authentication", self._authenticated.run()))
        if isinstance(parts.store, AccountStore):
            parts.tokens.use(await parts.store.secret("page_tokens"))
        if interrupted := await self._turns.recover():
            log.warning("turns interrupted by the last stop", turns=interrupted)
        listeners = AdminListeners(self.config, parts.pages)
        stack.callback(listeners.close)
        self.admin_address, self.metrics_address = listeners.address, listeners.metrics_address
        for name, repeated in {
            "housekeeping": self._housekeeping.run(),
            "heartbeats": self._turns.beat(),
            "watches": self._turns.end_watches(),
            "journal": self._turns.journal(),
            "leases": self._turns.renew_leases(),
            "readers": parts.flow.watch(),
            "event loop": parts.metrics.watch_loop(),
            "descriptors": DescriptorWatch().run(),
        }.items():
            await stack.enter_async_context(background(name, repeated))

        await self._start_web(stack)
        port = await parts.server.start(self.config.server.address)
        self.address = parts.ownership.address = f"{self.config.server.address.rpartition(':')[0]}:{port}"
        parts.server.health.set_serving(True)
        self._readiness.serving = True
        self._server = parts.server

    async def _start_web(self, stack: contextlib.AsyncExitStack) -> None:
        if self._web is None:
            return
        try:
            self.web_address, self.web_url = await self._web.start()
        except ConfigError as error:
            if self.config.web.address is not None:
                raise
            self._web = None
            log.warning("the HTTP edge and its console are not served", problem=str(error))
        else:
            stack.push_async_callback(self._web.stop, 0)

    async def _build(self, stack: contextlib.AsyncExitStack) -> _Parts:
        """Build the parts from the settings. ``stack`` closes them."""
        config = self.config
        check_exposure(config)
        registry = Registry()
        registry.check()
        files = read_files(config.server.tls)
        certificates = ListenerCertificates(files) if files is not None else None
        web_files = read_files(config.web.tls, "web.tls") or files
        metrics = Metrics(self._clock)
        access = AccessLog()
        tracing = _tracing(config, stack)
        authenticators = (*build_all(config.authenticators, "authenticators"), *self._authenticators)
        middleware = (*build_all(config.middleware, "middleware"), *self._middleware)
        development = config.server.development
        if development:
            log.warning("development mode: callers see the exceptions of plug-ins", setting="server.development")
        plugged = (*build_all(config.observers, "observers"), *self._observers)
        guarded = [GuardedObserver(observer, development=development) for observer in plugged]
        observers: Sequence[TurnObserver] = (metrics, access, *tracing, *guarded)
        services = (*build_all(config.services, "services"), *self._services)
        channelz = (channelz_service(),) if config.server.channelz else ()
        rules = build_all(config.admission_rules, "admission_rules")
        if self._admission is not None:
            rules.append(self._admission)
        context_types = registry.context_types(CONTEXT_TYPES, self._context_types)

        store: Store = self._store if self._store is not None else build(config.store, "store", "store")
        metrics.watch_store(store)
        if (config.limits or config.tenants) and not isinstance(store, AccountStore):
            log.warning("this store keeps no accounts: limits do not apply, and usage is not recorded")
        providers = ProviderSet(self._providers)
        stack.push_async_callback(providers.close)
        providers.use(config.providers, await providers.prepare(config.providers))

        identities = Identities(config.auth, self._clock, metrics.issuers.fetched)
        stack.push_async_callback(identities.close)
        authentication, keys = self._authentication(store, identities, authenticators, (*services, *channelz))
        if authentication is not None:
            middleware = (authentication, *middleware)

        lease = LEASE_SECONDS if isinstance(store, SharedStore) else None
        ownership = Ownership(uuid.uuid4().hex, self._clock, lease_seconds=lease)
        hub = SessionHub()
        sessions = MCPSessionManager(store, ownership, config.sessions, hub=hub)
        turns = TurnRegistry(
            store,
            ownership,
            config.turns,
            max_messages=config.window.max_messages,
            context_types=context_types,
            observers=observers,
            content_observers=(
                *(tracing if config.tracing.content else ()),
                *((access,) if config.log.content else ()),
            ),
            hub=hub,
        )
        inventory = Inventory(providers.providers, config.models, config.routing)
        accounts = Accounts(store, config, self._clock)
        admission = TurnLimit(
            config.admission.max_turns,
            AllOf(rules),
            max_waiting=config.admission.max_waiting,
            queue_timeout=config.admission.queue_timeout,
            waited=metrics.admission.waited,
        )
        metrics.admission.watch(lambda: admission.waiting)
        metrics.watch_turns(turns.count)
        gateway = Gateway(
            sessions=sessions,
            turns=turns,
            inventory=inventory,
            context_types=context_types,
            clock=self._clock,
            models=config.models,
            turn_settings=config.turns,
            keys=keys,
            accounts=accounts,
            observers=observers,
            admission=admission,
        )

        flow = Flow(
            max_bytes=config.server.max_bytes_in_flight,
            receive_timeout=config.server.receive_timeout,
            reader_timeout=config.server.reader_timeout,
        )
        self._readiness = Readiness(store)
        pipeline = Pipeline((*tracing, access, metrics, *middleware), development=development)
        conversions = Conversions()
        tokens = PageTokens()
        contract = contract_services(gateway, tokens, conversions)
        server = GRPCServer(
            gateway,
            pipeline,
            [*contract, *services, *channelz],
            flow=flow,
            conversions=conversions,
            settings=config.server,
            certificates=certificates,
        )
        self._http_application = partial(
            _http_application,
            config,
            gateway=gateway,
            contract=[*contract, *services, server.health_service],
            conversions=conversions,
            pipeline=pipeline,
            flow=flow,
            ready=self._readiness.problem,
            authenticated=authentication is not None,
        )
        if web_address := self._default_web if config.web.address is None else config.web.address:
            self._web = _web_server(self._http_application(), config.web, web_address, web_files)

        self._turns = turns
        self._housekeeping = Housekeeping(sessions, store, metrics, config, self._clock)
        self._reloader = Reloader(
            config,
            gateway=gateway,
            turns=turns,
            sessions=sessions,
            admission=admission,
            accounts=accounts,
            housekeeping=self._housekeeping,
            inventory=inventory,
            providers=providers,
            identities=identities,
            replace_keys=self.replace_keys,
            certificates=certificates,
            web=self._web,
            metrics=metrics,
        )
        pages = AdminPages(
            metrics=metrics.page(),
            ready=self._readiness.problem,
            turns=turns.running,
            models=LoadedModels(lambda: providers.providers),
            clock=self._clock,
            authentication=authentication,
        )
        return _Parts(
            store=store,
            identities=identities,
            tokens=tokens,
            flow=flow,
            metrics=metrics,
            ownership=ownership,
            server=server,
            pages=pages,
        )

    def _authentication(
        self,
        store: Store,
        identities: Identities,
        authenticators: Sequence[Authenticator],
        services: Sequence[GRPCService],
    ) -> tuple[Authentication | None, KeyManager]:
        """What authenticates callers, ``None`` if everybody may call, and what manages API keys."""
        settings = self.config.auth
        stored = store if settings.stored_keys and isinstance(store, AccountStore) else None
        if settings.stored_keys and stored is None:
            raise ConfigError("auth.stored_keys: this store cannot keep API keys: use another one, or auth.keys")
        self._keys = KeyAuthenticator(settings_keys(self.config), stored, self._clock)
        self._stored_keys = stored
        self._authenticated: Authentication | None = None
        if settings.configured or authenticators:
            self._authenticated = Authentication([self._keys, *identities.authenticators, *authenticators], services)
        manager = KeyManager(
            store=stored, settings_keys=lambda: self._keys.settings_keys, clock=self._clock, changed=self._key_changed
        )
        return self._authenticated, manager

    def _key_changed(self, key_id: str) -> None:
        self._keys.forget(key_id)
        if self._authenticated is not None:
            self._authenticated.check_now()

    def replace_keys(self, config: Config) -> None:
        """Use the API keys of these settings from now on. Streams of those that are gone end at once."""
        self._keys.replace_settings(settings_keys(config))
        if self._authenticated is not None:
            self._authenticated.check_now()

    async def reload(self, load: Callable[[], Config]) -> Changes:
        """Read the settings again and use them, without touching turns that run.

        Args:
            load: reads them; called on another thread.

        Returns:
            Which keys have changed, and which need a restart.

        Raises:
            ConfigError: they cannot be used. Nothing has changed; the log says why.
        """
        assert self._reloader is not None, "the server has not started"
        return await self._reloader.reload(load)

    async def follow_settings(
        self, loaded: Loaded, read: Callable[[], Loaded], applied: Callable[[Config], None] = lambda config: None
    ) -> None:
        """Without end: :meth:`reload` at SIGHUP, and when a file that the settings come from has changed.

        Args:
            loaded: the settings at the start.
            read: reads them again.
            applied: called with the settings after each reload.
        """

        async def reload(load: Callable[[], Config]) -> None:
            applied((await self.reload(load)).config)

        await follow_settings(loaded, read, reload)

    async def stop(self, grace: float | None = None) -> None:
        """Stop, if it has started: the health becomes NOT_SERVING; after ``drain_delay`` new turns are refused; running
        turns may continue for ``grace`` seconds, then they are interrupted.

        Args:
            grace: in seconds; ``None``: ``drain_timeout``.
        """
        if self._server is None or self._stopped:
            return
        self._stopped = True
        async with self._running:
            self._server.health.set_serving(False)
            self._readiness.serving = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.server.drain_delay):
                    await self._urged.wait()
                    grace = 0
            await self._turns.drain(self.config.server.drain_timeout if grace is None else grace)
            # Every turn has ended: only the last messages are still to be sent.
            async with asyncio.TaskGroup() as stopping:
                stopping.create_task(self._server.stop(1))
                if self._web is not None:
                    stopping.create_task(self._web.stop(1))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def wait_for_signal(self) -> None:
        """Return at the first SIGTERM or SIGINT. A second one makes :meth:`stop` interrupt all turns at once."""
        await stop_signal(self._hurry)

    def _hurry(self) -> None:
        self._urged.set()
        self._turns.interrupt()

    async def sweep(self) -> None:
        """Delete expired sessions, and turns past their retention. The server does it every ``sweep_interval``."""
        await self._housekeeping.sweep()


def _tracing(config: Config, stack: contextlib.AsyncExitStack) -> Sequence[Tracing]:
    """The middleware that traces, if it is switched on. OpenTelemetry is imported only then."""
    if not config.tracing.enabled:
        return ()
    try:
        from mcp_server.middleware.tracing import Tracing
    except ModuleNotFoundError as error:
        raise ConfigError(
            "tracing.enabled: OpenTelemetry is not installed: pip install 'contextprotocol[otel]', or set it to false"
        ) from error
    tracing = Tracing()
    stack.push_async_callback(tracing.close)
    return (tracing,)


def _http_application(config: Config, **parts: Any) -> Any:
    """The HTTP edge as an ASGI application. Its libraries are imported only where it is used."""
    try:
        from mcp_server.web.application import web_application
    except ModuleNotFoundError as error:
        raise ConfigError(_NO_WEB) from error
    return web_application(config.web, **parts)


def _web_server(application: Any, settings: WebSettings, address: str, files: CertificateFiles | None) -> WebServer:
    try:
        from mcp_server.web.server import WebServer
    except ModuleNotFoundError as error:
        raise ConfigError(_NO_WEB) from error
    return WebServer(application, settings, address, files)
