"""Checks of request fields. All violations of a request are collected and told at once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import duration_pb2, struct_pb2

from mcp_server.errors import InvalidArgument, NotSupported, Violation
from mcp_server.values import SECOND

SESSION_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
TURN_NAME = re.compile(rf"(?:sessions/({SESSION_ID.pattern})/)?turns/([a-z0-9]{{1,64}})")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_./-]{0,62}")
CONTEXT_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

KIB = 1024
MIB = 1024 * 1024
MAX_MESSAGE_BYTES = 3 * MIB
MAX_STRUCT_BYTES = 64 * KIB
MAX_MODEL_CHARACTERS = 256
MAX_TTL = 3650 * 86_400 * SECOND
MAX_TIMEOUT = 86_400 * SECOND
_EXACT_INTEGERS = 2**53


class Checks:
    """Collects what is wrong with a request.

    Used as a context manager, it raises :class:`~mcp_server.errors.InvalidArgument` with all of it at the end, or
    :class:`~mcp_server.errors.NotSupported` if a field is set that this server does not honour.
    """

    __slots__ = ("_unsupported", "_violations")

    def __init__(self) -> None:
        self._violations: list[Violation] = []
        self._unsupported = ""

    def __enter__(self) -> Checks:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if self._violations:
            raise InvalidArgument(self._violations)
        if self._unsupported:
            raise NotSupported(
                f"this server does not honour {self._unsupported} yet: leave it unset",
                metadata={"field": self._unsupported},
            )

    def fail(self, field: str, description: str) -> None:
        """Note that a field is bad."""
        self._violations.append(Violation(field=field, description=description))

    def unsupported(self, field: str) -> None:
        """Note that a field is set that this server does not honour."""
        self._unsupported = self._unsupported or field

    # -- names --------------------------------------------------------------------------------------------------------

    def session_name(self, field: str, name: str) -> str:
        """The id in ``sessions/{session}``."""
        prefix, _, session_id = name.partition("/")
        if prefix == "sessions" and SESSION_ID.fullmatch(session_id):
            return session_id
        self.fail(
            field, f"{_shown(name)} is no name of a session: it must be sessions/ID, with an ID {SESSION_ID_RULE}"
        )
        return ""

    def session_id(self, field: str, session_id: str) -> str:
        """A chosen id; empty is allowed."""
        if session_id and not SESSION_ID.fullmatch(session_id):
            self.fail(field, f"{_shown(session_id)} is no id of a session: it must be {SESSION_ID_RULE}")
        return session_id

    def request_id(self, request_id: str) -> str:
        """A key for retries; empty is allowed."""
        if len(request_id) > 128 or not (request_id.isascii() and request_id.isprintable()):
            self.fail("request_id", f"{_shown(request_id)} is no key: it must be 1 to 128 printable ASCII characters")
        return request_id

    def turn_name(self, field: str, name: str) -> tuple[str, str]:
        """The ids in ``sessions/{session}/turns/{turn}``, or in ``turns/{turn}``, where the first is empty."""
        match = TURN_NAME.fullmatch(name)
        if match is None:
            rule = "it must be sessions/SESSION/turns/TURN, or turns/TURN for a turn without a session"
            self.fail(field, f"{_shown(name)} is no name of a turn: {rule}")
            return "", ""
        return match[1] or "", match[2]

    def model(self, field: str, model: str) -> str:
        """The name of a model; empty is allowed."""
        return self.text(field, model, max_characters=MAX_MODEL_CHARACTERS)

    # -- plain values -------------------------------------------------------------------------------------------------

    def text(
        self, field: str, text: str, *, required: bool = False, max_characters: int = 0, max_bytes: int = 0
    ) -> str:
        """A string within its limits."""
        if required and not text:
            self.fail(field, "it is empty, and required")
        if max_characters and len(text) > max_characters:
            self.fail(field, f"{len(text)} characters; at most {max_characters} are allowed")
        if max_bytes and len(text) * 4 > max_bytes and (size := len(text.encode())) > max_bytes:
            self.fail(field, f"{size} bytes; at most {max_bytes} are allowed")
        return text

    def number(self, field: str, value: float, low: float, high: float, *, above: bool = False) -> float:
        """A finite number within its limits; ``above`` leaves out ``low`` itself."""
        if math.isnan(value) or value < low or value > high or (above and value == low):
            span = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
            self.fail(field, f"{value:g} is not allowed: it must be {span}")
        return value

    def whole(self, field: str, value: int, low: int, high: int | None = None) -> int:
        """A whole number within its limits."""
        if value < low or (high is not None and value > high):
            span = f"at least {low}" if high is None else f"from {low} to {high}"
            self.fail(field, f"{value} is not allowed: it must be {span}")
        return value

    def page_size(self, size: int, default: int) -> int:
        """A page size, as AIP-158 has it."""
        if size < 0:
            self.fail("page_size", f"{size} is negative")
        return min(size or default, 1000)

    def duration(self, field: str, value: duration_pb2.Duration, low: int, high: int) -> int:
        """A duration in nanoseconds, within its limits."""
        nanoseconds = value.seconds * SECOND + value.nanos
        if not low <= nanoseconds <= high:
            self.fail(
                field, f"{nanoseconds / SECOND:g} s is not allowed: it must be {low / SECOND:g} to {high / SECOND:g} s"
            )
        return nanoseconds

    def labels(self, field: str, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Labels within their limits."""
        if len(labels) > 64:
            self.fail(field, f"{len(labels)} labels; at most 64 are allowed")
        for key, value in labels.items():
            if not LABEL_KEY.fullmatch(key):
                self.fail(f"{field}[{_shown(key)}]", f"a key must match {LABEL_KEY.pattern}")
            self.text(f"{field}[{_shown(key)}]", value, max_characters=128)
        return dict(labels)

    # -- JSON ---------------------------------------------------------------------------------------------------------

    def struct(self, field: str, struct: struct_pb2.Struct) -> dict[str, Any]:
        """A JSON object as Python values."""
        if (size := struct.ByteSize()) > MAX_STRUCT_BYTES:
            self.fail(field, f"{size} bytes; at most {MAX_STRUCT_BYTES} are allowed")
            return {}
        return {key: self.value(f"{field}.{key}", value) for key, value in struct.fields.items()}

    def value(self, field: str, value: struct_pb2.Value) -> Any:
        """A JSON value as a Python value; whole numbers become ``int``, since JSON does not tell them apart."""
        kind = value.WhichOneof("kind")
        if kind == "number_value":
            number = value.number_value
            if not math.isfinite(number):
                self.fail(field, f"{number} is no JSON number")
            elif number.is_integer() and abs(number) <= _EXACT_INTEGERS:
                return int(number)
            return number
        if kind == "string_value":
            return value.string_value
        if kind == "bool_value":
            return value.bool_value
        if kind == "struct_value":
            return {key: self.value(f"{field}.{key}", item) for key, item in value.struct_value.fields.items()}
        if kind == "list_value":
            return [self.value(f"{field}[{index}]", item) for index, item in enumerate(value.list_value.values)]
        if kind is None:
            self.fail(field, "the value has no kind: set one, null_value for null")
        return None


SESSION_ID_RULE = "of 1 to 63 of a-z, 0-9 and -, beginning with a letter and not ending with -"


def _shown(text: str) -> str:
    """A caller's text in a message: short, and without control characters."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
