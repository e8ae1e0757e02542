"""Two tenants on one server notice nothing of each other: not in time, not in names, not in numbers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import chat_pb2, model_pb2, session_pb2, turn_pb2
from mcp_server.interfaces import Finish
from mcp_server.plugins import built_in
from mcp_server.settings import Config, MetricsSettings, RouteSettings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from tests.auth.keys import NewKey, config_with, new_key
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, user

RED, BLUE = new_key("red"), new_key("blue")
BOTH = (RED, BLUE)


@pytest.fixture(params=["memory", "sqlite"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A server with two tenants, one after the other on every store."""
    store = built_in("stores", request.param)(path=tmp_path / "sessions.db")
    return msgspec.structs.replace(config_with(*BOTH), store=store)


@pytest.fixture
async def wire(serve: Serve, config: Config) -> Wire:
    return await serve(config, providers={"echo": EchoProvider()})


async def create(wire: Wire, key: NewKey, session_id: str = "tour", **fields: Any) -> session_pb2.Session:
    request = session_pb2.CreateSessionRequest(session_id=session_id, **fields)
    session: session_pb2.Session = await wire.sessions.CreateSession(request, metadata=key.metadata)
    return session


async def say(wire: Wire, key: NewKey, text: str, session: str = "", **fields: Any) -> chat_pb2.ChatResponse:
    request = chat_pb2.ChatRequest(session=session, messages=[user(text)], **fields)
    response: chat_pb2.ChatResponse = await wire.chat.Chat(request, metadata=key.metadata)
    return response


async def test_each_tenant_has_names_of_its_own(wire: Wire) -> None:
    """The same session id, with a history of its own; no list shows the other's."""
    sessions = [await create(wire, key) for key in BOTH]
    assert sessions[0].uid != sessions[1].uid
    for key, text in ((RED, "secret of red"), (BLUE, "secret of blue")):
        await say(wire, key, text, "sessions/tour")
    for key, other in ((RED, "blue"), (BLUE, "red")):
        history = await wire.sessions.ListMessages(
            session_pb2.ListMessagesRequest(parent="sessions/tour"), metadata=key.metadata
        )
        assert len(history.messages) == 2
        listed = await wire.sessions.ListSessions(session_pb2.ListSessionsRequest(), metadata=key.metadata)
        assert len(listed.sessions) == 1
        turns = await wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent="sessions/tour"), metadata=key.metadata)
        assert len(turns.turns) == 1
        assert f"secret of {other}" not in f"{history}{listed}{turns}"


async def test_each_tenant_has_request_ids_of_its_own(wire: Wire) -> None:
    """Another's request is neither replayed nor in the way: of chats, with and without a session, and of sessions."""
    for session in ("", "sessions/tour"):
        if session:
            await asyncio.gather(*[create(wire, key, request_id="one") for key in BOTH])
        answers = [await say(wire, key, text, session, request_id="same") for key, text in zip(BOTH, "ab", strict=True)]
        again = [await say(wire, key, text, session, request_id="same") for key, text in zip(BOTH, "ab", strict=True)]
        assert [answer.turn for answer in answers] == [answer.turn for answer in again]
        assert answers[0].turn != answers[1].turn
    with Refused() as refused:
        stream = wire.chat.StreamChat(
            chat_pb2.ChatRequest(messages=[user("c")], request_id="reds", after_sequence=1), metadata=BLUE.metadata
        )
        await collect(stream)
    await say(wire, RED, "c", request_id="reds")
    with Refused() as foreign:
        stream = wire.chat.StreamChat(
            chat_pb2.ChatRequest(messages=[user("c")], request_id="reds", after_sequence=1), metadata=BLUE.metadata
        )
        await collect(stream)
    assert (foreign.reason, foreign.details, foreign.trailers) == ("TURN_NOT_FOUND", refused.details, refused.trailers)


async def test_a_running_turn_is_as_unknown_as_one_that_never_was(serve: Serve, config: Config) -> None:
    """Nobody else can read it, stop it, or learn that its session is busy."""
    gate = Gate()
    models = msgspec.structs.replace(config.models, default="scripted/scripted", default_embedding="")
    provider = ScriptedProvider(["one", gate, Finish()])
    wire = await serve(msgspec.structs.replace(config, models=models), providers={"scripted": provider})
    await create(wire, RED)
    running = asyncio.create_task(say(wire, RED, "hi", "sessions/tour", request_id="same"))
    await gate.reached.wait()
    session = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"), metadata=RED.metadata)
    turn = session.active_turn
    unknown = "sessions/tour/turns/t" + "0" * (len(turn) - len("sessions/tour/turns/t"))

    async def outcomes(name: str, session: str) -> list[tuple[str, Any]]:
        calls = [
            wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name), metadata=BLUE.metadata),
            wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=name), metadata=BLUE.metadata),
            collect(wire.turns.StreamTurn(turn_pb2.StreamTurnRequest(name=name), metadata=BLUE.metadata)),
            say(wire, BLUE, "hi", session),
            say(wire, BLUE, "hi", session, request_id="same"),
            wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=session), metadata=BLUE.metadata),
        ]
        found = []
        for call in calls:
            with Refused() as refused:
                await call
            details: Any = refused.trailers["grpc-status-details-bin"]
            found.append(
                (
                    refused.details.replace(name, "TURN").replace(session, "SESSION"),
                    details.replace(name.encode(), b"TURN").replace(session.encode(), b"SESSION"),
                )
            )
        return found

    assert await outcomes(turn, "sessions/tour") == await outcomes(unknown, "sessions/none")
    gate.open()
    assert (await running).turn == turn


