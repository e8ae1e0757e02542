"""The least that speaks Connect and gRPC-Web: what goes over HTTP is in the hands of the tests."""

from __future__ import annotations

import base64
import io
import json
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

import aiohttp
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, status_pb2

from tests.auth.keys import ENDLESS, Metadata, Outcome

CHAT = "/contextprotocol.v1.ChatService/Chat"
STREAM = "/contextprotocol.v1.ChatService/StreamChat"
HELLO = b'{"messages":[{"role":"ROLE_USER","parts":[{"text":"hello there"}]}]}'


def envelope(data: bytes, flags: int = 0) -> bytes:
    """A message as streams have it."""
    return bytes([flags]) + len(data).to_bytes(4, "big") + data


def envelopes(body: bytes) -> list[tuple[int, bytes]]:
    """The flags and the messages of a body."""
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        assert len(body) >= size + 5, "the body ends within a message"
        found.append((body[0], body[5 : 5 + size]))
        body = body[5 + size :]
    return found


class Response(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    """Their names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def messages(self) -> list[Any]:
        """Of a stream of Connect in JSON, without its end."""
        return [json.loads(data) for flags, data in envelopes(self.body) if flags == 0]

    @property
    def end(self) -> Any:
        """Of a stream of Connect."""
        flags, data = envelopes(self.body)[-1]
        assert flags == 2
        return json.loads(data)

    @property
    def trailers(self) -> dict[str, str]:
        """Of gRPC-Web."""
        flags, data = envelopes(self.body)[-1]
        assert flags == 0x80
        return dict(line.split(": ", 1) for line in data.decode().split("\r\n") if line)

    @property
    def error(self) -> Any:
        """The error of Connect, as body or as the end of the stream."""
        if self.headers["content-type"].startswith("application/connect+"):
            return self.end["error"]
        return self.json


class Client:
    """Sends requests to the HTTP edge at ``address``."""

    def __init__(self, address: str) -> None:
        self.base = f"http://{address}"

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.http.close()

    async def post(
        self,
        path: str,
        body: bytes = b"",
        content_type: str = "application/json",
        *,
        verb: str = "POST",
        **headers: Any,
    ) -> Response:
        """One request. In the names of headers, _ stands for -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type:
            sent["content-type"] = content_type
        async with self.http.request(
            verb,
            self.base + path,
            data=io.BytesIO(body) if body else None,
            headers=sent,
            skip_auto_headers=["content-type"],
        ) as response:
            return Response(
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                await response.read(),
            )

    async def stream(self, body: bytes = HELLO, path: str = STREAM, **headers: Any) -> Response:
        """A stream of Connect in JSON."""
        return await self.post(path, envelope(body), "application/connect+json", **headers)


class WebChannel:
    """Calls any method over HTTP, as ``tests.auth.keys.invoke`` does over gRPC.

    Args:
        client: sends the requests.
        protocol: ``connect`` or ``grpc-web``.
    """

    def __init__(self, client: Client, protocol: str) -> None:
        self._client = client
        self._protocol = protocol

    async def invoke(self, method: MethodDescriptor, request: Message | bytes, metadata: Metadata) -> Outcome:
        """How a call ends; of a stream that goes on, the first messages are read."""
        body = request if isinstance(request, bytes) else request.SerializeToString()
        stream = method.client_streaming or method.server_streaming
        web = self._protocol == "grpc-web"
        kind = "application/grpc-web+proto" if web else "application/connect+proto" if stream else "application/proto"
        if web or stream:
            body = envelope(body)
        parse = GetMessageClass(method.output_type).FromString
        path = f"{self._client.base}/{method.containing_service.full_name}/{method.name}"
        headers = [("content-type", kind), *metadata]
        async with self._client.http.post(path, data=body, headers=headers) as response:
            if method.full_name in ENDLESS and response.status == 200:
                prefix = await response.content.readexactly(5)
                data = await response.content.readexactly(int.from_bytes(prefix[1:], "big"))
                if prefix[0] == 0:
                    return Outcome("OK", "", b"", [parse(data)])
                answer = prefix + data
            else:
                answer = await response.read()
        if not web and not stream and response.status == 200:
            return Outcome("OK", "", b"", [parse(answer)])
        if not web and not stream:
            return _failed(json.loads(answer))
        assert response.status == 200
        *messages, (_, last) = envelopes(answer)
        responses = [parse(data) for _, data in messages]
        if web:
            trailers = dict(line.split(": ", 1) for line in last.decode().split("\r\n") if line)
            code = code_pb2.Code.Name(int(trailers["grpc-status"]))
            details = base64.b64decode(trailers.get("grpc-status-details-bin", "") + "==")
            return Outcome(code, unquote(trailers.get("grpc-message", "")), details, responses)
        error = json.loads(last).get("error")
        return Outcome("OK", "", b"", responses) if error is None else _failed(error)._replace(responses=responses)


def _failed(error: Any) -> Outcome:
    """The outcome of an error of Connect, with its details as gRPC has them."""
    code = {"canceled": "CANCELLED"}.get(error["code"], error["code"].upper())
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message=error.get("message", ""))
    for detail in error.get("details", ()):
        packed = status.details.add(type_url=f"type.googleapis.com/{detail['type']}")
        packed.value = base64.b64decode(detail["value"] + "==")
    return Outcome(code, status.message, status.SerializeToString() if status.details else b"", [])
