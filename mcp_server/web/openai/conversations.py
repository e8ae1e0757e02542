"""``/conversations``: sessions, in the form of OpenAI's API."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.errors import MCPError, SessionNotFound
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations, refuse
from mcp_server.values import SECOND, MCPSession, SessionDraft, SessionUpdate
from mcp_server.web.body import Convert, Shape, decode, read_body
from mcp_server.web.exchange import Exchange, json_headers
from mcp_server.web.openai.identifiers import conversation_id, parse_conversation_id
from mcp_server.web.openai.input_items import Input
from mcp_server.web.openai.names import Names
from mcp_server.web.openai.response_parameters import check_metadata
from mcp_server.web.openai.response_turns import conversation_not_found, derived
from mcp_server.web.parameters import request_id

_encode: Final = msgspec.json.Encoder().encode


class CreateBody(Shape):
    """The body of ``POST /conversations``."""

    items: list[msgspec.Raw] | None = None
    metadata: dict[str, str] | None = None


class UpdateBody(Shape):
    """The body of ``POST /conversations/{conversation_id}``."""

    metadata: dict[str, str] | None


_CREATE: Final = msgspec.json.Decoder(CreateBody)
_UPDATE: Final = msgspec.json.Decoder(UpdateBody)
NAMES: Final = Names({"messages": "items", "session.metadata": "metadata", "session.system_instruction": "items"})


class Conversations:
    """Creates, reads, changes and deletes conversations.

    Args:
        gateway: carries it out.
        convert: reads large bodies off the event loop.
    """

    def __init__(self, gateway: Gateway, convert: Convert) -> None:
        self._gateway = gateway
        self._convert = convert

    async def create(self, call: Call, exchange: Exchange) -> None:
        """``POST /conversations``."""
        gateway, principal = self._gateway, call.principal
        body, given = await read_body(exchange, self._convert, _read_create)
        key = derived("conversation", request_id(exchange))
        draft = SessionDraft(metadata=body.metadata or {}, system_instruction="\n\n".join(given.instructions))
        with NAMES.translating(given.names):
            session = await gateway.create_session(principal, "", draft, request_id=key)
            if given.messages:
                try:
                    session, _ = await gateway.append_messages(principal, session.id, given.messages, request_id=key)
                except MCPError:
                    if not key:  # nobody knows it
                        with contextlib.suppress(MCPError):
                            await gateway.delete_session(principal, session.id)
                    raise
        await answer(exchange, _conversation(session, body.metadata or {}))

    async def retrieve(self, call: Call, exchange: Exchange) -> None:
        """``GET /conversations/{conversation_id}``."""
        session = await session_of(self._gateway, call, exchange)
        await answer(exchange, _conversation(session, session.metadata))

    async def update(self, call: Call, exchange: Exchange) -> None:
        """``POST /conversations/{conversation_id}``."""
        body, found = await read_body(exchange, self._convert, _read_update)
        metadata = body.metadata or {}
        with NAMES.translating():
            update = SessionUpdate(fields={"metadata": metadata})
            session = session_id(exchange)
            try:
                changed = await self._gateway.update_session(call.principal, session, update, violations=found)
            except SessionNotFound:
                raise conversation_not_found(conversation_of(exchange)) from None
        await answer(exchange, _conversation(changed, metadata))

    async def delete(self, call: Call, exchange: Exchange) -> None:
        """``DELETE /conversations/{conversation_id}``."""
        session = session_id(exchange)
        try:
            await self._gateway.delete_session(call.principal, session)
        except SessionNotFound:
            raise conversation_not_found(conversation_of(exchange)) from None
        await answer(exchange, {"id": conversation_id(session), "object": "conversation.deleted", "deleted": True})


def conversation_of(exchange: Exchange) -> str:
    """The id of the conversation in the address of a request."""
    text: str = exchange.request.path_params["conversation_id"]
    return text


def session_id(exchange: Exchange) -> str:
    """The id of its session.

    Raises:
        HTTPProblem: it is not the id of one.
    """
    found = parse_conversation_id(conversation_of(exchange))
    if not found:
        raise conversation_not_found(conversation_of(exchange))
    return found


async def session_of(gateway: Gateway, call: Call, exchange: Exchange) -> MCPSession:
    """Its session.

    Raises:
        HTTPProblem: there is none.
    """
    try:
        return await gateway.get_session(call.principal, session_id(exchange))
    except SessionNotFound:
        raise conversation_not_found(conversation_of(exchange)) from None


def conversation_object(session: MCPSession) -> dict[str, Any]:
    """The object ``conversation``."""
    return _conversation(session, session.metadata)


def _conversation(session: MCPSession, metadata: Mapping[str, Any]) -> dict[str, Any]:
    # What other edges have put there may be any JSON; here, values are texts.
    texts = {key: value if isinstance(value, str) else _encode(value).decode() for key, value in metadata.items()}
    return {
        "id": conversation_id(session.id),
        "object": "conversation",
        "created_at": session.create_time // SECOND,
        "metadata": texts,
    }


async def answer(exchange: Exchange, body: Any) -> None:
    """Answer with JSON."""
    await exchange.answer(200, json_headers(), _encode(body))


def _read_create(data: bytes) -> tuple[CreateBody, Input]:
    body, found = decode(_CREATE, data), Violations()
    check_metadata(found, body.metadata)
    given = Input(found, "items").add(body.items)
    refuse(found)
    return body, given


def _read_update(data: bytes) -> tuple[UpdateBody, Violations]:
    body, found = decode(_UPDATE, data), Violations()
    check_metadata(found, body.metadata)
    return body, found
