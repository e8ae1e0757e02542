"""The contract of context types, on the built-in ones."""

from mcp_server.sessions.context_types import DocumentType, JsonType, TextType
from mcp_server.testing.contracts.context_types import ContextTypeContract
from mcp_server.values import ContextEntry


class TestText(ContextTypeContract):
    """A short text."""

    context_type = TextType()
    valid = (ContextEntry(type="text", kind="text", text="Ada"),)
    invalid = (ContextEntry(type="text", kind="json", json="Ada"),)


class TestJson(ContextTypeContract):
    """Any JSON value."""

    context_type = JsonType()
    valid = (ContextEntry(type="json", kind="json", json={"name": "Ada"}), ContextEntry(type="json", kind="json"))
    invalid = (ContextEntry(type="json", kind="text", text="{}"),)


class TestDocument(ContextTypeContract):
    """A longer text, as text or as data."""

    context_type = DocumentType()
    valid = (
        ContextEntry(type="document", kind="text", text="Once upon a time"),
        ContextEntry(type="document", kind="data", data=b"Once", mime_type="text/plain"),
    )
    invalid = (
        ContextEntry(type="document", kind="json", json=1),
        ContextEntry(type="document", kind="data", data=b"\xff", mime_type="text/plain"),
        ContextEntry(type="document", kind="data", data=b"x", mime_type="image/png"),
    )
