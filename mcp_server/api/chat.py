"""ChatService and CompletionService: turns, streamed or folded."""

from __future__ import annotations

from contextprotocol.v1 import chat_pb2, completion_pb2, turn_pb2
from mcp_server.api import decode, encode
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.principal import ANONYMOUS
from mcp_server.rpc.edge import Send
from mcp_server.turns.log import TurnReader
from mcp_server.values import Completed, Queued, Started


class ChatService:
    """Talks to a model, with a session's memory or without."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Chat(self, call: Call, request: chat_pb2.ChatRequest) -> chat_pb2.ChatResponse:
        chat = decode.chat_input(request, streams=False)
        completed = await fold(call, await self._gateway.chat(ANONYMOUS, chat), chat.options.session)
        return chat_pb2.ChatResponse(turn=call.turn, completed=completed)

    async def StreamChat(self, call: Call, request: chat_pb2.ChatRequest, send: Send) -> None:
        chat = decode.chat_input(request, streams=True)
        await stream(call, await self._gateway.chat(ANONYMOUS, chat), chat.options.session, send)


class CompletionService:
    """Goes on from a raw prompt."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Complete(self, call: Call, request: completion_pb2.CompleteRequest) -> completion_pb2.CompleteResponse:
        completion = decode.completion_input(request, streams=False)
        completed = await fold(call, await self._gateway.complete(ANONYMOUS, completion), completion.options.session)
        return completion_pb2.CompleteResponse(turn=call.turn, completed=completed)

    async def StreamComplete(self, call: Call, request: completion_pb2.CompleteRequest, send: Send) -> None:
        completion = decode.completion_input(request, streams=True)
        await stream(call, await self._gateway.complete(ANONYMOUS, completion), completion.options.session, send)


async def stream(call: Call, reader: TurnReader, session: str, send: Send) -> None:
    """Send a turn's events as they come; a write that waits lets the next deltas gather."""
    with reader:
        async for sequence, event in reader:
            if type(event) is Started or type(event) is Queued:
                call.turn = event.turn
            await send(encode.turn_event(sequence, event, session))


async def fold(call: Call, reader: TurnReader, session: str) -> turn_pb2.TurnCompleted:
    """Wait for a turn's end."""
    with reader:
        completed = await reader.last()
    assert type(completed) is Completed
    answer = encode.turn_completed(completed, session)
    call.turn = answer.message.turn
    return answer
