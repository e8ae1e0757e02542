"""Who runs a turn: the decisions about its row, without a store."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mcp_server.admission import AdmitAll
from mcp_server.errors import (
    EtagMismatch,
    ModelNotFound,
    Overloaded,
    RequestIdReused,
    SessionBusy,
    SessionNotFound,
    TurnCancelled,
    TurnInterrupted,
    TurnNotFound,
)
from mcp_server.interfaces import Change, Stored
from mcp_server.models.catalogue import Candidates, Catalogue, LookUpNeeded
from mcp_server.models.circuit import Circuits
from mcp_server.models.target import Target
from mcp_server.principal import ANONYMOUS
from mcp_server.sessions.ownership import Ownership
from mcp_server.settings import RoutingSettings
from mcp_server.testing import EchoProvider
from mcp_server.turns import claims
from mcp_server.turns.claims import SEQUENCE_BLOCK, Claim, ClaimState, Entry
from mcp_server.turns.kinds import ChatInput, Outcome
from mcp_server.turns.options import TurnOptions
from mcp_server.turns.request import TurnRequest
from mcp_server.values import (
    SECOND,
    Attempt,
    Capabilities,
    ContextEntry,
    Lease,
    MCPSession,
    Message,
    Model,
    Role,
    Text,
    Turn,
    TurnError,
    TurnState,
)

replace = msgspec.structs.replace

NOW = 1_000 * SECOND
LEASE = 15.0
HELLO = Message(role=Role.USER, parts=(Text(text="Hello"),))
ANSWER = Message(role=Role.ASSISTANT, parts=(Text(text="Hi"),))
ROUTING = RoutingSettings()


def target(name: str) -> Target:
    return Target(
        provider_name="p",
        provider=EchoProvider(),
        circuits=Circuits(failures=5, open_seconds=30),
        model=Model(name=name, capabilities=Capabilities(chat=True)),
        name=f"p/{name}",
    )


def catalogue(*names: str, open_providers: frozenset[str] = frozenset()) -> Catalogue:
    return Catalogue(
        targets={f"p/{name}": target(name) for name in names},
        aliases={},
        routes={},
        routing=ROUTING,
        look_up=lambda _: None,
        open_providers=open_providers,
    )


def request(*, etag: str = "", candidates: Any = ..., models: Catalogue | None = None) -> TurnRequest:
    chosen = Candidates(targets=(target("m"),), policy=ROUTING) if candidates is ... else candidates
    return TurnRequest(
        tenant=ANONYMOUS.tenant,
        input=ChatInput(options=TurnOptions(session="a", etag=etag), messages=(HELLO,)),
        timeout=60 * SECOND,
        catalogue=models or catalogue("m"),
        default_model="p/m",
        draw=0.0,
        candidates=chosen,
        quota=None,
        input_tokens=0,
        key="",
        permit=AdmitAll.PERMIT,
    )


def ownership(*live: str, owner: str = "me", shared: bool = False) -> Ownership:
    made = Ownership(owner, lambda: NOW, lease_seconds=LEASE if shared else None)
    made.live.update(live)
    return made


def session(**fields: Any) -> MCPSession:
    return MCPSession(tenant="default", id="a", uid="ua", create_time=1, update_time=1, etag="e", **fields)


def turn(id: str = "t1", **fields: Any) -> Turn:
    fields = {"state": TurnState.RUNNING, "session": "a", "sequence_limit": SEQUENCE_BLOCK, **fields}
    return Turn(tenant="default", id=id, service="chat", create_time=1, **fields)


def running(id: str = "t1", owner: str = "me", expire_time: int | None = None, **fields: Any) -> Turn:
    """A turn as it is stored while it runs."""
    lease = Lease(owner=owner, expire_time=expire_time)
    attempts = (Attempt(provider="p", model="m", start_time=1),)
    return turn(id, **{"session_uid": "ua", "fence": 1, "lease": lease, "attempts": attempts, **fields})


def claim(
    stored: Stored, asked: Turn | None = None, entry: Entry | None = None, owner: Ownership | None = None, **fields: Any
) -> Claim:
    return claims.claim(
        stored, asked or turn(), request(**fields), entry or Entry(), owner or ownership("t1"), read_last=20
    )


# -- a claim ----------------------------------------------------------------------------------------------------------


def test_a_free_session_is_claimed() -> None:
    """The turn runs with its first attempt, a lease and a fencing number, and the session points to it."""
    claimed = claim(Stored(session=session(ttl=10)))
    assert claimed.state is ClaimState.RUNNING
    assert claimed.change.session == session(ttl=10, expire_time=NOW + 10, claim="t1")
    assert claimed.change.read_last == 20
    assert claimed.turn == claimed.change.turn
    assert (claimed.turn.fence, claimed.turn.lease) == (1, Lease(owner="me"))
    assert claimed.turn.attempts == (Attempt(provider="p", model="m", start_time=NOW),)
    assert claimed.candidates is not None


def test_a_turn_without_a_session_is_only_stored() -> None:
    """Nothing is reserved for it."""
    claimed = claim(Stored(), turn(session=""))
    assert (claimed.state, claimed.change) == (ClaimState.RUNNING, Change(turn=claimed.turn))


def test_in_a_shared_store_leases_end_by_its_clock() -> None:
    """The server's own clock does not count."""
    claimed = claim(Stored(session=session(), now=5), owner=ownership("t1", shared=True))
    assert claimed.turn.lease == Lease(owner="me", expire_time=5 + int(LEASE * SECOND))


