"""Health and reflection: what every gRPC tool expects to find."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish, LoadCounts, LoadedModel
from mcp_server.settings import AdmissionSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from mcp_server.values import Capabilities, Model, ModelState
from tests.conftest import Serve
from tests.wire import Refused, Wire

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

SERVICES = {
    "contextprotocol.v1.ChatService",
    "contextprotocol.v1.CompletionService",
    "contextprotocol.v1.EmbeddingService",
    "contextprotocol.v1.KeyService",
    "contextprotocol.v1.ModelService",
    "contextprotocol.v1.SessionService",
    "contextprotocol.v1.TurnService",
    "contextprotocol.v1.UsageService",
}


async def check(wire: Wire, service: str = "") -> int:
    response: Any = await wire.health.Check(health_pb2.HealthCheckRequest(service=service))
    return int(response.status)


async def test_health_knows_the_server_its_services_and_its_providers(wire: Wire) -> None:
    """List names them all, and Check answers for each."""
    listed = (await wire.health.List(health_pb2.HealthListRequest())).statuses
    assert set(listed) == {"", "providers/echo", *SERVICES}
    for name, response in listed.items():
        assert response.status == SERVING
        assert await check(wire, name) == SERVING


class Hanging(ScriptedProvider):
    """A provider that does not even list its models.

    Args:
        others: passes when all such providers are asked at a time.
        together: is set then.
    """

    def __init__(self, others: asyncio.Barrier, together: asyncio.Event) -> None:
        super().__init__()
        self._others = others
        self._together = together

    async def models(self) -> Sequence[Model]:
        """Never returns."""
        await self._others.wait()
        self._together.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_health_answers_at_once_while_the_server_is_full_and_providers_are_dead(serve: Serve) -> None:
    """A provider shows on its own name alone, however many hang; no check asks a model for anything."""
    gate = Gate()
    busy = ScriptedProvider([gate, "a", Finish()])
    config = settings(default_model="busy/scripted")
    config = msgspec.structs.replace(config, admission=AdmissionSettings(max_turns=1))
    barrier, together = asyncio.Barrier(5), asyncio.Event()
    dead = {f"dead{number}": Hanging(barrier, together) for number in range(5)}
    wire = await serve(config, providers={"busy": busy, **dead})
    running = asyncio.ensure_future(wire.say("hello", session=""))
    await gate.reached.wait()
    with Refused() as refused:
        await wire.say("hello", session="")
    assert refused.reason == "OVERLOADED"
    together.clear()
    assert await check(wire, "") == await check(wire, "contextprotocol.v1.ChatService") == SERVING
    assert not together.is_set()
    assert not barrier.n_waiting  # none of the dead ones was asked
    statuses = (await wire.health.List(health_pb2.HealthListRequest())).statuses
    assert together.is_set()  # all of them were, at a time
    wrong = {name for name, response in statuses.items() if response.status != SERVING}
    assert wrong == {f"providers/{name}" for name in dead}
    assert len(busy.requests) == 1
    gate.open()
    await running


async def test_health_of_an_unknown_service_is_not_found(wire: Wire) -> None:
    """Check says NOT_FOUND, Watch says SERVICE_UNKNOWN and stays, as the specification has it."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await check(wire, "nothing")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    watch = wire.health.Watch(health_pb2.HealthCheckRequest(service="nothing"))
    assert (await watch.read()).status == UNKNOWN
    watch.cancel()


async def test_a_watch_sees_the_server_stop_and_then_ends(wire: Wire) -> None:
    """It does not hold up the stop."""
    watch = wire.health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    stopping = asyncio.create_task(wire.server.stop(grace=0))
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.read() is grpc.aio.EOF
    await asyncio.wait_for(stopping, 1)


class Warming(EchoProvider):
    """A provider whose model is loading until the test says otherwise."""

    def __init__(self) -> None:
        self.state = ModelState.LOADING
        self.loads = 0

    def loaded(self) -> Sequence[LoadedModel]:
        return [LoadedModel(model="echo", loading=True, loads=self.loads)]

    def load_counts(self) -> LoadCounts:
        return LoadCounts(loads=self.loads)

    def unload(self, model: str, /) -> None:
        raise AssertionError(model)

    async def models(self) -> Sequence[Model]:
        return [Model(name="echo", capabilities=Capabilities(chat=True), state=self.state)]


