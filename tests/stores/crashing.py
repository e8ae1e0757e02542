"""Writes to a store as fast as it can and prints what was acknowledged, until it is killed. The arguments are the path
of the file and the number of the round."""

from __future__ import annotations

import asyncio
import sys

from mcp_server.stores.sqlite import SQLiteStore
from mcp_server.testing.contracts.stores.values import append, delete, finished, fork, put, put_turn, session, turn

SESSIONS = 6
WRITERS = 24


async def main(path: str, round_: str) -> None:
    """Start all writers; none of them ends."""
    store = SQLiteStore(path)
    await store.open()
    for n in range(SESSIONS):
        if await store.session("t", f"s{n}") is None:
            await put(store, session(f"s{n}"))
    await asyncio.gather(*[write(store, f"{round_}-{n}", f"s{n % SESSIONS}") for n in range(WRITERS)])


async def write(store: SQLiteStore, writer: str, name: str) -> None:
    """Append exchanges to a shared session, and create and delete sessions."""
    number = 0
    while True:
        exchange = f"{writer}-{number}"
        begun = turn(exchange, session=name, session_uid=f"uid-{name}", request_id=exchange)
        await put_turn(store, begun, b"begun")
        ended = finished(begun, end_time=1)
        await append(store, name, f"{exchange} asks", f"{exchange} answers", turn=ended)
        acknowledge("exchange", exchange)
        if number % 5 == 0:
            await put(store, session(exchange, labels={"own": ""}))
            await append(store, exchange, "x")
            await fork(store, exchange, f"{exchange}-fork", 1, "y")
            await delete(store, exchange)
            await delete(store, f"{exchange}-fork")
            acknowledge("gone", exchange)
        number += 1


def acknowledge(what: str, name: str) -> None:
    """Report an acknowledged change to the test."""
    sys.stdout.write(f"{what} {name}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
