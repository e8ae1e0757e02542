"""The contract of rewinds: changes that remove messages from the end of a history."""

from __future__ import annotations

import pytest

from mcp_server.interfaces import Change, Store
from mcp_server.testing.contracts.stores.forks import begin, last
from mcp_server.testing.contracts.stores.values import append, delete, fork, messages, rewind, session, texts


class RewindContract:
    """The contract of rewinds: changes that remove messages from the end of a history."""

    @pytest.mark.parametrize("count", range(6))
    async def test_a_rewind_keeps_the_first_messages(self, store: Store, count: int) -> None:
        """However many; what is appended afterwards follows them."""
        await begin(store, "a", *"abcde")
        assert await last(store, "a", 9) == list("abcde")
        await rewind(store, "a", count)
        assert await texts(store, "uid-a") == list("abcde")[:count]
        assert await last(store, "a", 2) == list("abcde")[:count][-2:]
        await append(store, "a", "x")
        assert await texts(store, "uid-a") == [*"abcde"[:count], "x"]
        assert await last(store, "a", 9) == [*"abcde"[:count], "x"]
        found = await store.session("t", "a")
        assert found is not None
        assert found.message_count == count + 1

    async def test_a_rewind_can_append(self, store: Store) -> None:
        """In the same change: the last messages are replaced at once."""
        await begin(store, "a", *"abc")
        new = session("a", message_count=3)
        await store.change("t", "a", lambda _: Change(session=new, rewind=1, append=messages(1, "x", "y")))
        assert await texts(store, "uid-a") == list("axy")

    @pytest.mark.parametrize("keep", range(4))
    async def test_forks_keep_what_is_removed(self, store: Store, keep: int) -> None:
        """Those that share some of it, all of it or nothing; and they survive that the session is deleted."""
        await begin(store, "a", *"abcd")
        expected = {"b": list("ab"), "c": list("abcdx"), "d": list("abcy")}
        await fork(store, "a", "b", 2)
        await fork(store, "a", "c", 4, "x")
        await fork(store, "c", "d", 3, "y")
        await rewind(store, "a", keep)
        await append(store, "a", "new", "newer")
        await store.forget(0, 1)  # lets a store collect its garbage
        assert await texts(store, "uid-a") == [*"abcd"[:keep], "new", "newer"]
        for name in expected:
            assert await texts(store, f"uid-{name}") == expected[name]
            assert await last(store, name, 9) == expected[name]
        await delete(store, "a")
        await store.forget(0, 1)
        for name in expected:
            assert await texts(store, f"uid-{name}") == expected[name]

    @pytest.mark.parametrize("keep", range(6))
    async def test_a_fork_is_rewound(self, store: Store, keep: int) -> None:
        """Also below what it shares; the session that it shares with keeps everything."""
        await begin(store, "a", *"abc")
        await fork(store, "a", "b", 3, "d")
        await fork(store, "b", "c", 4, "e")
        await rewind(store, "c", keep)
        await append(store, "c", "x")
        assert await texts(store, "uid-c") == [*"abcde"[:keep], "x"]
        assert await last(store, "c", 9) == [*"abcde"[:keep], "x"]
        assert await texts(store, "uid-a") == list("abc")
        assert await texts(store, "uid-b") == list("abcd")

    @pytest.mark.parametrize(
        "change",
        [
            Change(rewind=1),
            Change(session=session("a", message_count=4), rewind=4),
            Change(session=session("a", message_count=-1), rewind=-1),
            Change(session=session("a", message_count=3), rewind=2),
            Change(session=session("a", uid="other", message_count=0), rewind=0),
        ],
        ids=["alone", "too many", "negative", "not counted", "another session"],
    )
    async def test_an_impossible_rewind_is_refused(self, store: Store, change: Change) -> None:
        """More messages than there are, or an inconsistent change: nothing is written."""
        await begin(store, "a", *"abc")
        with pytest.raises(ValueError, match=r"."):
            await store.change("t", "a", lambda _: change)
        assert await texts(store, "uid-a") == list("abc")
