"""How long models stay in memory: one process for all calls, ended when none has come for a while, not sooner."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import psutil
import pytest

from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import EmbedRequest, Finish, GenerateRequest, LoadCounts, LoadedModel
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.providers.local.lazy import EXPECTED_SECONDS, LazyEngine, LoadFailed
from mcp_server.providers.local.settings import KeepAlive
from mcp_server.values import GenerationConfig, ModelState
from tests.providers.conftest import Workers, events_of, text_of

SHORT = GenerateRequest(model="m", prompt="The capital of France is", config=GenerationConfig(max_output_tokens=3))
EMBED = EmbedRequest(model="m", inputs=("The capital of France is Paris.",))


class HandTimers:
    """A clock that is set by hand, and what is to be called at its times."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._calls: dict[int, tuple[float, Callable[[], object]]] = {}
        self._ids = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object], /) -> HandTimer:
        timer = HandTimer(self._calls, next(self._ids))
        self._calls[timer.id] = when, callback
        return timer

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        for id, (when, callback) in list(self._calls.items()):
            if when <= self.now and self._calls.pop(id, None) is not None:
                callback()


class HandTimer:
    def __init__(self, calls: dict[int, tuple[float, Callable[[], object]]], id: int) -> None:
        self._calls = calls
        self.id = id

    def cancel(self) -> None:
        self._calls.pop(self.id, None)


class Nothing:
    """An engine that computes nothing, and knows when it was ended."""

    pid = 1

    def __init__(self) -> None:
        self.alive = True

    async def outcome(self) -> str:
        return "has ended"

    async def close(self) -> None:
        self.alive = False
        await asyncio.sleep(0)


Make = Callable[..., LlamaCppProvider]


@pytest.fixture
def timers() -> HandTimers:
    """A clock that is set by hand."""
    return HandTimers()


@pytest.fixture
async def make(model_file: Path, timers: HandTimers) -> AsyncIterator[Make]:
    """Make providers of the embedded model as ``m``, on the clock that is set by hand, and close them at the end."""
    async with AsyncExitStack() as stack:

        def made(keep_alive: KeepAlive = 300.0, *, parallel: int = 2) -> LlamaCppProvider:
            model = LlamaCppModel(path=model_file, context_window=512, temperature=0.0, keep_alive=keep_alive)
            provider = LlamaCppProvider(LlamaCppSettings(models={"m": model}, parallel=parallel), timers=timers)
            stack.push_async_callback(provider.close)
            return provider

        yield made


def facts(provider: LlamaCppProvider) -> LoadedModel:
    """What an operator sees of its model."""
    (loaded,) = provider.loaded()
    return loaded


async def test_one_process_answers_and_embeds(make: Make, workers: Workers) -> None:
    """Whichever comes first, and at the same time too: the model is loaded once, and the answers are the same."""
    provider = make()
    before = await provider.embed(EMBED)
    answers = [text_of(await events_of(provider, SHORT))]
    events, made = await asyncio.gather(events_of(provider, SHORT), provider.embed(EMBED))
    answers.append(text_of(events))
    assert "Paris" in answers[0]
    assert answers[0] == answers[1]
    assert sum(a * b for a, b in zip(before.vectors[0], made.vectors[0], strict=True)) > 0.999
    assert len(workers()) == 1
    assert provider.load_counts().loads == 1


async def test_a_model_that_is_not_used_is_unloaded(make: Make, workers: Workers, timers: HandTimers) -> None:
    """Its process ends after ``keep_alive``, it is ready all the same, and the next call loads it again."""
    provider = make(300.0)
    await events_of(provider, SHORT)
    (worker,) = workers()
    assert facts(provider).pid == worker.pid
    assert facts(provider).unload_in == 300
    timers.go_on(299)
    assert facts(provider).unload_in == 1
    await provider.embed(EMBED)
    timers.go_on(299)
    assert provider.loaded()
    timers.go_on(1)
    assert not provider.loaded()
    await asyncio.to_thread(psutil.wait_procs, [worker], timeout=10)
    assert not worker.is_running()
    (model,) = await provider.models()
    assert model.state is ModelState.READY
    assert "Paris" in text_of(await events_of(provider, SHORT))
    counts = provider.load_counts()
    assert (counts.loads, counts.unloads) == (2, 1)
    assert counts.load_seconds > 0


async def test_a_model_in_use_is_not_unloaded(make: Make, timers: HandTimers) -> None:
    """However long the answer takes, and although it was asked for; it is unloaded when the answer has ended."""
    provider = make(5.0)
    async with aclosing(provider.generate(SHORT)) as events:  # type: ignore[type-var]  # a generator
        await anext(events)
        timers.go_on(1_000)
        provider.unload("m")
        assert (facts(provider).calls, facts(provider).unload_in) == (1, None)
        assert [event async for event in events]
    assert not provider.loaded()


async def test_a_model_may_stay_loaded(make: Make, timers: HandTimers) -> None:
    """With "never"; only an operator unloads it then."""
    provider = make("never")
    await events_of(provider, SHORT)
    timers.go_on(1e9)
    assert facts(provider).unload_in is None
    provider.unload("m")
    assert not provider.loaded()


