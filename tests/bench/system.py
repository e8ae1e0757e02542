"""The system under test: the server as it is run, with its metrics, its log and the provider ``openai``."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import msgspec
import uvloop

from mcp_server.allocator import return_large_blocks
from mcp_server.app import UnifiedMCPServer
from mcp_server.logs import configure
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
from mcp_server.settings import (
    LogSettings,
    MetricsSettings,
    Secret,
    WebSettings,
    WindowSettings,
    testing_config,
)
from mcp_server.stores.memory_settings import MemorySettings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from tests.bench.bare import MODELS


async def main(upstream: int, path: str, max_pending: int, web: bool) -> None:
    """Serve until standard input ends. Without a path the store is the one in memory."""
    provider = OpenAISettings(
        base_url=f"http://127.0.0.1:{upstream}/v1",
        api_key=Secret("sk-bench"),
        models={name: OpenAIModel(context_window=128_000) for name in MODELS},
    )
    config = testing_config(default_model="upstream/unary")
    config = msgspec.structs.replace(
        config,
        server=msgspec.structs.replace(config.server, max_pending=max_pending),
        store=SQLiteSettings(path=Path(path)) if path else MemorySettings(),
        providers={"upstream": provider},
        window=WindowSettings(max_messages=20),
        metrics=MetricsSettings(address="127.0.0.1:0"),
        web=WebSettings(address="127.0.0.1:0" if web else ""),
        log=LogSettings(format="json"),
    )
    return_large_blocks()  # as the command line does
    configure(level=config.log.level, format=config.log.format)
    async with UnifiedMCPServer(config) as server:
        gc.freeze()  # as the command line does
        print(server.port, server.web_address.rpartition(":")[2], flush=True)  # noqa: T201  # this is how the benchmark learns it
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), web="web" in sys.argv[4:]))
