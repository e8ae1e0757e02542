"""The contract of concurrent changes."""

from __future__ import annotations

import asyncio
import random

import pytest

from mcp_server.errors import SessionExists, StoreUnavailable
from mcp_server.interfaces import Change, Decide, Store, Stored
from mcp_server.testing.contracts.stores.values import (
    NOW,
    append,
    delete,
    listed,
    put,
    put_turn,
    query,
    session,
    texts,
    turn,
)


class ConcurrencyContract:
    """The contract of concurrent changes."""

    async def test_steps_on_one_session_see_each_other(self, store: Store) -> None:
        """64 tasks append to one history, and no message is lost."""
        await put(store, session())

        async def add(task: int) -> None:
            for n in range(5):
                await append(store, "s", f"{task}/{n}")

        await asyncio.gather(*[add(task) for task in range(64)])
        found = await texts(store, "uid-s")
        assert len(found) == 320
        assert [text for text in found if text.startswith("7/")] == [f"7/{n}" for n in range(5)]
        assert set(found) == {f"{task}/{n}" for task in range(64) for n in range(5)}

    async def test_one_of_many_creates_the_session(self, store: Store) -> None:
        """64 tasks try to create a session: one does, and the others see it."""

        def decide(task: int) -> Decide:
            def create(stored: Stored) -> Change:
                if stored.session is not None:
                    raise SessionExists("there is one")
                return Change(session=session(uid=str(task)))

            return create

        ended = await asyncio.gather(
            *[store.change("t", "s", decide(task)) for task in range(64)], return_exceptions=True
        )
        assert sum(isinstance(end, SessionExists) for end in ended) == 63
        winner = next(end.change.session for end in ended if not isinstance(end, BaseException))
        assert await store.session("t", "s") == winner

    async def test_a_step_that_fails_takes_no_other_with_it(self, store: Store) -> None:
        """Of many concurrent changes, only those fail whose decision raises or is inconsistent."""

        def decide(n: int) -> Decide:
            def create(_: Stored) -> Change:
                if n % 4 == 0:
                    raise LookupError(n)
                if n % 4 == 1:
                    return Change(session=session("not this one"))
                return Change(session=session(f"s{n}", create_time=NOW + n))

            return create

        ended = await asyncio.gather(
            *[store.change("t", f"s{n}", decide(n)) for n in range(64)], return_exceptions=True
        )
        assert [n for n, end in enumerate(ended) if isinstance(end, LookupError)] == list(range(0, 64, 4))
        assert [n for n, end in enumerate(ended) if isinstance(end, ValueError)] == list(range(1, 64, 4))
        assert await listed(store) == [f"s{n}" for n in range(64) if n % 4 > 1]

    async def test_a_turn_stays_when_a_step_beside_it_fails(self, store: Store) -> None:
        """A change that fails while it is written does not affect the turns and logs of concurrent changes."""
        await put(store, session())
        await put_turn(store, turn("first", request_id="r"))

        def fail(_: Stored) -> Change:
            return Change(session=session(etag="e1"), turn=turn("second", request_id="r"))

        ended = await asyncio.gather(
            put_turn(store, turn("before"), b"1"),
            put_turn(store, turn("before"), b"2"),
            store.change("t", "s", fail),
            put_turn(store, turn("behind"), b"1"),
            put_turn(store, turn("behind"), b"2"),
            return_exceptions=True,
        )
        assert [n for n, end in enumerate(ended) if isinstance(end, ValueError)] == [2]
        for name in ("before", "behind"):
            assert await store.turn("t", name) == turn(name)
            assert list(await store.events("t", name)) == [b"1", b"2"]
            await put_turn(store, turn(name), b"3")
            assert list(await store.events("t", name)) == [b"1", b"2", b"3"]
        assert await store.session("t", "s") == session()
        assert await store.turn("t", "second") is None

    async def test_an_acknowledged_change_is_read(self, store: Store) -> None:
        """Every kind of read sees a change as soon as it has returned."""

        async def one(n: int) -> None:
            await put(store, session(f"s{n}", labels={"n": str(n)}))
            assert await store.session("t", f"s{n}") is not None
            assert await listed(store, labels={"n": str(n)}) == [f"s{n}"]
            await append(store, f"s{n}", "a", turn=turn(f"turn{n}", session=f"s{n}", session_uid=f"uid-s{n}"))
            assert await texts(store, f"uid-s{n}") == ["a"]
            assert await store.turn("t", f"turn{n}") is not None
            await delete(store, f"s{n}")
            assert await store.session("t", f"s{n}") is None
            assert await texts(store, f"uid-s{n}") == []
            assert await store.turn("t", f"turn{n}") is None

        await asyncio.gather(*[one(n) for n in range(32)])

    async def test_a_cancelled_change_is_made_entirely_or_not_at_all(self, store: Store) -> None:
        """Whenever the caller is cancelled, its change is made entirely or not at all, and later ones succeed."""
        await put(store, session())
        choice = random.Random(5)  # noqa: S311  # no secret

        async def cancelled(n: int) -> None:
            task = asyncio.create_task(append(store, "s", f"{n}a", f"{n}b"))
            await asyncio.sleep(choice.choice([0, 0, 0.0002, 0.001]))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*[cancelled(n) for n in range(60)])
        await append(store, "s", "last")
        found = await texts(store, "uid-s")
        assert found.pop() == "last"
        assert found[1::2] == [text.replace("a", "b") for text in found[::2]]
        stored = await store.session("t", "s")
        assert stored is not None
        assert stored.message_count == len(found) + 1

    async def test_a_closed_store_raises(self, store: Store) -> None:
        """Every call to a closed store raises, and closing it again does nothing."""
        await store.close()
        calls = [
            put(store, session()),
            store.session("t", "s"),
            store.sessions(query()),
            store.messages("t", "uid-s", 0, 1),
            store.turn("t", "turn"),
            store.expired(NOW, 1),
            store.interrupted("me", 1),
            store.turns("t", "uid-s", 1, ""),
            store.events("t", "turn"),
            store.forget(NOW, 1),
            store.counts(NOW),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable):
                await call
        await store.close()

    async def test_closing_finishes_the_changes_that_began(self, store: Store) -> None:
        """Changes that began before the store is closed are made."""
        tasks = [asyncio.create_task(put(store, session(f"s{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        await store.close()
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert not [end for end in ended if isinstance(end, BaseException)]
