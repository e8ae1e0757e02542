"""``/models``: the models that the caller may use."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mcp_server.gateway import Gateway, ModelEntry
from mcp_server.interfaces import Call
from mcp_server.web.exchange import Exchange, json_headers
from mcp_server.web.openai.names import Names

MOST: Final = 1000
"""The API has no pages."""
_NAMES: Final = Names({"name": "model"})


class Models:
    """Lists models, and looks them up."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(self, call: Call, exchange: Exchange) -> None:
        """``GET /models``."""
        models = await self._gateway.list_models(call.principal, limit=MOST)
        body = {"object": "list", "data": [_model(entry.name, entry) for entry in models]}
        await exchange.answer(200, json_headers(), msgspec.json.encode(body))

    async def get(self, call: Call, exchange: Exchange) -> None:
        """``GET /models/{model}``, also by an alias."""
        name: str = exchange.request.path_params["model"]
        with _NAMES.translating():
            entry = await self._gateway.get_model(call.principal, name)
        await exchange.answer(200, json_headers(), msgspec.json.encode(_model(name, entry)))


def _model(name: str, entry: ModelEntry) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": entry.provider}
