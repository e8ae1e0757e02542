"""The services over HTTP by a client of others: connectrpc, by Connect and by gRPC-Web."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from connectrpc.client import ConnectClient
from connectrpc.code import Code
from connectrpc.codec import Codec
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.protobuf.message_factory import GetMessageClass

from contextprotocol.v1 import chat_pb2, session_pb2, turn_pb2
from mcp_server.testing import EchoProvider, running
from tests.web.servers import web_config
from tests.wire import user

CODECS = {"proto": google_protobuf_binary_codec, "json": google_protobuf_json_codec}


def method(file: Any, service: str, name: str) -> MethodInfo[Any, Any]:
    """A method of the contract, as the client wants it."""
    found = file.DESCRIPTOR.services_by_name[service].methods_by_name[name]
    return MethodInfo(
        name=name,
        service_name=found.containing_service.full_name,
        input=GetMessageClass(found.input_type),
        output=GetMessageClass(found.output_type),
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.SERVER_STREAM if found.server_streaming else StreamType.UNARY,
    )


CHAT = method(chat_pb2, "ChatService", "Chat")
STREAM = method(chat_pb2, "ChatService", "StreamChat")
GET = method(session_pb2, "SessionService", "GetSession")


@pytest.fixture(params=[(protocol, codec) for protocol in ("CONNECT", "GRPC_WEB") for codec in CODECS], ids="-".join)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[ConnectClient]:
    """A client of a server of its own, for each protocol and each form of messages."""
    protocol, codec = request.param
    form: Codec[Any, Any] = CODECS[codec]()
    async with running(web_config(), providers={"echo": EchoProvider()}) as server:
        address = server.web_url.rstrip("/")
        async with ConnectClient(address, codec=form, protocol=ProtocolType[protocol]) as client:
            yield client


async def test_a_chat_is_answered_whole_and_streamed(client: ConnectClient) -> None:
    """With every event of the stream."""
    request = chat_pb2.ChatRequest(messages=[user("one two three")])
    answer = await client.execute_unary(request=request, method=CHAT)
    assert answer.completed.message.parts[0].text == "one two three"
    events = [event async for event in client.execute_server_stream(request=request, method=STREAM)]
    assert {type(event) for event in events} == {turn_pb2.TurnEvent}
    assert "".join([event.delta.text for event in events]) == "one two three"
    assert events[-1].WhichOneof("event") == "completed"


async def test_errors_have_their_code_and_their_details(client: ConnectClient) -> None:
    """As over gRPC, before a stream and instead of an answer."""
    with pytest.raises(ConnectError) as refused:
        await client.execute_unary(request=session_pb2.GetSessionRequest(name="sessions/none"), method=GET)
    assert refused.value.code == Code.NOT_FOUND
    assert [detail.type_name.rpartition(".")[2] for detail in refused.value.details] == ["ErrorInfo", "ResourceInfo"]
    with pytest.raises(ConnectError) as refused:
        request = chat_pb2.ChatRequest(messages=[user("hello")], model="none/such")
        _ = [event async for event in client.execute_server_stream(request=request, method=STREAM)]
    assert refused.value.code == Code.NOT_FOUND
