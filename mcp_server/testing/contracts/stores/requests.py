"""The contract of look-ups: what a decision gets to see, and what a ``request_id`` identifies."""

from __future__ import annotations

import asyncio

import pytest

from mcp_server.interfaces import Change, LookUp, RequestKey, Store, Stored
from mcp_server.testing.contracts.stores.values import (
    NOW,
    append,
    delete,
    finished,
    look,
    put,
    put_receipt,
    put_turn,
    receipt,
    replace,
    session,
    turn,
)
from mcp_server.values import TurnState


def of_turn(request_id: str = "r", *, service: str = "chat", in_session: bool = True) -> LookUp:
    """Look up a turn by its request_id."""
    return LookUp(request=RequestKey(service=service, request_id=request_id, in_session=in_session))


def of_receipt(request_id: str = "r", *, service: str = "session", in_session: bool = False) -> LookUp:
    """Look up a receipt by its request_id."""
    return LookUp(receipt=RequestKey(service=service, request_id=request_id, in_session=in_session))


class RequestContract:
    """The contract of look-ups: what a decision gets to see, and what a ``request_id`` identifies."""

    async def test_a_turn_is_found_by_its_id(self, store: Store) -> None:
        """Any turn of the tenant, whichever session is changed; ``None`` if it does not exist."""
        await put(store, session())
        here = turn("here", session="s", session_uid="uid-s")
        await put_turn(store, here)
        await put_turn(store, turn("alone"))
        for name in ("s", "another", ""):
            assert (await look(store, name, LookUp(turn="here"))).turn == here
            assert (await look(store, name, LookUp(turn="alone"))).turn == turn("alone")
            assert (await look(store, name, LookUp(turn="never"))).turn is None
        assert (await look(store, "s", LookUp(turn="here"), tenant="u")).turn is None

    async def test_a_turn_is_found_by_its_request(self, store: Store) -> None:
        """In its session and service, as it was last written, running or ended."""
        await put(store, session())
        running = turn(session="s", session_uid="uid-s", request_id="r", digest=b"\x00d")
        await put_turn(store, running)
        assert (await look(store, "s", of_turn())).turn == running
        ended = finished(running)
        await put_turn(store, ended)
        assert await look(store, "s", of_turn()) == Stored(session=session(), turn=ended)
        assert (await look(store, "s", of_turn("another"))).turn is None
        assert (await look(store, "s", of_turn(service="completion"))).turn is None
        assert (await look(store, "s", of_turn(), tenant="u")).turn is None

    async def test_a_request_belongs_to_a_session_or_to_none(self, store: Store) -> None:
        """Each session, service and tenant has request_ids of its own, and so have turns without a session."""
        for name in ("a", "b"):
            await put(store, session(name))
        await put(store, session("a", tenant="u"))
        alone = turn("alone", request_id="r")
        raw = turn("raw", request_id="r", service="completion")
        inside = {name: turn(f"in-{name}", session=name, session_uid=f"uid-{name}", request_id="r") for name in "ab"}
        foreign = turn("foreign", tenant="u", session="a", session_uid="uid-a", request_id="r")
        for written in (alone, raw, *inside.values(), foreign):
            await put_turn(store, written)
        for name in "ab":
            assert (await look(store, name, of_turn())).turn == inside[name]
            assert (await look(store, name, of_turn(in_session=False))).turn == alone
        assert (await look(store, "", of_turn(in_session=False))).turn == alone
        assert (await look(store, "", of_turn(service="completion", in_session=False))).turn == raw
        assert (await look(store, "a", of_turn(), tenant="u")).turn == foreign
        # A session that does not exist has no turns.
        for name in ("", "missing"):
            assert (await look(store, name, of_turn())).turn is None

    async def test_turns_without_a_request_id_are_not_found_by_one(self, store: Store) -> None:
        """There may be many of them, and an empty request_id finds none."""
        await put(store, session())
        for n in range(3):
            await put_turn(store, turn(f"in{n}", session="s", session_uid="uid-s"))
            await put_turn(store, turn(f"alone{n}"))
        assert (await look(store, "s", of_turn(""))).turn is None
        assert (await look(store, "", of_turn("", in_session=False))).turn is None

    @pytest.mark.parametrize("uid", ["uid-s", ""])
    async def test_a_request_id_names_one_turn(self, store: Store, uid: str) -> None:
        """A second turn with the same request_id is a bug in the deciding code, and writes nothing."""
        await put(store, session())
        first = turn("first", session="s" if uid else "", session_uid=uid, request_id="r")
        await put_turn(store, first)
        second = replace(first, id="second")
        with pytest.raises(ValueError, match=r"."):
            await store.change("t", "s", lambda _: Change(session=session(etag="e1"), turn=second, events=b"e"))
        assert await store.turn("t", "second") is None
        assert await store.session("t", "s") == session()
        assert (await look(store, "s", of_turn(in_session=bool(uid)))).turn == first

    async def test_a_turn_keeps_its_request_id(self, store: Store) -> None:
        """It cannot be written with another request_id or session."""
        await put(store, session())
        first = turn(session="s", session_uid="uid-s", request_id="r")
        await put_turn(store, first)
        for other in (replace(first, request_id="another"), replace(first, session="", session_uid="")):
            with pytest.raises(ValueError, match=r"."):
                await store.change("t", "s", lambda _, other=other: Change(turn=other))  # type: ignore[misc]  # bound here
        assert await store.turn("t", "turn") == first

    async def test_one_of_many_with_one_request_id_begins(self, store: Store) -> None:
        """The others find that turn, also when they are committed together."""
        await put(store, session())

        async def begin(n: int) -> Stored:
            new = turn(f"turn{n}", session="s", session_uid="uid-s", request_id="r")
            changed = await store.change("t", "s", lambda s: Change() if s.turn else Change(turn=new), of_turn())
            return changed.stored

        found = await asyncio.gather(*[begin(n) for n in range(32)])
        turns = [stored.turn for stored in found]
        assert turns.count(None) == 1
        assert {found.id for found in turns if found is not None} == {f"turn{turns.index(None)}"}

    async def test_a_request_id_is_free_when_its_turn_is_deleted(self, store: Store) -> None:
        """When its session is deleted or the turn is forgotten. A later session of the same id has its own."""
        await put(store, session())
        first = turn("first", session="s", session_uid="uid-s", request_id="r")
        await put_turn(store, first)
        await delete(store, "s")
        assert (await look(store, "s", of_turn())).turn is None
        assert (await look(store, "s", LookUp(turn="first"))).turn is None
        await put(store, session(uid="later"))
        assert (await look(store, "s", of_turn())).turn is None
        second = turn("second", session="s", session_uid="later", request_id="r", state=TurnState.FAILED, end_time=NOW)
        await put_turn(store, second)
        assert (await look(store, "s", of_turn())).turn == second
        assert await store.forget(NOW + 1, 10) == 1
        assert (await look(store, "s", of_turn())).turn is None
        await put_turn(store, replace(second, id="third"))
        assert (await look(store, "s", of_turn())).turn == replace(second, id="third")

    async def test_a_receipt_is_found_as_it_was_written(self, store: Store) -> None:
        """By its service and request_id, without a session."""
        written = receipt(digest=b"\x00d", first_index=3)
        await put(store, session())
        await put_receipt(store, written)
        for name in ("s", "another", ""):
            assert (await look(store, name, of_receipt())).receipt == written
        assert (await look(store, "s", of_receipt("another"))).receipt is None
        assert (await look(store, "s", of_receipt(service="chat"))).receipt is None
        assert (await look(store, "s", of_receipt(in_session=True))).receipt is None
        assert (await look(store, "s", of_receipt(), tenant="u")).receipt is None

    async def test_a_receipt_can_belong_to_a_session(self, store: Store) -> None:
        """To the session with that uid: a later session of the same id does not find it."""
        for name in ("a", "b"):
            await put(store, session(name))
        written = {name: receipt(session=name, session_uid=f"uid-{name}", scope=f"uid-{name}") for name in "ab"}
        for each in written.values():
            await put_receipt(store, each)
        for name in "ab":
            assert (await look(store, name, of_receipt(in_session=True))).receipt == written[name]
            assert (await look(store, name, of_receipt())).receipt is None
        assert (await look(store, "", of_receipt(in_session=True))).receipt is None
        await delete(store, "a")
        assert (await look(store, "a", of_receipt(in_session=True))).receipt is None
        await put(store, session("a", uid="later"))
        assert (await look(store, "a", of_receipt(in_session=True))).receipt is None

    async def test_a_receipt_is_written_with_what_it_is_for(self, store: Store) -> None:
        """Both are written in one change. The receipt of a creation is kept when the session is deleted."""
        await store.change("t", "s", lambda _: Change(session=session(), receipt=receipt()))
        assert await look(store, "s", of_receipt()) == Stored(session=session(), receipt=receipt())
        await delete(store, "s")
        assert await look(store, "s", of_receipt()) == Stored(receipt=receipt())

    @pytest.mark.parametrize("scope", ["uid-s", ""])
    async def test_a_receipt_is_written_once(self, store: Store, scope: str) -> None:
        """A second one with the same request_id is refused, with the rest of its change."""
        await put(store, session())
        await put_receipt(store, receipt(scope=scope))
        with pytest.raises(ValueError, match=r"."):
            await store.change(
                "t", "s", lambda _: Change(session=session(etag="e1"), receipt=receipt(scope=scope, digest=b"x"))
            )
        assert await store.session("t", "s") == session()
        assert (await look(store, "s", of_receipt(in_session=bool(scope)))).receipt == receipt(scope=scope)

    async def test_old_receipts_are_forgotten_in_pieces(self, store: Store) -> None:
        """Up to ``limit`` receipts in addition to as many turns. Their request_ids are free again."""
        for n in range(5):
            await put_receipt(store, receipt(f"old{n}", create_time=NOW - 5 + n))
            await put_turn(store, turn(f"old{n}", state=TurnState.SUCCEEDED, end_time=NOW - 1))
        await put_receipt(store, receipt("new"))
        assert [await store.forget(NOW, 2) for _ in range(4)] == [4, 4, 2, 0]
        assert (await look(store, "", of_receipt("old0"))).receipt is None
        assert (await look(store, "", of_receipt("new"))).receipt == receipt("new")
        await put_receipt(store, receipt("old0"))
        assert (await look(store, "", of_receipt("old0"))).receipt == receipt("old0")

    async def test_another_session_can_be_read_too(self, store: Store) -> None:
        """As it is stored, and only of the same tenant."""
        other = session("other", expire_time=NOW - 1, metadata={"a": 1}, labels={"a": "b"})
        await put(store, other)
        assert await look(store, "s", LookUp(other="other")) == Stored(other=other)
        await put(store, session())
        assert await look(store, "s", LookUp(other="other")) == Stored(session=session(), other=other)
        assert await look(store, "s", LookUp(other="s")) == Stored(session=session(), other=session())
        assert await look(store, "s", LookUp(other="missing")) == Stored(session=session())
        assert await look(store, "s", LookUp(other="other"), tenant="u") == Stored()

    async def test_one_step_reads_all_that_it_is_asked_for(self, store: Store) -> None:
        """The decision sees session, turn, receipt and other session, and the caller gets the same values."""
        await put(store, session())
        await put(store, session("other"))
        await append(store, "other", "a")
        running = turn(session="s", session_uid="uid-s", request_id="r")
        await put_turn(store, running)
        await put_receipt(store, receipt())
        look_up = LookUp(request=of_turn().request, receipt=of_receipt().receipt, other="other")
        seen: list[Stored] = []

        def decide(stored: Stored) -> Change:
            seen[:] = [stored]
            return Change()

        changed = await store.change("t", "s", decide, look_up)
        expected = Stored(session=session(), turn=running, receipt=receipt(), other=session("other", message_count=1))
        assert changed.stored == seen[0]
        assert replace(seen[0], now=None) == expected
        assert await look(store, "s") == Stored(session=session())
