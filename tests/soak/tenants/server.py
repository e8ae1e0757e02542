"""The server of the tenants, in a process of its own: ``mcp-server``, which also says what it holds.

Argument: its settings file. For each line that it reads it prints what it holds. SIGTERM stops it in an orderly way; at
SIGHUP it reads its settings again.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from pathlib import Path

import uvloop

from mcp_server.allocator import return_large_blocks
from mcp_server.app import UnifiedMCPServer
from mcp_server.logs import configure
from mcp_server.settings import read
from tests.soak.server import held


async def main(file: Path) -> None:
    """Serve until SIGTERM."""
    configure(level="warning", format="json")
    load = functools.partial(read, file)
    loaded = load()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    async def answer() -> None:
        while await lines.readline():
            _print(held())

    async with UnifiedMCPServer(loaded.config) as server:
        tasks = [asyncio.create_task(answer()), asyncio.create_task(server.follow_settings(loaded, load))]
        signalled = asyncio.create_task(server.wait_for_signal())
        await asyncio.sleep(0)  # the handlers of the signals are there before anybody learns of the server
        _print({"address": server.address})
        await signalled
        for task in tasks:
            task.cancel()


def _print(line: object) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201  # this is what the soak reads


if __name__ == "__main__":
    return_large_blocks()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
