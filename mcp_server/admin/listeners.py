"""The ports of the admin pages and of the metrics, which may be one."""

from __future__ import annotations

import contextlib

import structlog

from mcp_server.admin.endpoint import HTTPEndpoint
from mcp_server.admin.pages import AdminPages
from mcp_server.errors import ConfigError
from mcp_server.settings import Config, admin_addresses, admin_key

log = structlog.get_logger("contextprotocol.admin")


class AdminListeners:
    """Serves the admin pages, and ``/metrics`` alone where the settings give it a port of its own.

    If no setting names an address and the default one is taken, for example by another server of this machine, the
    pages are not served, which is a warning in the log.

    Args:
        config: the addresses.
        pages: all pages.

    Raises:
        ConfigError: an address cannot be listened on; nothing is left open.
    """

    def __init__(self, config: Config, pages: AdminPages) -> None:
        self.address = self.metrics_address = ""
        """Where the pages, and where the metrics are served: ``host:port`` with the actual port, or empty."""
        admin, metrics_alone = admin_addresses(config)
        with contextlib.ExitStack() as stack:
            if admin:
                try:
                    endpoint = HTTPEndpoint(pages, admin, key=admin_key(config))
                except ConfigError as error:
                    if config.admin.address is not None or config.metrics.address is not None:
                        raise
                    log.warning("metrics and admin pages are not served", problem=str(error))
                else:
                    stack.callback(endpoint.close)
                    self.address = self.metrics_address = endpoint.address
            if metrics_alone:
                endpoint = HTTPEndpoint(pages.metrics_alone, metrics_alone, key="metrics.address")
                stack.callback(endpoint.close)
                self.metrics_address = endpoint.address
            self._open = stack.pop_all()

    def close(self) -> None:
        """Stop serving."""
        self._open.close()
