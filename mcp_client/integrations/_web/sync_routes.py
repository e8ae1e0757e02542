# Generated from mcp_client/integrations/_web/aio_routes.py by scripts/generate: edit that file.

"""Handles the requests to the routes of a chat."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from typing import Any, Final

from mcp_client._sync.client import MCPSyncClient
from mcp_client._sync.stream import SyncTurnStream
from mcp_client._sync.tool_stream import SyncToolStream
from mcp_client.errors import DeadlineExceeded, Details, MCPError, SessionExists, SessionNotFound, ToolResultsMissing
from mcp_client.integrations._web.frames import HEARTBEAT, OPENING, SyncFrames, event_frame, failure_frame
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
from mcp_client.integrations._web.tools import interrupted
from mcp_client.values import FinishReason, Message, SessionDeleted, TurnState

Following = Callable[[str], Generator[SyncTurnStream | None, None]]
"""Waits for the turn that follows the one with this full name: yields ``None`` now and then, at last its stream."""

_REFUSED: Final = "TOOL_RESULTS_MISSING"
"""Why turns of others fail while functions run."""

MAX_HISTORY: Final = 100
"""The maximum number of earlier messages that a page receives."""


def respond(client: MCPSyncClient, request: ChatRequest) -> ChatResponse[SyncFrames]:
    """Handle a request."""
    try:
        return _respond(client, request)
    except (MCPError, RequestRefused) as error:
        return problem_response(error)


def frames(
    stream: SyncTurnStream, *, opened: bool = False, following: Following | None = None, calls: bool = False
) -> SyncFrames:
    """The events of a turn for a browser. Closing this early does not cancel the turn: the browser may reconnect.

    Args:
        stream: of the turn.
        opened: whether the response has already started; otherwise the first chunk is yielded with the first event.
        following: the turn after one whose answer calls functions; ``None``: the application runs none.
        calls: whether the answer is known to call functions.

    Raises:
        MCPError: the turn was not started, or cannot be read. An error in a started response is an event.
    """
    while True:
        stream.detach()
        with stream:
            try:
                for event in stream.events():
                    if not opened:
                        opened = True
                        yield OPENING
                    yield event_frame(event, stream.turn, with_tools=following is not None)
            except MCPError as error:
                if not opened:
                    if not error.details.final:
                        raise
                    yield OPENING
                yield failure_frame(error, stream.turn or error.turn)
        if following is None or not (calls or stream.finish_reason is FinishReason.TOOL_CALLS):
            return
        try:
            with closing(following(stream.turn)) as waiting:
                for later in waiting:
                    if later is None:
                        yield HEARTBEAT  # by which the application learns that the browser has left, too
                    else:
                        stream, calls = later, False
        except MCPError as error:
            yield failure_frame(error, stream.turn)
            return


def _respond(client: MCPSyncClient, request: ChatRequest) -> ChatResponse[SyncFrames]:
    if request.method == "DELETE":
        cancelled = client.cancel_turn(request.visitor.turn_name(request.turn))
        return json_response({"turn": request.turn, "state": cancelled.state})
    if request.method == "GET" and not request.turn:
        return json_response(_history(client, request))
    message = NewMessage.of_request(request) if request.method == "POST" else None
    last = LastEvent.of_header(request.last_event_id)
    if message is not None and last is None:
        turn, rest = _start(client, request, message)
    elif last is not None and last.failed:
        return END_OF_STREAM
    else:
        turn, rest = _resume(client, request, message, last or LastEvent(request.turn))
    if rest is None:
        return END_OF_STREAM
    if message is not None and request.wants_json:
        rest.close()
        return accepted_response(request, turn)
    return stream_response(request, turn, rest)


def _start(client: MCPSyncClient, request: ChatRequest, message: NewMessage) -> tuple[str, SyncFrames | None]:
    """Send the message of a visitor, and create their session if it does not exist."""
    if request.tools:
        return _start_with_tools(client, request, message)
    stream = _stream_chat(client, request, message)
    with suppress(SessionNotFound):  # this is the visitor's first message, or the session has expired
        rest = _rest(stream)
        return stream.turn, rest
    with suppress(SessionExists):  # created by another message at the same moment
        client.create_session(request.visitor.session, **request.session_options)
    stream = _stream_chat(client, request, message)
    rest = _rest(stream)
    return stream.turn, rest


def _resume(
    client: MCPSyncClient, request: ChatRequest, message: NewMessage | None, last: LastEvent
) -> tuple[str, SyncFrames | None]:
    """Resume the stream of a turn after an event: with the message if the browser sent it again, else as a watcher."""
    # With functions, a stream that began with one turn goes on with others.
    if request.turn and last.turn != request.turn and not request.tools:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "Last-Event-ID: the event belongs to another turn")
    if message is not None and not message.request_id:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "request_id: required to resume an answer")
    turn = client.get_turn(request.visitor.turn_name(last.turn))
    runs = turn.state in (TurnState.QUEUED, TurnState.RUNNING)
    if message is None or request.tools:
        stream = client.stream_turn(turn, after_sequence=last.sequence)
        calls = turn.finish_reason is FinishReason.TOOL_CALLS
        if request.tools and (runs or calls):
            return turn.name, frames(stream, opened=True, following=_following(client, request), calls=calls)
    elif turn.request_id == message.request_id:
        stream = _stream_chat(client, request, message, after_sequence=last.sequence)
    else:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "request_id: the event in Last-Event-ID belongs to another one")
    return turn.name, frames(stream, opened=True) if runs else _rest(stream)  # the next event may take long


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


def _history(client: MCPSyncClient, request: ChatRequest) -> Mapping[str, Any]:
    """The latest messages of a visitor's session, and the running turn."""
    messages = []
    try:
        session = client.get_session(request.visitor.session)
        for message in client.list_messages(session, newest_first=True, page_size=MAX_HISTORY):
            messages.append(message)
            if len(messages) == MAX_HISTORY:
                break
    except SessionNotFound:
        return history([], "")
    waits = bool(messages and messages[0].tool_calls) and request.tools.may_run_for(messages[0])
    return history(messages[::-1], session.active_turn, with_tools=waits)


