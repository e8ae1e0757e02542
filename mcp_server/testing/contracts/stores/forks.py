"""The contract of forks: sessions that begin with messages of another."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from mcp_server.interfaces import Change, Store
from mcp_server.testing.contracts.stores.values import (
    append,
    delete,
    fork,
    messages,
    put,
    rewind,
    session,
    texts,
    turn,
    update,
)


async def begin(store: Store, name: str, *texts: str) -> None:
    """Create a session with these messages."""
    await put(store, session(name))
    await append(store, name, *texts)


async def last(store: Store, name: str, count: int) -> list[str]:
    """The last messages of a history, as a turn reads them."""
    changed = await store.change("t", name, lambda _: Change(read_last=count))
    return [message.text for message in changed.messages]


class ForkContract:
    """The contract of forks: sessions that begin with messages of another."""

    @pytest.mark.parametrize("count", [1, 2, 4, 5])
    async def test_a_fork_begins_with_the_first_messages(self, store: Store, count: int) -> None:
        """``message_count`` says with how many. Later messages of either session are its own."""
        await begin(store, "a", *"abcde")
        await fork(store, "a", "b", count)
        expected = list("abcde")[:count]
        assert await texts(store, "uid-b") == expected
        assert await last(store, "b", 3) == expected[-3:]
        await append(store, "b", "x", "y")
        await append(store, "a", "f")
        assert await texts(store, "uid-b") == [*expected, "x", "y"]
        assert await texts(store, "uid-a") == list("abcdef")
        assert await last(store, "b", 4) == [*expected, "x", "y"][-4:]
        assert await last(store, "b", 99) == [*expected, "x", "y"]
        found = await store.messages("t", "uid-b", 0, 99)
        assert [message.index for message in found] == list(range(count + 2))

    async def test_a_fork_can_begin_with_more(self, store: Store) -> None:
        """The same change can append messages of its own."""
        await begin(store, "a", *"abc")
        changed = await fork(store, "a", "b", 2, "x", "y")
        assert changed.change.session == session("b", parent="a", message_count=4)
        assert await texts(store, "uid-b") == list("abxy")

    @pytest.mark.parametrize("start", range(7))
    async def test_any_range_of_a_fork_is_read(self, store: Store, start: int) -> None:
        """Shared messages, its own, and both."""
        await begin(store, "a", *"abc")
        await fork(store, "a", "b", 3, "d")
        await fork(store, "b", "c", 4, "e", "f")
        for stop in range(8):
            assert await texts(store, "uid-c", start, stop) == list("abcdef")[start:stop]

    async def test_a_fork_needs_no_name_of_its_parent(self, store: Store) -> None:
        """``parent`` is for callers only; ``fork_of`` decides."""
        await begin(store, "a", *"abc")
        await store.change("t", "b", lambda _: Change(session=session("b", message_count=2), fork_of="uid-a"))
        assert await texts(store, "uid-b") == ["a", "b"]
        assert await last(store, "b", 9) == ["a", "b"]
        await delete(store, "a")
        assert await texts(store, "uid-b") == ["a", "b"]

    async def test_a_fork_has_no_turns_of_its_parent(self, store: Store) -> None:
        """Turns are not shared."""
        await put(store, session("a"))
        await append(store, "a", "x", turn=turn(session="a", session_uid="uid-a"))
        await fork(store, "a", "b", 1)
        assert list(await store.turns("t", "uid-b", 9, "")) == []

    async def test_a_fork_can_take_the_place_of_its_parent(self, store: Store) -> None:
        """A session that replaces its own source keeps the shared messages."""
        await begin(store, "a", *"abc")
        await fork(store, "a", "b", 3, "d")
        new = session("b", uid="second", message_count=4)
        await store.change("t", "b", lambda _: Change(session=new, fork_of="uid-b"))
        assert await texts(store, "second") == list("abcd")
        assert await texts(store, "uid-b") == []
        await delete(store, "a")
        assert await texts(store, "second") == list("abcd")

    @pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
    async def test_forks_outlive_one_another(self, store: Store, order: Sequence[str]) -> None:
        """Parent, child and grandchild can be deleted in any order: the others keep all their messages."""
        expected = {"a": [f"a{n}" for n in range(600)]}
        await begin(store, "a", *expected["a"])
        expected["b"] = [*expected["a"][:450], *[f"b{n}" for n in range(300)]]
        await fork(store, "a", "b", 450, *expected["b"][450:])
        expected["c"] = [*expected["b"][:500], "c"]
        await fork(store, "b", "c", 500, "c")
        for name in order:
            await delete(store, name)
            del expected[name]
            await store.forget(0, 1)  # lets a store collect its garbage
            for other, history in expected.items():
                await append(store, other, "more")
                history.append("more")
                assert await texts(store, f"uid-{other}") == history
                assert await last(store, other, 3) == history[-3:]
                assert await last(store, other, 1000) == history
        assert await texts(store, "uid-a") == []

    async def test_forks_of_forks_are_what_plain_lists_would_be(self, store: Store) -> None:
        """Hundreds of random forks, appends, rewinds, reads and deletions give the same as lists in Python."""
        seed = random.randrange(2**32)  # noqa: S311  # no secret
        print(f"seed {seed}")  # noqa: T201  # shown where the test fails
        choice = random.Random(seed)  # noqa: S311  # no secret
        model: dict[str, list[str]] = {}
        for number in range(300):
            name = choice.choice(sorted(model)) if model else ""
            kind = choice.choice(["begin", *["fork"] * 3, *["append"] * 2, "rewind", "delete", "read", "touch"])
            if not name or kind == "begin":
                new = f"s{number}"
                model[new] = [f"{number}.{n}" for n in range(choice.randrange(5))]
                await begin(store, new, *model[new])
            elif kind == "fork":
                count = choice.randint(0, len(model[name]))
                if count:
                    own = [f"{number}.{n}" for n in range(choice.randrange(3))]
                    await fork(store, name, f"s{number}", count, *own)
                    model[f"s{number}"] = [*model[name][:count], *own]
            elif kind == "append":
                await append(store, name, f"{number}")
                model[name].append(f"{number}")
            elif kind == "rewind":
                count = choice.randint(0, len(model[name]))
                await rewind(store, name, count)
                del model[name][count:]
            elif kind == "delete":
                await delete(store, name)
                del model[name]
            elif kind == "touch":
                await update(store, name, etag=f"{number}")
            else:
                length = choice.randint(1, 9)
                assert await last(store, name, length) == model[name][-length:]
                start = choice.randrange(9)
                assert await texts(store, f"uid-{name}", start, start + length) == model[name][start : start + length]
        for name, expected in model.items():
            assert await texts(store, f"uid-{name}") == expected

    @pytest.mark.parametrize(
        "change",
        [
            Change(fork_of="uid-a"),
            Change(session=session("b", message_count=2), fork_of="uid-missing"),
            Change(session=session("b", message_count=4), fork_of="uid-a"),
            Change(session=session("b", message_count=1), fork_of="uid-a", append=messages(1, "x", "y")),
            Change(session=session("b", message_count=3), fork_of="uid-a", append=messages(1, "x")),
        ],
        ids=["alone", "of none", "too many", "too few", "index"],
    )
    async def test_an_impossible_fork_is_refused(self, store: Store, change: Change) -> None:
        """An unknown source, more messages than it has, or an inconsistent change: nothing is written."""
        await begin(store, "a", *"abc")
        with pytest.raises(ValueError, match=r"."):
            await store.change("t", "b", lambda _: change)
        assert await store.session("t", "b") is None

    async def test_only_a_new_session_can_be_a_fork(self, store: Store) -> None:
        """An existing session cannot become a fork, and sessions of another tenant cannot be forked."""
        await begin(store, "a", *"abc")
        await put(store, session("b"))
        with pytest.raises(ValueError, match=r"."):
            await store.change("t", "b", lambda _: Change(session=session("b", message_count=2), fork_of="uid-a"))
        foreign = session("b", tenant="u", message_count=2)
        with pytest.raises(ValueError, match=r"."):
            await store.change("u", "b", lambda _: Change(session=foreign, fork_of="uid-a"))
