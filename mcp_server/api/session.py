"""``contextprotocol.v1.SessionService``: keeps conversations."""

from __future__ import annotations

from contextlib import aclosing

from google.protobuf import empty_pb2

from contextprotocol.v1 import message_pb2, session_pb2
from mcp_server.api import decode, encode
from mcp_server.api.call import Send
from mcp_server.api.conversions import LARGE_BYTES, Conversions, Pieces, has_many_values
from mcp_server.api.paging import Page, PageTokens, page_of, page_size
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations
from mcp_server.values import MCPSession, SessionCurrent, SessionUpdated


class SessionService:
    """Keeps conversations."""

    def __init__(self, gateway: Gateway, conversions: Conversions, tokens: PageTokens) -> None:
        self._gateway = gateway
        self._conversions = conversions
        self._tokens = tokens

    async def _encoded(self, session: MCPSession) -> session_pb2.Session:
        return await self._conversions.run(has_many_values(session), encode.session, session)

    async def CreateSession(self, call: Call, request: session_pb2.CreateSessionRequest) -> session_pb2.Session:
        found = Violations()
        large = request.ByteSize() > LARGE_BYTES
        draft = await self._conversions.run(large, decode.session_draft, found, request.session)
        session = await self._gateway.create_session(
            call.principal, request.session_id, draft, request_id=request.request_id, violations=found
        )
        return await self._encoded(session)

    async def GetSession(self, call: Call, request: session_pb2.GetSessionRequest) -> session_pb2.Session:
        found = Violations()
        session_id = decode.session_name(found, "name", request.name)
        return await self._encoded(await self._gateway.get_session(call.principal, session_id, violations=found))

    async def ListSessions(
        self, call: Call, request: session_pb2.ListSessionsRequest
    ) -> session_pb2.ListSessionsResponse:
        found = Violations()
        labels = decode.labels(found, "labels", request.labels)
        query = ("sessions", call.principal.tenant, sorted(labels.items()), request.newest_first)
        size = page_size(found, request.page_size, 50)
        after = self._tokens.position(found, request.page_token, tuple[int, str], *query)
        sessions = await self._gateway.list_sessions(
            call.principal,
            limit=size + 1,
            labels=labels,
            newest_first=request.newest_first,
            after=after,
            violations=found,
        )
        page = await page_of((encode.session(session, brief=True) for session in sessions), size)
        response = session_pb2.ListSessionsResponse(sessions=page)
        if len(page) < len(sessions):
            last = sessions[len(page) - 1]
            response.next_page_token = self._tokens.token((last.create_time, last.uid), *query)
        return response

    async def UpdateSession(self, call: Call, request: session_pb2.UpdateSessionRequest) -> session_pb2.Session:
        found = Violations()
        session_id = decode.session_name(found, "session.name", request.session.name)
        large = request.ByteSize() > LARGE_BYTES
        update = await self._conversions.run(large, decode.session_update, found, request)
        session = await self._gateway.update_session(call.principal, session_id, update, violations=found)
        return await self._encoded(session)

    async def DeleteSession(self, call: Call, request: session_pb2.DeleteSessionRequest) -> empty_pb2.Empty:
        found = Violations()
        session_id = decode.session_name(found, "name", request.name)
        await self._gateway.delete_session(call.principal, session_id, etag=request.etag, violations=found)
        return empty_pb2.Empty()

    async def ForkSession(self, call: Call, request: session_pb2.ForkSessionRequest) -> session_pb2.Session:
        found = Violations()
        session = await self._gateway.fork_session(
            call.principal,
            decode.session_name(found, "name", request.name),
            new_id=request.session_id,
            message_count=request.message_count if request.HasField("message_count") else None,
            request_id=request.request_id,
            violations=found,
        )
        return await self._encoded(session)

    async def ListMessages(
        self, call: Call, request: session_pb2.ListMessagesRequest
    ) -> session_pb2.ListMessagesResponse:
        found = Violations()
        session_id = decode.session_name(found, "parent", request.parent)
        query = ("messages", call.principal.tenant, session_id, request.newest_first)
        size = page_size(found, request.page_size, 50)
        after = self._tokens.position(found, request.page_token, int, *query)
        messages = self._gateway.list_messages(
            call.principal,
            session_id,
            limit=size + 1,
            newest_first=request.newest_first,
            after=after,
            violations=found,
        )
        page: Page[message_pb2.Message] = Page(size)
        token = ""
        pieces = Pieces()
        async with aclosing(messages):
            async for message in messages:
                await pieces.step()
                if not page.add(encode.message(message, session_id)):
                    token = self._tokens.token(page[-1].index, *query)
                    break
        return session_pb2.ListMessagesResponse(messages=page, next_page_token=token)

    async def AppendMessages(
        self, call: Call, request: session_pb2.AppendMessagesRequest
    ) -> session_pb2.AppendMessagesResponse:
        found = Violations()
        session_id = decode.session_name(found, "parent", request.parent)
        large = request.ByteSize() > LARGE_BYTES
        messages = await self._conversions.run(large, decode.messages, found, request.messages)
        session, first = await self._gateway.append_messages(
            call.principal,
            session_id,
            messages,
            etag=request.etag,
            request_id=request.request_id,
            violations=found,
        )
        return session_pb2.AppendMessagesResponse(session=encode.session(session, brief=True), first_index=first)

    async def RewindSession(self, call: Call, request: session_pb2.RewindSessionRequest) -> session_pb2.Session:
        found = Violations()
        session_id = decode.session_name(found, "name", request.name)
        if not request.HasField("message_count"):
            found.add("message_count", "must be set: how many messages to keep")
        session = await self._gateway.rewind_session(
            call.principal,
            session_id,
            request.message_count,
            etag=request.etag,
            request_id=request.request_id,
            violations=found,
        )
        return await self._encoded(session)

    async def WatchSession(self, call: Call, request: session_pb2.WatchSessionRequest, send: Send) -> None:
        found = Violations()
        session_id = decode.session_name(found, "name", request.name)
        watch = await self._gateway.watch_session(
            call.principal, session_id, after_etag=request.after_etag, violations=found
        )
        with watch:
            async for etag, event in watch:
                large = isinstance(event, SessionCurrent | SessionUpdated) and has_many_values(event.session)
                await send(await self._conversions.run(large, encode.session_event, etag, event))
