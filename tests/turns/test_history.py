"""A turn reads no more of a history than its models can use, and keeps none of it while it waits for them."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest

from mcp_server.errors import ContextTooLong, ProviderUnavailable
from mcp_server.gateway import ChatInput, Gateway, TurnOptions
from mcp_server.interfaces import (
    NO_LOOK_UP,
    Change,
    Changed,
    Decide,
    Finish,
    GenerateRequest,
    LookUp,
    ProviderEvent,
    Store,
    Stored,
)
from mcp_server.principal import ANONYMOUS
from mcp_server.sessions.changes import appended
from mcp_server.stores.memory import MemoryStore
from mcp_server.stores.sqlite.store import SQLiteStore
from mcp_server.testing import ScriptedProvider
from mcp_server.values import Blob, Capabilities, Message, Model, Role, SessionDraft, Started, Switched, Text, Window
from tests.gateways import gateway_of

MIB: Final = 1024 * 1024
CHAT: Final = Capabilities(chat=True, images=True)


def spoken(role: Role, text: str) -> Message:
    return Message(role=role, parts=(Text(text=text),))


def exchanges(count: int, size: int) -> tuple[Message, ...]:
    """Questions and answers with so many characters each."""
    return tuple([spoken((Role.USER, Role.ASSISTANT)[n % 2], f"{n:5}" * (size // 5)) for n in range(2 * count)])


class SlowProvider:
    """Keeps nothing of a request, and answers when it may."""

    def __init__(self, context_window: int) -> None:
        self.model = Model(name="slow", capabilities=CHAT, context_window=context_window)
        self.gate = asyncio.Event()
        self.waiting = asyncio.Semaphore(0)
        self.received = 0

    async def models(self) -> Sequence[Model]:
        return [self.model]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        self.received = sum(len(message.text) for message in request.messages)
        del request
        self.waiting.release()
        await self.gate.wait()
        yield "Done."
        yield Finish()

    async def close(self) -> None:
        return


class CountedReads(MemoryStore):
    """Notes how much is read of histories.

    Attributes:
        sizes: how many bytes were enough for each read of the end of a history.
        further: how many messages were read further back.
        limit: how many messages have that many bytes.
    """

    def __init__(self, limit: int = 10_000) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.further = 0
        self.limit = limit

    async def change(self, tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
        changed = await super().change(tenant, session, decide, look_up)
        if changed.messages:
            changed = msgspec.structs.replace(changed, messages=changed.messages[-self.limit :])
            self.sizes.append(changed.change.read_bytes)
        return changed

    async def messages(self, tenant: str, uid: str, start: int, stop: int, /) -> Sequence[Message]:
        messages = await super().messages(tenant, uid, start, stop)
        self.further += len(messages)
        return messages


async def fill(gateway: Gateway, store: Store, name: str, messages: tuple[Message, ...]) -> None:
    """A session with that history, without the limits of requests."""
    await gateway.create_session(ANONYMOUS, name, SessionDraft())

    def decide(stored: Stored) -> Change:
        assert stored.session is not None
        session, added = appended(stored.session, messages, 1)
        return Change(session=session, append=added)

    await store.change(ANONYMOUS.tenant, name, decide)


async def ask(gateway: Gateway, session: str, *, truncate: bool = True, model: str = "") -> Window:
    """One chat; returns the window of the call that answered."""
    chat = ChatInput(
        options=TurnOptions(session=session, model=model), messages=(spoken(Role.USER, "And?"),), truncate=truncate
    )
    window = Window()
    with await gateway.chat(ANONYMOUS, chat) as reader:
        async for _, event in reader:
            if isinstance(event, Started | Switched):
                window = event.window
    return window


@pytest.mark.parametrize("context_window", [0, 128_000])
async def test_turns_that_wait_for_a_slow_provider_keep_no_history(tmp_path: Path, context_window: int) -> None:
    """Ten turns on forks of 30 MiB need little more memory than one; they took as much each."""
    store = SQLiteStore(tmp_path / "store.db")
    provider = SlowProvider(context_window)
    async with gateway_of({"p": provider}, "p/slow", store) as gateway:
        await fill(gateway, store, "long", exchanges(50, MIB * 3 // 10))
        for number in range(10):
            await gateway.fork_session(ANONYMOUS, "long", new_id=f"fork-{number}")
        await gateway.get_session(ANONYMOUS, "long")
        gc.collect()
        tracemalloc.start()
        try:
            turns = [asyncio.create_task(ask(gateway, f"fork-{number}")) for number in range(10)]
            for _ in turns:
                await provider.waiting.acquire()
            await gateway.get_session(ANONYMOUS, "long")
            used, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        provider.gate.set()
        windows = await asyncio.gather(*turns)
    assert used < 12 * MIB
    assert provider.received > 25 * MIB if context_window == 0 else provider.received < MIB
    assert all(window.used_messages + window.dropped_messages == 100 for window in windows)


async def test_no_more_is_read_than_the_window_can_use() -> None:
    """Of a hundred messages of some 2,500 tokens, a window of 10,000 has room for three or four."""
    store = CountedReads()
    provider = ScriptedProvider(["Yes.", Finish()], model=Model(name="m", capabilities=CHAT, context_window=10_000))
    async with gateway_of({"p": provider}, "p/m", store) as gateway:
        await fill(gateway, store, "s", exchanges(50, 10_000))
        window = await ask(gateway, "s")
    assert 1 <= window.used_messages <= 4
    assert store.sizes == [80_000]
    assert store.further == 0


async def test_a_fallback_with_a_larger_window_reads_the_history_again() -> None:
    """It is shown as much as if it had been asked at once."""
    store = CountedReads()
    small = Model(name="small", capabilities=CHAT, context_window=10_000)
    large = Model(name="large", capabilities=CHAT, context_window=1_000_000)
    down = ScriptedProvider([ProviderUnavailable("down")], model=small)
    answers = ScriptedProvider(["Yes.", Finish()], model=large)
    async with gateway_of(
        {"a": down, "b": answers}, "a/small", store, routes={"both": ("a/small", "b/large")}
    ) as gateway:
        await fill(gateway, store, "s", exchanges(50, 10_000))
        window = await ask(gateway, "s", model="both")
    assert window.used_messages == 100
    assert len(down.requests[0].messages) <= 5
    assert len(answers.requests[0].messages) == 101


async def test_images_that_fit_the_window_are_read_although_they_are_large() -> None:
    """A model counts some 1,000 tokens for an image, whatever its size."""
    store = CountedReads(limit=2)
    provider = ScriptedProvider(["Yes.", Finish()], model=Model(name="m", capabilities=CHAT, context_window=100_000))
    image = Message(role=Role.USER, parts=(Blob(mime_type="image/png", data=bytes(500_000)),))
    async with gateway_of({"p": provider}, "p/m", store) as gateway:
        await fill(gateway, store, "s", (image, spoken(Role.ASSISTANT, "Nice.")) * 20)
        window = await ask(gateway, "s")
    assert window.used_messages == 40
    assert store.further == 38


async def test_a_history_that_must_not_be_cut_and_does_not_fit_is_refused_by_its_tokens() -> None:
    """Whether all of it was read or not."""
    store = CountedReads(limit=10)
    provider = ScriptedProvider(["Yes.", Finish()], model=Model(name="m", capabilities=CHAT, context_window=10_000))
    async with gateway_of({"p": provider}, "p/m", store) as gateway:
        await fill(gateway, store, "s", exchanges(50, 10_000))
        with pytest.raises(ContextTooLong, match="allow truncation") as refused:
            await ask(gateway, "s", truncate=False)
    assert refused.value.metadata["limit"] == "10000"
