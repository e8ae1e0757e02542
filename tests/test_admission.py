"""Admission is asked before a turn is claimed, and a permit is held as long as its work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, embedding_pb2, turn_pb2
from mcp_server.errors import QuotaExceeded
from mcp_server.interfaces import Call, Finish, Work
from mcp_server.principal import ANONYMOUS, Principal
from mcp_server.settings import AdmissionSettings, Config
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, deltas, text_of, user


class Counting:
    """Grants permits while it is open, and counts those that are held."""

    def __init__(self) -> None:
        self.open = True
        self.held = 0
        self.asked: list[Work] = []
        self.free = asyncio.Event()

    async def admit(self, principal: Principal, work: Work, /) -> Counting:
        assert principal == ANONYMOUS
        self.asked.append(work)
        if not self.open:
            raise QuotaExceeded("the quota of this minute is used up", retry_after=30)
        self.held += 1
        self.free.clear()
        return self

    def release(self) -> None:
        self.held -= 1
        if not self.held:
            self.free.set()


@pytest.fixture
def admission() -> Counting:
    return Counting()


def ask(text: str = "Hello", **fields: object) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(messages=[user(text)], **fields)  # type: ignore[arg-type]  # fields of the message


async def test_a_permit_is_held_as_long_as_its_turn(serve: Serve, admission: Counting) -> None:
    """Whoever reads it, and however it ends."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()], [ValueError("a bug")])
    wire = await serve(providers={"scripted": provider}, admission=admission)
    stream = wire.chat.StreamChat(ask(request_id="r"))
    await gate.reached.wait()
    assert admission.held == 1
    gate.open()
    await collect(stream)
    await admission.free.wait()
    with Refused() as refused:
        await wire.chat.Chat(ask())
    assert refused.reason == "INTERNAL"
    await admission.free.wait()
    assert [work.service for work in admission.asked] == ["chat", "chat"]


async def test_a_refusal_comes_before_anything_is_stored(serve: Serve, admission: Counting) -> None:
    """No turn, no call to a provider, and the caller learns when to try again."""
    provider = ScriptedProvider.saying("never")
    wire = await serve(providers={"scripted": provider}, admission=admission)
    await wire.create()
    admission.open = False
    with Refused() as refused:
        await wire.chat.Chat(ask(session="sessions/tour", request_id="r"))
    assert (refused.reason, refused.code.name, refused.retry_after) == ("QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED", 30)
    listed = await wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent="sessions/tour"))
    assert (len(listed.turns), provider.requests) == (0, [])


