"""Reads the admin port of a running server, for the command line."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

TIMEOUT: Final = 10.0
"""Seconds that a request may take."""


class CannotAsk(Exception):
    """The server does not answer, or refuses; the message says why."""


class NotRunning(CannotAsk):
    """Nobody listens at the address."""


class AdminClient:
    """The admin port of one server.

    Args:
        address: ``host:port``; one that means all addresses of a machine is asked as this machine.
        secret: the API key to ask with; empty: none.
    """

    def __init__(self, address: str, secret: str) -> None:
        host, _, port = address.rpartition(":")
        self.address = address
        self._host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104  # it is not listened on
        self._port = int(port)
        self._headers = {"Authorization": f"Bearer {secret}"} if secret else {}

    def loaded(self) -> Sequence[dict[str, Any]]:
        """The models that are loaded on the machine of the server."""
        rows: list[dict[str, Any]] = self._ask("GET", "/debug/models")["models"]
        return rows

    def unload(self, name: str) -> dict[str, Any] | None:
        """Unload the model ``provider/model``; return its row if calls still use it."""
        row: dict[str, Any] | None = self._ask("DELETE", f"/debug/models/{quote(name)}")["model"]
        return row

    def _ask(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection(self._host.strip("[]"), self._port, timeout=TIMEOUT)
        try:
            connection.request(method, path, headers=self._headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except ConnectionRefusedError as error:
            raise NotRunning(
                f"no server answers at {self.address} (admin.address): start one with `mcp-server serve`, or name "
                "another with --admin"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise CannotAsk(f"the server at {self.address} (admin.address) does not answer: {error}") from error
        finally:
            connection.close()
        if response.status in (401, 403):
            raise CannotAsk(
                f"the server at {self.address} refuses: {text.strip()}; set CONTEXTPROTOCOL_API_KEY or --key-file to a "
                "key with the scope operator"
            )
        if response.status != 200:
            raise CannotAsk(text.strip())
        try:
            return json.loads(text)
        except ValueError as error:
            raise CannotAsk(f"what answers at {self.address} (admin.address) is not this server") from error
