"""The built-in context types: ``text``, ``json`` and ``document``.

A context type validates an entry of a session's context and renders it for the model. Plug-ins add others
(:class:`mcp_server.interfaces.ContextType`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from mcp_server.interfaces import ContextType
from mcp_server.values import ContextEntry


class TextType:
    """A short text, shown to the model under its name."""

    def validate(self, entry: ContextEntry, /) -> str | None:
        return None if entry.kind == "text" else "the type text requires a `text` value"

    def render(self, name: str, entry: ContextEntry, /) -> str:
        return f"{name}: {entry.text}"


class JsonType:
    """Any JSON value, shown to the model as compact JSON text."""

    def validate(self, entry: ContextEntry, /) -> str | None:
        return None if entry.kind == "json" else "the type json requires a `json` value"

    def render(self, name: str, entry: ContextEntry, /) -> str:
        return f"{name}: {msgspec.json.encode(entry.json).decode()}"


class DocumentType:
    """A longer text, in tags so that the model sees where it begins and ends."""

    def validate(self, entry: ContextEntry, /) -> str | None:
        if entry.kind == "text":
            return None
        if entry.kind != "data":
            return "the type document requires a `text` or a `data` value"
        if not entry.mime_type.startswith("text/"):
            return f"the type document requires data of a text/* MIME type, not {entry.mime_type!r}"
        try:
            entry.data.decode()
        except UnicodeDecodeError as error:
            return f"the data is not UTF-8: byte {error.start} is invalid"
        return None

    def render(self, name: str, entry: ContextEntry, /) -> str:
        text = entry.text if entry.kind == "text" else entry.data.decode()
        return f'<document name="{name}">\n{text}\n</document>'


BUILT_IN: Final[Mapping[str, ContextType]] = {"text": TextType(), "json": JsonType(), "document": DocumentType()}
"""The context types of every server, by name."""
