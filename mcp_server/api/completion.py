"""``contextprotocol.v1.CompletionService``: completes raw prompts."""

from __future__ import annotations

from contextprotocol.v1 import completion_pb2
from mcp_server.api import decode
from mcp_server.api.call import Send
from mcp_server.api.turn_answer import fold, stream
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations


class CompletionService:
    """Completes a raw prompt."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Complete(self, call: Call, request: completion_pb2.CompleteRequest) -> completion_pb2.CompleteResponse:
        found = Violations()
        completion = decode.completion_input(found, request, streams=False)
        reader = await self._gateway.complete(call.principal, completion, violations=found)
        completed = await fold(call, reader, completion.options.session)
        return completion_pb2.CompleteResponse(turn=call.turn, completed=completed)

    async def StreamComplete(self, call: Call, request: completion_pb2.CompleteRequest, send: Send) -> None:
        found = Violations()
        completion = decode.completion_input(found, request, streams=True)
        reader = await self._gateway.complete(call.principal, completion, violations=found)
        await stream(call, reader, completion.options.session, send)
