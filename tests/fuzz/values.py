"""Odd values for the fields of a request, and messages that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.costly import is_map

MAX_DEPTH: Final = 5
"""How deep messages are filled."""
TEXTS: Final = (
    "",
    " ",
    "a",
    "hi there",
    "\x00",
    "a\x00b",
    "\x1b[31mred\x1b[0m",
    "line\r\nX-Header: y",
    "\u202eright to left",
    "\ufeff",
    "\ufffe\uffff",
    "e" + "\u0301" * 200,
    "\U0001f600" * 40,
    "\\ud800",
    "\U00010000\U0010ffff",
    "%s%n{0}{x}",
    "' OR 1=1 --",
    "../../etc/passwd",
    "*",
    "-1",
    "NaN",
    "1e999",
    "null",
    "{}",
    "[]",
    '{"type": "object"}',
    '{"$ref": "#"}',
    '{"a": 1, "a": 2}',
    '{"a":' * 500 + "1" + "}" * 500,
    "[" * 3000,
    '{"type": "string", "pattern": "(a+)+$"}',
    "sessions/",
    "sessions/Tour",
    "sessions/../tour",
    "sessions/tour/turns/",
    "sessions/tour/turns/t" + "0" * 26,
    "turns/t" + "0" * 26,
    "keys/" + "0" * 12,
    "models/",
    "models/echo/echo/echo",
    "providers/echo",
    "image/png",
    "https://example.com/a.png",
    "file:///etc/passwd",
    "echo/echo",
    "echo/none",
    "tour",
    "a" * 64,
    "a" * 257,
    "é" * 5000,
    "word " * 2000,
)
"""Texts that have broken software before, and names that are almost valid."""
PATHS: Final = (
    "labels",
    "display_name",
    "metadata",
    "ttl",
    "etag",
    "name",
    "limits",
    "limits.sessions",
    "context",
    "*",
)
"""Paths of field masks, valid and not."""
INTEGERS: Final = (0, 1, -1, 2, 26, 99, 1000, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1, 10**18)
FLOATS: Final = (0.0, -0.0, 0.5, 1.0, -1.0, 2.0, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"), 3.4e38)
_NAMES: Final = ("name", "parent", "session", "model")
"""Fields that hold names of resources."""
_BOUNDS: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Values:
    """Fills messages with odd values.

    Args:
        generator: of the choices.
        names: of resources that exist, to be used where texts are.
    """

    def __init__(self, generator: Random, names: Sequence[str]) -> None:
        self._generator = generator
        self._names = names

    def fill(self, message: Message, depth: int = 0) -> None:
        """Set some fields of the message, the fewer the deeper it stands."""
        fields: Any = message.DESCRIPTOR.fields
        for field in fields:
            if self._generator.random() < 0.5 / (depth + 1):
                self.put(message, field, depth)

    def change(self, message: Message) -> None:
        """Replace one field of the message, or of a message in it."""
        choose = self._generator.choice
        for depth in range(MAX_DEPTH):
            fields: Any = message.DESCRIPTOR.fields
            if not fields:
                return
            field = choose(fields)
            inner = getattr(message, field.name)
            if field.message_type is None or is_map(field) or self._generator.random() < 0.3:
                message.ClearField(field.name)
                self.put(message, field, depth)
                return
            message = (choose(inner) if len(inner) else inner.add()) if field.is_repeated else inner
        self.fill(message, MAX_DEPTH)

    def put(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        """Set the field, or add to it."""
        target, message_type = getattr(message, field.name), cast("Any", field.message_type)
        if not field.is_repeated:
            if field.message_type is None:
                setattr(message, field.name, self.value(field))
            else:
                target.SetInParent()
                self._deeper(target, depth)
            return
        for _ in range(self._generator.choice((1, 1, 1, 2, 3, 20 if depth < 2 else 1))):
            if is_map(field):
                key, value = message_type.fields
                if value.message_type is None:
                    target[self.value(key)] = self.value(value)
                else:
                    self._deeper(target[self.value(key)], depth)
            elif field.message_type is None:
                target.append(self.value(field))
            else:
                self._deeper(target.add(), depth)

    def value(self, field: FieldDescriptor) -> Any:
        """A value of a field that is no message."""
        generator, kind = self._generator, field.cpp_type
        if kind == field.CPPTYPE_STRING:
            return self.text(field) if field.type == field.TYPE_STRING else generator.randbytes(generator.randrange(40))
        if kind == field.CPPTYPE_BOOL:
            return generator.random() < 0.5
        if kind == field.CPPTYPE_FLOAT or kind == field.CPPTYPE_DOUBLE:
            return generator.choice(FLOATS)
        if kind == field.CPPTYPE_ENUM and generator.random() < 0.8:
            return generator.randrange(len(cast("Any", field.enum_type).values) + 1)
        lowest, highest = _BOUNDS[kind]
        return min(max(generator.choice(INTEGERS), lowest), highest)

    def text(self, field: FieldDescriptor) -> str:
        """A text: the name of a resource, an odd one, or random characters."""
        generator, draw = self._generator, self._generator.random()
        if field.name == "paths" and draw < 0.8:
            return generator.choice(PATHS)
        if draw < (0.6 if field.name in _NAMES else 0.2):
            return generator.choice(self._names)
        if draw < 0.85:
            return generator.choice(TEXTS)
        return "".join([chr(_scalar(generator.randrange(0x10F800))) for _ in range(generator.randrange(12))])

    def _deeper(self, message: Message, depth: int) -> None:
        if depth + 1 < MAX_DEPTH:
            self.fill(message, depth + 1)


def _scalar(number: int) -> int:
    """A code point that is no surrogate."""
    return number if number < 0xD800 else number + 0x800
