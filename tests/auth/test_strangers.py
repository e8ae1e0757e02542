"""Every RPC, called by every kind of stranger, through a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import chat_pb2, key_pb2, session_pb2
from mcp_server.middleware.authentication import failures
from mcp_server.middleware.authentication.scopes import RULES
from mcp_server.settings import WebSettings
from mcp_server.testing import EchoProvider
from mcp_server.values import SCOPES
from mcp_server.values.key_secret import new_key_id, new_secret
from tests.auth.keys import Metadata, Outcome, bearer, config_with, invoke, new_key
from tests.auth.rpcs import CASES, Case, Names, rpcs, served
from tests.conftest import Serve
from tests.web.connect.client import Client, WebChannel
from tests.wire import Wire, user

ALL = new_key("red")
"""A key of the tenant with everything, for everything."""
EXPIRED = new_key("red", expires=-1)
BLUE = new_key("blue", [scope for scope in SCOPES if scope != "operator"])
"""A key of another tenant."""
NO_MODEL = new_key("red", models=("other/*",))
LACKING = {scope: new_key("red", [each for each in SCOPES if each != scope]) for scope in SCOPES}
"""Keys that lack one scope."""
ONLY = {scope: new_key("red", [scope]) for scope in SCOPES}
"""Keys with one scope."""


class House(NamedTuple):
    """A server with two tenants, and what belongs to the first."""

    wire: Wire
    channel: Any
    """What the calls go over."""
    names: Names
    revoked: str
    """The secret of a revoked key."""


@pytest.fixture(params=["grpc", "connect", "grpc-web"])
async def house(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[House]:
    """A session with a turn, a turn without a session, and a key, all of the tenant red."""
    monkeypatch.setattr(failures, "MAX_DELAY", 0.0)
    keys = (ALL, EXPIRED, BLUE, NO_MODEL, *LACKING.values(), *ONLY.values())
    config = config_with(*keys, stored_keys=True, first_key_file=tmp_path / "first")
    config = msgspec.structs.replace(config, web=WebSettings(address="127.0.0.1:0"))
    wire = await serve(config, providers={"echo": EchoProvider()})
    create: Any = key_pb2.CreateKeyRequest
    await wire.sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="tour"), metadata=ALL.metadata)
    turn = await _chat(wire, session="sessions/tour")
    free_turn = await _chat(wire)
    secrets = []
    for _ in range(2):
        created = await wire.keys.CreateKey(create(key=key_pb2.Key(scopes=["chat"])), metadata=ALL.metadata)
        secrets.append(created)
    await wire.keys.RevokeKey(key_pb2.RevokeKeyRequest(name=secrets[0].key.name), metadata=ALL.metadata)
    async with Client(wire.server.web_address) as client:
        channel = wire.channel if request.param == "grpc" else _Both(wire.channel, WebChannel(client, request.param))
        names = Names("sessions/tour", turn, free_turn, secrets[1].key.name)
        yield House(wire, channel, names, secrets[0].secret)


class _Both(NamedTuple):
    """The HTTP edge, and gRPC for reflection, which only gRPC has."""

    grpc: Any
    web: WebChannel

    async def invoke(self, method: MethodDescriptor, request: Message | bytes, metadata: Metadata) -> Outcome:
        if method.containing_service.full_name.startswith("grpc.reflection."):
            return await invoke(self.grpc, method, request, metadata)
        return await self.web.invoke(method, request, metadata)


async def _chat(wire: Wire, **fields: Any) -> str:
    answer = await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("hi")], **fields), metadata=ALL.metadata)
    return str(answer.turn)


async def test_every_rpc_has_a_case_and_a_rule(wire: Wire) -> None:
    """An RPC that is added to the contract must say here who may call it."""
    listed = set((await wire.health.List(health_pb2.HealthListRequest())).statuses) - {"", "providers/echo"}
    assert listed == {service.full_name for service in served() if not service.full_name.startswith("grpc.")}
    methods = {(service.full_name, method.name) for service in served() for method in service.methods}
    assert {(service, method) for service, cases in CASES.items() for method in cases} == methods
    for service, method in methods:
        case = CASES[service][method]
        assert RULES[service, method] == (None if case.open else case.scopes)


STRANGERS: dict[str, Callable[[House], Metadata]] = {
    "malformed": lambda house: bearer("ctx_x"),
    "unknown": lambda house: bearer(new_secret(new_key_id())),
    "wrong secret": lambda house: bearer(new_secret(ALL.id)),
    "wrong secret of a stored key": lambda house: bearer(new_secret(house.names.key.removeprefix("keys/"))),
    "revoked": lambda house: bearer(house.revoked),
    "expired": lambda house: EXPIRED.metadata,
}
"""Credentials that are not valid."""


async def test_who_has_no_credentials_gets_in_nowhere(house: House) -> None:
    """Only the health of the server and of its services is open, and what is sent is not decoded."""
    answers = await _each(house, lambda method, case: b"\xff\xff" if not case.open else b"", ())
    for path, (case, outcome) in answers.items():
        assert outcome.code == ("OK" if case.open else "UNAUTHENTICATED"), path
    refusals = {outcome[:3] for case, outcome in answers.values() if not case.open}
    assert len(refusals) == 1
    assert "BAD_CREDENTIALS" in next(iter(answers.values()))[1].reason


@pytest.mark.parametrize("kind", STRANGERS)
async def test_bad_credentials_get_in_nowhere_and_learn_nothing(house: House, kind: str) -> None:
    """Whatever is wrong with a key, the answer is the same, byte for byte."""
    answers = await _each(house, lambda method, case: b"\xff\xff", STRANGERS[kind](house))
    assert {outcome[:3] for _, outcome in answers.values()} == {
        ("UNAUTHENTICATED", "the API key is not valid", next(iter(answers.values()))[1].details)
    }
    reference = await invoke(house.channel, next(rpcs())[0], b"", bearer("ctx_"))
    assert next(iter(answers.values()))[1] == reference


@pytest.mark.parametrize(
    "metadata", [(*ALL.metadata, *ALL.metadata), (*ALL.metadata, *BLUE.metadata), (("authorization", "Basic eDp5"),)]
)
async def test_two_credentials_or_another_kind_get_in_nowhere(house: House, metadata: Metadata) -> None:
    """Nobody has to guess for whom a call is made."""
    answers = await _each(house, lambda method, case: b"", metadata)
    refused = {path for path, (_, outcome) in answers.items() if outcome.code == "UNAUTHENTICATED"}
    open_ones = {path for path, (case, _) in answers.items() if case.open}
    assert refused == answers.keys() - (open_ones if metadata[0][1].startswith("Basic") else set())


async def test_a_key_without_the_scope_is_refused_and_one_with_only_that_scope_is_not(house: House) -> None:
    """Permission comes before everything that the request says."""
    wrong = {}
    for method, case in rpcs():
        for scope in SCOPES:
            lacking = await invoke(house.channel, method, b"\xff\xff", LACKING[scope].metadata)
            refused = lacking.code == "PERMISSION_DENIED" and "NOT_ALLOWED" in lacking.reason
            if refused != (case.scopes == {scope}):
                wrong[f"{method.full_name} without {scope}"] = lacking
        for scope in SCOPES:
            only = await invoke(house.channel, method, b"\xff\xff", ONLY[scope].metadata)
            if (only.code == "PERMISSION_DENIED") != (bool(case.scopes) and scope not in case.scopes):
                wrong[f"{method.full_name} with only {scope}"] = only
    assert wrong == {}


async def test_what_is_another_tenants_does_not_exist(house: House) -> None:
    """A foreign name and an unknown one get the same answer, byte for byte but for the name."""
    wrong = {}
    unknown = house.names.unknown()
    for method, case in rpcs():
        foreign = await invoke(house.channel, method, case.request(house.names), BLUE.metadata)
        if not case.foreign:
            if foreign.code != "OK" or "tour" in str(foreign.responses) or "red" in str(foreign.responses):
                wrong[method.full_name] = foreign
            continue
        missing = await invoke(house.channel, method, case.request(unknown), BLUE.metadata)
        if case.foreign not in foreign.reason or _renamed(foreign, house.names) != missing:
            wrong[method.full_name] = foreign
    assert wrong == {}
    # Nothing was changed on the way.
    mine = await house.wire.sessions.GetSession(
        session_pb2.GetSessionRequest(name="sessions/tour"), metadata=ALL.metadata
    )
    assert (mine.message_count, dict(mine.labels)) == (2, {})


def _renamed(outcome: Outcome, names: Names) -> Outcome:
    """The outcome with other names, of the same length."""
    message, details = outcome.message, outcome.details
    for name, other in sorted(zip(names, names.unknown(), strict=True), reverse=True):
        message, details = message.replace(name, other), details.replace(name.encode(), other.encode())
    return outcome._replace(message=message, details=details)


async def test_a_model_that_a_key_may_not_use_is_refused(house: House) -> None:
    """In every call that uses one, and no list shows it."""
    wrong = {}
    for method, case in rpcs():
        outcome = await invoke(house.channel, method, case.request(house.names), NO_MODEL.metadata)
        if case.model and not (outcome.code == "PERMISSION_DENIED" and "NOT_ALLOWED" in outcome.reason):
            wrong[method.full_name] = outcome
        if method.name in ("ListModels", "List") and "echo" in str(outcome.responses):
            wrong[method.full_name] = outcome
    assert wrong == {}


async def _each(
    house: House, request: Callable[[MethodDescriptor, Case], bytes], metadata: Metadata
) -> dict[str, tuple[Case, Outcome]]:
    """How every RPC answers."""
    return {
        method.full_name: (case, await invoke(house.channel, method, request(method, case), metadata))
        for method, case in rpcs()
    }
