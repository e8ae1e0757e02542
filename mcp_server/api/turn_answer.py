"""The two ways to answer with a turn: its events as they come, or its end."""

from __future__ import annotations

from contextprotocol.v1 import turn_pb2
from mcp_server.api import encode
from mcp_server.api.call import Send
from mcp_server.gateway import TurnReader
from mcp_server.interfaces import Call
from mcp_server.values import Completed, Queued, Started


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
