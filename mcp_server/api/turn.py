"""``contextprotocol.v1.TurnService``: reads, replays and cancels turns."""

from __future__ import annotations

from contextprotocol.v1 import turn_pb2
from mcp_server.api import decode, encode
from mcp_server.api.call import Send
from mcp_server.api.paging import PageTokens, page_of, page_size
from mcp_server.api.turn_answer import stream
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations


class TurnService:
    """Reads, replays and cancels turns that wait, run or have ended."""

    def __init__(self, gateway: Gateway, tokens: PageTokens) -> None:
        self._gateway = gateway
        self._tokens = tokens

    async def GetTurn(self, call: Call, request: turn_pb2.GetTurnRequest) -> turn_pb2.Turn:
        found = Violations()
        session_id, turn_id = decode.turn_name(found, "name", request.name)
        return encode.turn(await self._gateway.get_turn(call.principal, session_id, turn_id, violations=found))

    async def ListTurns(self, call: Call, request: turn_pb2.ListTurnsRequest) -> turn_pb2.ListTurnsResponse:
        found = Violations()
        session_id = decode.session_name(found, "parent", request.parent)
        query = ("turns", call.principal.tenant, session_id)
        size = page_size(found, request.page_size, 50)
        before = self._tokens.position(found, request.page_token, str, *query) or ""
        turns = await self._gateway.list_turns(
            call.principal, session_id, limit=size + 1, before=before, violations=found
        )
        page = await page_of((encode.turn(turn, brief=True) for turn in turns), size)
        token = self._tokens.token(turns[len(page) - 1].id, *query) if len(page) < len(turns) else ""
        return turn_pb2.ListTurnsResponse(turns=page, next_page_token=token)

    async def StreamTurn(self, call: Call, request: turn_pb2.StreamTurnRequest, send: Send) -> None:
        found = Violations()
        session_id, turn_id = decode.turn_name(found, "name", request.name)
        reader = await self._gateway.read_turn(
            call.principal, session_id, turn_id, after_sequence=request.after_sequence, violations=found
        )
        call.turn = request.name
        await stream(call, reader, session_id, send)

    async def CancelTurn(self, call: Call, request: turn_pb2.CancelTurnRequest) -> turn_pb2.Turn:
        found = Violations()
        session_id, turn_id = decode.turn_name(found, "name", request.name)
        turn = await self._gateway.cancel_turn(call.principal, session_id, turn_id, violations=found)
        call.turn = turn.name
        return encode.turn(turn)
