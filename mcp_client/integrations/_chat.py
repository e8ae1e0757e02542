"""What the routes of a web application do, whatever its framework."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from mcp_client._aio.client import MCPClient
from mcp_client._aio.stream import TurnStream
from mcp_client.errors import MCPError, SessionExists, SessionNotFound
from mcp_client.integrations import _web
from mcp_client.integrations._web import AsyncFrames, Call, Outcome, Question, Refused, Seen, Visitor
from mcp_client.values import TurnState

NEWEST: Final = 100
"""The most messages that a page is told of what was said before."""


async def respond(client: MCPClient, call: Call) -> Outcome[AsyncFrames]:
    """Carry out a request to one of the routes."""
    try:
        return await _respond(client, call)
    except (MCPError, Refused) as error:
        return _web.problem(error)


async def frames(stream: TurnStream, *, opened: bool = False) -> AsyncFrames:
    """The events of a turn as a browser reads them. Closing this early stops nothing: the browser may come back.

    Args:
        stream: of the turn.
        opened: whether the response has begun; else the first frame comes when it is known that there is an answer.

    Raises:
        MCPError: the turn did not begin, or cannot be read. What ends an open response is an event.
    """
    stream.detach()
    async with stream:
        try:
            async for event in stream.events():
                if not opened:
                    opened = True
                    yield _web.OPENING
                yield _web.event(event, stream.turn)
        except MCPError as error:
            if not opened:
                if not error.details.final:
                    raise
                yield _web.OPENING
            yield _web.failed(error, stream.turn or error.turn)


async def _respond(client: MCPClient, call: Call) -> Outcome[AsyncFrames]:
    if call.method == "DELETE":
        turn = await client.cancel_turn(call.visitor.turn(call.turn))
        return _web.found({"turn": call.turn, "state": turn.state})
    if call.method == "GET" and not call.turn:
        return _web.found(await _history(client, call.visitor))
    question = Question.of_call(call) if call.method == "POST" else None
    seen = Seen.of_header(call.last_event_id)
    if question is not None and seen is None:
        stream, rest = await _begin(client, call, question)
    elif seen is not None and seen.failed:
        return _web.NOTHING_LEFT
    else:
        stream, rest = await _go_on(client, call, question, seen or Seen(call.turn))
    if rest is None:
        return _web.NOTHING_LEFT
    if question is not None and call.wants_json:
        await rest.aclose()
        return _web.accepted(call, stream.turn)
    return _web.streaming(call, stream.turn, rest)


async def _begin(client: MCPClient, call: Call, question: Question) -> tuple[TurnStream, AsyncFrames | None]:
    """Say what a visitor says, in a session that may have to begin with it."""
    for last in (False, True):
        stream = _asked(client, call, question)
        try:
            return stream, await _rest(stream)
        except SessionNotFound:
            if last:
                raise
            # It is their first message, or nothing was said for so long that the session is gone.
            with suppress(SessionExists):  # by a message that came at the same time
                await client.create_session(call.visitor.session, **call.session_options)
    raise AssertionError


async def _go_on(
    client: MCPClient, call: Call, question: Question | None, seen: Seen
) -> tuple[TurnStream, AsyncFrames | None]:
    """Pass on a turn that runs or has ended, from where its reader has come to. Who has the question, asks it again."""
    if call.turn and seen.turn != call.turn:
        raise Refused(HTTPStatus.BAD_REQUEST, "Last-Event-ID: that event is of another turn")
    if question is not None and not question.request_id:
        raise Refused(HTTPStatus.BAD_REQUEST, "request_id: needed to go on with an answer")
    turn = await client.get_turn(call.visitor.turn(seen.turn))
    if question is None:
        stream = client.stream_turn(turn, after_sequence=seen.sequence)
    elif turn.request_id == question.request_id:
        stream = _asked(client, call, question, after_sequence=seen.sequence)
    else:
        raise Refused(HTTPStatus.BAD_REQUEST, "request_id: the event that was seen last is of another one")
    if turn.state in (TurnState.QUEUED, TurnState.RUNNING):  # it may be long until there is something to tell
        return stream, frames(stream, opened=True)
    return stream, await _rest(stream)


def _asked(client: MCPClient, call: Call, question: Question, *, after_sequence: int | None = None) -> TurnStream:
    return client.stream_chat(
        question.message,
        session=call.visitor.session,
        request_id=question.request_id,
        after_sequence=after_sequence,
        **call.turn_options,
    )


async def _rest(stream: TurnStream) -> AsyncFrames | None:
    """All frames but the first, when that has come; ``None`` if none does."""
    passed_on = frames(stream)
    return passed_on if await anext(passed_on, None) is not None else None


async def _history(client: MCPClient, visitor: Visitor) -> Mapping[str, Any]:
    """The newest messages of a visitor's session, and the turn that runs."""
    messages = []
    try:
        session = await client.get_session(visitor.session)
        async for message in client.list_messages(session, newest_first=True, page_size=NEWEST):
            messages.append(message)
            if len(messages) == NEWEST:
                break
    except SessionNotFound:
        return _web.history([], "")
    return _web.history(messages[::-1], session.active_turn)
