"""``/models``: the models that the caller may chat with."""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec

from mcp_server import rules
from mcp_server.gateway import Gateway, ModelEntry
from mcp_server.interfaces import Call
from mcp_server.rules import Violations, shown
from mcp_server.web.anthropic.headers import check_version, response_headers
from mcp_server.web.exchange import Exchange, json_headers
from mcp_server.web.names import Names

MOST: Final = 1000
"""Models of one page."""
USUAL: Final = 20
_PARAMETERS: Final = ("after_id", "before_id", "limit", "beta")
"""``beta`` is what clients add to paths of their ``beta`` part; it changes nothing."""
_NAMES: Final = Names({"name": "model"})


class Models:
    """Lists models, and looks them up."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(self, call: Call, exchange: Exchange) -> None:
        """``GET /models``."""
        check_version(exchange)
        limit, after, before = _page(exchange)
        # All of them: those that cannot chat are left out below, and a page before a model is the end of a list.
        listed = await self._gateway.list_models(call.principal, limit=sys.maxsize, after=after)
        entries = [entry for entry in listed if entry.model.capabilities.chat]
        if before:
            entries = [entry for entry in entries if entry.name < before]
        page = entries[-limit:] if before else entries[:limit]
        body = {
            "data": [_model(entry.name, entry) for entry in page],
            "has_more": len(page) < len(entries),
            "first_id": page[0].name if page else None,
            "last_id": page[-1].name if page else None,
        }
        await self._answer(call, exchange, body)

    async def get(self, call: Call, exchange: Exchange) -> None:
        """``GET /models/{model}``, also by an alias."""
        check_version(exchange)
        name: str = exchange.request.path_params["model"]
        with _NAMES.translating():
            entry = await self._gateway.get_model(call.principal, name)
        await self._answer(call, exchange, _model(name, entry))

    async def _answer(self, call: Call, exchange: Exchange, body: dict[str, Any]) -> None:
        headers = await response_headers(self._gateway, call, exchange)
        await exchange.answer(200, json_headers(headers), msgspec.json.encode(body))


def _page(exchange: Exchange) -> tuple[int, str, str]:
    """How many models are asked for, and after and before which one.

    Raises:
        InvalidArgument: the query has something else.
    """
    query = exchange.request.query_params
    found = Violations()
    for name in query:
        if name not in _PARAMETERS:
            found.add(name, "unknown parameter")
    text = query.get("limit", str(USUAL))
    limit = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 1 <= limit <= MOST:
        found.add("limit", f"must be from 1 to {MOST}, not {shown(text)}")
    after, before = query.get("after_id", ""), query.get("before_id", "")
    if after and before:
        found.add("before_id", "cannot be combined with after_id")
    rules.refuse(found)
    return limit, after, before


def _model(name: str, entry: ModelEntry) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": entry.model.context_window or None,
        "max_tokens": None,
        "capabilities": None,
    }
