"""Changes the settings of a running server: checked whole, then swapped in one step of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from mcp_server.accounts import Accounts
from mcp_server.admission import TurnLimit
from mcp_server.errors import ConfigError
from mcp_server.gateway import Gateway
from mcp_server.lifecycle import Housekeeping
from mcp_server.middleware.authentication import Identities
from mcp_server.middleware.metrics import Metrics
from mcp_server.models.inventory import Inventory
from mcp_server.provider_set import ProviderSet
from mcp_server.rpc.tls import ListenerCertificates, read_files
from mcp_server.sessions.manager import MCPSessionManager
from mcp_server.settings import Config
from mcp_server.settings.changes import Changes, compare
from mcp_server.turns.registry import TurnRegistry

if TYPE_CHECKING:
    from mcp_server.web.server import WebServer

log = structlog.get_logger("contextprotocol.settings")

CERTIFICATES: Final = "the files of server.tls and web.tls"
"""What the log says has changed if certificates were renewed in place."""


class Reloader:
    """Swaps settings for the parts of a server that can change them.

    Turns and requests that have begun keep the models, the providers and the limits that they began with.

    Args:
        config: the settings at the start.
        gateway, turns, sessions, admission, accounts, housekeeping, inventory, providers, identities: the parts.
        replace_keys: called with the settings, whose API keys then replace the former ones.
        certificates: those of the gRPC listener; ``None`` without TLS.
        web: the HTTP listener; ``None`` if there is none.
        metrics: counts reloads.
    """

    def __init__(
        self,
        config: Config,
        *,
        gateway: Gateway,
        turns: TurnRegistry,
        sessions: MCPSessionManager,
        admission: TurnLimit,
        accounts: Accounts,
        housekeeping: Housekeeping,
        inventory: Inventory,
        providers: ProviderSet,
        identities: Identities,
        replace_keys: Callable[[Config], None],
        certificates: ListenerCertificates | None,
        web: WebServer | None,
        metrics: Metrics,
    ) -> None:
        self.config = config
        """The settings in effect."""
        self._gateway = gateway
        self._turns = turns
        self._sessions = sessions
        self._admission = admission
        self._accounts = accounts
        self._housekeeping = housekeeping
        self._inventory = inventory
        self._providers = providers
        self._identities = identities
        self._replace_keys = replace_keys
        self._certificates = certificates
        self._web = web
        self._metrics = metrics
        self._one_at_a_time = asyncio.Lock()
        metrics.watch_circuits({name: partial(inventory.open_circuits, name) for name in inventory.providers})
        metrics.watch_providers(inventory.providers)
        listeners = [one for one in (certificates, web) if one is not None and one.expires != float("inf")]
        if listeners:
            metrics.watch_certificate(lambda: min(one.expires for one in listeners))

    async def reload(self, load: Callable[[], Config]) -> Changes:
        """Read the settings, check them, and use them.

        Args:
            load: reads them; called on another thread.

        Raises:
            ConfigError: they cannot be used. Nothing has changed; the log says why.
        """
        async with self._one_at_a_time:
            try:
                changes = await self._reload(load)
            except Exception as error:
                self._metrics.count_reload("failed")
                problems = str(error).splitlines()
                log.error("settings not reloaded", problems=problems, exc_info=not isinstance(error, ConfigError))
                raise
            self._metrics.count_reload("applied" if changes.live else "unchanged")
        log.info("settings reloaded", changed=changes.live)
        if changes.fixed:
            log.warning("settings that need a restart keep their former values", keys=changes.fixed)
        return changes

    async def _reload(self, load: Callable[[], Config]) -> Changes:
        changes = compare(self.config, await asyncio.to_thread(load))
        config = changes.config
        files = await asyncio.to_thread(read_files, config.server.tls)
        web_files = await asyncio.to_thread(read_files, config.web.tls, "web.tls") or files
        use_identities = await asyncio.to_thread(self._identities.prepare, config.auth)
        providers = await self._providers.prepare(config.providers)
        # Nothing is awaited from here on, and nothing fails: a call finds either the old settings or the new ones.
        renewed = self._certificates is not None and files is not None and self._certificates.replace(files)
        if self._web is not None and web_files is not None and self._web.replace(web_files):
            renewed = True
        if renewed:
            changes = Changes(config=config, live=(*changes.live, CERTIFICATES), fixed=changes.fixed)
        former = self._inventory
        self._providers.use(config.providers, providers)
        self._inventory = former.reconfigured(providers, config.models, config.routing)
        self._gateway.configure(self._inventory, config.models, config.turns)
        self._turns.configure(config.turns, max_messages=config.window.max_messages)
        self._sessions.configure(config.sessions)
        self._accounts.configure(config)
        use_identities()
        self._replace_keys(config)
        self._admission.configure(
            config.admission.max_turns,
            max_waiting=config.admission.max_waiting,
            queue_timeout=config.admission.queue_timeout,
        )
        self._housekeeping.configure(config)
        self._metrics.watch_circuits(
            {name: partial(self._inventory.open_circuits, name) for name in providers}
            | {name: _none_open for name in former.providers if name not in providers}
        )
        self._metrics.watch_providers(providers)
        self._providers.retire(former)
        self.config = config
        return changes


def _none_open() -> int:
    """How many circuit breakers are open of a provider that is gone."""
    return 0
