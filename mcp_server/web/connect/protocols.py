"""The protocols: how each one puts requests, responses and their ends on HTTP."""

from __future__ import annotations

import base64
import binascii
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec

from mcp_server.errors import InvalidArgument, Violation
from mcp_server.pipeline import OtherStatus
from mcp_server.web.connect.codecs import JSON, PROTOBUF, Codec
from mcp_server.web.connect.failures import Failure
from mcp_server.web.exchange import Exchange

_COMPRESSED: Final = 1
_CONNECT_END: Final = 2
_GRPC_WEB_END: Final = 0x80
_PREFIX: Final = 5
"""The bytes before a message: its flags, and its length in four bytes."""
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_UNBUFFERED: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""What proxies in between must not do with a response."""


class Packed(NamedTuple):
    """A message of a request."""

    data: bytes
    compressed: bool


class RPCProtocol(ABC):
    """One content type.

    Args:
        content_type: it.
        codec: the form of its messages.
    """

    encoding_header: str
    """The header of a request that names its compression."""
    accept_header: str
    """The header of a response that lists the compressions that the server accepts."""

    def __init__(self, content_type: str, codec: Codec) -> None:
        self.content_type = content_type
        self.codec = codec

    @abstractmethod
    def timeout(self, headers: Mapping[str, str]) -> float | None:
        """How long the caller waits, in seconds; ``None``: without end.

        Raises:
            InvalidArgument: the header that says so is malformed.
        """

    @abstractmethod
    def messages(self, body: bytes, compressed: bool) -> Iterator[Packed]:
        """The messages of a request.

        Args:
            body: its body.
            compressed: whether its headers say how messages are compressed.

        Raises:
            InvalidArgument: it is malformed.
            OtherStatus: a message is compressed, and no header says how.
        """

    @property
    @abstractmethod
    def headers(self) -> dict[str, str]:
        """Of a response that is no error."""

    @abstractmethod
    def message(self, data: bytes) -> bytes:
        """A message of a response."""

    @abstractmethod
    def end(self, failure: Failure | None) -> bytes:
        """What follows the last message."""

    async def fail(self, exchange: Exchange, failure: Failure) -> None:
        """Write how a call failed: as the end of its response, or as the whole response."""
        end = self.end(failure)
        if exchange.started:
            await exchange.write(end)
            await exchange.finish()
        elif failure.of_http:
            await fail_plainly(exchange, failure)
        else:
            await exchange.answer(200, {**self.headers, **failure.headers}, end)


class ConnectUnary(RPCProtocol):
    """Connect, for methods that take one message and return one: plain HTTP."""

    encoding_header = "content-encoding"
    accept_header = "accept-encoding"

    def timeout(self, headers: Mapping[str, str]) -> float | None:
        return _connect_timeout(headers)

    def messages(self, body: bytes, compressed: bool) -> Iterator[Packed]:
        yield Packed(body, compressed)

    @property
    def headers(self) -> dict[str, str]:
        return {"content-type": self.content_type, "cache-control": "no-store"}

    def message(self, data: bytes) -> bytes:
        return data

    def end(self, failure: Failure | None) -> bytes:
        return b""

    async def fail(self, exchange: Exchange, failure: Failure) -> None:
        await fail_plainly(exchange, failure)


class _Enveloped(RPCProtocol):
    """Messages in envelopes, the last of which says how the call ended."""

    def messages(self, body: bytes, compressed: bool) -> Iterator[Packed]:
        return _messages(body, compressed)

    @property
    def headers(self) -> dict[str, str]:
        return {"content-type": self.content_type, **_UNBUFFERED}

    def message(self, data: bytes) -> bytes:
        return _envelope(0, data)


class ConnectStream(_Enveloped):
    """Connect, for methods of which a side streams."""

    encoding_header = "connect-content-encoding"
    accept_header = "connect-accept-encoding"

    def timeout(self, headers: Mapping[str, str]) -> float | None:
        return _connect_timeout(headers)

    def end(self, failure: Failure | None) -> bytes:
        if failure is None:
            return _envelope(_CONNECT_END, b"{}")
        metadata = {key: [value] for key, value in failure.metadata.items()}
        return _envelope(_CONNECT_END, msgspec.json.encode({"error": failure.as_json, "metadata": metadata}))


class GRPCWeb(_Enveloped):
    """gRPC-Web: the last envelope holds the trailers of gRPC."""

    encoding_header = "grpc-encoding"
    accept_header = "grpc-accept-encoding"

    def timeout(self, headers: Mapping[str, str]) -> float | None:
        text = headers.get("grpc-timeout", "")
        if not text:
            return None
        if re.fullmatch(r"[0-9]{1,8}[HMSmun]", text) is None:
            raise _refused(f"the header grpc-timeout is {text[:64]!r}: expected up to 8 digits and one of H M S m u n")
        return int(text[:-1]) * _UNITS[text[-1]]

    def end(self, failure: Failure | None) -> bytes:
        trailers = {"grpc-status": "0"}
        if failure is not None:
            trailers = {
                "grpc-status": str(failure.status.code),
                "grpc-message": percent_encoded(failure.status.message),
            }
            if failure.status.details:
                details = base64.b64encode(failure.status.SerializeToString()).rstrip(b"=")
                trailers["grpc-status-details-bin"] = details.decode()
            trailers.update(failure.metadata)
        return _envelope(_GRPC_WEB_END, "".join(f"{key}: {value}\r\n" for key, value in trailers.items()).encode())


class GRPCWebText(GRPCWeb):
    """gRPC-Web in base64, for browsers whose only stream is one of text."""

    def messages(self, body: bytes, compressed: bool) -> Iterator[Packed]:
        return _messages(from_base64(body), compressed)

    def message(self, data: bytes) -> bytes:
        return base64.b64encode(super().message(data))

    def end(self, failure: Failure | None) -> bytes:
        return base64.b64encode(super().end(failure))


UNARY: Final[dict[str, RPCProtocol]] = {
    f"application/{codec.name}": ConnectUnary(f"application/{codec.name}", codec) for codec in (JSON, PROTOBUF)
}
"""By content type, for methods that take one message and return one."""
STREAM: Final[dict[str, RPCProtocol]] = {
    f"application/connect+{codec.name}": ConnectStream(f"application/connect+{codec.name}", codec)
    for codec in (JSON, PROTOBUF)
}
"""By content type, for the others."""
EVERY: Final[dict[str, RPCProtocol]] = {
    "application/grpc-web": GRPCWeb("application/grpc-web+proto", PROTOBUF),
    "application/grpc-web+proto": GRPCWeb("application/grpc-web+proto", PROTOBUF),
    "application/grpc-web+json": GRPCWeb("application/grpc-web+json", JSON),
    "application/grpc-web-text": GRPCWebText("application/grpc-web-text+proto", PROTOBUF),
    "application/grpc-web-text+proto": GRPCWebText("application/grpc-web-text+proto", PROTOBUF),
}
"""By content type, for all methods."""
_DEFAULT: Final = UNARY["application/json"]


def protocol_of(exchange: Exchange) -> RPCProtocol:
    """What the caller of a request understands."""
    found = exchange.media_type
    return EVERY.get(found) or STREAM.get(found) or _DEFAULT


async def fail_plainly(exchange: Exchange, failure: Failure) -> None:
    """Write an error as the whole response, with the HTTP status that fits it."""
    headers = {"content-type": "application/json", "cache-control": "no-store", **failure.headers, **failure.metadata}
    await exchange.answer(failure.http_status, headers, msgspec.json.encode(failure.as_json))


def percent_encoded(message: str) -> str:
    """A message as the header ``grpc-message`` has it."""
    return quote(message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", errors="replace")


def from_base64(body: bytes) -> bytes:
    """What is in base64, perhaps in several pieces that each end with padding.

    Raises:
        InvalidArgument: it is not.
    """
    try:
        if b"=" not in body[:-2]:
            return binascii.a2b_base64(body, strict_mode=True)
        return b"".join(
            binascii.a2b_base64(piece[0], strict_mode=True) for piece in re.finditer(rb"[^=]+={0,2}|=+", body)
        )
    except binascii.Error:
        raise _refused("the body is not base64") from None


def _envelope(flags: int, data: bytes) -> bytes:
    return b"%c%b%b" % (flags, len(data).to_bytes(4, "big"), data)


def _messages(body: bytes, compressed: bool) -> Iterator[Packed]:
    position = 0
    while position < len(body):
        begin = position + _PREFIX
        end = begin + int.from_bytes(body[position + 1 : begin], "big")
        if begin > len(body) or end > len(body):
            raise _refused("the body ends within a message")
        flags = body[position]
        if flags & ~_COMPRESSED:
            raise _refused(f"a message has the flags {flags:#x}: callers may set only the one for compressed messages")
        if flags and not compressed:
            # As gRPC and Connect have it, although the caller is at fault.
            raise OtherStatus("INTERNAL", "a message is compressed, and no header says how")
        yield Packed(body[begin:end], flags == _COMPRESSED)
        position = end


def _connect_timeout(headers: Mapping[str, str]) -> float | None:
    version = headers.get("connect-protocol-version", "1")
    if version != "1":
        raise _refused(f"the header connect-protocol-version is {version[:64]!r}: the server speaks version 1")
    text = headers.get("connect-timeout-ms", "")
    if not text:
        return None
    if re.fullmatch(r"[0-9]{1,10}", text) is None:
        raise _refused(f"the header connect-timeout-ms is {text[:64]!r}: expected up to 10 digits")
    return int(text) / 1000


def _refused(problem: str) -> InvalidArgument:
    return InvalidArgument([Violation(field="", description=problem)])
