"""A service of somebody else, with methods of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import StringValue

from mcp_server.api.call import Send
from mcp_server.interfaces import Call, GRPCService

_KINDS: Final = {
    "Shout": (False, False),
    "Long": (False, False),
    "Flood": (False, True),
    "Join": (True, False),
    "Talk": (True, True),
    "Missing": (False, False),
    "Break": (False, False),
}
NAME: Final = "tests.web.Words"


def _descriptor() -> Any:
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    StringValue.DESCRIPTOR.file.CopyToProto(wrappers)
    pool.Add(wrappers)
    file = descriptor_pb2.FileDescriptorProto(name="words.proto", package="tests.web", syntax="proto3")
    file.dependency.append(wrappers.name)
    service = file.service.add(name="Words")
    for name, (client, server) in _KINDS.items():
        kind = ".google.protobuf.StringValue"
        service.method.add(
            name=name, input_type=kind, output_type=kind, client_streaming=client, server_streaming=server
        )
    pool.Add(file)
    return pool.FindServiceByName(NAME)


class Words:
    """The methods."""

    def __init__(self) -> None:
        self.flooding = 0
        self.stopped = asyncio.Event()

    async def Shout(self, call: Call, request: StringValue) -> StringValue:
        return StringValue(value=request.value.upper())

    async def Long(self, call: Call, request: StringValue) -> StringValue:
        return StringValue(value=request.value * 12_000_000)

    async def Flood(self, call: Call, request: StringValue, send: Send) -> None:
        """Send without end."""
        try:
            while True:
                await send(StringValue(value=request.value * 100_000))
                self.flooding += 1
        finally:
            self.stopped.set()

    async def Join(self, call: Call, requests: AsyncIterator[StringValue]) -> StringValue:
        return StringValue(value=" ".join([request.value async for request in requests]))

    async def Talk(self, call: Call, requests: AsyncIterator[StringValue], send: Send) -> None:
        async for request in requests:
            await send(request)

    async def Break(self, call: Call, request: StringValue) -> StringValue:
        raise RuntimeError("a secret")


def words() -> tuple[Words, GRPCService]:
    """The service, and what carries it out."""
    implementation = Words()
    return implementation, GRPCService(descriptor=_descriptor(), implementation=implementation)