# -- with functions ---------------------------------------------------------------------------------------------------


def _start_with_tools(client: MCPSyncClient, request: ChatRequest, message: NewMessage) -> tuple[str, SyncFrames]:
    """Send the message of a visitor. The functions that the model calls run beside the request, whoever reads."""
    turn = _sent_before(client, request, message)
    if not turn:
        try:
            stream = _begin(client, request, message)
        except ToolResultsMissing:
            turn = _sent_before(client, request, message)  # by another request at the same moment
            if not turn:
                raise
        else:
            turn = stream.turn
            if not request.tools.start(turn, _finish, stream):  # another request at the same moment has begun it
                stream.__exit__(None, None, None)
    return turn, frames(client.stream_turn(turn), opened=True, following=_following(client, request))


def _begin(client: MCPSyncClient, request: ChatRequest, message: NewMessage) -> SyncToolStream:
    """Start the first turn, and create the session if it does not exist.

    Raises:
        ToolResultsMissing: functions still run for the message before.
    """
    before: list[Message] = []
    try:
        for latest in client.list_messages(request.visitor.session, newest_first=True, page_size=1):
            if latest.tool_calls and request.tools.may_run_for(latest):
                details = Details(code="INVALID_ARGUMENT", reason=_REFUSED)
                raise ToolResultsMissing("functions still run for the message before", details)
            before = interrupted(latest)
            break
        return _begin_with(client, request, message, before)
    except SessionNotFound:
        with suppress(SessionExists):  # created by another message at the same moment
            client.create_session(request.visitor.session, **request.session_options)
        return _begin_with(client, request, message, [])


def _begin_with(
    client: MCPSyncClient, request: ChatRequest, message: NewMessage, before: list[Message]
) -> SyncToolStream:
    stream = client.stream_chat_with_tools(
        [*before, message.message],
        tools=request.tools.functions,
        session=request.visitor.session,
        request_id=message.request_id or secrets.token_hex(16),
        max_rounds=request.tools.max_rounds,
        timeout=request.tools.timeout,
        **request.turn_options,
    )
    stream.detach()
    stream.__enter__()
    try:
        for _ in stream.events():
            if stream.turn:
                break
    except BaseException:
        stream.__exit__(None, None, None)
        raise
    return stream


def _finish(stream: SyncToolStream) -> None:
    try:
        stream.reply()
    finally:
        stream.__exit__(None, None, None)


def _sent_before(client: MCPSyncClient, request: ChatRequest, message: NewMessage) -> str:
    """The turn of a message that the page has sent before; its functions must not run twice."""
    if message.request_id:
        with suppress(SessionNotFound):
            for turn in (client.list_turns(request.visitor.session).page()).items:
                if turn.request_id == message.request_id and turn.state is not TurnState.INTERRUPTED:
                    return turn.name
    return ""


def _following(client: MCPSyncClient, request: ChatRequest) -> Following:
    """Reads the next turn of the session, once it has begun."""

    def following(turn: str) -> Generator[SyncTurnStream | None, None]:
        with client.watch_session(request.visitor.session, timeout=request.tools.timeout) as watch:
            try:
                while not isinstance(event := watch._event(), SessionDeleted):
                    if event is None:
                        yield None
                    elif later := _later(client, request.visitor.session, turn):
                        yield client.stream_turn(later)
                        return
            except DeadlineExceeded as error:
                # Final: a browser that comes back would wait in vain again.
                details = Details(code="DEADLINE_EXCEEDED", final=True)
                raise DeadlineExceeded(f"no turn has followed {turn}", details) from error
        raise SessionNotFound(f"the session of {turn} was deleted", Details(code="NOT_FOUND"))

    return following


def _later(client: MCPSyncClient, session: str, turn: str) -> str:
    """The turn that began next after another one; empty if none has."""
    later = ""
    for found in client.list_turns(session):
        if found.name == turn:
            break
        if found.error is None or found.error.reason != _REFUSED:
            later = found.name
    return later