async def test_a_page_token_of_another_tenant_is_no_page_token(wire: Wire) -> None:
    """In every list: it is refused as any other text is."""
    for key in BOTH:
        for name in ("tour", "other"):
            await create(wire, key, name)
        for text in "ab":
            await say(wire, key, text, "sessions/tour")
    lists: list[tuple[Any, Any]] = [
        (wire.sessions.ListSessions, session_pb2.ListSessionsRequest(page_size=1)),
        (wire.sessions.ListMessages, session_pb2.ListMessagesRequest(page_size=1, parent="sessions/tour")),
        (wire.turns.ListTurns, turn_pb2.ListTurnsRequest(page_size=1, parent="sessions/tour")),
    ]
    for method, request in lists:
        token = (await method(request, metadata=RED.metadata)).next_page_token
        assert token
        seen = []
        for text in (token, "x" * len(token)):
            request.page_token = text
            with Refused() as refused:
                await method(request, metadata=BLUE.metadata)
            seen.append((refused.details, refused.trailers))
        assert seen[0] == seen[1]


async def test_metrics_name_no_tenant_session_or_key(serve: Serve, config: Config) -> None:
    """Whoever reads them learns nothing about who calls."""
    config = msgspec.structs.replace(config, metrics=MetricsSettings(address="127.0.0.1:0"))
    wire = await serve(config, providers={"echo": EchoProvider()})
    await create(wire, RED, "tellingly")
    await say(wire, RED, "hi", "sessions/tellingly")
    with Refused():
        await say(wire, BLUE, "hi", "sessions/tellingly")
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{wire.server.metrics_port}/metrics") as answer,
    ):
        text = await answer.text()
    assert "grpc_server" in text
    for told in ("tellingly", '"red"', '"blue"', RED.id, BLUE.id, RED.secret):
        assert told not in text


async def test_health_of_providers_needs_the_scope_and_shows_only_those_that_a_key_may_use(
    serve: Serve,
) -> None:
    """An unknown provider and one whose models are not for the key look alike."""
    keys = {"all": new_key("red"), "none": new_key("red", ["chat"]), "own": new_key("red", models=("echo/*",))}
    wire = await serve(config_with(*keys.values()), providers={"echo": EchoProvider(), "other": EchoProvider()})

    async def check(service: str, metadata: Any) -> str:
        try:
            answer = await wire.health.Check(health_pb2.HealthCheckRequest(service=service), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    for service in ("providers/echo", "providers/other", "providers/unknown"):
        assert await check(service, ()) == "UNAUTHENTICATED"
        assert await check(service, keys["none"].metadata) == "PERMISSION_DENIED"
    assert await check("providers/other", keys["all"].metadata) == "SERVING"
    assert await check("providers/echo", keys["own"].metadata) == "SERVING"
    assert await check("providers/other", keys["own"].metadata) == "NOT_FOUND"
    assert await check("providers/unknown", keys["own"].metadata) == "NOT_FOUND"
    listed = await wire.health.List(health_pb2.HealthListRequest(), metadata=keys["own"].metadata)
    assert [name for name in listed.statuses if name.startswith("providers/")] == ["providers/echo"]
    for metadata, code in (((), "UNAUTHENTICATED"), (keys["none"].metadata, "PERMISSION_DENIED")):
        watch = wire.health.Watch(health_pb2.HealthCheckRequest(service="providers/echo"), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await watch.read()
        assert refused.value.code().name == code


async def test_patterns_of_models_know_only_the_star(serve: Serve) -> None:
    """Every other character stands for itself."""
    key = new_key("red", models=("[e]cho/echo", "?cho/echo"))
    wire = await serve(config_with(key), providers={"echo": EchoProvider()})
    listed = await wire.models.ListModels(model_pb2.ListModelsRequest(), metadata=key.metadata)
    assert not listed.models
    with Refused() as refused:
        await say(wire, key, "hi", model="echo/echo")
    assert refused.reason == "NOT_ALLOWED"


async def test_a_model_that_a_key_may_not_use_is_as_unknown_as_one_that_does_not_exist(serve: Serve) -> None:
    """By full name, alias and route; what is within the key's patterns and does not exist is said to be missing."""
    key = new_key("red", models=("echo/*",))
    config = config_with(key)
    models = msgspec.structs.replace(
        config.models,
        aliases={"alias": "other/echo"},
        routes={
            "route": RouteSettings(targets=("other/echo",)),
            "both": RouteSettings(targets=("other/echo", "echo/echo")),
        },
    )
    config = msgspec.structs.replace(config, models=models)
    wire = await serve(config, providers={"echo": EchoProvider(), "other": EchoProvider()})

    async def refusal(model: str) -> tuple[str, str, Any]:
        with Refused() as refused:
            await say(wire, key, "hi", model=model)
        details: Any = refused.trailers["grpc-status-details-bin"]
        return refused.reason, refused.details.replace(model, "MODEL"), details.replace(model.encode(), b"MODEL")

    for real, imagined in (("other/echo", "other/none"), ("alias", "saila"), ("route", "etour")):
        assert await refusal(real) == await refusal(imagined)
        assert (await refusal(real))[0] == "NOT_ALLOWED"
        assert "choose one of echo/echo" in (await refusal(real))[1]
    reason, message, _ = await refusal("echo/none")
    assert (reason, "choose one of echo/echo" in message, "other" in message) == ("MODEL_NOT_FOUND", True, False)
    assert (await say(wire, key, "hi", model="both")).turn
