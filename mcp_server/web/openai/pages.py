"""Pages of lists, and the parameters in the address of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_server.rules import Violations, refuse, shown
from mcp_server.web.exchange import Exchange
from mcp_server.web.openai.items import Item
from mcp_server.web.openai.response_parameters import INCLUDABLE, KEPT, check_include

LIMIT = 20
"""How many items a page has unless its caller says otherwise."""
MAX_LIMIT = 100


class Query:
    """The parameters in the address of a request. Those that are not read are refused.

    Args:
        exchange: has the request.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._given = exchange.request.query_params
        self._known: set[str] = set()
        self._found = Violations()

    def text(self, name: str) -> str:
        """A text; empty if it is not set."""
        self._known.add(name)
        return self._given.get(name, "")

    def flag(self, name: str) -> bool:
        """A truth value."""
        text = self.text(name)
        if text not in ("", "true", "false"):
            self._found.add(name, f"must be true or false, not {shown(text)}")
        return text == "true"

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        text = self.text(name)
        if not text:
            return default
        value = int(text) if text.isdecimal() and len(text) < 20 else -1
        if not low <= value <= high:
            self._found.add(name, f"must be from {low} to {high}, not {shown(text)}")
        return value

    def include(self, *, kept: bool = False) -> list[str]:
        """What items are to contain; ``kept``: only what the history keeps."""
        self._known |= {"include", "include[]"}
        names = [*self._given.getlist("include"), *self._given.getlist("include[]")]
        check_include(self._found, names, KEPT if kept else INCLUDABLE)
        return names

    def order(self) -> bool:
        """Whether the newest comes first."""
        text = self.text("order")
        if text not in ("", "asc", "desc"):
            self._found.add("order", f"must be asc or desc, not {shown(text)}")
        return text != "asc"

    def check(self) -> None:
        """Refuse what is wrong, and what was not read."""
        for name in self._given:
            if name not in self._known:
                self._found.add(name[:100], f"unknown parameter: {shown(name)}")
        refuse(self._found)


def page(items: Sequence[Item], *, has_more: bool) -> dict[str, Any]:
    """A page of a list."""
    return {
        "object": "list",
        "data": list(items),
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }
