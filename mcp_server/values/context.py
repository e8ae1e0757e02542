"""Entries of a session's context."""

from __future__ import annotations

import enum
from typing import Any

from mcp_server.values.base import Struct


class Visibility(enum.StrEnum):
    """Whether a context entry reaches the model."""

    PROMPT = "prompt"
    """Its type's renderer puts it into the prompt."""
    STORED = "stored"
    """It is only kept."""


class ContextEntry(Struct):
    """One named piece of a session's context. Exactly one of ``text``, ``json`` and ``data`` is meant, by ``kind``."""

    type: str
    """A registered context type: ``text``, ``json``, ``document`` or a plug-in's."""
    kind: str
    """Which value it carries: ``text``, ``json`` or ``data``."""
    text: str = ""
    """The value of kind ``text``."""
    json: Any = None
    """The value of kind ``json``: anything that JSON can say."""
    data: bytes = b""
    """The value of kind ``data``."""
    mime_type: str = ""
    """What ``data`` is."""
    visibility: Visibility = Visibility.PROMPT
    """Whether it reaches the model."""
