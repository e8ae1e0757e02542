"""The server under attack, in a process of its own, set up as ``mcp-server`` sets itself up.

Arguments: the file of the store, a file with the API keys, the address, and the shift of its wall clock in seconds.
Each line that it reads is another shift. SIGTERM stops it in an orderly way.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from mcp_server.allocator import return_large_blocks
from mcp_server.app import UnifiedMCPServer
from mcp_server.errors import ConfigError, MCPError
from mcp_server.logs import configure
from mcp_server.settings import AuthSettings, KeySettings, ServerSettings, SessionSettings, TurnSettings, testing_config
from mcp_server.stores.sqlite.settings import SQLiteSettings
from tests.soak.server import Words

MAX_CONNECTIONS: Final = 256
"""Connections at a time."""
GRACE: Final = 30.0
"""Seconds that a turn goes on without readers: longer than any outage."""
RETENTION: Final = 60 * 86_400.0
"""Seconds that turns are kept: longer than the clock is ever set back. The time of a turn is stored, and a server that
starts has only the clock to compare it with."""
DRAIN: Final = 1.0
"""Seconds that turns may take to end after SIGTERM."""


FAILED: Final = "mcp-server: "
"""Begins the line that says why it does not start."""


class ShiftedClock:
    """The wall clock, set wrong by a number of seconds.

    Attributes:
        shift: that number.
    """

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def __call__(self) -> int:
        """The time, in nanoseconds since the Unix epoch."""
        return time.time_ns() + int(self.shift * 1e9)


async def main(file: Path, keys: Mapping[str, KeySettings], address: str, shift: float) -> None:
    """Serve until SIGTERM."""
    config = msgspec.structs.replace(
        testing_config(default_model="words/words"),
        server=ServerSettings(address=address, max_connections=MAX_CONNECTIONS, drain_timeout=DRAIN),
        store=SQLiteSettings(path=file),
        auth=AuthSettings(keys=keys),
        sessions=SessionSettings(sweep_interval=1),
        turns=TurnSettings(retention=RETENTION, disconnect_grace=GRACE, journal_interval=0.2, heartbeat_interval=0.5),
    )
    configure(level="warning", format="json")
    clock = ShiftedClock(shift)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    async def set_clock() -> None:
        while line := await lines.readline():
            clock.shift = json.loads(line)
            _print({"shift": clock.shift})

    async with UnifiedMCPServer(config, providers={"words": Words()}, clock=clock) as server:
        setting = asyncio.create_task(set_clock())
        signalled = asyncio.create_task(server.wait_for_signal())
        await asyncio.sleep(0)  # the handler of the signal is there before anybody learns of the server
        _print({"address": server.address})
        await signalled
        setting.cancel()


def _print(line: object) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201  # this is what the soak reads


def _run() -> None:
    import uvloop

    return_large_blocks()
    keys = msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=dict[str, KeySettings])
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(Path(sys.argv[1]), keys, sys.argv[3], float(sys.argv[4])))
    except (ConfigError, MCPError) as error:
        sys.exit(f"{FAILED}{error}")


if __name__ == "__main__":
    _run()
