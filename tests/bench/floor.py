"""The floor: a gRPC handler that asks the upstream and answers, with nothing kept, checked or counted.

``StreamChat`` sends one message a token, ``StreamMerged`` one for what has arrived together.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop

from contextprotocol.v1 import chat_pb2, message_pb2, turn_pb2
from tests.bench.bare import Upstream


class Floor:
    """The two methods of ChatService."""

    def __init__(self, port: int) -> None:
        self._upstream = Upstream(port)

    async def chat(self, request: chat_pb2.ChatRequest, context: Any) -> chat_pb2.ChatResponse:
        """One answer."""
        text = "".join([token async for group in self._ask(request) for token in group])
        message = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=[message_pb2.Part(text=text)])
        return chat_pb2.ChatResponse(completed=turn_pb2.TurnCompleted(message=message))

    async def stream_chat(self, request: chat_pb2.ChatRequest, context: Any) -> None:
        """One message a token."""
        sequence = 0
        async for group in self._ask(request):
            for token in group:
                sequence += 1
                delta = turn_pb2.Delta(text=token)
                await context.write(turn_pb2.TurnEvent(sequence=sequence, delta=delta))

    async def stream_merged(self, request: chat_pb2.ChatRequest, context: Any) -> None:
        """One message for what arrived together."""
        sequence = 0
        async for group in self._ask(request):
            if group:
                sequence += len(group)
                delta = turn_pb2.Delta(text="".join(group))
                await context.write(turn_pb2.TurnEvent(sequence=sequence, delta=delta))

    def _ask(self, request: chat_pb2.ChatRequest) -> Any:
        messages = [{"role": "user", "content": message.parts[0].text} for message in request.messages]
        return self._upstream.ask(request.model.rpartition("/")[2], messages)

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()


async def main(upstream: int) -> None:
    """Serve until standard input ends."""
    floor = Floor(upstream)

    def stream(method: Any) -> Any:
        return grpc.unary_stream_rpc_method_handler(
            method,
            request_deserializer=chat_pb2.ChatRequest.FromString,
            response_serializer=turn_pb2.TurnEvent.SerializeToString,
        )

    methods = {
        "Chat": grpc.unary_unary_rpc_method_handler(
            floor.chat,
            request_deserializer=chat_pb2.ChatRequest.FromString,
            response_serializer=chat_pb2.ChatResponse.SerializeToString,
        ),
        "StreamChat": stream(floor.stream_chat),
        "StreamMerged": stream(floor.stream_merged),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("contextprotocol.v1.ChatService", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)  # noqa: T201  # this is how the benchmark learns it
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)
    await floor.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
