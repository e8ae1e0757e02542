"""A server to be killed: SQLite in the folder that its argument names, and the providers ``echo`` and ``slow``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from mcp_server.app import UnifiedMCPServer
from mcp_server.config import StoreSettings, testing_config
from mcp_server.interfaces import Provider
from mcp_server.logs import configure
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider


async def main(folder: Path) -> None:
    """Serve until it is killed."""
    config = msgspec.structs.replace(
        testing_config(default_model="echo/echo"), store=StoreSettings(type="sqlite", path=folder / "sessions.db")
    )
    configure(level="warning", format="json")
    providers: dict[str, Provider] = {"echo": EchoProvider(), "slow": ScriptedProvider(["one", Gate()])}
    async with UnifiedMCPServer(config, providers=providers) as server:
        print(server.address, flush=True)  # noqa: T201  # this is how the test learns it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
