"""The names of fields in OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mcp_server.web import names

_FIELDS: Final[Mapping[str, str]] = {"inputs": "input", "labels": "metadata"}


class Names(names.Names):
    """The names of the fields of one request, as :class:`mcp_server.web.names.Names`."""

    def __init__(self, fields: Mapping[str, str], patterns: Mapping[str, str] | None = None) -> None:
        super().__init__({**_FIELDS, **fields}, patterns)


class MessageNames(names.MessageNames):
    """The path of a message, and then that of each of its parts, relative to the message: ``content[0].text``."""

    __slots__ = ()

    def name(self, part: int | None, rest: str) -> str:
        """The path of the message, or of something in it."""
        if part is not None and part + 1 < len(self) and rest == ".tool_result.tool_call_id":
            return f"{self[0]}.tool_call_id"
        return super().name(part, rest)

    def within(self, rest: str) -> str:
        """What the caller wrote where the contract has ``rest`` within a part."""
        return super().within(rest).replace(".tool_call.name", ".function.name").replace(".tool_call.id", ".id")
