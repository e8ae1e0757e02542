"""The journal of a turn: its log as it is stored, each text once, with the boundaries of its events.

A log is stored in pieces: :func:`pack` makes one of the events since the last piece. :class:`Replay` returns the events
with the sequence numbers that they had; the last event, ``completed``, is made of the stored turn.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Final

import msgspec

from mcp_server.errors import InternalError, MCPError, TurnInterrupted, recorded
from mcp_server.turns.log import MAX_DELTA_BYTES, Numbered, TurnLog, delta_size
from mcp_server.values import (
    FINAL,
    Completed,
    Delta,
    Event,
    Logprob,
    Message,
    Part,
    PartStarted,
    ProviderState,
    ProviderStatePart,
    Queued,
    Reasoning,
    Refusal,
    Started,
    Struct,
    Switched,
    SwitchMode,
    Text,
    ToolCall,
    Turn,
    TurnState,
    elapsed,
)

replace = msgspec.structs.replace


class _Run(Struct, tag="run"):
    """Neighbouring deltas of one part."""

    sequence: int
    """The number of the first; the others follow without a gap."""
    part: int
    kind: str
    text: str
    """All their texts."""
    lengths: tuple[int, ...]
    """How many characters each of them has."""
    logprobs: tuple[tuple[Logprob, ...], ...] = ()
    """Those of each, if any has one."""


class _Single(Struct, tag="event"):
    """An event that is no delta, or a delta with a state, which is merged with no other."""

    sequence: int
    event: Queued | Started | PartStarted | Switched | Delta


_Record = _Run | _Single
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[_Record]).decode


def pack(events: Sequence[Event], first: int, *, before: Sequence[Numbered] = ()) -> bytes:
    """Make a piece of a log; empty if there is nothing to store.

    Args:
        events: some of a turn's events, without a gap.
        first: the number of the first of them.
        before: events that go before them; no deltas.
    """
    records: list[_Record] = []
    for sequence, event in before:
        records += _single(sequence, event)
    position, end = 0, len(events)
    while position < end:
        event = events[position]
        start = position
        position += 1
        if isinstance(event, Delta) and event.provider_state is None:
            part = event.part
            while (
                position < end
                and type(delta := events[position]) is Delta
                and delta.part == part
                and delta.provider_state is None
            ):
                position += 1
            records.append(_run(events[start:position], first + start))
        else:
            records += _single(first + start, event)
    return _encode(records) if records else b""


def _single(sequence: int, event: Event) -> list[_Record]:
    if isinstance(event, Queued | Started | PartStarted | Switched | Delta):
        return [_Single(sequence=sequence, event=event)]
    return []


def _run(deltas: Sequence[Event], sequence: int) -> _Run:
    texts = [delta.text for delta in deltas if isinstance(delta, Delta)]
    logprobs = [delta.logprobs for delta in deltas if isinstance(delta, Delta)]
    delta = deltas[0]
    assert isinstance(delta, Delta)
    return _Run(
        sequence=sequence,
        part=delta.part,
        kind=delta.kind,
        text="".join(texts),
        lengths=tuple(map(len, texts)),
        logprobs=tuple(logprobs) if any(logprobs) else (),
    )


class Replay:
    """The stored part of a log, decoded once for all of its readers.

    Args:
        pieces: the pieces of the log, in order.
    """

    __slots__ = ("_entries",)

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._entries: list[_Single | _Merged] = []
        for record in _records(pieces):
            if isinstance(record, _Run):
                self._entries += _merged(record)
            else:
                self._entries.append(record)

    def after(self, sequence: int, split: int = 0) -> Iterator[Numbered]:
        """The events after ``sequence``, neighbouring deltas merged, but none up to ``split`` with a later one."""
        for entry in self._entries:
            if isinstance(entry, _Single):
                if entry.sequence > sequence:
                    yield entry.sequence, entry.event
            elif entry.last > sequence:
                first = max(sequence + 1, entry.sequence)
                if first <= split < entry.last:
                    yield split, entry.piece(first, split)
                    first = split + 1
                yield entry.last, entry.piece(first, entry.last)


class _Merged(Struct):
    """Neighbouring deltas as one."""

    sequence: int
    """The number of the first."""
    delta: Delta
    """All of them."""
    lengths: array[int]
    """How many characters each of them has."""
    logprobs: tuple[tuple[Logprob, ...], ...]
    """Those of each, if any has one."""

    @property
    def last(self) -> int:
        """The number of the last."""
        return self.sequence + len(self.lengths) - 1

    def piece(self, first: int, last: int) -> Delta:
        """Those from the one with the number ``first`` to the one with the number ``last``."""
        if first == self.sequence and last == self.last:
            return self.delta
        start, end = first - self.sequence, last - self.sequence + 1
        begin = sum(self.lengths[:start])
        text = self.delta.text[begin : begin + sum(self.lengths[start:end])]
        return replace(self.delta, text=text, logprobs=_flat(self.logprobs[start:end]))


def _flat(logprobs: Sequence[tuple[Logprob, ...]]) -> tuple[Logprob, ...]:
    return tuple([logprob for each in logprobs for logprob in each])


def _records(pieces: Sequence[bytes]) -> Iterator[_Record]:
    """The records, each event once. A piece that was stored although its write was reported as failed is stored again
    as the beginning of the next piece."""
    last = 0
    for piece in pieces:
        try:
            records = _decode(piece)
        except msgspec.DecodeError as error:
            raise InternalError("the record of the turn cannot be read") from error
        for record in records:
            end = record.sequence + (len(record.lengths) if isinstance(record, _Run) else 1) - 1
            if end <= last:
                continue
            if isinstance(record, _Run) and record.sequence <= last:
                record = _rest(record, last)
            last = end
            yield record


def _rest(run: _Run, last: int) -> _Run:
    """The rest of a run, after the event with that sequence number."""
    known = last - run.sequence + 1
    return replace(
        run,
        sequence=last + 1,
        text=run.text[sum(run.lengths[:known]) :],
        lengths=run.lengths[known:],
        logprobs=run.logprobs[known:],
    )


def _merged(run: _Run) -> Iterator[_Merged]:
    """The run in as few deltas as may be."""
    start = first = position = size = 0
    for index, (length, logprobs) in enumerate(zip(run.lengths, run.logprobs or repeat(()), strict=False)):
        added = delta_size(length, logprobs)
        if size + added > MAX_DELTA_BYTES and index > first:
            yield _merge(run, first, index, run.text[start:position])
            start, first, size = position, index, 0
        position += length
        size += added
    yield _merge(run, first, len(run.lengths), run.text[start:])


def _merge(run: _Run, first: int, end: int, text: str) -> _Merged:
    logprobs = run.logprobs[first:end]
    delta = Delta(part=run.part, kind=run.kind, text=text, logprobs=_flat(logprobs))
    # A delta is as long as it may be at most, so that its length fits 16 bits.
    lengths = array("H", run.lengths[first:end])
    return _Merged(sequence=run.sequence + first, delta=delta, lengths=lengths, logprobs=logprobs)


def parts(pieces: Sequence[bytes]) -> tuple[Part, ...]:
    """The parts of the answer as far as the log goes, without those of an abandoned attempt."""
    begun: list[PartStarted] = []
    texts: list[list[str]] = []
    states: dict[int, ProviderState | None] = {}
    for record in _records(pieces):
        if isinstance(record, _Run):
            texts[record.part].append(record.text)
        elif isinstance(record.event, PartStarted):
            begun.append(record.event)
            texts.append([])
        elif isinstance(record.event, Delta):
            states[record.event.part] = record.event.provider_state
        elif isinstance(record.event, Switched) and record.event.mode is SwitchMode.RESTARTED:
            begun.clear()
            texts.clear()
            states.clear()
    return tuple(
        [
            part_of(part.kind, "".join(pieces), states.get(part.part), id=part.tool_call_id, name=part.tool_name)
            for part, pieces in zip(begun, texts, strict=True)
        ]
    )


def part_of(kind: str, text: str, state: ProviderState | None = None, *, id: str = "", name: str = "") -> Part:
    """A part of an answer.

    Args:
        kind: ``text``, ``reasoning``, ``refusal``, ``tool_call`` or ``provider_state``.
        text: its text; of a ``tool_call``, its arguments.
        state: what its provider needs to receive back, if anything.
        id: of a ``tool_call``, its id.
        name: of a ``tool_call``, the tool.
    """
    if kind == "tool_call":
        return ToolCall(id=id, name=name, arguments_json=text, provider_state=state)
    if kind == "reasoning":
        return Reasoning(text=text, provider_state=state)
    if kind == "provider_state":
        assert state is not None
        return ProviderStatePart(provider_state=state)
    return (Refusal if kind == "refusal" else Text)(text=text, provider_state=state)


def whole(turn: Turn, pieces: Sequence[bytes]) -> Turn:
    """A stored turn, whose message is kept without its parts, with the parts that its log holds."""
    if turn.message is None or not pieces:
        return turn
    return replace(turn, message=replace(turn.message, parts=parts(pieces)))


def completed(turn: Turn, message: Message) -> Completed:
    """The last event of a turn that succeeded.

    Args:
        turn: the turn as it ended.
        message: its answer with all its parts.
    """
    assert turn.finish_reason is not None
    assert turn.end_time is not None
    attempt = turn.attempts[-1]
    first = attempt.first_token_duration
    return Completed(
        message=message,
        finish_reason=turn.finish_reason,
        usage=turn.usage,
        attempts=turn.attempts,
        session_etag=turn.session_etag,
        time_to_first_token=None if first is None else elapsed(turn.create_time, attempt.start_time + first),
        duration=elapsed(turn.create_time, turn.end_time),
    )


def log_of(turn: Turn, pieces: Sequence[bytes]) -> TurnLog:
    """The log of a turn that no process runs: its readers get all events and end as the turn ended."""
    succeeded = turn.state is TurnState.SUCCEEDED
    if turn.state in FINAL:
        # The numbers between the last event and the limit were never given.
        base = max(turn.last_sequence - succeeded, 0)
    else:
        base = turn.sequence_limit
    log = TurnLog(_ignore_idle, base=base)
    log.earlier = Replay(pieces).after
    if succeeded:
        message = whole(turn, pieces).message
        assert message is not None
        log.append(completed(turn, message))
    log.end(None if succeeded else error_of(turn))
    return log


def error_of(turn: Turn) -> MCPError:
    """The error that a turn ended with, for a caller who sends its request again."""
    if turn.error is None or turn.state not in FINAL:
        return TurnInterrupted(
            f"the process that ran the turn {turn.name} ended before the turn: send its request again with the same "
            "request_id to run it again",
            metadata={"turn": turn.name},
            retry_after=0,
        )
    error = recorded(turn.error.reason, turn.error.message, {"turn": turn.name, **turn.error.metadata})
    error.final = True
    return error


def _ignore_idle() -> None:
    """The readers of a record may all leave: nothing runs that could be stopped."""
