"""Requests of the turn service."""

from __future__ import annotations

from contextprotocol.v1 import turn_pb2
from mcp_client._core.arguments import argument
from mcp_client._core.requests.names import session_name, turn_name
from mcp_client.values import Session, Turn


def list_turns(session: str | Session, *, page_size: int) -> turn_pb2.ListTurnsRequest:
    """List the first page of turns."""
    request = turn_pb2.ListTurnsRequest(parent=session_name(session))
    with argument("page_size"):
        request.page_size = page_size
    return request


def stream_turn(turn: str | Turn, after_sequence: int) -> turn_pb2.StreamTurnRequest:
    """Stream the events of a turn."""
    request = turn_pb2.StreamTurnRequest(name=turn_name(turn))
    with argument("after_sequence"):
        request.after_sequence = after_sequence
    return request
