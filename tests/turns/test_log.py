"""The log of a turn and its readers."""

from __future__ import annotations

import asyncio

import pytest

from mcp_server.errors import ProviderStreamCut
from mcp_server.turns.journal import Replay, pack
from mcp_server.turns.log import MAX_DELTA_CHARACTERS, TurnLog
from mcp_server.values import Delta, Event, PartStarted, ProviderState, Started, Switched, SwitchMode, Window


def delta(text: str, part: int = 0) -> Delta:
    return Delta(part=part, kind="text", text=text)


def part(index: int) -> PartStarted:
    return PartStarted(part=index, kind="text")


class Idle:
    """Counts how often the last reader left."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def ended_log(*events: Event) -> TurnLog:
    log = TurnLog(Idle())
    for event in events:
        log.append(event)
    log.end()
    return log


async def read(log: TurnLog, after_sequence: int = 0) -> list[tuple[int, Event]]:
    with log.reader(after_sequence) as reader:
        return [numbered async for numbered in reader]


async def test_neighbouring_deltas_are_merged_under_the_last_number() -> None:
    """Never across another event or another part."""
    log = ended_log(part(0), delta("a"), delta("b"), part(1), delta("c", 1), delta("d", 0), delta("e", 0))
    assert await read(log) == [
        (1, part(0)),
        (3, delta("ab")),
        (4, part(1)),
        (5, delta("c", 1)),
        (7, delta("de", 0)),
    ]


async def test_a_state_is_merged_with_nothing() -> None:
    """Neither with what goes before it nor with what follows."""
    state = Delta(part=0, kind="text", text="", provider_state=ProviderState(provider="p", data=b"x"))
    log = ended_log(part(0), delta("a"), delta("b"), state, delta("c"), delta("d"))
    assert await read(log) == [(1, part(0)), (3, delta("ab")), (4, state), (6, delta("cd"))]


async def test_every_number_is_a_place_to_begin() -> None:
    """From each of them the rest is whole."""
    events: list[Event] = [part(0), *[delta(character) for character in "abcdef"]]
    log = ended_log(*events)
    for after in range(len(events) + 1):
        text = "".join(event.text for _, event in await read(log, after) if isinstance(event, Delta))
        assert text == "abcdef"[max(after - 1, 0) :]


async def test_a_merged_delta_has_a_limit() -> None:
    """However much waits, one message stays small."""
    log = ended_log(*[delta("x" * 1000) for _ in range(100)])
    texts = [event.text for _, event in await read(log) if isinstance(event, Delta)]
    assert "".join(texts) == "x" * 100_000
    assert max(map(len, texts)) <= MAX_DELTA_CHARACTERS
    assert len(texts) < 10


async def test_an_idle_reader_gets_each_piece_at_once() -> None:
    """Nothing is held back to be merged."""
    log = TurnLog(Idle())
    got: list[str] = []
    seen = asyncio.Event()

    async def follow() -> None:
        with log.reader() as reader:
            async for _, event in reader:
                assert isinstance(event, Delta)
                got.append(event.text)
                seen.set()

    task = asyncio.create_task(follow())
    for character in "abc":
        log.append(delta(character))
        await seen.wait()
        seen.clear()
    log.end()
    await task
    assert got == ["a", "b", "c"]


async def test_readers_go_at_their_own_pace_and_see_the_same() -> None:
    """A slow one gets larger pieces and the same text."""
    log = TurnLog(Idle())

    async def follow(pause: int) -> list[str]:
        texts = []
        with log.reader() as reader:
            async for _, event in reader:
                assert isinstance(event, Delta)
                texts.append(event.text)
                for _ in range(pause):
                    await asyncio.sleep(0)
        return texts

    fast, slow = asyncio.create_task(follow(0)), asyncio.create_task(follow(10))
    await asyncio.sleep(0)
    for number in range(50):
        log.append(delta(f"{number} "))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    log.end()
    assert "".join(await fast) == "".join(await slow) == "".join(f"{number} " for number in range(50))
    assert len(await slow) < len(await fast)


async def test_a_reader_raises_the_error_after_what_came_before_it() -> None:
    """Nothing that was generated is withheld."""
    log = TurnLog(Idle())
    log.append(delta("half"))
    log.end(ProviderStreamCut("cut"))
    with log.reader() as reader:
        events = reader.__aiter__()
        assert await anext(events) == (1, delta("half"))
        with pytest.raises(ProviderStreamCut):
            await anext(events)


async def test_the_last_reader_to_leave_is_noticed_once() -> None:
    """Not the first of two, and not after the end."""
    idle = Idle()
    log = TurnLog(idle)
    first, second = log.reader(), log.reader()
    first.close()
    assert idle.times == 0
    second.close()
    second.close()
    assert idle.times == 1
    third = log.reader()
    log.end()
    third.close()
    assert idle.times == 1


async def test_who_waits_for_the_end_is_not_woken_before() -> None:
    """The last event is all that it sees; an error is raised to it all the same."""
    log = TurnLog(Idle())
    with log.reader() as reader:
        waiting = asyncio.create_task(reader.last())
        await asyncio.sleep(0)
        log.append(delta("a"))
        await asyncio.sleep(0)
        assert not waiting.done()
        log.append(delta("b"))
        log.end()
        assert await waiting == delta("b")
    log = TurnLog(Idle())
    log.end(ProviderStreamCut("cut"))
    with log.reader() as reader, pytest.raises(ProviderStreamCut):
        await reader.last()


async def test_a_refusal_is_told_to_a_reader_that_wants_to_resume() -> None:
    """Not that its number lies beyond: there never were events."""
    log = TurnLog(Idle())
    log.end(ProviderStreamCut("refused"))
    with pytest.raises(ProviderStreamCut):
        await read(log, 3)


STARTED = Started(turn="turns/t", model="p/a", provider="p", window=Window())


def switched(mode: SwitchMode) -> Switched:
    return Switched(from_model="p/a", to_model="p/b", reason="X", window=Window(), mode=mode)


@pytest.mark.parametrize("packed", [0, 3, 7])
async def test_a_reader_can_skip_abandoned_answers(packed: int) -> None:
    """Wherever the log of an earlier process ends. The numbers stay what they are."""
    restart = switched(SwitchMode.RESTARTED)
    carried_on = switched(SwitchMode.CONTINUED)
    events: list[Event] = [STARTED, part(0), delta("a"), restart, part(0), delta("b"), carried_on, delta("c")]
    log = TurnLog(Idle(), base=packed)
    if packed:
        log.earlier = Replay([pack(events[:packed], 1)]).after
    for event in events[packed:]:
        log.append(event)
    log.end()
    with log.reader() as reader:
        reader.skip_abandoned()
        found = [numbered async for numbered in reader]
    assert found == [
        (1, STARTED),
        (4, restart),
        (5, part(0)),
        (6, delta("b")),
        (7, carried_on),
        (8, delta("c")),
    ]
