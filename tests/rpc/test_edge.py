"""What surrounds every call: middleware before decoding, the contract's services and others alike."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from contextprotocol.v1 import chat_pb2, chat_pb2_grpc, session_pb2, session_pb2_grpc
from mcp_server.api.call import Send
from mcp_server.api.conversions import Conversions
from mcp_server.api.paging import PageTokens
from mcp_server.api.services import services as contract_services
from mcp_server.errors import BadCredentials, ConfigError, Overloaded
from mcp_server.flow import Flow
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call, GRPCService, Middleware
from mcp_server.pipeline import Pipeline
from mcp_server.principal import Principal
from mcp_server.rpc.edge import Edge
from mcp_server.rpc.server import GRPCServer
from mcp_server.settings import ServerSettings
from tests.gateways import echo_gateway
from tests.wire import Refused, user

Start = Callable[..., Awaitable[grpc.aio.Channel]]


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with echo_gateway() as gateway:
        yield gateway


def grpc_server(gateway: Gateway, middleware: Sequence[Middleware], services: Sequence[GRPCService]) -> GRPCServer:
    """A server of the contract and of further services."""
    conversions = Conversions()
    return GRPCServer(
        gateway,
        Pipeline(middleware),
        [*contract_services(gateway, PageTokens(), conversions), *services],
        flow=Flow(max_bytes=1 << 29, receive_timeout=60, reader_timeout=60),
        conversions=conversions,
        settings=ServerSettings(),
    )


@pytest.fixture
async def start(gateway: Gateway) -> AsyncIterator[Start]:
    """Starts a server with the given middleware and services; returns a channel to it."""
    async with AsyncExitStack() as stack:

        async def start(
            middleware: Sequence[Middleware] = (), services: Sequence[GRPCService] = ()
        ) -> grpc.aio.Channel:
            server = grpc_server(gateway, middleware, services)
            port = await server.start("127.0.0.1:0")
            server.health.set_serving(True)
            stack.push_async_callback(server.stop, 0)
            return await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))

        yield start


class Authentication:
    """Lets callers in who send a token, each to the tenant of that name."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[None]:
        self.calls.append(f"{call.service}/{call.method} {call.kind}")
        token = call.metadata.get("authorization", "")
        if not token:
            raise BadCredentials("the call has no credentials: send a token")
        call.principal = Principal(tenant=token)
        yield


BROKEN = b"\xff\xff\xff"
REFLECTION = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
CALLS: list[tuple[str, str]] = [
    ("contextprotocol.v1.ChatService/Chat", "unary"),
    ("contextprotocol.v1.ChatService/StreamChat", "server_stream"),
    ("contextprotocol.v1.SessionService/GetSession", "unary"),
    ("contextprotocol.v1.TurnService/StreamTurn", "server_stream"),
    ("grpc.health.v1.Health/Check", "unary"),
    ("grpc.health.v1.Health/Watch", "server_stream"),
    (REFLECTION, "bidi_stream"),
    (REFLECTION.replace("v1", "v1alpha"), "bidi_stream"),
]


async def read_all(stream: Any) -> list[Any]:
    return [message async for message in stream]


async def send_bytes(channel: Any, method: str, kind: str, body: bytes) -> Any:
    if kind == "unary":
        return await channel.unary_unary(f"/{method}")(body)
    if kind == "server_stream":
        return await read_all(channel.unary_stream(f"/{method}")(body))
    stream: Any = channel.stream_stream(f"/{method}")()
    await stream.write(body)
    return await read_all(stream)


@pytest.mark.parametrize(("method", "kind"), CALLS)
async def test_credentials_are_checked_before_the_request_is_decoded(start: Start, method: str, kind: str) -> None:
    """A request that cannot be decoded, from a caller without credentials, is UNAUTHENTICATED on every service."""
    authentication = Authentication()
    channel = await start([authentication])
    with Refused() as refused:
        await send_bytes(channel, method, kind, BROKEN)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "BAD_CREDENTIALS")
    assert authentication.calls == [f"{method} {kind}"]


