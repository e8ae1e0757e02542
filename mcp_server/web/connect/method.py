"""One method of a service over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from mcp_server.api.call import Answer
from mcp_server.api.conversions import LARGE_BYTES, Conversions
from mcp_server.errors import InvalidArgument, Violation
from mcp_server.interfaces import Call
from mcp_server.pipeline import OtherStatus
from mcp_server.web.connect.codecs import JSON, PROTOBUF, Codec
from mcp_server.web.connect.compression import require_known, unpack
from mcp_server.web.connect.protocols import EVERY, STREAM, UNARY, Packed, RPCProtocol
from mcp_server.web.exchange import Exchange, HTTPProblem


class Method:
    """Carries out the calls of a method.

    Args:
        method: it.
        answer: what carries it out.
        conversions: runs those of large messages.
        max_body_bytes: the largest request.
    """

    def __init__(self, method: MethodDescriptor, answer: Answer, conversions: Conversions, max_body_bytes: int) -> None:
        self._method = method
        self._answer = answer
        self._conversions = conversions
        self._max_body_bytes = max_body_bytes
        self._protocols = {**(STREAM if method.client_streaming or method.server_streaming else UNARY), **EVERY}
        self._parsers = {codec.name: codec.parser(method.input_type) for codec in (JSON, PROTOBUF)}

    async def __call__(self, call: Call, exchange: Exchange) -> None:
        """Carry out a call."""
        protocol = self._protocol(exchange)
        compressed = require_known(
            call.metadata.get(protocol.encoding_header, ""), protocol.encoding_header, protocol.accept_header
        )
        seconds = protocol.timeout(call.metadata)
        try:
            async with asyncio.timeout(seconds) as deadline:
                if self._method.server_streaming:
                    await self._stream(call, exchange, protocol, compressed)
                    return
                response = await self._answer(call, await self._request(exchange, protocol, compressed))
        except TimeoutError:
            if not deadline.expired():
                raise
            raise OtherStatus("DEADLINE_EXCEEDED", f"the call did not end within the caller's {seconds:g} s") from None

        data = protocol.message(await self._encoded(protocol.codec, response)) + protocol.end(None)
        await exchange.answer(200, protocol.headers, data)

    def _protocol(self, exchange: Exchange) -> RPCProtocol:
        if exchange.request.method != "POST":
            text = f"calls are sent by POST, not {exchange.request.method[:16]}"
            raise HTTPProblem(405, "UNIMPLEMENTED", text, {"allow": "POST"})
        protocol = self._protocols[exchange.require_content_type(*self._protocols)]
        if self._method.client_streaming and self._method.server_streaming:
            raise HTTPProblem(505, "UNIMPLEMENTED", "both sides stream: that needs gRPC over HTTP/2")
        return protocol

    async def _stream(self, call: Call, exchange: Exchange, protocol: RPCProtocol, compressed: bool) -> None:
        async def send(message: Message) -> None:
            data = protocol.message(await self._encoded(protocol.codec, message))
            if not exchange.started:
                await exchange.start(200, protocol.headers)
            await exchange.write(data)

        await self._answer(call, await self._request(exchange, protocol, compressed), send)
        if not exchange.started:
            await exchange.start(200, protocol.headers)
        await exchange.write(protocol.end(None))
        await exchange.finish()

    async def _encoded(self, codec: Codec, message: Message) -> bytes:
        large = codec is JSON and message.ByteSize() > LARGE_BYTES
        return await self._conversions.run(large, codec.encode, message)

    # -- the request --------------------------------------------------------------------------------------------------

    async def _request(self, exchange: Exchange, protocol: RPCProtocol, compressed: bool) -> Any:
        """The message of the request, or an iterator of them if callers stream."""
        messages = protocol.messages(await exchange.body(), compressed)
        if self._method.client_streaming:
            return self._each(exchange, protocol.codec, messages)
        message = next(messages, None)
        if message is None:
            raise _refused("the call has no request: send one message")
        if next(messages, None) is not None:
            raise _refused("the call has more than one message: send one")
        return await self._parsed(exchange, protocol.codec, message)

    async def _each(self, exchange: Exchange, codec: Codec, messages: Iterator[Packed]) -> AsyncIterator[Message]:
        for message in messages:
            yield await self._parsed(exchange, codec, message)

    async def _parsed(self, exchange: Exchange, codec: Codec, message: Packed) -> Message:
        data = message.data
        if message.compressed:
            data = await self._conversions.run(True, unpack, data, self._max_body_bytes)
            exchange.hold(len(data))
        return await self._conversions.run(len(data) > LARGE_BYTES, self._parsers[codec.name], data)


def _refused(problem: str) -> InvalidArgument:
    return InvalidArgument([Violation(field="", description=problem)])
