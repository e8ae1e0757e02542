# Generated from mcp_client/integrations/_web/aio_routes.py by scripts/generate: edit that file.

"""Handles the requests to the routes of a chat."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from mcp_client._sync.client import MCPSyncClient
from mcp_client._sync.stream import SyncTurnStream
from mcp_client.errors import MCPError, SessionExists, SessionNotFound
from mcp_client.integrations._web.frames import OPENING, SyncFrames, event_frame, failure_frame
from mcp_client.integrations._web.problems import RequestRefused
from mcp_client.integrations._web.requests import ChatRequest, LastEvent, NewMessage
from mcp_client.integrations._web.responses import (
    END_OF_STREAM,
    ChatResponse,
    accepted_response,
    history,
    json_response,
    problem_response,
    stream_response,
)
from mcp_client.integrations._web.visitors import Visitor
from mcp_client.values import TurnState

MAX_HISTORY: Final = 100
"""The maximum number of earlier messages that a page receives."""


def respond(client: MCPSyncClient, request: ChatRequest) -> ChatResponse[SyncFrames]:
    """Handle a request."""
    try:
        return _respond(client, request)
    except (MCPError, RequestRefused) as error:
        return problem_response(error)


def frames(stream: SyncTurnStream, *, opened: bool = False) -> SyncFrames:
    """The events of a turn for a browser. Closing this early does not cancel the turn: the browser may reconnect.

    Args:
        stream: of the turn.
        opened: whether the response has already started; otherwise the first chunk is yielded with the first event.

    Raises:
        MCPError: the turn was not started, or cannot be read. An error in a started response is an event.
    """
    stream.detach()
    with stream:
        try:
            for event in stream.events():
                if not opened:
                    opened = True
                    yield OPENING
                yield event_frame(event, stream.turn)
        except MCPError as error:
            if not opened:
                if not error.details.final:
                    raise
                yield OPENING
            yield failure_frame(error, stream.turn or error.turn)


def _respond(client: MCPSyncClient, request: ChatRequest) -> ChatResponse[SyncFrames]:
    if request.method == "DELETE":
        turn = client.cancel_turn(request.visitor.turn_name(request.turn))
        return json_response({"turn": request.turn, "state": turn.state})
    if request.method == "GET" and not request.turn:
        return json_response(_history(client, request.visitor))
    message = NewMessage.of_request(request) if request.method == "POST" else None
    last = LastEvent.of_header(request.last_event_id)
    if message is not None and last is None:
        stream, rest = _start(client, request, message)
    elif last is not None and last.failed:
        return END_OF_STREAM
    else:
        stream, rest = _resume(client, request, message, last or LastEvent(request.turn))
    if rest is None:
        return END_OF_STREAM
    if message is not None and request.wants_json:
        rest.close()
        return accepted_response(request, stream.turn)
    return stream_response(request, stream.turn, rest)


def _start(
    client: MCPSyncClient, request: ChatRequest, message: NewMessage
) -> tuple[SyncTurnStream, SyncFrames | None]:
    """Send the message of a visitor, and create their session if it does not exist."""
    stream = _stream_chat(client, request, message)
    with suppress(SessionNotFound):  # this is the visitor's first message, or the session has expired
        return stream, _rest(stream)
    with suppress(SessionExists):  # created by another message at the same moment
        client.create_session(request.visitor.session, **request.session_options)
    stream = _stream_chat(client, request, message)
    return stream, _rest(stream)


def _resume(
    client: MCPSyncClient, request: ChatRequest, message: NewMessage | None, last: LastEvent
) -> tuple[SyncTurnStream, SyncFrames | None]:
    """Resume the stream of a turn after an event: with the message if the browser sent it again, else as a watcher."""
    if request.turn and last.turn != request.turn:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "Last-Event-ID: the event belongs to another turn")
    if message is not None and not message.request_id:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "request_id: required to resume an answer")
    turn = client.get_turn(request.visitor.turn_name(last.turn))
    if message is None:
        stream = client.stream_turn(turn, after_sequence=last.sequence)
    elif turn.request_id == message.request_id:
        stream = _stream_chat(client, request, message, after_sequence=last.sequence)
    else:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "request_id: the event in Last-Event-ID belongs to another one")
    if turn.state in (TurnState.QUEUED, TurnState.RUNNING):  # the next event may take long
        return stream, frames(stream, opened=True)
    return stream, _rest(stream)


def _stream_chat(
    client: MCPSyncClient, request: ChatRequest, message: NewMessage, *, after_sequence: int | None = None
) -> SyncTurnStream:
    stream: SyncTurnStream = client.stream_chat(
        message.message,
        session=request.visitor.session,
        request_id=message.request_id,
        after_sequence=after_sequence,
        **request.turn_options,
    )
    return stream


def _rest(stream: SyncTurnStream) -> SyncFrames | None:
    """Wait for the first chunk, and return the others; ``None`` if the stream is empty."""
    chunks = frames(stream)
    return chunks if next(chunks, None) is not None else None


def _history(client: MCPSyncClient, visitor: Visitor) -> Mapping[str, Any]:
    """The latest messages of a visitor's session, and the running turn."""
    messages = []
    try:
        session = client.get_session(visitor.session)
        for message in client.list_messages(session, newest_first=True, page_size=MAX_HISTORY):
            messages.append(message)
            if len(messages) == MAX_HISTORY:
                break
    except SessionNotFound:
        return history([], "")
    return history(messages[::-1], session.active_turn)
