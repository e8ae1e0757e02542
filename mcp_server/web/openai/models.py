"""``/models``: the models that the caller may use."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mcp_server.gateway import Gateway, ModelEntry
from mcp_server.interfaces import Call
from mcp_server.web.exchange import Exchange, json_headers

MOST: Final = 1000
"""The API has no pages."""


class Models:
    """Lists models."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(self, call: Call, exchange: Exchange) -> None:
        """``GET /models``."""
        models = await self._gateway.list_models(call.principal, limit=MOST)
        body = {"object": "list", "data": [_model(entry) for entry in models]}
        await exchange.answer(200, json_headers(), msgspec.json.encode(body))


def _model(entry: ModelEntry) -> dict[str, Any]:
    provider, _, _ = entry.name.partition("/")
    return {"id": entry.name, "object": "model", "created": 0, "owned_by": provider}
