"""A program: a server that takes a second for an answer, at an address, with a database at a path."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import msgspec

from mcp_server.interfaces import Finish
from mcp_server.logs import configure
from mcp_server.settings import Config, ServerSettings, testing_config
from mcp_server.stores.memory_settings import MemorySettings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import ScriptedProvider, running

PIECES: Final = [f"{number} " for number in range(200)]
"""The answer."""


def config(address: str, path: Path | None) -> Config:
    """Of a server with an address of its own, on SQLite or, without a path, on nothing that lasts."""
    return msgspec.structs.replace(
        testing_config(default_model="scripted/scripted"),
        server=ServerSettings(address=address, drain_timeout=5),
        store=SQLiteSettings(path=path) if path is not None else MemorySettings(),
    )


async def main() -> None:
    """Serve until the end."""
    configure(level="error", format="json")
    provider = ScriptedProvider([*[step for piece in PIECES for step in (piece, 0.005)], Finish()])
    async with running(config(sys.argv[1], Path(sys.argv[2])), providers={"scripted": provider}):
        print("ready", flush=True)  # noqa: T201  # for who waits for it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