def test_a_session_that_is_not_there_is_refused() -> None:
    """Unknown, expired, or another one with the id of the one that the turn waited for."""
    for stored, asked in (
        (None, turn()),
        (session(expire_time=NOW), turn()),
        (session(), turn(session_uid="another")),
    ):
        with pytest.raises(SessionNotFound):
            claim(Stored(session=stored), asked)


def test_a_busy_session_refuses_or_lets_wait() -> None:
    """The error names the turn that has it; a turn that waits is stored as QUEUED."""
    stored = Stored(session=session(claim="t0"), holder=running("t0"))
    owner = ownership("t0", "t1")
    with pytest.raises(SessionBusy) as busy:
        claim(stored, owner=owner)
    assert busy.value.metadata["turn"] == "sessions/a/turns/t0"
    claimed = claim(stored, entry=Entry(wait=True), owner=owner)
    assert (claimed.state, claimed.turn.state, claimed.turn.waited) == (ClaimState.QUEUED, TurnState.QUEUED, True)
    assert claimed.change.session == session(claim="t0")
    with pytest.raises(Overloaded):
        claim(stored, entry=Entry(wait=True, full=True), owner=owner)


def test_a_turn_that_waits_in_front_counts_as_busy() -> None:
    """Also while nobody has the session."""
    with pytest.raises(SessionBusy):
        claim(Stored(session=session()), entry=Entry(ahead="sessions/a/turns/t0"))


@pytest.mark.parametrize(
    ("holder", "shared", "binds"),
    [
        (running("t0", owner="me"), False, False),
        (running("t0", owner="other"), False, False),
        (running("t0", owner="me"), True, False),
        (running("t0", owner="other", expire_time=NOW), True, False),
        (running("t0", owner="other", expire_time=NOW + 1), True, True),
        (running("t0", owner="other", expire_time=NOW + 1, state=TurnState.FAILED), True, False),
        (None, True, False),
    ],
    ids=["left behind", "of a dead server", "left behind, shared", "lapsed", "alive elsewhere", "ended", "gone"],
)
def test_only_a_turn_that_a_process_works_on_binds_its_session(holder: Turn | None, shared: bool, binds: bool) -> None:
    """A claim that no live turn stands behind is void."""
    stored = Stored(session=session(claim="t0"), holder=holder, now=NOW if shared else None)
    owner = ownership("t1", shared=shared)
    if binds:
        with pytest.raises(SessionBusy):
            claim(stored, owner=owner)
    else:
        assert claim(stored, owner=owner).change.session == session(claim="t1")


def test_an_etag_is_compared_unless_the_turn_was_interrupted() -> None:
    """A turn that runs again sees the session as it is now."""
    with pytest.raises(EtagMismatch):
        claim(Stored(session=session()), etag="old")
    earlier = running("t0", state=TurnState.INTERRUPTED, lease=None)
    assert claim(Stored(session=session(), turn=earlier), etag="old").state is ClaimState.RUNNING


