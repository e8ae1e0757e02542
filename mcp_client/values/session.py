"""Sessions and their context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import Enum
from typing import Any, Final


class _LeftOut(Enum):
    """The value of a field that a response left out. An enum, because that is one object in every process."""

    LEFT_OUT = "<left out>"


LEFT_OUT: Final[Any] = _LeftOut.LEFT_OUT
"""Stands for a field that a response left out. Reading the field raises an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEntry:
    """A named entry of a session's context: one of ``text``, ``data`` and, for the type ``json``, ``json``."""

    type: str = "text"
    """``text``, ``json``, ``document``, or a type that a plug-in of the server defines."""
    text: str | None = None
    json: Any = None
    """Any JSON value."""
    data: bytes | None = None
    mime_type: str = ""
    """The type of ``data``."""
    stored_only: bool = False
    """Whether the entry is only stored, and not shown to the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation that the server stores.

    ``metadata`` and ``context`` are left out of lists, and of the result of ``append_messages``. Reading them there
    raises a ``RuntimeError``, because an empty mapping that is written back would delete the stored one.
    """

    name: str
    """``sessions/{id}``."""
    uid: str
    create_time: datetime
    update_time: datetime
    etag: str
    """Changes with every change of the session."""
    ttl: float | None
    """How long an unused session is kept, in seconds; ``None``: without limit."""
    expire_time: datetime | None
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """A JSON object for the application's own use. Left out of lists."""
    system_instruction: str = ""
    default_model: str = ""
    context: Mapping[str, ContextEntry] = field(default_factory=dict)
    """The entries that the model is given, by name. Left out of lists."""
    message_count: int = 0
    active_turn: str = ""
    """The full name of the running turn, or empty."""
    parent: str = ""
    """The session that this one was forked from, or empty."""

    @property
    def id(self) -> str:
        """The last segment of ``name``."""
        return self.name.removeprefix("sessions/")

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if value is LEFT_OUT:
            raise RuntimeError(f"the {name} of {self.name} was left out of this response: get_session returns it")
        return value

    def __repr__(self) -> str:
        shown = ", ".join(
            [
                f"{name}={value.value if value is LEFT_OUT else repr(value)}"
                for name, value in zip(_names(), self.__getstate__(), strict=True)
            ]
        )
        return f"{type(self).__qualname__}({shown})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Session):
            return NotImplemented
        return self.__getstate__() == other.__getstate__()

    def __getstate__(self) -> list[Any]:
        """The values of all fields, also those that were left out."""
        return [object.__getattribute__(self, name) for name in _names()]

    def __setstate__(self, state: list[Any]) -> None:
        for name, value in zip(_names(), state, strict=True):
            object.__setattr__(self, name, value)


def _names() -> list[str]:
    return [each.name for each in fields(Session)]
