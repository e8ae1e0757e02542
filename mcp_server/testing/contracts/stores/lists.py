"""The contract of lists of sessions."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from mcp_server.interfaces import Store
from mcp_server.testing.contracts.stores.values import (
    NOW,
    append,
    delete,
    listed,
    put,
    query,
    replace,
    session,
)
from mcp_server.values import ContextEntry


async def pages(store: Store, limit: int, **fields: Any) -> list[str]:
    """The ids on all pages."""
    found: list[str] = []
    after = None
    while page := await store.sessions(query(limit=limit, after=after, **fields)):
        assert len(page) <= limit
        await asyncio.sleep(0)  # lets others write, also in a store whose calls do not wait
        found += [session.id for session in page]
        after = (page[-1].create_time, page[-1].uid)
    return found


class ListContract:
    """The contract of lists of sessions."""

    @pytest.mark.parametrize("newest_first", [False, True])
    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_lists_go_by_age_then_uid(self, store: Store, limit: int, *, newest_first: bool) -> None:
        """In whatever order the sessions were written, and with any size of the pages."""
        ages = {
            "a": (3, "u1"),
            "b": (1, "u9"),
            "c": (2, "u5"),
            "d": (2, "u4"),
            "e": (2, "u6"),
            "f": (9, "u0"),
            "g": (0, "u"),
        }
        for name, (age, uid) in ages.items():
            await put(store, session(name, create_time=NOW + age, uid=uid))
        await put(store, session("x", tenant="another"))
        expected = sorted(ages, key=ages.__getitem__, reverse=newest_first)
        assert await pages(store, limit, newest_first=newest_first) == expected

    async def test_lists_leave_out_context_and_metadata(self, store: Store) -> None:
        """All other fields are there."""
        small = session(
            labels={"a": "b"}, system_instruction="Be brief.", ttl=5, default_model="m", parent="p", claim="t"
        )
        context = {"note": ContextEntry(type="text", kind="text", text="hi")}
        await put(store, replace(small, metadata={"a": 1}, context=context))
        assert list(await store.sessions(query())) == [small]

    async def test_lists_by_labels(self, store: Store) -> None:
        """Sessions that have all of the labels, in the same order, with any size of the pages."""
        for n in range(30):
            labels = {"even": str(n % 2 == 0), "third": str(n % 3 == 0), f"own-{n}": ""}
            await put(store, session(f"s{n:02}", create_time=NOW + n, labels=labels))
        evens = [f"s{n:02}" for n in range(0, 30, 2)]
        both = [f"s{n:02}" for n in range(0, 30, 6)]
        for limit in (2, 100):
            assert await pages(store, limit, labels={"even": "True"}) == evens
            assert await pages(store, limit, labels={"third": "True", "even": "True"}) == both
            assert await pages(store, limit, labels={"even": "True", "third": "True"}, newest_first=True) == both[::-1]
        assert await listed(store, labels={"own-7": ""}) == ["s07"]
        assert await listed(store, labels={"own-7": "", "even": "True"}) == []
        assert await listed(store, labels={"even": "maybe"}) == []
        assert await listed(store, labels={"even": "True"}, tenant="another") == []

    async def test_labels_can_change(self, store: Store) -> None:
        """Only the current labels of a session count."""
        await put(store, session(labels={"a": "1", "b": "2"}))
        await put(store, session(labels={"a": "9", "c": "3"}))
        assert await listed(store, labels={"a": "9", "c": "3"}) == ["s"]
        assert await listed(store, labels={"a": "1"}) == []
        assert await listed(store, labels={"b": "2"}) == []

    async def test_pages_hold_while_others_write(self, store: Store) -> None:
        """A session that exists all the time is listed exactly once, while others are created and deleted."""
        stay = {f"stay{n:03}" for n in range(60)}
        for n, name in enumerate(sorted(stay)):
            await put(store, session(name, create_time=NOW + 10 * n))
        choice = random.Random(3)  # noqa: S311  # no secret
        done = asyncio.Event()
        n = 0

        async def disturb() -> None:
            nonlocal n
            while not done.is_set():
                n += 1
                name = f"go{n}"
                await put(store, session(name, create_time=NOW + choice.randrange(600)))
                if choice.random() < 0.7:
                    await delete(store, name)
                await append(store, choice.choice(sorted(stay)), "x")
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(disturb()) for _ in range(3)]
        for newest_first in (False, True):
            enough = n + 10
            while n < enough:
                found = [name for name in await pages(store, 7, newest_first=newest_first) if name in stay]
                assert found == sorted(stay, reverse=newest_first)
        done.set()
        await asyncio.gather(*tasks)

    async def test_a_list_of_none(self, store: Store) -> None:
        """A limit of zero returns nothing."""
        await put(store, session())
        assert await listed(store, limit=0) == []

    async def test_expired_sessions_are_not_listed(self, store: Store) -> None:
        """``expired`` lists them oldest first, of all tenants. Lists and counts omit them. They can still be read."""
        await put(store, session("forever"))
        await put(store, session("later", expire_time=NOW + 1))
        await put(store, session("now", expire_time=NOW))
        await put(store, session("long ago", expire_time=NOW - 100))
        await put(store, session("before", tenant="u", expire_time=NOW - 50))
        assert list(await store.expired(NOW, 10)) == [("t", "long ago"), ("u", "before"), ("t", "now")]
        assert list(await store.expired(NOW, 2)) == [("t", "long ago"), ("u", "before")]
        assert list(await store.expired(NOW - 100, 10)) == [("t", "long ago")]
        assert await listed(store) == ["forever", "later"]
        assert await store.counts(NOW) == {"sessions": 2}
        assert await store.session("t", "long ago") is not None

    async def test_a_running_turn_prevents_expiry(self, store: Store) -> None:
        """A claimed session expires only after the claim is released."""
        claimed = session(expire_time=NOW - 1, claim="turn")
        await put(store, claimed)
        assert list(await store.expired(NOW, 10)) == []
        assert await listed(store) == ["s"]
        assert await store.counts(NOW) == {"sessions": 1}
        assert list(await store.expired(2**62, 10)) == []
        await put(store, replace(claimed, claim=""))
        assert list(await store.expired(NOW, 10)) == [("t", "s")]

    async def test_a_renewed_session_is_not_expired(self, store: Store) -> None:
        """Every write of a session replaces its ``expire_time``."""
        await put(store, session(expire_time=NOW - 1))
        await put(store, session(expire_time=NOW + 1))
        assert list(await store.expired(NOW, 10)) == []
        await put(store, session())
        assert list(await store.expired(2**62, 10)) == []
