"""The context types that every server knows: ``text``, ``json`` and ``document``.

A context type says what a valid entry looks like and how a model reads it. Others come from plug-ins
(:class:`mcp_server.interfaces.ContextType`).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

import msgspec

from mcp_server.errors import ConfigError
from mcp_server.interfaces import ContextType
from mcp_server.values import ContextEntry

ENTRY_POINT_GROUP = "contextprotocol.context_types"
"""Where plug-ins register an instance of a context type under its name."""


class TextType:
    """A short text under its name."""

    def validate(self, entry: ContextEntry, /) -> str | None:
        return None if entry.kind == "text" else "the type text takes a `text` value"

    def render(self, name: str, entry: ContextEntry, /) -> str:
        return f"{name}: {entry.text}"


class JsonType:
    """Any JSON value, shown to the model as compact JSON text."""

    def validate(self, entry: ContextEntry, /) -> str | None:
        return None if entry.kind == "json" else "the type json takes a `json` value"

    def render(self, name: str, entry: ContextEntry, /) -> str:
        return f"{name}: {msgspec.json.encode(entry.json).decode()}"


class DocumentType:
    """A longer text, set apart so that the model can tell where it begins and ends."""

    def validate(self, entry: ContextEntry, /) -> str | None:
        if entry.kind == "text":
            return None
        if entry.kind != "data":
            return "the type document takes a `text` or a `data` value"
        if not entry.mime_type.startswith("text/"):
            return f"the type document takes data of a text/* MIME type, not {entry.mime_type!r}"
        try:
            entry.data.decode()
        except UnicodeDecodeError as error:
            return f"the data is not UTF-8: byte {error.start} is bad"
        return None

    def render(self, name: str, entry: ContextEntry, /) -> str:
        text = entry.text if entry.kind == "text" else entry.data.decode()
        return f'<document name="{name}">\n{text}\n</document>'


def load_context_types() -> Mapping[str, ContextType]:
    """The built-in context types and those of the installed plug-ins, by name.

    Raises:
        ConfigError: a plug-in cannot be loaded, or takes a name that is taken.
    """
    types: dict[str, ContextType] = {"text": TextType(), "json": JsonType(), "document": DocumentType()}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        where = f"context type {entry_point.name!r} ({entry_point.value})"
        if entry_point.name in types:
            raise ConfigError(f"{where}: the name is taken; rename the entry point of the plug-in")
        try:
            types[entry_point.name] = entry_point.load()
        except Exception as error:
            raise ConfigError(f"{where} cannot be loaded: {error}") from error
    return types
