"""The SQLite store keeps what limits need added up in memory: the sums follow the file, whatever happens to it."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import Account, AccountQuery, Change, RateUse
from mcp_server.stores.sqlite import SQLiteStore
from mcp_server.testing.contracts.stores.accounts import TODAY, entry, hold, read, sums, write
from mcp_server.testing.contracts.stores.values import NOW, turn

LARGE = b"x" * 3_000_000
QUERIES = [AccountQuery(key=key, now=NOW, since=(TODAY,), currency="USD", rates=("requests",)) for key in ("", "k1")]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    """An open, empty store."""
    store = SQLiteStore(tmp_path / "sessions.db")
    await store.open()
    yield store
    await store.close()


@contextmanager
def little_room(log: Path, size: int) -> Iterator[None]:
    """Let the write-ahead log grow by no more than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def taking(id: str, *, events: bytes = b"") -> Change:
    """A turn of the key ``k1`` that uses one request, and books what it has used already."""
    rates = tuple([RateUse(name="requests", key=key, floor=NOW, advance=7) for key in ("", "k1")])
    return Change(
        turn=turn(id), events=events, hold=hold(id, key="k1"), rates=rates, book=(entry(key="k1", tokens=10),)
    )


def taken(times: int) -> Account:
    """What an account has used and holds after so many such turns."""
    return Account(
        holds=times,
        held_tokens=100 * times,
        tokens=(20 * times,),
        cost_nanos=(5 * times,),
        rates=(NOW + 7 * times if times else 0,),
    )


async def accounts(store: SQLiteStore) -> list[Account]:
    """The accounts of the tenant and of the key."""
    return [await read(store, query) for query in QUERIES]


async def test_turns_of_one_batch_are_added_up(store: SQLiteStore) -> None:
    """In the sums, and in the rows that a restarted server reads, where only the holds are gone."""
    await asyncio.gather(*[write(store, taking(f"t{n}")) for n in range(20)])
    assert await accounts(store) == [taken(20)] * 2
    assert await sums(store, "key") == [("k1", "USD", 20, 200)]
    await store.close()
    await store.open()
    after = taken(20)
    restarted = Account(tokens=after.tokens, cost_nanos=after.cost_nanos, rates=after.rates)
    assert await accounts(store) == [restarted] * 2


async def test_what_is_rolled_back_counts_once_or_not_at_all(store: SQLiteStore, tmp_path: Path) -> None:
    """A change that does not fit on the disk takes nothing; those committed with it are written again."""
    await write(store, taking("before"))
    assert await accounts(store) == [taken(1)] * 2
    with little_room(tmp_path / "sessions.db-wal", 1_000_000):
        small = [write(store, taking(f"t{n}")) for n in range(4)]
        release = write(store, Change(release="before"))
        large = write(store, taking("large", events=LARGE))
        ended = await asyncio.gather(*small, release, large, return_exceptions=True)
    assert [type(end) for end in ended] == [*[type(None)] * 5, StoreUnavailable]
    used = taken(5)
    found = await accounts(store)
    assert [(account.holds, account.held_tokens) for account in found] == [(4, 400)] * 2
    assert [(account.tokens, account.cost_nanos, account.rates) for account in found] == [
        (used.tokens, used.cost_nanos, used.rates)
    ] * 2
    assert await sums(store, "key") == [("k1", "USD", 5, 50)]


async def test_what_another_program_writes_counts(store: SQLiteStore, tmp_path: Path) -> None:
    """The sums are read again; the holds are those of the process."""
    await write(store, taking("t"))
    assert await accounts(store) == [taken(1)] * 2
    with closing(sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)) as other:
        other.execute("UPDATE spent SET tokens = 7")
        other.execute("UPDATE rates SET time = 8")
    for account in await accounts(store):
        assert (account.holds, account.tokens, account.rates) == (1, (7,), (8,))


async def test_a_hold_without_a_turn_needs_the_disk(store: SQLiteStore, tmp_path: Path) -> None:
    """An embedding request whose end could not be booked is refused."""
    query = QUERIES[0]
    await write(store, Change(turn=turn(), events=LARGE))  # the log is the largest file
    await write(store, Change(hold=hold("written")))
    with little_room(tmp_path / "sessions.db-wal", 0), pytest.raises(StoreUnavailable):
        await write(store, Change(hold=hold("refused")))
    assert (await read(store, query)).holds == 1
    await write(store, Change(release="written"))
    assert (await read(store, query)).holds == 0
