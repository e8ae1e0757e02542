"""Claims of turns: every decision about the row of a turn, as a pure function.

Each takes what is stored and returns what to write. They run inside the store's atomic step: nothing can change between
what they read and what they write.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from mcp_server import quotas
from mcp_server.booking import settle, settled
from mcp_server.errors import (
    MCPError,
    Overloaded,
    SessionNotFound,
    TurnInterrupted,
    TurnNotFound,
    recorded,
)
from mcp_server.interfaces import Change, Stored
from mcp_server.models.catalogue import Candidates
from mcp_server.models.usage import attempt_at, error_record
from mcp_server.rules import check_context
from mcp_server.sessions.changes import (
    appended,
    check_etag,
    check_length,
    existing,
    not_found,
    touched,
    with_hidden_turn,
)
from mcp_server.sessions.idempotency import check_digest
from mcp_server.sessions.ownership import Ownership, session_busy
from mcp_server.turns.history import size_for
from mcp_server.turns.kinds import Outcome
from mcp_server.turns.request import TurnRequest
from mcp_server.values import (
    FINAL,
    UNFINISHED,
    Attempt,
    Struct,
    Turn,
    TurnError,
    TurnState,
)

replace = msgspec.structs.replace

SEQUENCE_BLOCK: Final = 1 << 22
"""How many numbers each process reserves for the events of a turn: more than the longest answer has events."""
MAX_SEQUENCE: Final = (1 << 32) - 1


class RecordExpired(Exception):
    """The turn that the request began before cannot be found any more, but is still stored.

    The caller deletes it by :meth:`~mcp_server.turns.persistence.TurnStore.forget`, and claims again.
    """

    def __init__(self, turn: Turn) -> None:
        super().__init__(turn.name)
        self.turn = turn


class Entry(Struct):
    """The place of a turn in the queue of its session, as this process knows it."""

    wait: bool = False
    """Whether the turn waits if the session is busy; otherwise it is refused."""
    ahead: str = ""
    """The full name of a turn that waits for the session and precedes this one in the queue, or empty."""
    full: bool = False
    """Whether the queue has its maximum length."""


class ClaimState(enum.Enum):
    """What became of a claim."""

    RUNNING = enum.auto()
    """The turn has its session and runs."""
    QUEUED = enum.auto()
    """The turn is stored and waits for its session."""
    ENDED = enum.auto()
    """The turn of the request has ended before; the call counts as a request of its caller."""
    ELSEWHERE = enum.auto()
    """The request runs on another server; nothing was written."""


class Claim(Struct):
    """What a claim decided."""

    state: ClaimState
    """What became of it."""
    turn: Turn
    """The turn as it is stored."""
    change: Change = Change()
    """What is written."""
    candidates: Candidates | None = None
    """The models to ask; only of a turn that runs."""
    earlier: Turn | None = None
    """The interrupted turn that was taken over, as it was stored before."""
    holder: Turn | None = None
    """The turn that has the session; only of one that waits."""


def claim(
    stored: Stored, turn: Turn, request: TurnRequest, entry: Entry, ownership: Ownership, *, read_last: int
) -> Claim:
    """Store a turn and reserve its session for it, or take over the interrupted turn that its request began before.

    Args:
        stored: what is stored.
        turn: the turn as it would begin, or as it waits.
        request: what is asked.
        entry: its place in the queue.
        ownership: this process.
        read_last: how many messages of the history to read with it.

    Raises:
        SessionNotFound: there is no such session.
        RequestIdReused: the ``request_id`` belongs to another request.
        SessionBusy: another turn has the session, and this one does not wait.
        EtagMismatch: the session has changed since the caller read it.
        Overloaded: too many turns wait for the session.
        QuotaExceeded: a limit of the caller does not allow the turn.
        MCPError: no model can be asked.
        RecordExpired: the turn that the request began before has to be deleted first.
    """
    now = ownership.now(stored)
    session = existing(stored.session, turn.session, now) if turn.session else None
    if session is not None and turn.session_uid not in ("", session.uid):
        raise not_found(turn.session)  # the session that it waited for was deleted, and another has its id
    earlier = stored.turn
    if earlier is not None and earlier.expired(now):
        raise RecordExpired(earlier)
    if earlier is not None and earlier.state in FINAL:
        check_digest(earlier, turn.digest)
        replay = Change() if request.quota is None else quotas.count_replay(request.quota, stored.accounts, now)
        return Claim(state=ClaimState.ENDED, turn=earlier, change=replay)
    if earlier is None or earlier.id == turn.id:
        earlier = None
    else:
        check_digest(earlier, turn.digest)
        if ownership.binds(earlier, now):
            return Claim(state=ClaimState.ELSEWHERE, turn=earlier)
        turn = _taken_over(earlier)
    interrupted = turn.state is TurnState.INTERRUPTED
    lease = ownership.lease(now)
    if turn.lease is None:
        turn = replace(turn, fence=turn.fence + 1)
    if session is None:
        candidates = request.candidates_for(None)
        turn, taken = _taken(stored, replace(turn, lease=lease), request, candidates, now)
        running = _running(turn, candidates, now)
        return Claim(
            state=ClaimState.RUNNING,
            turn=running,
            change=replace(taken, turn=running),
            candidates=candidates,
            earlier=earlier,
        )
    turn = replace(turn, lease=lease, session_uid=session.uid)
    if not interrupted:
        check_etag(session, request.input.options.etag)
    check_length(session, request.input.options.message_count)
    commits = request.input.options.commit
    holder = (ownership.holder(stored, other_than=turn.id) or entry.ahead) if commits else ""
    if holder and not entry.wait:
        raise session_busy(session, holder)
    candidates = request.candidates_for(session)
    if holder:
        if entry.full:
            raise Overloaded(
                f"too many turns wait for {session.name}: send the call again later",
                metadata={"session": session.name, "limit": "max_queued"},
                retry_after=1,
            )
        turn, taken = _taken(stored, turn, request, candidates, now)
        queued = replace(turn, state=TurnState.QUEUED, waited=True, end_time=None)
        # A turn that was taken over may have had the session; now it waits like any other.
        left = replace(session, claim="") if session.claim == turn.id else session
        return Claim(
            state=ClaimState.QUEUED,
            turn=queued,
            change=replace(taken, session=touched(left, now), turn=queued),
            earlier=earlier,
            holder=stored.holder,
        )
    turn, taken = _taken(stored, turn, request, candidates, now)
    running = _running(turn, candidates, now)
    claimed = touched(session, now)
    if commits:
        claimed = replace(claimed, claim=turn.id)
    return Claim(
        state=ClaimState.RUNNING,
        turn=running,
        change=replace(taken, session=claimed, turn=running, read_last=read_last, read_bytes=size_for(candidates)),
        candidates=candidates,
        earlier=earlier,
    )


def journal(stored: Stored, turn: Turn, events: bytes) -> Change:
    """Store how far a turn is: the turn as it is now, and a further piece of its log.

    Raises:
        MCPError: the turn is no longer this process's.
    """
    if _session_is_gone(stored, turn):
        return Change()
    check_held(stored, turn)
    return Change(turn=_with_stored_lease(stored, turn), events=events)


def commit(stored: Stored, turn: Turn, outcome: Outcome | None, events: bytes, ownership: Ownership) -> Change:
    """End a turn that succeeded: store it and all that it brings, and free its session.

    Args:
        stored: what is stored.
        turn: the turn as it ends, its message without parts.
        outcome: what changes in the session; ``None``: the turn never had it, and changes nothing.
        events: the last piece of its log.
        ownership: this process.

    Raises:
        SessionNotFound: the session was deleted while the turn ran, or has expired if the turn did not have it.
        TurnInterrupted, TurnCancelled: another process has taken the turn, or cancelled it.
        InvalidArgument: the context would be over its limits.
    """
    if _session_is_gone(stored, turn):
        raise session_deleted(turn)
    check_held(stored, turn)
    now = ownership.now(stored)
    ended = settled(turn)
    session = stored.session
    if session is None:
        return settle(Change(turn=ended, events=events), turn, now)
    if outcome is None:
        session = touched(existing(session, turn.session, now), now)
        ended = replace(ended, session_etag=session.etag)
        return settle(Change(session=session, turn=ended, events=events), turn, now)
    if session.claim != turn.id:
        raise lease_lost(turn)
    messages = outcome.messages
    if messages:
        # The next prompt begins with this one and its answer.
        tokens = turn.window.input_tokens + turn.attempts[-1].usage.output_tokens - outcome.passing_tokens
        session = replace(session, tokens=max(tokens, 0))
        session, messages = appended(session, messages, now, turn=turn.name)
        ended = replace(ended, message=replace(messages[-1], parts=()))  # its parts are in the log
    if outcome.save_as:
        context = {**session.context, **outcome.save_as}
        check_context(context, "save_as")
        session = replace(session, context=context)
    session = replace(touched(session, now, content=bool(messages or outcome.save_as)), claim="")
    ended = replace(ended, session_etag=session.etag)
    return settle(Change(session=session, append=messages, turn=ended, events=events), turn, now)


def release(stored: Stored, turn: Turn, events: bytes, ownership: Ownership) -> Change:
    """End a turn that did not succeed, and free its session; the history stays as it was.

    Nothing is written over a turn that ended before by the record, or that another process has taken. Of a turn whose
    session was deleted only what it has used is written.
    """
    if not _is_held(stored, turn):
        return Change()
    now = ownership.now(stored)
    if _session_is_gone(stored, turn):
        return settle(Change(), turn, now)
    return _ended(stored, turn, now, events)


def give_up(stored: Stored, turn: Turn, error: MCPError, ownership: Ownership) -> Change:
    """Make a turn CANCELLED that does not run in this process, unless it has ended.

    If another process runs it, that one finds out when it writes next, and stops.

    Raises:
        TurnNotFound: it is gone.
    """
    found = stored.turn
    if found is None or _session_is_gone(stored, turn):
        raise turn_not_found(turn.name)
    if found.state in FINAL or found.id in ownership.live:
        return Change()
    now = ownership.now(stored)
    cancelled = replace(found, state=TurnState.CANCELLED, error=error_record(error), end_time=now)
    return _ended(stored, cancelled, now)


def hide(stored: Stored, turn: Turn, retention: int) -> Change:
    """Let nobody find a turn that has ended. The next sweep deletes it; its messages stay in the history.

    Args:
        stored: what is stored.
        turn: the turn.
        retention: how long other turns are kept, in nanoseconds.

    Raises:
        TurnNotFound: it is gone.
        InvalidArgument: its session has too many hidden turns.
    """
    found, session = stored.turn, stored.session
    if found is None or _session_is_gone(stored, turn):
        raise turn_not_found(turn.name)
    hidden = replace(found, lifetime=0, shortened=retention)
    in_history = session is not None and found.message is not None and found.message.id
    return Change(turn=hidden, session=with_hidden_turn(session, found.id) if session and in_history else None)


def interrupt(stored: Stored, turn: Turn, ownership: Ownership) -> Change:
    """Make a turn INTERRUPTED whose process is gone, and free its session. Writes nothing if a process has it."""
    found, now = stored.turn, ownership.now(stored)
    if found is None or found.state not in UNFINISHED or ownership.binds(found, now) or _session_is_gone(stored, turn):
        return Change()
    return _ended(stored, replace(left_behind(found), end_time=now), now)


def left_behind(turn: Turn) -> Turn:
    """A turn that no process runs, as INTERRUPTED."""
    if turn.state is TurnState.INTERRUPTED:
        return turn
    error = TurnError(reason="TURN_INTERRUPTED", message="the process that ran the turn died")
    attempts = turn.attempts
    if attempts and attempts[-1].outcome is TurnState.RUNNING:
        attempts = (*attempts[:-1], replace(attempts[-1], outcome=TurnState.INTERRUPTED, error=error))
    return replace(turn, state=TurnState.INTERRUPTED, error=error, attempts=attempts, lease=None)


def check_held(stored: Stored, turn: Turn) -> None:
    """Refuse to write a turn that was taken by another process, or cancelled by it.

    Raises:
        TurnInterrupted: another process has taken it.
        MCPError: how it ended.
    """
    if not _is_held(stored, turn):
        found = stored.turn
        if found is not None and found.state in FINAL and found.error is not None:
            raise recorded(found.error.reason, found.error.message, found.error.metadata)
        raise lease_lost(turn)


def session_deleted(turn: Turn) -> SessionNotFound:
    """The error of a turn whose session is gone."""
    return SessionNotFound(
        f"the session sessions/{turn.session} was deleted while the turn ran",
        metadata={"session": f"sessions/{turn.session}", "turn": turn.name},
    )


def lease_lost(turn: Turn) -> MCPError:
    """The error of a turn whose process may not write it any more."""
    return TurnInterrupted(
        f"the turn {turn.name} was interrupted: its server lost the lease; send the same request again",
        metadata={"turn": turn.name},
        retry_after=0,
    )


def turn_not_found(name: str) -> TurnNotFound:
    """The error of a call that names a turn that is not there."""
    return TurnNotFound(
        f"turn {name} not found: unknown id, deleted session, or past the retention period", metadata={"turn": name}
    )


def _taken(stored: Stored, turn: Turn, request: TurnRequest, candidates: Candidates, now: int) -> tuple[Turn, Change]:
    """The turn with its hold, and what that takes of the limits of its caller; only once."""
    if request.quota is None or turn.hold is not None:
        return turn, Change()
    demand = request.demand(turn.id, stored.session, candidates)
    change, hold = quotas.take(request.quota, stored.accounts, demand, now)
    return replace(turn, key=request.key, hold=hold), change


def _taken_over(earlier: Turn) -> Turn:
    """An interrupted turn as it runs again. Numbers that its process may have given to events are not given again."""
    if earlier.sequence_limit + SEQUENCE_BLOCK > MAX_SEQUENCE:
        raise TurnInterrupted(f"the turn {earlier.name} was interrupted too often: choose a new request_id")
    return replace(left_behind(earlier), sequence_limit=earlier.sequence_limit + SEQUENCE_BLOCK)


def _running(turn: Turn, candidates: Candidates, now: int) -> Turn:
    attempt: Attempt = attempt_at(candidates.targets[0], now)
    return replace(
        turn, state=TurnState.RUNNING, end_time=None, error=None, message=None, attempts=(*turn.attempts, attempt)
    )


def _is_held(stored: Stored, turn: Turn) -> bool:
    """Whether the record, if it was read, is still of this process: with its fencing number, and not ended."""
    found = stored.turn
    return found is None or (found.fence == turn.fence and found.state in UNFINISHED)


def _session_is_gone(stored: Stored, turn: Turn) -> bool:
    return bool(turn.session) and (stored.session is None or stored.session.uid != turn.session_uid)


def _with_stored_lease(stored: Stored, turn: Turn) -> Turn:
    """The turn with the lease that is stored, which may have been renewed since the turn was claimed."""
    return turn if stored.turn is None else replace(turn, lease=stored.turn.lease)


def _ended(stored: Stored, turn: Turn, now: int, events: bytes = b"") -> Change:
    """Write a turn that has ended, and free its session if the turn has it."""
    session = stored.session
    freed = None
    if session is not None and session.claim == turn.id:
        freed = replace(touched(session, now), claim="")
    return settle(Change(session=freed, turn=settled(turn), events=events), turn, now)
