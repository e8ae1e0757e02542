"""``contextprotocol.v1.ChatService``: chats with a model, with a session's memory or without."""

from __future__ import annotations

from functools import partial

from contextprotocol.v1 import chat_pb2
from mcp_server.api import decode
from mcp_server.api.call import Send
from mcp_server.api.conversions import LARGE_BYTES, Conversions
from mcp_server.api.turn_answer import fold, stream
from mcp_server.gateway import Gateway, TurnReader
from mcp_server.interfaces import Call
from mcp_server.rules import Violations


class ChatService:
    """Chats with a model, with a session's memory or without."""

    def __init__(self, gateway: Gateway, conversions: Conversions) -> None:
        self._gateway = gateway
        self._conversions = conversions

    async def Chat(self, call: Call, request: chat_pb2.ChatRequest) -> chat_pb2.ChatResponse:
        reader, session = await self._begin(call, request, streams=False)
        del request  # it may be large, and the turn may take long
        completed = await fold(call, reader, session)
        return chat_pb2.ChatResponse(turn=call.turn, completed=completed)

    async def StreamChat(self, call: Call, request: chat_pb2.ChatRequest, send: Send) -> None:
        reader, session = await self._begin(call, request, streams=True)
        del request
        await stream(call, reader, session, send)

    async def _begin(self, call: Call, request: chat_pb2.ChatRequest, *, streams: bool) -> tuple[TurnReader, str]:
        """A reader of the turn of a request, and the id of its session."""
        found = Violations()
        large = request.ByteSize() > LARGE_BYTES
        chat = await self._conversions.run(large, partial(decode.chat_input, found, request, streams=streams))
        return await self._gateway.chat(call.principal, chat, violations=found), chat.options.session
