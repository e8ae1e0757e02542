"""What authentication and limits cost a call: a server with both, beside one with neither."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec
import uvloop

from contextprotocol.v1 import chat_pb2, chat_pb2_grpc, message_pb2
from mcp_server.app import UnifiedMCPServer
from mcp_server.logs import configure
from mcp_server.settings import AuthSettings, Config, KeySettings, LimitSettings, LogSettings, testing_config
from mcp_server.stores.memory_settings import MemorySettings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import EchoProvider
from mcp_server.values.key_secret import hash_of, key_id_of, new_key_id, new_secret
from tests.bench.processes import Measured, started
from tests.bench.rows import limited
from tests.bench.run import Run

BUDGET: Final = 40.0
"""Microseconds."""
ROUNDS: Final = 40
"""Measurements of each caller, in turns: the median of the differences counts, since one by one they scatter."""
CALLERS: Final = 16
PLENTY: Final = LimitSettings(
    requests_per_minute=10**9, tokens_per_minute=10**12, tokens_per_day=10**15, tokens_per_month=10**15
)


async def access(run: Run) -> None:
    """Unary chats without a session, with a key whose use is limited. The floor: what gRPC takes to carry a key."""
    secret = new_secret(new_key_id())
    for store in ("memory", "sqlite"):
        with tempfile.TemporaryDirectory(dir=run.folder) as folder:
            async with _server(store, folder, "") as free, _server(store, folder, secret) as bound:
                callers = (_Caller(free, ""), _Caller(free, secret), _Caller(bound, secret))
                calls = max(run.size.calls // ROUNDS, CALLERS)
                rounds = [[await caller.cpu(calls) for caller in callers] for _ in range(ROUNDS)]
        carried = statistics.median([ignored - plain for plain, ignored, _ in rounds])
        checked = statistics.median([limits - plain for plain, _, limits in rounds])
        what = f"authentication and limits of a unary chat, {'memory store' if store == 'memory' else 'SQLite'}"
        run.rows.append(limited(what, checked, BUDGET, "µs CPU", floor=carried))


class _Caller:
    """Calls one server with one key, or none."""

    def __init__(self, server: tuple[Measured, grpc.aio.Channel], secret: str) -> None:
        self._process, channel = server
        self._stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        self._metadata = [("authorization", f"Bearer {secret}")] if secret else []

    async def cpu(self, calls: int) -> float:
        """Microseconds of CPU time of one call of so many."""
        before = self._process.cpu()
        await asyncio.gather(*[self._chats(calls // CALLERS) for _ in range(CALLERS)])
        return (self._process.cpu() - before) / (calls // CALLERS * CALLERS) * 1e6

    async def _chats(self, count: int) -> None:
        message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="hello")])
        for _ in range(count):
            request = chat_pb2.ChatRequest(messages=[message], request_id=uuid.uuid4().hex)
            await self._stub.Chat(request, metadata=self._metadata)


@contextlib.asynccontextmanager
async def _server(store: str, folder: str, secret: str) -> AsyncIterator[tuple[Measured, grpc.aio.Channel]]:
    file = str(Path(folder) / f"{'bound' if secret else 'free'}.db") if store == "sqlite" else ""
    async with (
        started("tests.bench.access", file, secret) as process,
        grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel,
    ):
        yield process, channel


def _config(path: str, secret: str) -> Config:
    config = msgspec.structs.replace(
        testing_config(default_model="echo/echo"),
        store=SQLiteSettings(path=Path(path)) if path else MemorySettings(),
        log=LogSettings(level="warning", format="json"),
    )
    key_id = key_id_of(secret)
    if key_id is None:
        return config
    key = KeySettings(hash=f"sha256:{hash_of(secret).hex()}", scopes=("chat",), limits="plenty")
    return msgspec.structs.replace(config, auth=AuthSettings(keys={key_id: key}), limits={"plenty": PLENTY})


async def main(path: str, secret: str) -> None:
    """Serve until standard input ends."""
    config = _config(path, secret)
    configure(level=config.log.level, format=config.log.format)
    async with UnifiedMCPServer(config, providers={"echo": EchoProvider()}) as server:
        gc.freeze()
        print(server.port, flush=True)  # noqa: T201  # this is how the benchmark learns it
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
