"""What reads server-sent events as the WHATWG's standard has it: a browser's part."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Received:
    """One event."""

    id: str
    name: str
    data: dict[str, Any]


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[Received]:
    """The events of a response, as they come."""
    assert response.status == 200, await response.text()
    assert response.content_type == "text/event-stream"
    fields: dict[str, str] = {}
    last_id = ""
    async for raw in response.content:
        line = raw.decode().removesuffix("\n")
        assert "\r" not in line
        if not line:
            if "data" in fields:
                yield Received(last_id, fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}
            continue
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")
        last_id = fields.get("id", last_id)


async def whole(response: aiohttp.ClientResponse) -> tuple[str, list[Received]]:
    """The text of an answer, put together from its pieces, and all events."""
    found = [event async for event in events(response)]
    return "".join(event.data.get("text", "") for event in found if event.name == "delta"), found
