"""``/responses``: turns of sessions, in the form of OpenAI's API."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from mcp_server.errors import MCPError, TurnCancelled, TurnNotFound
from mcp_server.gateway import Gateway, TurnReader
from mcp_server.interfaces import Call
from mcp_server.values import FINAL, Completed, Turn, TurnState, Usage
from mcp_server.web.body import Convert, read_body
from mcp_server.web.exchange import Exchange, HTTPProblem, json_headers
from mcp_server.web.openai.headers import Timed
from mcp_server.web.openai.identifiers import TurnId, parse_response_id, response_id
from mcp_server.web.openai.items import Form, Item, items_of
from mcp_server.web.openai.pages import LIMIT, MAX_LIMIT, Query, page
from mcp_server.web.openai.response_events import DONE, NUMBERS, ResponseEvents
from mcp_server.web.openai.response_objects import (
    Response,
    begun,
    complete,
    output_of,
    response_of,
    stored_response,
)
from mcp_server.web.openai.response_parameters import LOGPROBS, form_of
from mcp_server.web.openai.response_requests import CreateRequest, View, read_create
from mcp_server.web.openai.response_turns import BegunTurn, Numbered, ResponseTurns
from mcp_server.web.parameters import request_id
from mcp_server.web.streams import EVENTS

_encode: Final = msgspec.json.Encoder().encode


class Responses:
    """Creates responses, and gives access to them.

    Args:
        gateway: carries them out.
        convert: reads large bodies off the event loop.
    """

    def __init__(self, gateway: Gateway, convert: Convert) -> None:
        self._gateway = gateway
        self._convert = convert
        self._turns = ResponseTurns(gateway)

    # -- create -------------------------------------------------------------------------------------------------------

    async def create(self, call: Call, exchange: Exchange) -> None:
        """``POST /responses``."""
        timed = Timed(self._gateway)
        key = request_id(exchange)
        request: CreateRequest = await read_body(exchange, self._convert, lambda data: read_create(data, key))
        view = request.view
        with request.names():
            found = await self._begin(call, request)
            del request  # it may be large, and the turn may take long
            with found.reader:
                call.turn = _name(found.turn)
                turn = await self._gateway.get_turn(call.principal, *found.turn)
                if view.stream:
                    await self._stream(call, exchange, _events(turn, view), found.first, found.rest, timed)
                    return
                response = await self._whole(call, view, found, turn)
        await exchange.answer(200, json_headers(await timed.headers(call.principal)), _encode(response))

    async def _begin(self, call: Call, request: CreateRequest) -> BegunTurn:
        turns, history = self._turns, request.history
        arguments = (call.principal, request.chat)
        if request.found:
            return await turns.without_session(*arguments, request.found)  # it is refused, with all that is wrong
        if (conversation := history.conversation_id) is not None:
            return await turns.in_conversation(*arguments, conversation)
        if history.previous_response_id is not None:
            return await turns.after(*arguments, history.previous_response_id)
        if not request.stored:
            return await turns.without_session(*arguments)
        return await turns.in_new_session(*arguments, request.session_instruction)

    async def _whole(self, call: Call, view: View, found: BegunTurn, turn: Turn) -> Response:
        """The response when it has ended; at once if it is written in the background."""
        if view.background:
            return response_of(turn, include=view.include, instructions=view.instructions)
        response = begun(turn, instructions=view.instructions)
        form = form_of(view.include, response["reasoning"])
        try:
            if form.logprobs:
                return await _translated(_events(turn, view), found.first, found.rest)
            completed = await found.reader.last()
        except TurnCancelled:
            ended = await self._gateway.get_turn(call.principal, turn.session, turn.id)
            return response_of(ended, include=view.include, instructions=view.instructions)
        assert isinstance(completed, Completed)
        complete(response, completed, output_of(turn.id, completed, form), turn.create_time)
        return response

    async def _stream(
        self,
        call: Call,
        exchange: Exchange,
        events: ResponseEvents,
        first: Numbered | None,
        rest: AsyncIterator[Numbered],
        timed: Timed,
    ) -> None:
        """Send the events of a turn."""
        await exchange.start(200, {**EVENTS, **await timed.headers(call.principal)})
        last, failure = 0, None
        while True:
            try:
                numbered = first if first is not None else await anext(rest)
                (last, event), first = numbered, None
            except StopAsyncIteration:
                break
            except MCPError as error:
                error.__traceback__ = None
                failure = error
                break
            if data := events.translate(last, event):
                await exchange.write(data)
        end = b""
        if failure is not None:
            usage = Usage()
            with contextlib.suppress(MCPError):
                usage = (await self._gateway.get_turn(call.principal, *events.turn)).usage
            end = events.failure(last, failure, usage)
        await exchange.write(end + DONE)
        await exchange.finish()

    # -- one response -------------------------------------------------------------------------------------------------

    async def retrieve(self, call: Call, exchange: Exchange) -> None:
        """``GET /responses/{response_id}``."""
        query = Query(exchange)
        query.flag("stream")
        include = query.include()
        query.check()
        turn = _turn_of(exchange)
        await _answer(exchange, await self._response(call, turn, include))

    async def resume(self, call: Call, exchange: Exchange) -> None:
        """``GET /responses/{response_id}?stream=true``."""
        timed = Timed(self._gateway)
        query = Query(exchange)
        query.flag("stream")
        include = query.include()
        if query.flag("include_obfuscation"):
            raise HTTPProblem(400, "INVALID_ARGUMENT", "obfuscation is not supported", param="include_obfuscation")
        after = query.whole("starting_after", 0, 0, 2**53)
        query.check()
        name = _turn_of(exchange)
        try:
            turn = await self._gateway.get_turn(call.principal, *name)
            reader: TurnReader = await self._gateway.read_turn(call.principal, *name)
        except TurnNotFound:
            await self._response(call, name, ())
            raise HTTPProblem(
                400, "EVENTS_NOT_FOUND", "the events of this response are no longer kept: retrieve it without stream"
            ) from None
        with reader:
            call.turn = _name(name)
            if turn.state in FINAL and after // NUMBERS > turn.last_sequence:
                problem = f"no event has the number {after}: the last one is {NUMBERS * turn.last_sequence}"
                raise HTTPProblem(400, "SEQUENCE_UNKNOWN", problem, param="starting_after")
            if after:
                reader.split = after // NUMBERS
            else:
                reader.skip_abandoned()
            form = form_of(include, turn.details.get("reasoning"))
            events = ResponseEvents(turn, form, after=after)
            await self._stream(call, exchange, events, None, aiter(reader), timed)

    async def cancel(self, call: Call, exchange: Exchange) -> None:
        """``POST /responses/{response_id}/cancel``."""
        name = _turn_of(exchange)
        call.turn = _name(name)
        try:
            response = response_of(await self._gateway.cancel_turn(call.principal, *name))
        except TurnNotFound:  # past its retention, it has ended
            response = await self._response(call, name, ())
        await _answer(exchange, response)

    async def delete(self, call: Call, exchange: Exchange) -> None:
        """``DELETE /responses/{response_id}``."""
        name = _turn_of(exchange)
        call.turn = _name(name)
        try:
            await self._gateway.hide_turn(call.principal, *name)
        except TurnNotFound:
            raise _not_found(name) from None
        await _answer(exchange, {"id": response_id(name), "object": "response.deleted", "deleted": True})

    async def input_items(self, call: Call, exchange: Exchange) -> None:
        """``GET /responses/{response_id}/input_items``."""
        query = Query(exchange)
        limit = query.whole("limit", LIMIT, 1, MAX_LIMIT)
        after = query.text("after")
        newest_first = query.order()
        form = form_of(query.include(kept=True), None)
        query.check()
        items = await self._input(call, _turn_of(exchange), form)
        if newest_first:
            items.reverse()
        if after:
            positions = [number for number, item in enumerate(items, 1) if item["id"] == after]
            if not positions:
                raise HTTPProblem(400, "INVALID_ARGUMENT", f"there is no item {after[:100]!r}", param="after")
            items = items[positions[0] :]
        await _answer(exchange, page(items[:limit], has_more=len(items) > limit))

    async def _input(self, call: Call, name: TurnId, form: Form) -> list[Item]:
        """The items that a response was given, the oldest first."""
        gateway, principal = self._gateway, call.principal
        try:
            last = await gateway.find_turn_message(principal, *name)
        except TurnNotFound:
            await self._response(call, name, ())
            problem = "the input of this response is not kept: it has not ended, did not succeed, or was not stored"
            raise HTTPProblem(400, "INPUT_NOT_FOUND", problem) from None
        found: list[list[Item]] = []
        messages = gateway.list_messages(principal, name.session, limit=last, newest_first=True, after=last)
        async with contextlib.aclosing(messages):
            async for message in messages:
                if message.turn != _name(name):
                    break
                found.append(items_of(message, form))
        return [item for items in reversed(found) for item in items]

    async def _response(self, call: Call, name: TurnId, include: Sequence[str]) -> Response:
        """A response as it is now.

        Raises:
            HTTPProblem: there is none.
        """
        gateway, principal = self._gateway, call.principal
        with contextlib.suppress(TurnNotFound):
            turn = await gateway.get_turn(principal, *name)
            if LOGPROBS not in include:
                return response_of(turn, include=include)
            if turn.state is TurnState.SUCCEEDED:
                with await gateway.read_turn(principal, *name) as reader:
                    return await _translated(_events(turn, View(include=tuple(include))), None, aiter(reader))
            problem = f"{LOGPROBS!r} can be included once the response is complete"
            raise HTTPProblem(400, "INVALID_ARGUMENT", problem, param="include")
        try:
            index = await gateway.find_turn_message(principal, *name)
        except TurnNotFound:
            raise _not_found(name) from None
        if LOGPROBS in include:
            raise HTTPProblem(400, "INVALID_ARGUMENT", f"{LOGPROBS!r} is no longer kept", param="include")
        messages = gateway.list_messages(principal, name.session, limit=1, after=index - 1)
        async with contextlib.aclosing(messages):
            async for message in messages:
                return stored_response(name, message)
        raise _not_found(name)


async def _translated(events: ResponseEvents, first: Numbered | None, rest: AsyncIterator[Numbered]) -> Response:
    """The response at the end of its events."""
    if first is not None:
        events.translate(*first)
    async for sequence, event in rest:
        events.translate(sequence, event)
    return events.response


def _events(turn: Turn, view: View) -> ResponseEvents:
    form = form_of(view.include, turn.details.get("reasoning"))
    return ResponseEvents(turn, form, instructions=view.instructions)


async def _answer(exchange: Exchange, body: Any) -> None:
    await exchange.answer(200, json_headers(), _encode(body))


def _turn_of(exchange: Exchange) -> TurnId:
    text = exchange.request.path_params["response_id"]
    found = parse_response_id(text)
    if found is None:
        raise HTTPProblem(404, "RESPONSE_NOT_FOUND", f"response {text[:100]!r} not found", param="response_id")
    return found


def _name(turn: TurnId) -> str:
    return f"sessions/{turn.session}/turns/{turn.turn}" if turn.session else f"turns/{turn.turn}"


def _not_found(turn: TurnId) -> HTTPProblem:
    problem = "unknown id, deleted, not stored, or with its conversation deleted or expired"
    return HTTPProblem(
        404, "RESPONSE_NOT_FOUND", f"response {response_id(turn)} not found: {problem}", param="response_id"
    )
