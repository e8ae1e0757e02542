"""A log that is packed in pieces and replayed is the log."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_server.turns.journal import Replay, pack, parts
from mcp_server.turns.log import MAX_DELTA_CHARACTERS, TurnLog, TurnReader
from mcp_server.values import (
    Delta,
    Event,
    Logprob,
    PartStarted,
    ProviderState,
    ProviderStatePart,
    Reasoning,
    Switched,
    SwitchMode,
    Text,
    ToolCall,
    Window,
)

SWITCHED = Switched(
    from_model="a/b", to_model="a/c", reason="TURN_INTERRUPTED", window=Window(), mode=SwitchMode.RESTARTED
)

STATE = ProviderState(provider="a", model="b", data=b"\x00\xff")

texts = st.text(min_size=1, max_size=5) | st.sampled_from(["x" * MAX_DELTA_CHARACTERS, "é" * 9_000, "\U0001f600\x00"])


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """The events of a turn: parts of all kinds, written side by side, and restarts."""
    events: list[Event] = []
    kinds: list[str] = []
    states: set[int] = set()
    for step in draw(st.lists(st.sampled_from(["part", "delta", "delta", "delta", "state", "switch"]), max_size=30)):
        if step == "switch":
            events.append(SWITCHED)
            kinds, states = [], set()
        elif step == "part" or not kinds:
            kind = draw(st.sampled_from(["text", "reasoning", "tool_call"]))
            events.append(PartStarted(part=len(kinds), kind=kind, tool_call_id="c" if kind == "tool_call" else ""))
            kinds.append(kind)
        elif step == "state":
            part = draw(st.integers(0, len(kinds) - 1))
            if part not in states:
                states.add(part)
                events.append(Delta(part=part, kind=kinds[part], text="", provider_state=STATE))
        else:
            part = draw(st.integers(0, len(kinds) - 1))
            logprobs = (Logprob(token="t", logprob=-0.5),) if draw(st.booleans()) else ()
            events.append(Delta(part=part, kind=kinds[part], text=draw(texts), logprobs=logprobs))
    return events


def flat(numbered: Sequence[tuple[int, Event]]) -> list[object]:
    """What merging does not change."""
    result: list[object] = []
    for _, event in numbered:
        if isinstance(event, Delta):
            if event.provider_state is not None:
                result.append(event)
            elif result and isinstance(result[-1], list) and result[-1][0] == event.part:
                result[-1][1] += event.text
                result[-1][2] += event.logprobs
            else:
                result.append([event.part, event.text, event.logprobs])
        else:
            result.append(event)
    return result


@settings(derandomize=True, deadline=None, max_examples=200)
@given(logs(), st.lists(st.integers(0, 30)), st.integers(0, 5), st.integers(0, 40))
def test_every_rest_of_a_log_comes_back(events: list[Event], cuts: list[int], base: int, after: int) -> None:
    """However it was cut into pieces, and wherever one begins to read."""
    borders = sorted({0, len(events), *[cut for cut in cuts if cut < len(events)]})
    pieces = [pack(events[i:j], base + i + 1) for i, j in itertools.pairwise(borders)]
    numbered = list(enumerate(events, base + 1))
    rest = list(Replay(pieces).after(after))
    assert flat(rest) == flat([(number, event) for number, event in numbered if number > after])
    assert [number for number, _ in rest] == sorted({number for number, _ in rest} & {n for n, _ in numbered})
    assert all(len(event.text) <= MAX_DELTA_CHARACTERS for _, event in rest if isinstance(event, Delta))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(logs(), st.integers(0, 40), st.integers(0, 40))
def test_a_log_can_be_split_after_any_event(events: list[Event], after: int, split: int) -> None:
    """No delta is merged across the split, and nothing else changes; neither of a stored log nor of a live one."""
    numbered = list(enumerate(events, 1))
    stored = list(Replay([pack(events, 1)] if events else []).after(after, split))
    log = TurnLog(lambda: None)
    for event in events:
        log.append(event)
    log.end()
    reader = log.reader(min(after, len(events)))
    reader.split = split
    live = asyncio.run(_all(reader))
    for found in (stored, live):
        for low, high in ((after, split), (max(after, split), len(events))):
            wanted = [(number, event) for number, event in numbered if low < number <= high]
            assert flat([one for one in found if low < one[0] <= high]) == flat(wanted)


async def _all(reader: TurnReader) -> list[tuple[int, Event]]:
    return [numbered async for numbered in reader]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(logs(), st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
def test_what_was_written_twice_comes_once(events: list[Event], first: int, second: int, after: int) -> None:
    """A piece is written again, as the beginning of the next, when nobody knows whether it was written."""
    start, end = sorted((first, second))
    start, end = min(start, len(events)), min(end, len(events))
    pieces = [piece for piece in (pack(events[:end], 1), pack(events[start:], start + 1)) if piece]
    once = [piece for piece in (pack(events, 1),) if piece]
    assert flat(list(Replay(pieces).after(after))) == flat(list(Replay(once).after(after)))
    assert parts(pieces) == parts(once)


def test_the_parts_are_those_of_the_last_attempt() -> None:
    """In their order, each with all its text; what a restart dropped is not among them."""
    events: list[Event] = [
        PartStarted(part=0, kind="text"),
        Delta(part=0, kind="text", text="gone"),
        Delta(part=0, kind="text", text="", provider_state=STATE),
        SWITCHED,
        PartStarted(part=0, kind="reasoning"),
        Delta(part=0, kind="reasoning", text="hm"),
        PartStarted(part=1, kind="tool_call", tool_call_id="c", tool_name="add"),
        PartStarted(part=2, kind="text"),
        Delta(part=1, kind="tool_call", text="{"),
        Delta(part=2, kind="text", text="x"),
        Delta(part=1, kind="tool_call", text="}"),
        Delta(part=1, kind="tool_call", text="", provider_state=STATE),
        PartStarted(part=3, kind="provider_state"),
        Delta(part=3, kind="provider_state", text="", provider_state=STATE),
    ]
    pieces = [pack(events[:5], 1), pack(events[5:], 6)]
    assert parts(pieces) == (
        Reasoning(text="hm"),
        ToolCall(id="c", name="add", arguments_json="{}", provider_state=STATE),
        Text(text="x"),
        ProviderStatePart(provider_state=STATE),
    )


def test_nothing_packs_to_nothing() -> None:
    """So that it is not written."""
    assert pack([], 1) == b""
