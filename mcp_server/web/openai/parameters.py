"""What chats, completions, responses and embeddings have in common."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mcp_server.rules import Violations
from mcp_server.values import ResponseFormat
from mcp_server.web.body import Shape
from mcp_server.web.parameters import raw_text


def labels(
    found: Violations, metadata: Mapping[str, str] | None, *, user: str | None, safety_identifier: str | None = None
) -> dict[str, str]:
    """The labels of a call: ``metadata``, and for whom it is made. Usage is reported by them."""
    given = dict(metadata or {})
    for name, value in (("user", user), ("safety_identifier", safety_identifier)):
        if value and given.setdefault(name, value) != value:
            found.add(name, "has another value than the key of the same name in metadata")
    return given


# -- the format of the answer -----------------------------------------------------------------------------------------


class TextFormat(Shape, tag_field="type", tag="text"):
    """Plain text."""


class JSONFormat(Shape, tag_field="type", tag="json_object"):
    """Any JSON object."""


class NamedSchema(Shape):
    """A JSON Schema with a name. Answers follow it whether or not ``strict`` is set."""

    name: str
    schema: msgspec.Raw = msgspec.Raw()
    description: str | None = None
    strict: bool | None = None


class SchemaFormat(Shape, tag_field="type", tag="json_schema"):
    """JSON that follows a schema."""

    json_schema: NamedSchema


Format = TextFormat | JSONFormat | SchemaFormat


def response_format(chosen: Format | None) -> tuple[ResponseFormat, str]:
    """The format of the answer, and its schema."""
    if isinstance(chosen, SchemaFormat):
        return ResponseFormat.JSON_SCHEMA, schema_text(chosen.json_schema.schema, chosen.json_schema.description)
    return ResponseFormat.JSON if isinstance(chosen, JSONFormat) else ResponseFormat.TEXT, ""


def schema_text(schema: msgspec.Raw, description: str | None = None) -> str:
    """The text of a schema, with the description that it has elsewhere; empty if there is none."""
    text = raw_text(schema)
    if not description:
        return text
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return text  # the rules refuse it
    return msgspec.json.encode({"description": description, **fields}).decode()
