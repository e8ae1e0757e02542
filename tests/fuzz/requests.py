"""Requests of all kinds: random bytes, valid bodies with errors in them, and valid protobuf with odd values."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.auth.rpcs import Case, Names, rpcs
from tests.costly import path_of
from tests.fuzz.values import TEXTS, Values

Metadata = tuple[tuple[str, str | bytes], ...]
RPCS: Final[Sequence[tuple[MethodDescriptor, Case]]] = tuple(rpcs())
"""Every RPC of the server, health and reflection included."""
MAX_BODY: Final = 60_000
"""Bytes of a body; ``tests/rpc/test_costly_requests.py`` sends larger ones."""


_STRING, _STRUCT, _LIST = 3, 5, 6
"""Fields of ``google.protobuf.Value``."""


class Request(NamedTuple):
    """One call."""

    path: str
    body: bytes
    metadata: Metadata

    def __str__(self) -> str:
        """The call as one line, with its body in base64."""
        body = base64.b64encode(self.body).decode() or "(empty)"
        odd = [f"{key}={value!r}" for key, value in self.metadata if key != "authorization"]
        return " ".join([self.path, body, *odd])


def make(
    generator: Random, names: Sequence[Names], credentials: Metadata, method: MethodDescriptor, case: Case
) -> Request:
    """Make a call of a method.

    Args:
        generator: of the choices.
        names: of resources that exist, of the caller and of others.
        credentials: of the caller; a small share of calls sends others.
        method: what is called.
        case: a valid request of the method.
    """
    body = _body(generator, names, method, case)[:MAX_BODY]
    return Request(path_of(method), body, _metadata(generator, credentials))


def _body(generator: Random, names: Sequence[Names], method: MethodDescriptor, case: Case) -> bytes:
    draw = generator.random()
    if draw < 0.06:
        return generator.randbytes(generator.choice((0, 1, 2, 5, 20, 100, 400)))
    both = (*names[0], *names[1], "models/echo/echo", "echo/echo")
    known = [*both, *[name.rpartition("/")[2] for name in both]]
    values = Values(generator, known)
    if draw < 0.2:
        message: Message = GetMessageClass(method.input_type)()
        values.fill(message)
    else:
        message = case.request(names[0] if generator.random() < 0.75 else names[1])
        for _ in range(generator.choice((0, 0, 1, 1, 1, 2))):
            values.change(message)
    body = message.SerializeToString()
    if generator.random() < 0.03:
        body += _nested(generator, method.input_type)
    return broken(generator, body) if generator.random() < 0.25 else body


def broken(generator: Random, body: bytes) -> bytes:
    """A body with a few errors."""
    for _ in range(generator.randrange(1, 4)):
        body = generator.choice(_ERRORS)(generator, body)
    return body


def _nested(generator: Random, message: Descriptor) -> bytes:
    """A field that holds JSON with deeply nested values, if the message has one."""
    holders = [field for field in message.fields if field.message_type and field.message_type.name == "Struct"]
    if not holders:
        return b""
    value = _field(_STRING, b"x")
    for _ in range(generator.choice((5, 30, 45, 300))):
        if generator.random() < 0.5:
            value = _field(_LIST, _field(1, value))
        else:
            value = _field(_STRUCT, _entry(value))
    return _field(generator.choice(holders).number, _entry(value))


def _entry(value: bytes) -> bytes:
    """A Struct with one field."""
    return _field(1, _field(1, b"x") + _field(2, value))


def _field(number: int, body: bytes) -> bytes:
    """A field that holds bytes, up to 2 MiB."""
    size = len(body)
    return bytes([number << 3 | 2, size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + body


def _flip(generator: Random, body: bytes) -> bytes:
    """Flip a few bits."""
    changed = bytearray(body)
    for _ in range(generator.randrange(1, 6)):
        if changed:
            changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _truncate(generator: Random, body: bytes) -> bytes:
    return body[: generator.randrange(len(body) + 1)]


def _duplicate(generator: Random, body: bytes) -> bytes:
    """Repeat a slice, or all of it."""
    start = generator.randrange(len(body) + 1)
    end = generator.randrange(start, len(body) + 1)
    return generator.choice((body + body, body[:end] + body[start:]))


def _unknown(generator: Random, body: bytes) -> bytes:
    """Append a field of a random number and a random wire type."""
    tag = generator.choice((0, 7, 150, 999, 16_383)) << 3 | generator.randrange(8)
    encoded = bytes([tag & 127 | 128, tag >> 7 & 127 | 128, tag >> 14])
    return body + encoded + generator.randbytes(generator.randrange(12))


def _retag(generator: Random, body: bytes) -> bytes:
    """Change the wire type of what may be a tag, most often the first."""
    if not body:
        return body
    at = generator.choice((0, 0, generator.randrange(len(body))))
    return body[:at] + bytes([body[at] ^ generator.randrange(1, 8)]) + body[at + 1 :]


def _insert(generator: Random, body: bytes) -> bytes:
    """Insert bytes that parsers are afraid of."""
    at = generator.randrange(len(body) + 1)
    return body[:at] + generator.choice(_PIECES) + body[at:]


_ERRORS: Final[Sequence[Callable[[Random, bytes], bytes]]] = (
    _flip,
    _truncate,
    _duplicate,
    _unknown,
    _retag,
    _insert,
)
_PIECES: Final = (
    b"\x0a\xff\xff\xff\xff\x0f",  # a length of 4 GiB
    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # and one that is negative
    b"\xff" * 11,  # a number without an end
    b"\x0b" * 150,  # groups without an end
    b"\x0b\x0c" * 20,  # empty groups
    b"\x0a\x03\xed\xa0\x80",  # a surrogate
    b"\x0a\x02\xc0\x80",  # zero, in two bytes
    b"\x0a\x01\xff",  # no UTF-8
    b"\x00",
)


def _metadata(generator: Random, credentials: Metadata) -> Metadata:
    draw = generator.random()
    if draw < 0.85:
        return credentials
    if draw < 0.865:
        return generator.choice(_odd_credentials(credentials))
    return (*credentials, *[generator.choice(_ODD) for _ in range(generator.randrange(1, 4))])


def _odd_credentials(credentials: Metadata) -> Sequence[Metadata]:
    value = credentials[0][1]
    texts = (
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Bearer  x",
        "bearer ctx_x",
        "Basic eDp5",
        "Bearer " + "." * 500,
        f"{value!s}x",
    )
    return [(), (*credentials, *credentials), *[(("authorization", text),) for text in texts]]


_PRINTABLE: Final = [text[:200] for text in TEXTS if text.isascii() and text.isprintable()]
_ODD: Final[Metadata] = (
    *[("x-odd", text) for text in _PRINTABLE],
    *[("traceparent", text) for text in _PRINTABLE],
    ("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"),
    ("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-ff"),
    ("tracestate", "a=" + "b" * 600),
    ("baggage", "a=%zz,b"),
    ("x-request-id", "a b\tc".replace("\t", " ")),
    ("authorization-bin", b"Bearer x"),
    ("odd-bin", b"\x00\xff" * 50),
    ("odd-bin", b""),
    ("grpc-trace-bin", b"\x00" * 29),
    ("grpc-tags-bin", b"\xff"),
    ("_.-", "x"),
)
"""Entries of metadata that are valid HTTP/2 and mean nothing."""
