"""``contextprotocol.v1.ChatService``: chats with a model, with a session's memory or without."""

from __future__ import annotations

from contextprotocol.v1 import chat_pb2
from mcp_server.api import decode
from mcp_server.api.call import Send
from mcp_server.api.turn_answer import fold, stream
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations


class ChatService:
    """Chats with a model, with a session's memory or without."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Chat(self, call: Call, request: chat_pb2.ChatRequest) -> chat_pb2.ChatResponse:
        found = Violations()
        chat = decode.chat_input(found, request, streams=False)
        reader = await self._gateway.chat(call.principal, chat, violations=found)
        completed = await fold(call, reader, chat.options.session)
        return chat_pb2.ChatResponse(turn=call.turn, completed=completed)

    async def StreamChat(self, call: Call, request: chat_pb2.ChatRequest, send: Send) -> None:
        found = Violations()
        chat = decode.chat_input(found, request, streams=True)
        reader = await self._gateway.chat(call.principal, chat, violations=found)
        await stream(call, reader, chat.options.session, send)