def test_models_are_chosen_without_a_provider() -> None:
    """Before the claim, or in it from the snapshot by the session's default; a refusal comes after the look-up."""
    with pytest.raises(ModelNotFound):
        claim(Stored(session=session()), candidates=ModelNotFound("none"))
    models = catalogue("m", "n")
    claimed = claim(Stored(session=session(default_model="p/n")), candidates=None, models=models)
    assert claimed.candidates is not None
    assert claimed.candidates.targets[0].name == "p/n"
    with pytest.raises(LookUpNeeded):
        models = catalogue("m", open_providers=frozenset("p"))
        claim(Stored(session=session(default_model="p/unlisted")), candidates=None, models=models)
    ended = turn("t0", state=TurnState.SUCCEEDED)
    assert claim(Stored(session=session(), turn=ended), candidates=ModelNotFound("none")).turn == ended


# -- a request that was seen before -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [TurnState.SUCCEEDED, TurnState.FAILED, TurnState.CANCELLED])
def test_a_turn_that_ended_is_found(state: TurnState) -> None:
    """Nothing is written."""
    earlier = turn("t0", state=state)
    claimed = claim(Stored(session=session(), turn=earlier))
    assert (claimed.state, claimed.turn, claimed.change) == (ClaimState.ENDED, earlier, Change())


def test_another_request_with_the_same_id_is_refused() -> None:
    """Whatever became of the first."""
    for state in TurnState:
        with pytest.raises(RequestIdReused):
            claim(Stored(session=session(), turn=turn("t0", state=state, digest=b"other")))


def test_an_interrupted_turn_is_taken_over_in_the_same_step() -> None:
    """With a greater fencing number, numbers of its own for events, and the attempt that was cut in the ledger."""
    earlier = running("t0", owner="dead", message=ANSWER, fence=3)
    claimed = claim(Stored(session=session(claim="t0"), turn=earlier, holder=earlier))
    assert (claimed.state, claimed.earlier) == (ClaimState.RUNNING, earlier)
    taken = claimed.turn
    assert (taken.id, taken.fence, taken.lease, taken.message) == ("t0", 4, Lease(owner="me"), None)
    assert taken.sequence_limit == 2 * SEQUENCE_BLOCK
    assert [row.outcome for row in taken.attempts] == [TurnState.INTERRUPTED, TurnState.RUNNING]
    assert claimed.change.session == session(claim="t0")


def test_a_turn_that_is_taken_over_and_waits_leaves_its_session() -> None:
    """Else it and the turn ahead of it would wait for each other."""
    earlier = running("t0", owner="dead")
    stored = Stored(session=session(claim="t0"), turn=earlier, holder=earlier)
    claimed = claim(stored, entry=Entry(wait=True, ahead="sessions/a/turns/t9"))
    assert (claimed.state, claimed.turn.state) == (ClaimState.QUEUED, TurnState.QUEUED)
    assert claimed.change.session == session(claim="")


def test_a_turn_that_runs_on_another_server_is_not_run_again() -> None:
    """Its lease decides."""
    earlier = running("t0", owner="other", expire_time=NOW + 1)
    stored = Stored(session=session(claim="t0"), turn=earlier, holder=earlier, now=NOW)
    claimed = claim(stored, owner=ownership("t1", shared=True))
    assert (claimed.state, claimed.change) == (ClaimState.ELSEWHERE, Change())
    lapsed = claim(replace(stored, now=NOW + 1), owner=ownership("t1", shared=True))
    assert (lapsed.state, lapsed.turn.id) == (ClaimState.RUNNING, "t0")


def test_a_turn_is_not_interrupted_without_end() -> None:
    """When its numbers are used up, another id is needed."""
    earlier = turn("t0", state=TurnState.INTERRUPTED, sequence_limit=(1 << 32) - 1)
    with pytest.raises(TurnInterrupted, match="request_id"):
        claim(Stored(session=session(), turn=earlier))


def test_a_turn_that_waited_keeps_its_fencing_number() -> None:
    """It is still the same process."""
    queued = running("t1", state=TurnState.QUEUED, attempts=())
    claimed = claim(Stored(session=session(), turn=queued), queued)
    assert (claimed.turn.fence, claimed.turn.state, claimed.earlier) == (1, TurnState.RUNNING, None)


# -- its end ----------------------------------------------------------------------------------------------------------


