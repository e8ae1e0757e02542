"""What an upstream remembers of the calls that it got."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False, kw_only=True, slots=True)
class Call:
    """One call, and what became of it."""

    number: int
    """From 0, in the order in which they came."""
    connection: int
    """The number of the connection that it came on, from 0."""
    method: str
    path: str
    query: str
    """What follows the path after ``?``, or empty."""
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: Any
    """The JSON value that was sent; ``None`` if nothing was."""
    time: float
    """When it came, in seconds of the event loop."""
    tokens: list[str] = field(default_factory=list)
    """The pieces of the answer that were sent."""
    reported: Mapping[str, Any] | None = None
    """The usage that was sent."""
    left: float | None = None
    """When the client went, if it did not stay for the whole reply."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the reply is complete, or nobody is there to get it."""

    @property
    def key(self) -> str:
        """The provider's key that came with it, or empty."""
        return self.headers.get("api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def text(self) -> str:
        """The text that was sent."""
        return "".join(self.tokens)

    @property
    def prompt_tokens(self) -> int:
        """How many words it asked with."""
        body = self.body or {}
        texts = [body.get("prompt") or "", *_strings(body.get("input") or [])]
        texts += [text for message in body.get("messages") or () for text in _strings(message.get("content"))]
        return sum(len(text.split()) for text in texts)


def _strings(value: Any) -> list[str]:
    """The texts of a content: a string, or parts, or strings."""
    if isinstance(value, str):
        return [value]
    return [part if isinstance(part, str) else part.get("text", "") for part in value or ()]
