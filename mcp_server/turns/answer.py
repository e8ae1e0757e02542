"""The answer of a model while it comes: a provider's events become a turn's events and, in the end, one message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from mcp_server.errors import ProviderStreamCut
from mcp_server.interfaces import (
    Finish,
    PartState,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.models.usage import Meter, checked_usage
from mcp_server.rules.limits import MAX_STATE_BYTES
from mcp_server.turns.journal import part_of
from mcp_server.turns.log import MAX_DELTA_BYTES, MAX_DELTA_CHARACTERS, delta_size, logprob_size
from mcp_server.turns.tools import fit_id, fit_name
from mcp_server.values import (
    Delta,
    Event,
    FinishReason,
    Logprob,
    Part,
    PartStarted,
    ProviderState,
)
from mcp_server.values.surrogates import split_last

MAX_TOOL_CALLS: Final = 1000
"""The most tool calls of an answer, which ends before a further one, with LENGTH."""
MAX_OUTPUT_BYTES: Final = 1024 * 1024
"""The longest answer. One that reaches it ends there, with LENGTH."""

T = TypeVar("T", TextDelta, Finish)


class _OpenPart:
    """One part while it grows."""

    __slots__ = ("half", "id", "kind", "name", "pieces", "state")

    def __init__(self, kind: str, id: str = "", name: str = "") -> None:
        self.kind = kind
        self.id = id
        self.name = name
        self.pieces: list[str] = []
        self.state: ProviderState | None = None
        self.half = ""
        """The first half of a character whose second half has not come."""

    def part(self) -> Part:
        return part_of(self.kind, "".join(self.pieces), self.state, id=self.id, name=self.name)


class Answer:
    """Takes a provider's events one by one, emits a turn's events, and is the message so far.

    Args:
        emit: takes each event of the turn.
        meter: counts what comes.
        before: the answer that this one continues.
        call_ids: the ids of the tool calls of the conversation; those of the answer are others.
        provider: the configured name of the provider that answers.
        model: its own name of the model.
    """

    __slots__ = ("_call_ids", "_calls", "_emit", "_meter", "_model", "_parts", "_provider", "bytes", "finish")

    def __init__(
        self,
        emit: Callable[[Event], None],
        meter: Meter,
        before: Answer | None = None,
        call_ids: Iterable[str] = (),
        *,
        provider: str = "",
        model: str = "",
    ) -> None:
        self._emit = emit
        self._provider = provider
        self._model = model
        self._meter = meter
        self._parts: list[_OpenPart] = [] if before is None else before._parts
        self._calls: dict[str, int] = {}
        self._call_ids = set(call_ids)
        self.bytes: int = 0 if before is None else before.bytes
        """The length of the whole answer, in bytes of UTF-8, its states included."""
        self.finish: Finish | None = None
        """How the provider ended the answer; ``None`` while it has not."""
        meter.started = bool(self._parts)

    def add(self, event: ProviderEvent) -> None:
        """Add the provider's next event. Once :attr:`finish` is set, nothing more may be added.

        Raises:
            ProviderStreamCut: the event makes no sense here.
            TypeError, ValueError: it is no such event, or holds what it must not.
        """
        if type(event) is str:
            self._extend("text", event)
        elif type(event) is TextDelta:
            self._extend("text", event.text, _checked(event).logprobs if event.logprobs else ())
        elif type(event) is Finish:
            self._end_halves()
            self.finish = self.finish or _checked_finish(event)
            self._meter.usage = self.finish.usage
        elif type(event) is ReasoningDelta:
            self._extend("reasoning", event.text)
        elif type(event) is RefusalDelta:
            self._extend("refusal", event.text)
        elif type(event) is ToolCallStart:
            # Their names count too: so there is an end to how many events a turn can have.
            size = 1 + len(event.id) + len(event.name)
            self.bytes += size
            self._meter.bytes += size
            if self.bytes > MAX_OUTPUT_BYTES:
                self.finish = Finish(reason=FinishReason.LENGTH)
                return
            if len(self._calls) == MAX_TOOL_CALLS:
                self.finish = Finish(reason=FinishReason.LENGTH)
                return
            self._calls[event.id] = self._open("tool_call", fit_id(event.id, self._call_ids), fit_name(event.name))
        elif type(event) is ToolArgumentsDelta:
            index = self._calls.get(event.id)
            if index is None:
                raise ProviderStreamCut("the provider sent arguments for a tool call that it had not begun")
            self._piece(index, event.text)
        elif type(event) is PartState:
            self._state(event)
        else:
            raise TypeError(f"a provider yielded {type(event).__name__}, which is not a ProviderEvent")

    def parts(self) -> tuple[Part, ...]:
        """The parts so far."""
        return tuple([part.part() for part in self._parts])

    @property
    def begun(self) -> bool:
        """Whether any part has begun."""
        return bool(self._parts)

    @property
    def continuable(self) -> bool:
        """Whether another model can continue it: it ends with text, and calls no tool."""
        kinds = [part.kind for part in self._parts]
        return kinds[-1:] == ["text"] and set(kinds) <= {"text", "reasoning", "provider_state"}

    def _end_halves(self) -> None:
        """Replace the halves of characters whose other half will not come."""
        for index in range(len(self._parts)):
            self._end_half(index)

    def _end_half(self, index: int) -> None:
        part = self._parts[index]
        if part.half:
            part.half = ""
            self._piece(index, "\ufffd")

    def _extend(self, kind: str, text: str, logprobs: tuple[Logprob, ...] = ()) -> None:
        if not text:
            return
        last = len(self._parts) - 1
        if last < 0 or self._parts[last].kind != kind or self._parts[last].state is not None:
            self._end_halves()
            last = self._open(kind)
        self._piece(last, text, logprobs)

    def _open(self, kind: str, id: str = "", name: str = "") -> int:
        self._parts.append(_OpenPart(kind, id, name))
        self._meter.started = True
        part = len(self._parts) - 1
        self._emit(PartStarted(part=part, kind=kind, tool_call_id=id, tool_name=name))
        return part

    def _state(self, event: PartState) -> None:
        data = event.data
        if type(data) is not bytes:
            raise TypeError(f"a provider yielded a state of type {type(data).__name__}; expected bytes")
        if not 1 <= len(data) <= MAX_STATE_BYTES:
            raise ProviderStreamCut(
                f"the provider sent a provider_state of {len(data)} bytes; allowed: 1 to {MAX_STATE_BYTES}"
            )
        index = self._calls.get(event.tool_call_id) if event.tool_call_id else len(self._parts) - 1
        if not event.own_part and (index is None or index < 0 or self._parts[index].state is not None):
            raise ProviderStreamCut("the provider sent a provider_state for a part that does not exist or has one")
        if self.bytes + len(data) > MAX_OUTPUT_BYTES:
            self.finish = Finish(reason=FinishReason.LENGTH)
            return
        self.bytes += len(data)
        if event.own_part or index is None:
            self._end_halves()
            index = self._open("provider_state")
        self._end_half(index)
        part = self._parts[index]
        part.state = ProviderState(provider=self._provider, model=self._model, data=data)
        self._emit(Delta(part=index, kind=part.kind, text="", provider_state=part.state))

    def _piece(self, index: int, text: str, logprobs: tuple[Logprob, ...] = ()) -> None:
        part = self._parts[index]
        size = len(text)
        if part.half:
            text = part.half + text
            part.half = ""
        if not text.isascii():
            text, part.half = split_last(text)
            size = len(text.encode())
            if not text and not logprobs:
                return
        if self.bytes + size > MAX_OUTPUT_BYTES:
            text = text.encode()[: max(MAX_OUTPUT_BYTES - self.bytes, 0)].decode(errors="ignore")
            size = len(text.encode())
            self.finish = Finish(reason=FinishReason.LENGTH)
            if not text:
                return
        self.bytes += size
        self._meter.bytes += size
        self._meter.pieces += 1
        part.pieces.append(text)
        if (not logprobs and len(text) <= MAX_DELTA_CHARACTERS) or delta_size(len(text), logprobs) <= MAX_DELTA_BYTES:
            self._emit(Delta(part=index, kind=part.kind, text=text, logprobs=logprobs))
            return
        for start in range(0, len(text), MAX_DELTA_CHARACTERS):
            self._emit(Delta(part=index, kind=part.kind, text=text[start : start + MAX_DELTA_CHARACTERS]))
        for batch in _batches(logprobs):
            self._emit(Delta(part=index, kind=part.kind, text="", logprobs=batch))


def _batches(logprobs: Sequence[Logprob]) -> Iterator[tuple[Logprob, ...]]:
    """Log probabilities that are too large for one delta, in pieces that are not. One that is too large alone is left
    out: no model has such a token."""
    batch: list[Logprob] = []
    room = MAX_DELTA_BYTES
    for logprob in logprobs:
        size = logprob_size(logprob)
        if size > MAX_DELTA_BYTES:
            continue
        if size > room:
            yield tuple(batch)
            batch, room = [], MAX_DELTA_BYTES
        batch.append(logprob)
        room -= size
    if batch:
        yield tuple(batch)


def _checked(event: T) -> T:
    """The event, after a check that all its fields have their types: not every provider was type-checked, and what can
    be neither sent nor stored must be refused here."""
    return msgspec.convert(msgspec.to_builtins(event), type(event))


def _checked_finish(finish: Finish) -> Finish:
    finish = _checked(finish)
    if finish.usage is not None:
        checked_usage(finish.usage)
    return finish
