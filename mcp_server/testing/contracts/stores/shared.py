"""The contract of a store that servers share: its clock, its leases, and what the servers see of one another."""

from __future__ import annotations

import asyncio

import pytest

from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import Change, LookUp, SharedStore, Store
from mcp_server.testing.contracts.stores.values import (
    append,
    delete,
    finished,
    lease,
    look,
    put,
    put_turn,
    session,
    texts,
    turn,
)
from mcp_server.values import SECOND, TurnState

HOUR = 3600 * SECOND


async def now(store: Store) -> int:
    """The time of a shared store."""
    time = (await store.change("t", "", lambda _: Change())).stored.now
    assert time is not None
    return time


async def lapsed(store: SharedStore, limit: int = 100) -> list[str]:
    """The ids of the turns whose lease has ended."""
    return sorted([turn.id for turn in await store.lapsed(limit)])


async def expire_time(store: Store, name: str, *, tenant: str = "t") -> int | None:
    """When the lease of a turn ends."""
    found = await store.turn(tenant, name)
    assert found is not None
    assert found.lease is not None
    return found.lease.expire_time


class SharedContract:
    """What several servers may expect of one store, opened as ``store`` and as ``another``."""

    async def test_what_one_server_writes_the_other_reads(self, store: SharedStore, another: SharedStore) -> None:
        """And decides on."""
        await put(store, session(claim="turn"))
        held = turn(session="s", session_uid="uid-s")
        await put_turn(another, held, b"one")
        assert (await look(store, "s", LookUp(holder=True))).holder == held
        await put_turn(store, held, b"two")
        assert list(await another.events("t", "turn")) == [b"one", b"two"]
        await delete(another, "s")
        assert await store.session("t", "s") is None

    async def test_the_steps_of_both_servers_are_atomic(self, store: SharedStore, another: SharedStore) -> None:
        """Both append to one history, and no message is lost."""
        await put(store, session())

        async def add(server: Store, name: str) -> None:
            for n in range(20):
                await append(server, "s", f"{name}{n}")

        await asyncio.gather(add(store, "a"), add(another, "b"), add(another, "c"))
        found = await texts(store, "uid-s")
        assert len(found) == 60
        for name in "abc":
            assert [text for text in found if text.startswith(name)] == [f"{name}{n}" for n in range(20)]

    async def test_a_server_that_stops_does_not_stop_the_other(self, store: SharedStore, another: SharedStore) -> None:
        """The store stays open until the last one closes it."""
        await put(another, session())
        await another.close()
        assert await store.session("t", "s") == session()
        await put(store, session(etag="e1"))
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.session("t", "s")

    async def test_both_servers_see_one_clock(self, store: SharedStore, another: SharedStore) -> None:
        """It does not run backwards from one to the other."""
        times = [await now(server) for server in (store, another) * 5]
        assert times == sorted(times)

    async def test_renewing_extends_the_leases_of_one_owner(self, store: SharedStore, another: SharedStore) -> None:
        """All of them, queued or running and of any tenant, from now on."""
        start = await now(store)
        mine = lease("me", expire_time=start + 1)
        await put_turn(store, turn("running", lease=mine))
        await put_turn(store, turn("queued", state=TurnState.QUEUED, lease=mine))
        await put_turn(another, turn("of another tenant", tenant="u", lease=mine))
        before = await now(store)
        assert set(await another.renew("me", HOUR)) == {"running", "queued", "of another tenant"}
        after = await now(store)
        for tenant, name in (("t", "running"), ("t", "queued"), ("u", "of another tenant")):
            end = await expire_time(store, name, tenant=tenant)
            assert end is not None
            assert before + HOUR <= end <= after + HOUR
        assert await lapsed(store) == []

    async def test_renewing_changes_nothing_else(self, store: SharedStore) -> None:
        """Neither the rest of the turn, nor other turns."""
        end = await now(store) + HOUR
        mine = turn("mine", fence=3, lease=lease("me", address="me:1", expire_time=end), request_id="r")
        others = [
            turn("yours", lease=lease("you", expire_time=end)),
            turn("lapsed", lease=lease("you", expire_time=end - 2 * HOUR)),
            turn("without", lease=None),
            finished(turn("ended")),
        ]
        for written in (mine, *others):
            await put_turn(store, written, b"log")
        await store.renew("me", 2 * HOUR)
        await store.renew("nobody", 9 * HOUR)
        renewed = await expire_time(store, "mine")
        assert renewed is not None
        assert renewed > end
        expected = turn("mine", fence=3, lease=lease("me", address="me:1", expire_time=renewed), request_id="r")
        assert await store.turn("t", "mine") == expected
        assert list(await store.events("t", "mine")) == [b"log"]
        assert [await store.turn("t", other.id) for other in others] == others

    async def test_a_renewed_lease_is_what_decisions_see(self, store: SharedStore) -> None:
        """Looked up as a turn, and as the holder of a claim."""
        await put(store, session(claim="turn"))
        held = turn(session="s", session_uid="uid-s", lease=lease("me", expire_time=await now(store)))
        await put_turn(store, held)
        await store.renew("me", HOUR)
        renewed = await store.turn("t", "turn")
        assert renewed != held
        found = await look(store, "s", LookUp(holder=True, turn="turn"))
        assert found.turn == found.holder == renewed

    async def test_only_ended_leases_have_lapsed(self, store: SharedStore, another: SharedStore) -> None:
        """Whoever owns them: of queued and running turns, and of those that nobody runs."""
        time = await now(store)
        await put_turn(store, turn("mine", lease=lease("me", expire_time=time)))
        await put_turn(store, turn("queued", state=TurnState.QUEUED, lease=lease("you", expire_time=time - HOUR)))
        await put_turn(store, turn("without", lease=None))
        await put_turn(store, turn("valid", lease=lease("you", expire_time=time + HOUR)))
        await put_turn(store, turn("ended", lease=lease("you", expire_time=time)))
        await put_turn(store, finished(turn("ended")))
        for server in (store, another):
            assert await lapsed(server) == ["mine", "queued", "without"]
        assert len(await lapsed(store, 2)) == 2

    async def test_a_renewed_lease_has_not_lapsed(self, store: SharedStore) -> None:
        """It lapses again when that time is over."""
        await put_turn(store, turn(lease=lease("me", expire_time=await now(store))))
        assert await lapsed(store) == ["turn"]
        await store.renew("me", HOUR)
        assert await lapsed(store) == []
        await store.renew("me", 0)
        assert await lapsed(store) == ["turn"]

    async def test_a_turn_that_another_server_takes_on_is_no_longer_renewed(
        self, store: SharedStore, another: SharedStore
    ) -> None:
        """Its former owner can no longer extend it."""
        time = await now(store)
        await put_turn(store, turn(fence=1, lease=lease("me", expire_time=time)))
        taken = turn(fence=2, lease=lease("you", expire_time=time))
        await put_turn(another, taken)
        await store.renew("me", HOUR)
        assert await store.turn("t", "turn") == taken
        assert list(await store.interrupted("you", 9)) == []

    async def test_a_closed_shared_store_renews_nothing(self, store: SharedStore, another: SharedStore) -> None:
        """Its calls raise."""
        await another.close()
        await store.close()
        for call in (store.renew("me", HOUR), store.lapsed(1)):
            with pytest.raises(StoreUnavailable):
                await call