async def test_what_a_request_began_before_is_found_all_the_same(serve: Serve, admission: Counting) -> None:
    """Running or ended: a replay takes nothing."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()])
    wire = await serve(providers={"scripted": provider}, admission=admission)
    first = wire.chat.StreamChat(ask(request_id="r"))
    await gate.reached.wait()
    admission.open = False
    second = wire.chat.StreamChat(ask(request_id="r"))
    assert (await second.read()).HasField("started")
    gate.open()
    assert deltas(await collect(second)) == deltas(await collect(first)) == "one two"
    assert text_of((await wire.chat.Chat(ask(request_id="r"))).completed.message) == "one two"
    admission.open = True
    assert text_of((await wire.chat.Chat(ask(request_id="r"))).completed.message) == "one two"
    await admission.free.wait()
    assert len(provider.requests) == 1


async def test_embeddings_are_admitted_too(serve: Serve, admission: Counting) -> None:
    """They hold a permit while they run."""
    wire: Wire = await serve(providers={"echo": EchoProvider()}, admission=admission)
    request = embedding_pb2.EmbedRequest(inputs=["a"], model="echo/echo")
    await wire.embedding.Embed(request)
    assert (admission.held, [work.service for work in admission.asked]) == (0, ["embedding"])
    admission.open = False
    with Refused() as refused:
        await wire.embedding.Embed(request)
    assert refused.reason == "QUOTA_EXCEEDED"


async def test_a_refused_session_stays_free(serve: Serve, admission: Counting) -> None:
    """A turn that is refused in its claim gives its permit back."""
    gate = Gate()
    wire = await serve(providers={"s": ScriptedProvider(["one", gate, Finish()])}, admission=admission)
    await wire.create()
    stream = wire.chat.StreamChat(ask(session="sessions/tour"))
    await gate.reached.wait()
    with Refused() as refused:
        await wire.chat.Chat(ask(session="sessions/tour"))
    assert refused.reason == "SESSION_BUSY"
    gate.open()
    await collect(stream)
    await admission.free.wait()
    assert admission.held == 0


async def test_a_permit_of_a_request_that_is_refused_at_once_is_given_back(serve: Serve, admission: Counting) -> None:
    """Such as one whose request_id belongs to another request."""
    gate = Gate()
    wire = await serve(providers={"s": ScriptedProvider(["one", gate, Finish()])}, admission=admission)
    stream = wire.chat.StreamChat(ask(request_id="r"))
    await gate.reached.wait()
    with Refused() as refused:
        await wire.chat.Chat(ask("Something else", request_id="r"))
    assert (refused.reason, admission.held) == ("REQUEST_ID_REUSED", 1)
    gate.open()
    await collect(stream)
    await admission.free.wait()


async def test_a_permit_that_cannot_be_given_back_changes_no_answer(serve: Serve) -> None:
    """Neither that of a new request, nor that of one whose turn runs already."""

    class Broken(Counting):
        def release(self) -> None:
            raise OSError("the counter cannot be reached")

    gate = Gate()
    providers = {"s": ScriptedProvider(["one", gate, Finish()]), "echo": EchoProvider()}
    wire = await serve(providers=providers, admission=Broken())
    first = wire.chat.StreamChat(ask(request_id="r", model="s/scripted"))
    await gate.reached.wait()
    second = wire.chat.StreamChat(ask(request_id="r", model="s/scripted"))
    assert (await second.read()).HasField("started")
    with Refused() as refused:
        await wire.chat.Chat(ask("Something else", request_id="r", model="s/scripted"))
    assert refused.reason == "REQUEST_ID_REUSED"
    gate.open()
    assert deltas(await collect(second)) == deltas(await collect(first)) == "one"
    await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["a"], model="echo/echo"))


def limited(turns: int, *, queue_timeout: float = 0.0) -> Config:
    """A server that runs so many turns at a time, and lets further ones wait so long."""
    admission = AdmissionSettings(max_turns=turns, queue_timeout=queue_timeout)
    return msgspec.structs.replace(settings(default_model="scripted/scripted"), admission=admission)


async def test_more_turns_than_configured_are_refused_until_one_has_ended(serve: Serve) -> None:
    """OVERLOADED, with the time to try again for every client; what runs is found all the same."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()], ["more", Finish()], ["more", Finish()])
    wire = await serve(limited(1), providers={"scripted": provider, "echo": EchoProvider()})
    stream = wire.chat.StreamChat(ask(request_id="r"))
    await gate.reached.wait()
    embed = embedding_pb2.EmbedRequest(inputs=["a"], model="echo/echo")
    for method, request in ((wire.chat.Chat, ask(request_id="s")), (wire.embedding.Embed, embed)):
        with Refused() as refused:
            await method(request)
        assert (refused.reason, refused.code.name, refused.retry_after) == ("OVERLOADED", "RESOURCE_EXHAUSTED", 1)
        assert refused.trailers["grpc-retry-pushback-ms"] == "1000"
        assert refused.metadata == {"limit": "max_turns"}
    again = wire.chat.StreamChat(ask(request_id="r"))
    gate.open()
    assert deltas(await collect(stream)) == deltas(await collect(again)) == "one two"
    await wire.server.idle()
    for request_id in ("s", "t"):
        assert text_of((await wire.chat.Chat(ask(request_id=request_id))).completed.message) == "more"
        await wire.server.idle()
    await wire.embedding.Embed(embed)


async def test_a_call_waits_until_a_turn_has_ended(serve: Serve) -> None:
    """What runs already is found without waiting, and a caller that leaves while it waits begins nothing."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()], ["more", Finish()])
    left = asyncio.Event()

    @asynccontextmanager
    async def noting(call: Call) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if call.code == "CANCELLED":
                left.set()

    wire = await serve(limited(1, queue_timeout=60), providers={"scripted": provider}, middleware=[noting])
    running = wire.chat.StreamChat(ask(request_id="r"))
    await gate.reached.wait()
    leaving = wire.chat.Chat(ask(request_id="s"))
    waiting = wire.chat.StreamChat(ask(request_id="t"))
    again = wire.chat.StreamChat(ask(request_id="r"))
    assert (await again.read()).HasField("started")
    with Refused() as refused:
        await wire.chat.Chat(ask("Something else", request_id="r"))
    assert refused.reason == "REQUEST_ID_REUSED"
    with Refused() as refused:
        await wire.chat.Chat(ask(request_id="u"), timeout=0.1)
    assert refused.code.name == "DEADLINE_EXCEEDED"
    await left.wait()
    left.clear()
    leaving.cancel()
    await left.wait()
    gate.open()
    assert deltas(await collect(running)) == "one two"
    assert deltas(await collect(waiting)) == "more"
    assert len(provider.requests) == 2


async def test_a_limit_counts_what_a_further_admission_grants_alone(serve: Serve, admission: Counting) -> None:
    """What that refuses, or cannot give back, takes no place."""

    class Broken(Counting):
        def release(self) -> None:
            raise OSError("the counter cannot be reached")

    for further in (admission, Broken()):
        wire = await serve(limited(1), providers={"scripted": ScriptedProvider.saying("ok")}, admission=further)
        further.open = False
        with Refused() as refused:
            await wire.chat.Chat(ask())
        assert refused.reason == "QUOTA_EXCEEDED"
        further.open = True
        for _ in range(2):
            assert text_of((await wire.chat.Chat(ask())).completed.message) == "ok"
            await wire.server.idle()
