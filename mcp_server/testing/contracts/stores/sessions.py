"""The contract of sessions."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_server.errors import SessionExists
from mcp_server.interfaces import Change, Store, Stored
from mcp_server.testing.contracts.stores.values import (
    NOW,
    append,
    delete,
    listed,
    put,
    replace,
    session,
    texts,
    turn,
    update,
)
from mcp_server.values import ContextEntry, MCPSession, Visibility


class SessionContract:
    """The contract of sessions."""

    async def test_a_session_is_read_as_it_was_written(self, store: Store) -> None:
        """All fields."""
        written = session(
            ttl=5,
            expire_time=NOW + 5,
            update_time=NOW + 1,
            labels={"team": "red", "": ""},
            metadata={"a": [1, 2.5, None, True, {"b": "c"}]},
            system_instruction="Be brief.",
            default_model="local/tiny",
            context={
                "note": ContextEntry(type="text", kind="text", text="hi", visibility=Visibility.STORED),
                "facts": ContextEntry(type="json", kind="json", json={"x": [1, None]}),
                "file": ContextEntry(type="document", kind="data", data=b"\x00\xff", mime_type="image/png"),
            },
            claim="turn",
            parent="other",
            hidden_turns=("t1", "t2"),
        )
        await put(store, written)
        assert await store.session("t", "s") == written

    async def test_a_new_store_is_empty(self, store: Store) -> None:
        """An empty store returns nothing."""
        assert await store.session("t", "s") is None
        assert await store.messages("t", "uid-s", 0, 10) == [] or await store.messages("t", "uid-s", 0, 10) == ()
        assert await store.turn("t", "turn") is None
        assert await store.counts(NOW) == {"sessions": 0}
        assert await listed(store) == []

    async def test_deciding_sees_the_session_as_it_is_stored(self, store: Store) -> None:
        """``decide`` gets ``None`` first, and then what the previous change wrote for this tenant."""
        seen: list[MCPSession | None] = []

        def decide(stored: Stored) -> Change:
            seen[:] = [stored.session]
            return Change(session=session(etag="e1"))

        def look(stored: Stored) -> Change:
            seen[:] = [stored.session]
            return Change()

        await store.change("t", "s", decide)
        assert seen == [None]
        await store.change("t", "s", decide)
        assert seen == [session(etag="e1")]
        await store.change("u", "s", look)
        assert seen == [None]

    async def test_a_step_returns_what_it_wrote(self, store: Store) -> None:
        """It returns the change and what the decision saw."""
        changed = await put(store, session())
        assert changed.change.session == session()
        assert replace(changed.stored, now=None) == Stored()
        assert changed.messages == ()
        assert (await put(store, session(etag="e1"))).stored.session == session()

    async def test_a_decision_that_raises_writes_nothing(self, store: Store) -> None:
        """The caller gets the same error, and the session is unchanged."""
        await put(store, session())

        def decide(_: Stored) -> Change:
            raise SessionExists("no")

        with pytest.raises(SessionExists, match="no"):
            await store.change("t", "s", decide)
        assert await store.session("t", "s") == session()

    async def test_a_step_may_write_nothing(self, store: Store) -> None:
        """An empty change changes nothing."""
        await put(store, session())
        await store.change("t", "s", lambda _: Change())
        assert await store.session("t", "s") == session()

    @pytest.mark.parametrize(
        "fields",
        [
            {"etag": "e9", "update_time": NOW + 9},
            {"expire_time": NOW + 9},
            {"ttl": 9},
            {"claim": "turn"},
            {"labels": {"a": "b"}},
            {"metadata": {"a": "b"}},
            {"system_instruction": "Be long."},
            {"default_model": "echo/echo"},
            {"context": {"note": ContextEntry(type="text", kind="text", text="hi")}},
            {"hidden_turns": ("turn",)},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    async def test_any_field_can_change_and_change_back(self, store: Store, fields: dict[str, Any]) -> None:
        """An update writes the fields that differ."""
        before = session(labels={"x": "y"}, metadata={"m": 1}, system_instruction="Be brief.")
        await put(store, before)
        after = replace(before, **fields)
        await put(store, after)
        assert await store.session("t", "s") == after
        await put(store, before)
        assert await store.session("t", "s") == before

    async def test_deleting_takes_everything(self, store: Store) -> None:
        """The session, its messages and its turns are deleted, and nothing else."""
        for name in ("s", "other"):
            await put(store, session(name))
            await append(store, name, "a", "b", turn=turn(f"turn-{name}", session=name, session_uid=f"uid-{name}"))
        await delete(store, "s")
        assert await store.session("t", "s") is None
        assert await texts(store, "uid-s") == []
        assert await store.turn("t", "turn-s") is None
        assert list(await store.interrupted("somebody", 10)) == [
            turn("turn-other", session="other", session_uid="uid-other")
        ]
        assert await texts(store, "uid-other") == ["a", "b"]
        assert await listed(store) == ["other"]

    async def test_deleting_what_is_not_there_does_nothing(self, store: Store) -> None:
        """It is not an error."""
        await delete(store, "s")
        assert await store.session("t", "s") is None

    async def test_a_session_of_a_new_uid_takes_the_place_of_the_old(self, store: Store) -> None:
        """Its history is empty, and the messages, turns and labels of the old one are deleted."""
        await put(store, session(labels={"a": "b"}))
        await append(store, "s", "old", turn=turn(session="s", session_uid="uid-s"))
        await put(store, session(uid="second", create_time=NOW + 1))
        assert await store.session("t", "s") == session(uid="second", create_time=NOW + 1)
        assert await texts(store, "uid-s") == []
        assert await texts(store, "second") == []
        assert await store.turn("t", "turn") is None
        assert await listed(store) == ["s"]
        assert await listed(store, labels={"a": "b"}) == []
        await append(store, "s", "new")
        assert await texts(store, "second") == ["new"]

    async def test_an_id_can_be_used_again_after_deletion(self, store: Store) -> None:
        """The new session has nothing of the old one."""
        await put(store, session(labels={"a": "b"}))
        await append(store, "s", *"abcdef")
        await delete(store, "s")
        await put(store, session(uid="second"))
        read = await store.change("t", "s", lambda _: Change(read_last=10))
        assert read.messages == ()
        assert await listed(store, labels={"a": "b"}) == []

    @pytest.mark.parametrize(
        "text",
        ["", "\x00", "a\x00b", "é", "漢字", "😀👩‍👩‍👧", "\U0010ffff", "\ufeffx", "'; DROP TABLE", "\r\n\t"],
        ids=ascii,
    )
    async def test_any_text_is_kept(self, store: Store, text: str) -> None:
        """Every character is preserved in every field."""
        written = session(
            "s" + text,
            tenant="t" + text,
            uid="u" + text,
            etag=text,
            labels={text: text},
            metadata={text: text},
            system_instruction=text,
            context={text: ContextEntry(type="text", kind="text", text=text)},
        )
        await put(store, written)
        await append(store, written.id, text, tenant=written.tenant)
        assert await store.session(written.tenant, written.id) == replace(written, message_count=1)
        assert await texts(store, written.uid, tenant=written.tenant) == [text]
        assert await listed(store, tenant=written.tenant, labels={text: text}) == [written.id]
        await delete(store, written.id, tenant=written.tenant)
        assert await listed(store, tenant=written.tenant, labels={text: text}) == []

    async def test_large_values_are_kept(self, store: Store) -> None:
        """A message of 3 MiB and a context of 1 MiB, next to small ones."""
        big = "x" * (3 * 1024 * 1024)
        context = {f"c{n}": ContextEntry(type="text", kind="text", text=str(n % 10) * 4096) for n in range(256)}
        await put(store, session(context=context))
        await append(store, "s", "small", big, "small")
        assert await texts(store, "uid-s") == ["small", big, "small"]
        read = await update(store, "s", etag="e1", read_last=2)
        assert [message.text for message in read.messages] == [big, "small"]
        assert await store.session("t", "s") == session(context=context, message_count=3, etag="e1")
