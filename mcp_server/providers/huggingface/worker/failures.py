"""What keeps a model from being loaded."""

from __future__ import annotations


class CannotLoad(Exception):
    """A model cannot be loaded; the message says why."""
