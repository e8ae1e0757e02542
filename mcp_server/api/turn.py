"""TurnService: watch, replay and stop turns."""

from __future__ import annotations

from contextprotocol.v1 import turn_pb2
from mcp_server.api import encode
from mcp_server.api.chat import stream
from mcp_server.api.checks import Checks
from mcp_server.api.paging import fitting, page_token, position_of
from mcp_server.gateway import MAX_RESPONSE_BYTES, Gateway
from mcp_server.interfaces import Call
from mcp_server.rpc.edge import Send


class TurnService:
    """Looks after work that waits, runs or is done."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._turns = gateway.turns

    async def GetTurn(self, call: Call, request: turn_pb2.GetTurnRequest) -> turn_pb2.Turn:
        with Checks() as checks:
            session_id, turn_id = checks.turn_name("name", request.name)
        return encode.turn(await self._turns.get(call.tenant, session_id, turn_id))

    async def ListTurns(self, call: Call, request: turn_pb2.ListTurnsRequest) -> turn_pb2.ListTurnsResponse:
        with Checks() as checks:
            session_id = checks.session_name("parent", request.parent)
            query = ("turns", call.tenant, session_id)
            size = checks.page_size(request.page_size, 50)
            before = position_of(checks, request.page_token, str, *query) or ""
        session = await self._gateway.sessions.get(call.tenant, session_id)
        found = await self._turns.list(session, limit=size + 1, before=before)
        page = fitting((encode.turn(turn, brief=True) for turn in found[:size]), MAX_RESPONSE_BYTES)
        response = turn_pb2.ListTurnsResponse(turns=page)
        if len(page) < len(found):
            response.next_page_token = page_token(found[len(page) - 1].id, *query)
        return response

    async def StreamTurn(self, call: Call, request: turn_pb2.StreamTurnRequest, send: Send) -> None:
        with Checks() as checks:
            session_id, turn_id = checks.turn_name("name", request.name)
        call.turn = request.name
        reader = await self._turns.read(call.tenant, session_id, turn_id, request.after_sequence)
        await stream(call, reader, session_id, send)

    async def CancelTurn(self, call: Call, request: turn_pb2.CancelTurnRequest) -> turn_pb2.Turn:
        with Checks() as checks:
            session_id, turn_id = checks.turn_name("name", request.name)
        call.turn = request.name
        return encode.turn(await self._turns.cancel(call.tenant, session_id, turn_id))