@pytest.mark.parametrize(("method", "kind"), CALLS)
async def test_a_request_that_cannot_be_decoded_is_invalid(start: Start, method: str, kind: str) -> None:
    """On every service, with the details of any other error."""
    channel = await start()
    with Refused() as refused:
        await send_bytes(channel, method, kind, BROKEN)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_a_call_works_for_the_principal_that_a_middleware_sets(start: Start) -> None:
    """Two callers may each have a session of the same name."""
    channel = await start([Authentication()])
    stub: Any = session_pb2_grpc.SessionServiceStub(channel)
    uids = []
    for tenant in ("ada", "bob"):
        request = session_pb2.CreateSessionRequest(session_id="tour")
        uids.append((await stub.CreateSession(request, metadata=[("authorization", tenant)])).uid)
    assert len(set(uids)) == 2
    with Refused() as refused:
        await stub.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    assert refused.code == grpc.StatusCode.UNAUTHENTICATED


def extra_descriptor() -> Any:
    """A service with a method of each kind, that no contract knows."""
    file = descriptor_pb2.FileDescriptorProto(name="extra.proto", package="extra", syntax="proto3")
    message = file.message_type.add(name="Number")
    message.field.add(name="value", number=1, type="TYPE_INT32", label="LABEL_OPTIONAL")
    service = file.service.add(name="Arithmetic")
    for name, receives, sends in (
        ("Double", False, False),
        ("CountTo", False, True),
        ("Sum", True, False),
        ("DoubleEach", True, True),
        ("Undone", False, False),
    ):
        service.method.add(
            name=name,
            input_type=".extra.Number",
            output_type=".extra.Number",
            client_streaming=receives,
            server_streaming=sends,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName("extra.Arithmetic")


EXTRA = extra_descriptor()
Number: Any = GetMessageClass(EXTRA.file.message_types_by_name["Number"])


class Arithmetic:
    """The service."""

    async def Double(self, call: Call, request: Any) -> Any:
        if request.value > 1000:
            raise Overloaded("too large: send less", retry_after=2)
        return Number(value=2 * request.value)

    async def CountTo(self, call: Call, request: Any, send: Send) -> None:
        for value in range(request.value):
            await send(Number(value=value))

    async def Sum(self, call: Call, requests: AsyncIterator[Any]) -> Any:
        return Number(value=sum([request.value async for request in requests]))

    async def DoubleEach(self, call: Call, requests: AsyncIterator[Any], send: Send) -> None:
        async for request in requests:
            await send(Number(value=2 * request.value))


def bound(channel: grpc.aio.Channel, kind: str, method: str) -> Any:
    return getattr(channel, kind)(
        f"/extra.Arithmetic/{method}",
        request_serializer=Number.SerializeToString,
        response_deserializer=Number.FromString,
    )


async def test_more_services_are_served_behind_the_same_middleware(start: Start) -> None:
    """Methods of every kind; their errors are the server's errors."""
    authentication = Authentication()
    channel = await start([authentication], [GRPCService(descriptor=EXTRA, implementation=Arithmetic())])
    token = [("authorization", "ada")]
    numbers = [Number(value=value) for value in (1, 2, 3)]
    assert (await bound(channel, "unary_unary", "Double")(Number(value=4), metadata=token)).value == 8
    counted = await read_all(bound(channel, "unary_stream", "CountTo")(Number(value=3), metadata=token))
    assert [number.value for number in counted] == [0, 1, 2]
    assert (await bound(channel, "stream_unary", "Sum")(iter(numbers), metadata=token)).value == 6
    doubled = await read_all(bound(channel, "stream_stream", "DoubleEach")(iter(numbers), metadata=token))
    assert [number.value for number in doubled] == [2, 4, 6]
    with Refused() as refused:
        await bound(channel, "unary_unary", "Double")(Number(value=1001), metadata=token)
    assert (refused.code, refused.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 2)
    with Refused() as refused:
        await bound(channel, "unary_unary", "Undone")(Number(), metadata=token)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")
    with Refused() as refused:
        await bound(channel, "unary_unary", "Double")(Number(value=1))
    assert refused.code == grpc.StatusCode.UNAUTHENTICATED
    assert {call.partition(" ")[2] for call in authentication.calls} == {
        "unary",
        "server_stream",
        "client_stream",
        "bidi_stream",
    }


async def test_health_and_reflection_list_more_services(start: Start) -> None:
    """Reflection describes them, although their descriptors lie in a pool of their own."""
    channel = await start(services=[GRPCService(descriptor=EXTRA, implementation=Arithmetic())])
    health: Any = health_pb2_grpc.HealthStub(channel)
    listed = await health.List(health_pb2.HealthListRequest())
    assert listed.statuses["extra.Arithmetic"].status == health_pb2.HealthCheckResponse.SERVING
    ask: Any = channel.stream_stream(
        f"/{REFLECTION}",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="extra.Arithmetic"),
    ]
    names, files = await read_all(ask(iter(questions)))
    assert "extra.Arithmetic" in [service.name for service in names.list_services_response.service]
    (file,) = files.file_descriptor_response.file_descriptor_proto
    assert descriptor_pb2.FileDescriptorProto.FromString(file).name == "extra.proto"