def test_a_commit_writes_the_exchange_and_frees_the_session() -> None:
    """All in one change."""
    ended = running(state=TurnState.SUCCEEDED, message=ANSWER)
    outcome = Outcome(messages=(HELLO, ANSWER), save_as={"x": ContextEntry(type="text", kind="text", text="Hi")})
    change = claims.commit(Stored(session=session(claim="t1")), ended, outcome, b"log", ownership("t1"))
    assert change.session is not None
    assert (change.session.claim, change.session.message_count, list(change.session.context)) == ("", 2, ["x"])
    assert [(message.index, message.turn) for message in change.append] == [
        (0, "sessions/a/turns/t1"),
        (1, "sessions/a/turns/t1"),
    ]
    assert change.turn is not None
    assert (change.turn.lease, change.turn.session_etag) == (None, change.session.etag)
    assert change.turn.message is not None
    assert change.turn.message.parts == ()  # they are in the log
    assert change.events == b"log"


def test_who_has_lost_the_turn_writes_nothing_more() -> None:
    """A greater fencing number, a session that another turn has, or an end that another server wrote."""
    mine = running(state=TurnState.SUCCEEDED, message=ANSWER)
    taken = running(owner="other", fence=2)
    owner = ownership("t1", shared=True)
    stored = Stored(session=session(claim="t1"), turn=taken, now=NOW)
    with pytest.raises(TurnInterrupted):
        claims.commit(stored, mine, Outcome(), b"", owner)
    with pytest.raises(TurnInterrupted):
        claims.journal(stored, mine, b"")
    assert claims.release(stored, mine, b"", owner) == Change()
    with pytest.raises(TurnInterrupted):
        claims.commit(Stored(session=session(claim="t2")), mine, Outcome(), b"", owner)
    error = TurnError(reason="TURN_CANCELLED", message="cancelled")
    cancelled = running(state=TurnState.CANCELLED, error=error)
    with pytest.raises(TurnCancelled):
        claims.commit(replace(stored, turn=cancelled), mine, Outcome(), b"", owner)


def test_a_journal_keeps_the_lease_that_was_renewed() -> None:
    """It does not put back the older one."""
    renewed = running(expire_time=NOW + 99)
    change = claims.journal(Stored(session=session(claim="t1"), turn=renewed), running(expire_time=NOW + 1), b"x")
    assert change.turn is not None
    assert change.turn.lease == renewed.lease
    assert claims.journal(Stored(), running(), b"x") == Change()  # its session is gone


def test_a_release_frees_only_its_own_session() -> None:
    """A turn that failed leaves the history, and a session that another has, as they are."""
    failed = running(state=TurnState.FAILED)
    change = claims.release(Stored(session=session(claim="t1")), failed, b"x", ownership())
    assert change.turn is not None
    assert (change.session, change.turn.lease, change.events) == (session(claim=""), None, b"x")
    assert claims.release(Stored(session=session(claim="t2")), failed, b"x", ownership()).session is None
    gone = claims.release(Stored(), failed, b"x", ownership())
    assert replace(gone, book=()) == Change()
    assert [entry.turns for entry in gone.book] == [1], "what it used is booked all the same"
    succeeded = running(state=TurnState.SUCCEEDED)
    assert claims.release(Stored(session=session(), turn=succeeded), failed, b"", ownership()) == Change()


def test_giving_up_cancels_what_does_not_run_here() -> None:
    """What runs here is stopped otherwise, and what has ended stays."""
    error = TurnCancelled("cancelled")
    stored = Stored(session=session(claim="t1"), turn=running(owner="other"))
    change = claims.give_up(stored, running(), error, ownership())
    assert change.turn is not None
    assert (change.turn.state, change.turn.end_time, change.session) == (TurnState.CANCELLED, NOW, session(claim=""))
    assert claims.give_up(stored, running(), error, ownership("t1")) == Change()
    ended = replace(stored, turn=running(state=TurnState.FAILED))
    assert claims.give_up(ended, running(), error, ownership()) == Change()
    with pytest.raises(TurnNotFound):
        claims.give_up(Stored(session=session()), running(), error, ownership())


def test_only_turns_of_processes_that_are_gone_are_interrupted() -> None:
    """Decided by what is stored at that moment."""
    stored = Stored(session=session(claim="t1"), turn=running(owner="dead"))
    change = claims.interrupt(stored, running(), ownership())
    assert change.turn is not None
    assert (change.turn.state, change.turn.lease, change.session) == (TurnState.INTERRUPTED, None, session(claim=""))
    alive = replace(stored, turn=running(owner="other", expire_time=NOW + 1), now=NOW)
    assert claims.interrupt(alive, running(), ownership(shared=True)) == Change()
    assert claims.interrupt(replace(stored, turn=turn(state=TurnState.FAILED)), running(), ownership()) == Change()
