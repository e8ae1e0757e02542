"""The contract of turns and their logs."""

from __future__ import annotations

import asyncio

import pytest

from mcp_server.interfaces import Change, Store, Stored
from mcp_server.testing.contracts.stores.values import (
    NOW,
    append,
    delete,
    finished,
    lease,
    messages,
    put,
    put_turn,
    replace,
    session,
    texts,
    turn,
)
from mcp_server.values import (
    Attempt,
    FinishReason,
    OnDisconnect,
    TurnError,
    TurnState,
    Usage,
    Window,
)


class TurnContract:
    """The contract of turns and their logs."""

    async def test_a_turn_is_read_as_it_was_written(self, store: Store) -> None:
        """All fields, with a session and without."""
        written = turn(
            state=TurnState.FAILED,
            start_time=NOW + 1,
            end_time=NOW + 2,
            message=messages(0, "half an ans")[0],
            finish_reason=FinishReason.STOP,
            usage=Usage(input_tokens=3),
            window=Window(first_message=1, used_messages=2, dropped_messages=1, input_tokens=9),
            attempts=(
                Attempt(provider="p", model="m", start_time=NOW, first_token_duration=0, outcome=TurnState.FAILED),
            ),
            error=TurnError(reason="PROVIDER_STREAM_CUT", message="cut", metadata={"model": "p/m"}),
            request_id="r",
            digest=b"\x00\xff",
            on_disconnect=OnDisconnect.CONTINUE,
            sequence_limit=2**32 - 1,
            last_sequence=7,
            session_etag="e9",
        )
        await put_turn(store, written)
        assert await store.turn("t", "turn") == written
        assert await store.turn("u", "turn") is None
        await put(store, session())
        with_session = replace(written, id="second", session="s", session_uid="uid-s")
        await put_turn(store, with_session)
        assert await store.turn("t", "second") == with_session

    async def test_a_turn_is_replaced_by_its_later_self(self, store: Store) -> None:
        """A turn that has ended is no longer among the unfinished ones."""
        await put_turn(store, turn())
        ended = turn(state=TurnState.SUCCEEDED, end_time=NOW + 5)
        await put_turn(store, ended)
        assert await store.turn("t", "turn") == ended
        assert list(await store.interrupted("somebody", 10)) == []

    async def test_a_whole_turn_is_one_step_at_each_end(self, store: Store) -> None:
        """Begin: claim, turn and last messages. End: messages, release of the claim and turn."""
        await put(store, session())
        await append(store, "s", "q", "a")
        running = turn(session="s", session_uid="uid-s")

        def begin(stored: Stored) -> Change:
            old = stored.session
            assert old is not None
            return Change(session=replace(old, claim="turn"), turn=running, read_last=20)

        begun = await store.change("t", "s", begin)
        assert [message.text for message in begun.messages] == ["q", "a"]
        stored = await store.session("t", "s")
        assert stored is not None
        assert stored.claim == "turn"
        ended = finished(running)

        def end(stored: Stored) -> Change:
            old = stored.session
            assert old is not None
            new = replace(old, claim="", message_count=4, etag="e2")
            return Change(session=new, append=messages(2, "q2", "a2"), turn=ended)

        await store.change("t", "s", end)
        assert await store.session("t", "s") == session(message_count=4, etag="e2")
        assert await texts(store, "uid-s") == ["q", "a", "q2", "a2"]
        assert await store.turn("t", "turn") == ended

    async def test_a_log_is_read_in_the_order_in_which_it_was_written(self, store: Store) -> None:
        """Any bytes, with a session and without. An empty piece is not written."""
        await put(store, session())
        pieces = [bytes([n]) * n for n in range(1, 40)] + [b"", b"\x00" * 200_000, b"end"]
        logs = {"in": turn("in", session="s", session_uid="uid-s"), "out": turn("out"), "other": turn("other")}
        for number, piece in enumerate(pieces):
            for name in ("in", "out"):
                await put_turn(store, replace(logs[name], last_sequence=number), piece)
        await put_turn(store, logs["other"])
        written = [piece for piece in pieces if piece]
        for name in ("in", "out"):
            assert list(await store.events("t", name)) == written
        assert list(await store.events("t", "other")) == []
        assert list(await store.events("t", "missing")) == []
        assert list(await store.events("u", "in")) == []

    async def test_the_log_of_an_ended_turn_goes_on(self, store: Store) -> None:
        """A turn that is run again appends to its log."""
        await put_turn(store, turn(request_id="r"), b"one")
        await put_turn(store, turn(request_id="r", state=TurnState.INTERRUPTED, end_time=NOW), b"two")
        await put_turn(store, turn(request_id="r"), b"three")
        await put_turn(store, turn(request_id="r", state=TurnState.SUCCEEDED, end_time=NOW), b"four")
        assert list(await store.events("t", "turn")) == [b"one", b"two", b"three", b"four"]

    async def test_a_log_is_deleted_with_its_turn(self, store: Store) -> None:
        """When its session is deleted or replaced, and when it is forgotten. A later turn of that id has its own."""
        await put(store, session())
        inside = turn(session="s", session_uid="uid-s")
        await put_turn(store, inside, b"first")
        await delete(store, "s")
        assert list(await store.events("t", "turn")) == []
        await put(store, session(uid="second"))
        await put_turn(store, replace(inside, session_uid="second"), b"second")
        assert list(await store.events("t", "turn")) == [b"second"]
        await put(store, session(uid="third"))
        assert list(await store.events("t", "turn")) == []
        ended = turn(state=TurnState.SUCCEEDED, end_time=NOW - 1)
        await put_turn(store, ended, b"third")
        assert await store.forget(NOW, 10) == 1
        assert list(await store.events("t", "turn")) == []
        await put_turn(store, ended, b"fourth")
        assert list(await store.events("t", "turn")) == [b"fourth"]

    async def test_a_turn_may_be_forgotten_before_others(self, store: Store) -> None:
        """Its retention period counts from an earlier time than its end."""
        await put_turn(store, turn("long", state=TurnState.SUCCEEDED, end_time=NOW))
        await put_turn(store, turn("brief", state=TurnState.SUCCEEDED, end_time=NOW, lifetime=1, shortened=5))
        assert await store.forget(NOW - 5, 10) == 0
        assert await store.forget(NOW - 4, 10) == 1
        assert await store.turn("t", "brief") is None
        assert await store.turn("t", "long") is not None

    async def test_the_id_of_a_deleted_turn_can_be_used_again(self, store: Store) -> None:
        """In the very next change, even if the store has not yet collected the old one as garbage."""
        await put(store, session())
        inside = turn(session="s", session_uid="uid-s", request_id="r")
        await put_turn(store, inside, b"first")
        await asyncio.gather(delete(store, "s"), put_turn(store, turn(end_time=NOW - 1), b"second"))
        assert await store.turn("t", "turn") == turn(end_time=NOW - 1)
        assert list(await store.events("t", "turn")) == [b"second"]
        assert await store.forget(NOW, 10) == 1
        await put_turn(store, turn(), b"third")
        assert await store.turn("t", "turn") == turn()
        assert list(await store.events("t", "turn")) == [b"third"]

    async def test_a_log_without_its_turn_is_refused(self, store: Store) -> None:
        """Events can only be written together with their turn."""
        with pytest.raises(ValueError, match=r"."):
            await store.change("t", "", lambda _: Change(events=b"x"))

    async def test_the_turns_of_a_session_are_listed_by_id(self, store: Store) -> None:
        """The greatest first, with any size of the pages, and only those of the session."""
        for name in ("s", "other"):
            await put(store, session(name))
            for n in range(10):
                await put_turn(store, turn(f"turn{n}-{name}", session=name, session_uid=f"uid-{name}"))
        await put_turn(store, turn("turn5-alone"))
        await put_turn(store, turn("\U0010ffff", session="s", session_uid="uid-s"))
        expected = ["\U0010ffff", *[f"turn{n}-s" for n in range(9, -1, -1)]]
        assert [found.id for found in await store.turns("t", "uid-s", 100, "")] == expected
        for limit in (1, 3, 11):
            found: list[str] = []
            while page := await store.turns("t", "uid-s", limit, found[-1] if found else ""):
                assert len(page) <= limit
                found += [each.id for each in page]
            assert found == expected
        assert [found.id for found in await store.turns("t", "uid-s", 2, "turn5")] == ["turn4-s", "turn3-s"]
        assert list(await store.turns("t", "uid-s", 0, "")) == []
        assert list(await store.turns("t", "missing", 9, "")) == []
        assert list(await store.turns("u", "uid-s", 9, "")) == []

    async def test_listed_turns_are_as_they_were_last_written(self, store: Store) -> None:
        """Without forgotten ones, and without those of a deleted session."""
        await put(store, session())
        running = turn("b", session="s", session_uid="uid-s")
        await put_turn(store, turn("a", session="s", session_uid="uid-s", state=TurnState.FAILED, end_time=NOW - 1))
        await put_turn(store, running)
        ended = finished(running, TurnState.CANCELLED)
        await put_turn(store, ended)
        assert await store.forget(NOW, 10) == 1
        assert list(await store.turns("t", "uid-s", 9, "")) == [ended]
        await delete(store, "s")
        assert list(await store.turns("t", "uid-s", 9, "")) == []

    async def test_unfinished_turns_of_other_processes_are_listed(self, store: Store) -> None:
        """Unfinished turns whose lease another process has, or nobody."""
        await put_turn(store, turn("mine"))
        await put_turn(store, turn("running", lease=lease("dead")))
        await put_turn(store, turn("queued", lease=lease("long dead"), state=TurnState.QUEUED, tenant="u"))
        await put_turn(store, turn("without", lease=None))
        for state in (TurnState.SUCCEEDED, TurnState.FAILED, TurnState.CANCELLED, TurnState.INTERRUPTED):
            await put_turn(store, turn(state, state=state, end_time=NOW))
        assert {found.id for found in await store.interrupted("me", 10)} == {"running", "queued", "without"}
        assert len(await store.interrupted("me", 1)) == 1
        assert len(await store.interrupted("nobody", 10)) == 4

    async def test_old_turns_are_forgotten_in_pieces(self, store: Store) -> None:
        """Up to ``limit`` turns that ended before that time. Messages and running turns are kept."""
        await put(store, session())
        await append(store, "s", "a")
        for n in range(10):
            await put_turn(
                store, turn(f"old{n}", state=TurnState.SUCCEEDED, end_time=NOW - 1, session="s", session_uid="uid-s")
            )
        await put_turn(store, turn("just now", state=TurnState.SUCCEEDED, end_time=NOW))
        await put_turn(store, turn("running"))
        assert [await store.forget(NOW, 4) for _ in range(4)] == [4, 4, 2, 0]
        assert await store.turn("t", "old3") is None
        assert await store.turn("t", "just now") is not None
        assert await store.turn("t", "running") is not None
        assert await texts(store, "uid-s") == ["a"]
        await delete(store, "s")
        assert await store.session("t", "s") is None