@pytest.mark.parametrize("name", ["extra.Arithmetic", "contextprotocol.v1.ChatService", "grpc.health.v1.Health"])
def test_a_service_is_served_once(gateway: Gateway, name: str) -> None:
    """Two of the same name would hide one another."""
    taken = {
        "extra.Arithmetic": EXTRA,
        "contextprotocol.v1.ChatService": chat_pb2.DESCRIPTOR.services_by_name["ChatService"],
        "grpc.health.v1.Health": health_pb2.DESCRIPTOR.services_by_name["Health"],
    }
    services = [GRPCService(descriptor=taken[name], implementation=Arithmetic())] * 2
    with pytest.raises(ConfigError, match=name):
        grpc_server(gateway, [], services)


@pytest.mark.parametrize("method", ["Chat", "StreamChat"])
async def test_a_refused_request_leaves_no_memory_behind(start: Start, method: str) -> None:
    """Not even until the next collection of garbage: gRPC keeps the exception of a call that was aborted."""
    channel = await start()
    stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
    request = chat_pb2.ChatRequest(messages=[user("x" * 2_000_000)], model="m" * 300)

    async def refused() -> None:
        with Refused():
            call = getattr(stub, method)(request)
            await (call if method == "Chat" else call.read())

    await refused()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(10):
            await refused()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert kept < 4_000_000


async def test_a_caller_that_leaves_while_something_is_written_is_no_fault() -> None:
    """gRPC may fail the write before it cancels the call: that is CANCELLED for the log and the metrics."""
    ended: list[tuple[str, str]] = []

    class Watch:
        @asynccontextmanager
        async def __call__(self, call: Call) -> AsyncIterator[None]:
            try:
                yield
            finally:
                ended.append((call.code, call.reason or ""))

    class Broken:
        """A connection that breaks during the first write."""

        def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
            return ()

        def peer(self) -> str:
            return "ipv4:127.0.0.1:1"

        async def read(self) -> bytes:
            request: bytes = Number(value=3).SerializeToString()
            return request

        async def write(self, message: bytes) -> None:
            raise grpc.aio.InternalError('Failed "execute_batch"')

    edge = Edge(Pipeline([Watch()]), Flow(max_bytes=0, receive_timeout=1, reader_timeout=1), Conversions())
    handlers = edge.handlers(GRPCService(descriptor=EXTRA, implementation=Arithmetic()))
    details: Any = type("Details", (), {"method": "/extra.Arithmetic/CountTo", "invocation_metadata": ()})()
    handler: Any = handlers.service(details)
    with pytest.raises(asyncio.CancelledError):
        await handler.stream_stream(None, Broken())
    assert ended == [("CANCELLED", "CANCELLED")]


@pytest.mark.parametrize("text", ["\U0001f600" * 1000, "x" * 20_000])
async def test_a_long_name_keeps_its_status(start: Start, text: str) -> None:
    """Also where the answer quotes it: etags of the contract, and services of the health service."""
    channel = await start()
    sessions: Any = session_pb2_grpc.SessionServiceStub(channel)
    await sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="tour"))
    with Refused() as refused:
        await sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour", etag=text))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    health: Any = health_pb2_grpc.HealthStub(channel)
    with Refused() as refused:
        await health.Check(health_pb2.HealthCheckRequest(service=text))
    assert refused.code == grpc.StatusCode.NOT_FOUND