async def test_a_provider_serves_when_a_model_of_it_is_ready(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch of it sees the change; the server itself serves all the while."""
    monkeypatch.setattr("mcp_server.rpc.health.WATCH_INTERVAL", 0.01)
    provider = Warming()
    wire = await serve(providers={"warming": provider})
    assert await check(wire) == SERVING
    watch = wire.health.Watch(health_pb2.HealthCheckRequest(service="providers/warming"))
    assert (await watch.read()).status == NOT_SERVING
    provider.state = ModelState.READY
    assert (await watch.read()).status == SERVING
    watch.cancel()
    provider.state = ModelState.LOADING
    assert await check(wire, "providers/warming") == NOT_SERVING
    provider.loads = 1
    assert await check(wire, "providers/warming") == SERVING, "it is loaded again, and calls only wait"


class Listless(EchoProvider):
    """A provider that cannot say what it has."""

    async def models(self) -> Sequence[Model]:
        raise ProviderUnavailable("no list")


async def test_a_provider_that_cannot_say_what_it_has_does_not_serve(serve: Serve) -> None:
    """The rest of the list stands."""
    wire = await serve(providers={"echo": EchoProvider(), "listless": Listless()})
    statuses = (await wire.health.List(health_pb2.HealthListRequest())).statuses
    assert (statuses["providers/listless"].status, statuses["providers/echo"].status) == (NOT_SERVING, SERVING)


class GenericClient:
    """Knows nothing but reflection: every type it uses is made from what the server describes."""

    def __init__(self, channel: grpc.aio.Channel, version: str) -> None:
        self._channel = channel
        self._reflect = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        self._pool = descriptor_pool.DescriptorPool()
        self._known: set[str] = set()

    async def ask(self, **request: Any) -> Any:
        call = self._reflect()
        await call.write(reflection_pb2.ServerReflectionRequest(**request))
        response = await call.read()
        await call.done_writing()
        return response

    async def services(self) -> set[str]:
        response = await self.ask(list_services="")
        return {service.name for service in response.list_services_response.service}

    async def learn(self, symbol: str) -> None:
        response = await self.ask(file_containing_symbol=symbol)
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(data)
            for data in response.file_descriptor_response.file_descriptor_proto
        ]
        assert files, response
        while files:
            for file in list(files):
                if file.name in self._known or all(name in self._known for name in file.dependency):
                    if file.name not in self._known:
                        self._pool.Add(file)
                    self._known.add(file.name)
                    files.remove(file)

    async def call(self, service: str, method: str, /, **fields: Any) -> list[Any]:
        await self.learn(service)
        described = self._pool.FindServiceByName(service).methods_by_name[method]
        request = message_factory.GetMessageClass(described.input_type)
        response = message_factory.GetMessageClass(described.output_type)
        kind = self._channel.unary_stream if described.server_streaming else self._channel.unary_unary
        multicallable: Any = kind(
            f"/{service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        call = multicallable(request(**fields))
        return [item async for item in call] if described.server_streaming else [await call]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_a_generic_client_does_without_our_code(wire: Wire, version: str) -> None:
    """By reflection alone: list services, create a session, stream a chat, check health."""
    client = GenericClient(wire.channel, version)
    services = await client.services()
    assert services >= {*SERVICES, "grpc.health.v1.Health", f"grpc.reflection.{version}.ServerReflection"}
    (session,) = await client.call("contextprotocol.v1.SessionService", "CreateSession", session_id="generic")
    assert session.name == "sessions/generic"
    message = {"role": "ROLE_USER", "parts": [{"text": "hello there"}]}
    events = await client.call("contextprotocol.v1.ChatService", "StreamChat", session=session.name, messages=[message])
    assert "".join(event.delta.text for event in events) == "hello there"
    (health,) = await client.call("grpc.health.v1.Health", "Check", service="contextprotocol.v1.ChatService")
    assert health.status == SERVING


async def test_reflection_describes_itself_and_refuses_politely(wire: Wire) -> None:
    """Both versions can be looked up; what is unknown is NOT_FOUND in the answer, and the stream goes on."""
    client = GenericClient(wire.channel, "v1")
    for version in ("v1", "v1alpha"):
        await client.learn(f"grpc.reflection.{version}.ServerReflection")
    for question in (
        {"file_containing_symbol": "no.such.Thing"},
        {"file_by_filename": "no/such.proto"},
        {"all_extension_numbers_of_type": "no.Such"},
    ):
        assert (await client.ask(**question)).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    response = await client.ask(file_by_filename="contextprotocol/v1/chat.proto")
    assert response.file_descriptor_response.file_descriptor_proto


async def test_the_server_is_not_ready_before_it_serves(serve: Serve) -> None:
    """A server that was stopped answers nothing any more."""
    wire = await serve(providers={"scripted": ScriptedProvider.saying("x")})
    await wire.server.stop(grace=0)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await check(wire)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
