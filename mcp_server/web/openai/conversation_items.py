"""``/conversations/{conversation_id}/items``: the messages of a session, as items."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from mcp_server.errors import SessionBusy, SessionNotFound, ToolResultsMissing
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations, refuse
from mcp_server.values import Message
from mcp_server.web.body import Convert, Shape, decode, read_body
from mcp_server.web.exchange import Exchange, HTTPProblem
from mcp_server.web.openai.conversations import (
    NAMES,
    answer,
    conversation_object,
    conversation_of,
    session_id,
    session_of,
)
from mcp_server.web.openai.identifiers import index_of_item
from mcp_server.web.openai.input_items import Input
from mcp_server.web.openai.items import Form, Item, items_of
from mcp_server.web.openai.pages import LIMIT, MAX_LIMIT, Query, page
from mcp_server.web.openai.response_parameters import form_of
from mcp_server.web.openai.response_turns import conversation_locked, conversation_not_found, derived
from mcp_server.web.parameters import request_id

_ALL: Final = 2**31


class ItemsBody(Shape):
    """The body of ``POST /conversations/{conversation_id}/items``."""

    items: list[msgspec.Raw]


_BODY: Final = msgspec.json.Decoder(ItemsBody)


class ConversationItems:
    """Lists, adds and removes items.

    Args:
        gateway: carries it out.
        convert: reads large bodies off the event loop.
    """

    def __init__(self, gateway: Gateway, convert: Convert) -> None:
        self._gateway = gateway
        self._convert = convert

    async def list(self, call: Call, exchange: Exchange) -> None:
        """``GET /conversations/{conversation_id}/items``."""
        query = Query(exchange)
        limit = query.whole("limit", LIMIT, 1, MAX_LIMIT)
        after = query.text("after")
        newest_first = query.order()
        form = form_of(query.include(kept=True), None)
        query.check()
        session = await session_of(self._gateway, call, exchange)
        start = None
        if after:
            # The message of that item may have further ones.
            message, _ = await self._find(call, session.id, after, param="after")
            start = message.index + 1 if newest_first else message.index - 1
        found: list[Item] = []
        skipping = bool(after)
        async for item in self._items(call, session.id, form, newest_first=newest_first, start=start):
            if not skipping:
                found.append(item)
            skipping = skipping and item["id"] != after
            if len(found) > limit:
                break
        await answer(exchange, page(found[:limit], has_more=len(found) > limit))

    async def create(self, call: Call, exchange: Exchange) -> None:
        """``POST /conversations/{conversation_id}/items``."""
        query = Query(exchange)
        form = form_of(query.include(kept=True), None)
        query.check()
        given = await read_body(exchange, self._convert, _read)
        session = session_id(exchange)
        gateway, principal = self._gateway, call.principal
        key = derived("items", request_id(exchange))
        with NAMES.translating(given.names):
            try:
                _, first = await gateway.append_messages(principal, session, given.messages, request_id=key)
            except SessionNotFound:
                raise conversation_not_found(conversation_of(exchange)) from None
            except SessionBusy as busy:
                raise conversation_locked(session, busy) from None
        items: list[Item] = []
        messages = gateway.list_messages(principal, session, limit=len(given.messages), after=first - 1)
        async with contextlib.aclosing(messages):
            async for message in messages:
                items += items_of(message, form)
        await answer(exchange, page(items, has_more=False))

    async def retrieve(self, call: Call, exchange: Exchange) -> None:
        """``GET /conversations/{conversation_id}/items/{item_id}``."""
        query = Query(exchange)
        form = form_of(query.include(kept=True), None)
        query.check()
        session = await session_of(self._gateway, call, exchange)
        id = exchange.request.path_params["item_id"]
        message, _ = await self._find(call, session.id, id)
        await answer(exchange, next(item for item in items_of(message, form) if item["id"] == id))

    async def delete(self, call: Call, exchange: Exchange) -> None:
        """``DELETE /conversations/{conversation_id}/items/{item_id}``: of the last item."""
        session = await session_of(self._gateway, call, exchange)
        message, number = await self._find(call, session.id, exchange.request.path_params["item_id"])
        problem = ""
        if message.index + 1 != session.message_count or number + 1 != len(items_of(message)):
            problem = "only the last item of a conversation can be deleted"
        elif number:
            problem = f"it is one of the {number + 1} items of an answer, which cannot be deleted one by one"
        if problem:
            raise HTTPProblem(400, "ITEM_NOT_LAST", f"this item cannot be deleted: {problem}", param="item_id")
        try:
            session = await self._gateway.rewind_session(call.principal, session.id, message.index, etag=session.etag)
        except SessionBusy as busy:
            raise conversation_locked(session.id, busy) from None
        except ToolResultsMissing as error:
            raise HTTPProblem(400, "ITEM_NOT_LAST", f"this item cannot be deleted: {error}", param="item_id") from None
        await answer(exchange, conversation_object(session))

    # -- finding ------------------------------------------------------------------------------------------------------

    async def _find(self, call: Call, session: str, id: str, *, param: str = "item_id") -> tuple[Message, int]:
        """The message that has an item, and which of its items it is, from 0.

        Raises:
            HTTPProblem: there is none.
        """
        index = index_of_item(id)
        # The id of an item of an answer does not tell where the answer is: it is looked for from the newer end.
        bounds: dict[str, Any] = {"limit": _ALL, "newest_first": True}
        if index is not None:
            bounds = {"limit": 1, "after": index - 1}
        messages = self._gateway.list_messages(call.principal, session, **bounds)
        async with contextlib.aclosing(messages):
            async for message in messages:
                for number, item in enumerate(items_of(message)):
                    if item["id"] == id:
                        return message, number
        raise HTTPProblem(
            400 if param == "after" else 404,
            "ITEM_NOT_FOUND",
            f"item {id[:100]!r} not found in this conversation",
            param=param,
        )

    async def _items(
        self, call: Call, session: str, form: Form, *, newest_first: bool, start: int | None
    ) -> AsyncIterator[Item]:
        """The items of the messages after the one with the index ``start``."""
        if start is not None and start < 0:
            start = None
        messages = self._gateway.list_messages(
            call.principal, session, limit=_ALL, newest_first=newest_first, after=start
        )
        async with contextlib.aclosing(messages):
            async for message in messages:
                items = items_of(message, form)
                for item in reversed(items) if newest_first else items:
                    yield item


def _read(data: bytes) -> Input:
    body, found = decode(_BODY, data), Violations()
    given = Input(found, "items").add(body.items)
    for _ in given.instructions:
        found.add("items", "must not contain instructions: they are set when a conversation is created")
    refuse(found)
    return given
