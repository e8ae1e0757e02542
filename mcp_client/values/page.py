"""A page of a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item]):
    """A part of a list, as the server returned it."""

    items: Sequence[Item]
    next_page_token: str
    """The ``page_token`` with which the same call returns the rest; empty at the end of the list."""
