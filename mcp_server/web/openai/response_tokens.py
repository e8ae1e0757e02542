"""``/responses/input_tokens`` and ``/responses/compact``: the length of prompts."""

from __future__ import annotations

from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.web.body import Convert, read_body
from mcp_server.web.exchange import Exchange, HTTPProblem, json_headers
from mcp_server.web.openai.response_requests import TokensRequest, read_tokens
from mcp_server.web.openai.response_turns import ResponseTurns


class ResponseTokens:
    """Counts the tokens of prompts.

    Args:
        gateway: carries it out.
        convert: reads large bodies off the event loop.
    """

    def __init__(self, gateway: Gateway, convert: Convert) -> None:
        self._gateway = gateway
        self._convert = convert
        self._turns = ResponseTurns(gateway)

    async def count(self, call: Call, exchange: Exchange) -> None:
        """``POST /responses/input_tokens``."""
        request: TokensRequest = await read_body(exchange, self._convert, read_tokens)
        with request.names():
            count = await self._count(call, request)
        body = f'{{"object":"response.input_tokens","input_tokens":{count}}}'
        await exchange.answer(200, json_headers(), body.encode())

    async def _count(self, call: Call, request: TokensRequest) -> int:
        gateway, principal = self._gateway, call.principal
        session, temporary = "", False
        if not request.found:
            session, temporary = await self._turns.session_to_read(principal, request.parameters)
        try:
            counted = await gateway.count_tokens(
                principal,
                session=session,
                messages=request.messages,
                model=request.parameters.model or "",
                tools=request.tools,
                instruction=request.instruction,
                violations=request.found,
            )
        finally:
            if temporary:
                await gateway.delete_session(principal, session)
        return counted.tokens

    async def compact(self, call: Call, exchange: Exchange) -> None:
        """``POST /responses/compact``, which is not supported."""
        raise HTTPProblem(
            404, "NOT_SUPPORTED", "this server does not compact responses: set truncation to auto instead"
        )