async def test_no_call_is_lost_to_an_unload(make: Make) -> None:
    """With ``keep_alive = 0`` every call ends with an unload, and calls at that moment are answered."""
    provider = make(0.0)

    async def turns() -> None:
        for _ in range(3):
            async for _sign in provider.load(SHORT):
                pass
            await provider.count_tokens(SHORT)
            assert "Paris" in text_of(await events_of(provider, SHORT))

    await asyncio.gather(turns(), turns(), provider.embed(EMBED))
    assert not provider.loaded()
    counts = provider.load_counts()
    assert counts.loads == counts.unloads


async def test_a_turn_loads_its_model_once(make: Make, timers: HandTimers) -> None:
    """What a turn does before its call does not unload the model; a turn that never comes keeps it for a moment."""
    provider = make(0.0)
    async for _ in provider.load(SHORT):
        pass
    await provider.count_tokens(SHORT)
    assert facts(provider).unload_in == EXPECTED_SECONDS
    await events_of(provider, SHORT)
    assert not provider.loaded()
    assert provider.load_counts().loads == 1
    async for _ in provider.load(EMBED):
        pass
    timers.go_on(EXPECTED_SECONDS)
    assert not provider.loaded()


async def test_each_text_to_embed_takes_the_slot_that_was_left_for_longest(make: Make) -> None:
    """One leaves the latest conversations what was read for them; after many they are read again, as usage says."""
    provider = make(parallel=3)
    stories = [f"Story {n}. " + f"Number {n} goes on and on. " * 20 for n in range(2)]

    async def kept() -> list[bool]:
        found = []
        for text in stories:
            request = GenerateRequest(model="m", prompt=text, config=SHORT.config)
            (*_, finish) = await events_of(provider, request)
            assert isinstance(finish, Finish)
            assert finish.usage is not None
            found.append(finish.usage.cached_input_tokens > finish.usage.input_tokens - 20)
        return found

    assert await kept() == [False, False]
    await provider.embed(EMBED)
    assert await kept() == [True, True]
    await provider.embed(EmbedRequest(model="m", inputs=("a", "b", "c")))
    assert await kept() == [False, False]


@pytest.mark.parametrize("keep_alive", [0.0, 5.0])
async def test_a_call_never_has_an_engine_that_ends(timers: HandTimers, keep_alive: float) -> None:
    """Calls that come and leave at every moment of a load, an unload or a stop."""
    started: list[Nothing] = []

    async def start() -> Nothing:
        await asyncio.sleep(0)
        started.append(Nothing())
        return started[-1]

    async def check() -> None:
        pass

    lazy = LazyEngine("m", check, start, keep_alive=keep_alive, timers=timers)

    async def call(steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        async with lazy.use() as engine:
            for _ in range(steps % 4):
                assert engine.alive
                await asyncio.sleep(0)
            assert engine.alive

    async def leave(steps: int) -> None:
        leaving = asyncio.create_task(call(3))
        for _ in range(steps):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])

    async def stop() -> None:
        for _ in range(100):
            await asyncio.sleep(0)
            lazy.unload()
            timers.go_on(1)

    await asyncio.gather(stop(), *[work(steps) for steps in range(60) for work in (call, leave)])
    timers.go_on(5)
    assert len(started) > 1
    assert not lazy.loaded
    await lazy.close()
    assert not [engine for engine in started if engine.alive]
    assert lazy.counts.loads == lazy.counts.unloads == len(started)


async def test_closing_waits_for_processes_that_end(timers: HandTimers) -> None:
    """Also for the one whose end a call waits for, to load the model again."""
    gate = asyncio.Event()
    ended: list[Nothing] = []

    class Slow(Nothing):
        async def close(self) -> None:
            await gate.wait()
            await super().close()
            ended.append(self)

    async def start() -> Slow:
        return Slow()

    async def check() -> None:
        pass

    lazy: LazyEngine[Slow] = LazyEngine("m", check, start, keep_alive=0.0, timers=timers)

    async def call() -> Slow:
        async with lazy.use() as engine:
            return engine

    first = await call()
    again = asyncio.create_task(call())
    await asyncio.sleep(0)
    closing = asyncio.create_task(lazy.close())
    with pytest.raises(ProviderUnavailable, match="the server is stopping"):
        await again
    gate.set()
    await closing
    assert ended == [first]


async def test_a_stop_of_a_model_that_cannot_be_loaded_is_forgotten(timers: HandTimers) -> None:
    """The next load that succeeds stays."""
    gate = asyncio.Event()
    failing = True

    async def start() -> Nothing:
        await gate.wait()
        if failing:
            raise LoadFailed("it is damaged")
        return Nothing()

    async def check() -> None:
        lazy.failure = ""

    lazy: LazyEngine[Nothing] = LazyEngine("m", check, start, keep_alive=5.0, timers=timers)

    async def call() -> None:
        async with lazy.use():
            pass

    calling = asyncio.create_task(call())
    await asyncio.sleep(0)
    lazy.unload()
    gate.set()
    with pytest.raises(ProviderUnavailable, match="damaged"):
        await calling
    failing = False
    await call()
    assert lazy.loaded
    assert lazy.counts == LoadCounts(loads=1, load_seconds=lazy.counts.load_seconds)
    await lazy.close()
