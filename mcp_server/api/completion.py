"""``contextprotocol.v1.CompletionService``: completes raw prompts."""

from __future__ import annotations

from functools import partial

from contextprotocol.v1 import completion_pb2
from mcp_server.api import decode
from mcp_server.api.call import Send
from mcp_server.api.conversions import LARGE_BYTES, Conversions
from mcp_server.api.turn_answer import fold, stream
from mcp_server.gateway import Gateway, TurnReader
from mcp_server.interfaces import Call
from mcp_server.rules import Violations


class CompletionService:
    """Completes a raw prompt."""

    def __init__(self, gateway: Gateway, conversions: Conversions) -> None:
        self._gateway = gateway
        self._conversions = conversions

    async def Complete(self, call: Call, request: completion_pb2.CompleteRequest) -> completion_pb2.CompleteResponse:
        reader, session = await self._begin(call, request, streams=False)
        del request  # it may be large, and the turn may take long
        completed = await fold(call, reader, session)
        return completion_pb2.CompleteResponse(turn=call.turn, completed=completed)

    async def StreamComplete(self, call: Call, request: completion_pb2.CompleteRequest, send: Send) -> None:
        reader, session = await self._begin(call, request, streams=True)
        del request
        await stream(call, reader, session, send)

    async def _begin(
        self, call: Call, request: completion_pb2.CompleteRequest, *, streams: bool
    ) -> tuple[TurnReader, str]:
        """A reader of the turn of a request, and the id of its session."""
        found = Violations()
        large = request.ByteSize() > LARGE_BYTES
        convert = partial(decode.completion_input, found, request, streams=streams)
        completion = await self._conversions.run(large, convert)
        return await self._gateway.complete(call.principal, completion, violations=found), completion.options.session
