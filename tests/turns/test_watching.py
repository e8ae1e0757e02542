"""Those who watch a session: how they keep up, and what they are told when they do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from mcp_server.errors import SessionNotFound
from mcp_server.gateway import Gateway, SessionWatch
from mcp_server.interfaces import NO_LOOK_UP, Changed, Decide, LookUp
from mcp_server.principal import ANONYMOUS
from mcp_server.stores.memory import MemoryStore
from mcp_server.testing import EchoProvider
from mcp_server.values import (
    MessagesAppended,
    SessionCurrent,
    SessionDraft,
    SessionEvent,
    SessionUpdate,
    SessionUpdated,
)
from tests.gateways import gateway_of
from tests.turns.test_tools import user


class SlowStore(MemoryStore):
    """Holds changes back until it is told to let them go."""

    def __init__(self) -> None:
        super().__init__()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.writing = asyncio.Event()

    async def change(self, tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
        self.writing.set()
        await self.may_write.wait()
        return await super().change(tenant, session, decide, look_up)


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
async def gateway(store: SlowStore) -> AsyncIterator[Gateway]:
    """A gateway with one session."""
    async with gateway_of({"echo": EchoProvider()}, "echo/echo", store) as gateway:
        await gateway.create_session(ANONYMOUS, "s", SessionDraft())
        yield gateway


async def label(gateway: Gateway, value: str) -> None:
    await gateway.update_session(ANONYMOUS, "s", SessionUpdate(fields={"labels": {"n": value}}))


class Events:
    """The events of a watch."""

    def __init__(self, watch: SessionWatch) -> None:
        self._events = aiter(watch)

    async def next(self) -> SessionEvent:
        _, event = await asyncio.wait_for(anext(self._events), 10)
        return event

    async def none(self) -> bool:
        """Whether nothing is there to be read."""
        task = asyncio.ensure_future(anext(self._events))
        for _ in range(10):
            await asyncio.sleep(0)
        done = task.done()
        task.cancel()
        return not done


async def test_a_slow_reader_gets_the_current_state_instead(gateway: Gateway) -> None:
    """Once, and then what follows; no writer waits for it."""
    with await gateway.watch_session(ANONYMOUS, "s") as watch:
        events = Events(watch)
        await events.next()
        for number in range(200):
            await label(gateway, f"{number}")
        current = await events.next()
        assert isinstance(current, SessionCurrent)
        assert current.session.labels == {"n": "199"}
        await label(gateway, "last")
        updated = await events.next()
        assert isinstance(updated, SessionUpdated)
        assert updated.session.labels == {"n": "last"}
        assert await events.none()


async def test_what_the_first_event_shows_is_not_told_again(gateway: Gateway) -> None:
    """Changes between the call and its first event are part of that event."""
    with await gateway.watch_session(ANONYMOUS, "s") as watch:
        await gateway.append_messages(ANONYMOUS, "s", [user()])
        events = Events(watch)
        current = await events.next()
        assert isinstance(current, SessionCurrent)
        assert current.session.message_count == 1
        assert await events.none()


async def test_a_change_whose_caller_has_left_is_told(gateway: Gateway, store: SlowStore) -> None:
    """It is written all the same."""
    with await gateway.watch_session(ANONYMOUS, "s") as watch:
        events = Events(watch)
        await events.next()
        store.may_write.clear()
        store.writing.clear()
        call = asyncio.create_task(gateway.append_messages(ANONYMOUS, "s", [user()]))
        await store.writing.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        store.may_write.set()
        assert await events.next() == MessagesAppended(first_index=0, message_count=1)


async def test_a_session_that_is_deleted_before_the_first_event_was_never_there(gateway: Gateway) -> None:
    """The call then ends without any event."""
    with await gateway.watch_session(ANONYMOUS, "s") as watch:
        await gateway.delete_session(ANONYMOUS, "s")
        with pytest.raises(SessionNotFound):
            await Events(watch).next()


async def test_nothing_is_kept_of_watches_that_have_ended(gateway: Gateway) -> None:
    """However they end."""
    hub = gateway._turns._watches.hub
    with await gateway.watch_session(ANONYMOUS, "s") as watch:
        await Events(watch).next()
        assert len(list(hub)) == 1
    assert list(hub) == []
    with await gateway.watch_session(ANONYMOUS, "s"):
        await gateway.delete_session(ANONYMOUS, "s")
        assert list(hub) == []
    assert not hub._callers
