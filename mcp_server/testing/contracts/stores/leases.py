"""The contract of leases: who runs an unfinished turn, and until when."""

from __future__ import annotations

import asyncio

import pytest

from mcp_server.interfaces import Change, LookUp, SharedStore, Store, Stored
from mcp_server.testing.contracts.stores.values import (
    NOW,
    delete,
    finished,
    lease,
    look,
    put,
    put_turn,
    replace,
    session,
    turn,
)
from mcp_server.values import TurnState

HOLDER = LookUp(holder=True)


class LeaseContract:
    """Leases in any store."""

    async def test_only_a_shared_store_has_a_clock(self, store: Store) -> None:
        """Leases of an exclusive store never end: its decisions see no time."""
        seen: list[int | None] = []

        def decide(stored: Stored) -> Change:
            seen.append(stored.now)
            return Change()

        for look_up in (LookUp(), HOLDER, LookUp(turn="turn")):
            await store.change("t", "s", decide, look_up)
        assert [now is not None for now in seen] == [isinstance(store, SharedStore)] * 3

    async def test_a_lease_and_a_fence_are_read_as_they_were_written(self, store: Store) -> None:
        """For queued and running turns, also when they change."""
        for state in (TurnState.QUEUED, TurnState.RUNNING):
            for fence, owner in enumerate(("me", "you"), 1):
                written = turn(state=state, fence=fence, lease=lease(owner, address=f"{owner}:50051"))
                await put_turn(store, written)
                assert await store.turn("t", "turn") == written
        await put_turn(store, finished(written))
        assert await store.turn("t", "turn") == turn(state=TurnState.SUCCEEDED, fence=2, end_time=NOW)

    async def test_a_turn_that_has_ended_cannot_have_a_lease(self, store: Store) -> None:
        """Writing one is a bug of the caller, and writes nothing."""
        await put_turn(store, turn())
        for state in (TurnState.SUCCEEDED, TurnState.INTERRUPTED):
            with pytest.raises(ValueError, match=r"."):
                await put_turn(store, replace(turn(), state=state))
        assert await store.turn("t", "turn") == turn()

    async def test_the_holder_of_a_claim_is_looked_up(self, store: Store) -> None:
        """The turn that ``claim`` names, as it is stored, with the other things that are looked up."""
        await put(store, session(claim="holder"))
        held = turn("holder", session="s", session_uid="uid-s", fence=3)
        await put_turn(store, held)
        await put_turn(store, turn("other"))
        assert await look(store, "s", HOLDER) == Stored(session=session(claim="holder"), holder=held)
        found = await look(store, "s", LookUp(holder=True, turn="other"))
        assert (found.turn, found.holder) == (turn("other"), held)
        assert (await look(store, "s")).holder is None
        await put_turn(store, finished(held))
        assert (await look(store, "s", HOLDER)).holder == finished(held)

    async def test_there_may_be_no_holder(self, store: Store) -> None:
        """Without a session, without a claim, and where the turn does not exist."""
        assert (await look(store, "s", HOLDER)).holder is None
        assert (await look(store, "", HOLDER)).holder is None
        await put(store, session())
        assert (await look(store, "s", HOLDER)).holder is None
        await put(store, session(claim="missing"))
        assert (await look(store, "s", HOLDER)).holder is None
        await put_turn(store, turn("missing", tenant="u"))
        assert (await look(store, "s", HOLDER)).holder is None

    async def test_the_holder_is_the_one_of_the_current_claim(self, store: Store) -> None:
        """A step sees the claim and the turn that the step before it has written."""
        await put(store, session())

        async def claim(n: int) -> Stored:
            new = turn(f"turn{n}", session="s", session_uid="uid-s")

            def decide(stored: Stored) -> Change:
                assert stored.session is not None
                return Change(session=replace(stored.session, claim=new.id), turn=new)

            return (await store.change("t", "s", decide, HOLDER)).stored

        seen = await asyncio.gather(*[claim(n) for n in range(20)])
        for stored in seen:
            assert stored.session is not None
            assert (stored.holder.id if stored.holder else "") == stored.session.claim
        assert len({stored.session.claim for stored in seen if stored.session}) == 20

    async def test_a_deleted_session_takes_its_holder_with_it(self, store: Store) -> None:
        """A later session of the same id has none."""
        await put(store, session(claim="turn"))
        await put_turn(store, turn(session="s", session_uid="uid-s"))
        await delete(store, "s")
        await put(store, session(uid="later", claim="turn"))
        assert (await look(store, "s", HOLDER)).holder is None
        assert list(await store.interrupted("you", 10)) == []
