"""``contextprotocol.v1.UsageService``: sums up what was used."""

from __future__ import annotations

from contextprotocol.v1 import usage_pb2
from mcp_server.api import decode, encode
from mcp_server.api.paging import PageTokens, page_of, page_size
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations


class UsageService:
    """Sums up what tenants have used."""

    def __init__(self, gateway: Gateway, tokens: PageTokens) -> None:
        self._accounts = gateway.accounts
        self._tokens = tokens

    async def QueryUsage(self, call: Call, request: usage_pb2.QueryUsageRequest) -> usage_pb2.QueryUsageResponse:
        found = Violations()
        usage_filter = decode.usage_filter(found, request)
        group_by = decode.usage_groups(found, request.group_by)
        size = page_size(found, request.page_size, 100)
        listed = ("usage", call.principal.tenant, group_by, usage_filter)
        sums = await self._accounts.query_usage(
            call.principal,
            usage_filter,
            group_by=group_by,
            limit=size + 1,
            after=self._tokens.position(found, request.page_token, tuple[str, ...], *listed),
            violations=found,
        )
        page = await page_of([encode.usage_row(each, group_by) for each in sums], size)
        token = ""
        if len(page) < len(sums):
            last = sums[len(page) - 1]
            token = self._tokens.token((*last.group, last.currency), *listed)
        return usage_pb2.QueryUsageResponse(rows=page, next_page_token=token)
