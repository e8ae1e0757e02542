"""SessionService."""

from __future__ import annotations

from typing import Final

from google.protobuf import empty_pb2

from contextprotocol.v1 import message_pb2, session_pb2
from mcp_server.api import decode, encode
from mcp_server.api.checks import Checks
from mcp_server.api.paging import fitting, page_token, position_of
from mcp_server.gateway import MAX_RESPONSE_BYTES, Gateway
from mcp_server.interfaces import Call, RequestKey

READ_CHUNK: Final = 16
"""How many messages are read at once: they may have 3 MiB each, and a page ends at 3.5 MB."""


class SessionService:
    """Keeps conversations."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._sessions = gateway.sessions

    async def CreateSession(self, call: Call, request: session_pb2.CreateSessionRequest) -> session_pb2.Session:
        with Checks() as checks:
            session_id = checks.session_id("session_id", request.session_id)
            draft = decode.session_draft(checks, request.session, self._gateway.context_types)
            key = _key(checks, request.request_id)
        session = await self._sessions.create(call.tenant, session_id, draft, request=key)
        return encode.session(session, self._gateway.clock())

    async def GetSession(self, call: Call, request: session_pb2.GetSessionRequest) -> session_pb2.Session:
        with Checks() as checks:
            session_id = checks.session_name("name", request.name)
        return encode.session(await self._sessions.get(call.tenant, session_id), self._gateway.clock())

    async def ListSessions(
        self, call: Call, request: session_pb2.ListSessionsRequest
    ) -> session_pb2.ListSessionsResponse:
        with Checks() as checks:
            labels = checks.labels("labels", request.labels)
            query = ("sessions", call.tenant, sorted(labels.items()), request.newest_first)
            size = checks.page_size(request.page_size, 50)
            after = position_of(checks, request.page_token, tuple[int, str], *query)
        found = await self._sessions.list(
            call.tenant, limit=size + 1, labels=labels, newest_first=request.newest_first, after=after
        )
        now = self._gateway.clock()
        page = fitting((encode.session(session, now, brief=True) for session in found[:size]), MAX_RESPONSE_BYTES)
        response = session_pb2.ListSessionsResponse(sessions=page)
        if len(page) < len(found):
            last = found[len(page) - 1]
            response.next_page_token = page_token((last.create_time, last.uid), *query)
        return response

    async def UpdateSession(self, call: Call, request: session_pb2.UpdateSessionRequest) -> session_pb2.Session:
        session_id, update = decode.session_update(request, self._gateway.context_types)
        session = await self._sessions.update(call.tenant, session_id, update)
        return encode.session(session, self._gateway.clock())

    async def DeleteSession(self, call: Call, request: session_pb2.DeleteSessionRequest) -> empty_pb2.Empty:
        with Checks() as checks:
            session_id = checks.session_name("name", request.name)
        await self._gateway.delete_session(call.tenant, session_id, etag=request.etag)
        return empty_pb2.Empty()

    async def ForkSession(self, call: Call, request: session_pb2.ForkSessionRequest) -> session_pb2.Session:
        with Checks() as checks:
            session_id = checks.session_name("name", request.name)
            new_id = checks.session_id("session_id", request.session_id)
            count = None
            if request.HasField("message_count"):
                count = checks.whole("message_count", request.message_count, 0)
            key = _key(checks, request.request_id)
        session = await self._sessions.fork(call.tenant, session_id, new_id=new_id, message_count=count, request=key)
        return encode.session(session, self._gateway.clock())

    async def ListMessages(
        self, call: Call, request: session_pb2.ListMessagesRequest
    ) -> session_pb2.ListMessagesResponse:
        with Checks() as checks:
            session_id = checks.session_name("parent", request.parent)
            query = ("messages", call.tenant, session_id, request.newest_first)
            size = checks.page_size(request.page_size, 50)
            after = position_of(checks, request.page_token, int, *query)
        session = await self._sessions.get(call.tenant, session_id)
        count, newest_first = session.message_count, request.newest_first
        # Positions count from the end that is listed first; the history only grows at its newer end.
        first = 0 if after is None else (count - after if newest_first else after + 1)
        page: list[message_pb2.Message] = []
        room = MAX_RESPONSE_BYTES
        while len(page) < size and first + len(page) < count:
            begin = first + len(page)
            end = min(begin + READ_CHUNK, first + size, count)
            span = (count - end, count - begin) if newest_first else (begin, end)
            chunk = await self._sessions.messages(session, *span)
            wire = [encode.message(message, session_id) for message in chunk]
            fits = fitting(reversed(wire) if newest_first else wire, room, at_least_one=not page)
            page += fits
            room -= sum(message.ByteSize() for message in fits)
            if len(fits) < end - begin:
                break
        response = session_pb2.ListMessagesResponse(messages=page)
        if page and first + len(page) < count:
            response.next_page_token = page_token(page[-1].index, *query)
        return response

    async def AppendMessages(
        self, call: Call, request: session_pb2.AppendMessagesRequest
    ) -> session_pb2.AppendMessagesResponse:
        with Checks() as checks:
            session_id = checks.session_name("parent", request.parent)
            messages = decode.messages(checks, "messages", request.messages, system=False)
            key = _key(checks, request.request_id, in_session=True)
        session, first = await self._sessions.append(call.tenant, session_id, messages, etag=request.etag, request=key)
        return session_pb2.AppendMessagesResponse(
            session=encode.session(session, self._gateway.clock(), brief=True), first_index=first
        )


def _key(checks: Checks, request_id: str, *, in_session: bool = False) -> RequestKey | None:
    """The key of a call that may be sent again, or ``None`` if it has none."""
    if not request_id:
        return None
    return RequestKey(service="session", request_id=checks.request_id(request_id), in_session=in_session)
