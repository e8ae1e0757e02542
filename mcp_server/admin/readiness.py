"""Whether the server can take work: its store writes, and it is not about to stop."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import Final

from mcp_server.errors import MCPError
from mcp_server.interfaces import Change, Store
from mcp_server.values import Receipt

WRITE_SECONDS: Final = 2.0
"""How long the store may take for a write."""
KEPT_SECONDS: Final = 2.0
"""For how long the result of a write is believed: any number of probes makes few writes."""
_LONG_AGO: Final = 1
"""When the receipts that are written for a check were made: the next deletion of old ones takes them away."""


class Readiness:
    """Decides whether the server is ready.

    Args:
        store: an open store.
    """

    def __init__(self, store: Store) -> None:
        self.serving = False
        """Whether the server takes calls: from the end of its start to the beginning of its stop."""
        self._store = store
        self._names = map(f"{uuid.uuid4().hex}-{{}}".format, itertools.count())
        self._lock = asyncio.Lock()
        self._checked = float("-inf")
        self._problem = ""

    async def problem(self) -> str:
        """Why the server is not ready; empty if it is."""
        if not self.serving:
            return "the server starts or stops"
        async with self._lock:
            loop = asyncio.get_running_loop()
            if loop.time() - self._checked >= KEPT_SECONDS:
                self._problem = await self._write()
                self._checked = loop.time()
            return self._problem

    async def _write(self) -> str:
        """Write to the store and delete what was written; return what went wrong."""
        receipt = Receipt(
            tenant="",
            service="readiness",
            request_id=next(self._names),
            create_time=_LONG_AGO,
            session="",
            session_uid="",
        )
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._store.change("", "", lambda stored: Change(receipt=receipt))
                await self._store.forget(_LONG_AGO + 1, 1)
        except TimeoutError:
            return f"the store has not written for {WRITE_SECONDS:.0f} seconds"
        except MCPError as error:
            return error.message
        return ""
