"""Entries of a session's context."""

from __future__ import annotations

import enum
from typing import Any

from mcp_server.values.base import Struct


class Visibility(enum.StrEnum):
    """Whether a context entry is part of the prompt."""

    PROMPT = "prompt"
    """It is part of every prompt, as its type renders it."""
    STORED = "stored"
    """It is stored, and not part of prompts."""


class ContextEntry(Struct):
    """One named entry of a session's context. ``kind`` says which of ``text``, ``json`` and ``data`` is its value."""

    type: str
    """A registered context type: ``text``, ``json``, ``document``, or one of a plug-in."""
    kind: str
    """Which field has the value: ``text``, ``json`` or ``data``."""
    text: str = ""
    """The value of kind ``text``."""
    json: Any = None
    """The value of kind ``json``: any JSON value."""
    data: bytes = b""
    """The value of kind ``data``."""
    mime_type: str = ""
    """The MIME type of ``data``."""
    visibility: Visibility = Visibility.PROMPT
    """Whether it is part of the prompt."""
