"""Looks for the smallest call that fails as another does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tests.costly import is_map
from tests.fuzz.calls import METHODS
from tests.fuzz.requests import Request

Fails = Callable[[bytes], Awaitable[bool]]


async def smallest(request: Request, fails: Callable[[Request], Awaitable[bool]]) -> Request:
    """Return a call that fails too, and from whose body nothing can be left out, neither fields nor bytes."""

    async def fails_with(body: bytes) -> bool:
        return await fails(request._replace(body=body))

    kind = GetMessageClass(METHODS[request.path].input_type)
    body = await _fewer_fields(kind, request.body, fails_with)
    return request._replace(body=await _fewer_bytes(body, fails_with))


async def _fewer_fields(kind: type[Message], body: bytes, fails: Fails) -> bytes:
    found = True
    while found:
        found = False
        try:
            message = kind.FromString(body)
        except DecodeError:
            return body
        for smaller in _without_one(message):
            shorter = smaller.SerializeToString()
            if len(shorter) < len(body) and await fails(shorter):
                body, found = shorter, True
                break
    return body


def _without_one(message: Message) -> Iterator[Message]:
    """Copies of the message, each without one field or one entry, at any depth."""
    for field, value in message.ListFields():
        for less in _less_of(field, value):
            smaller: Any = type(message)()
            smaller.CopyFrom(message)
            smaller.ClearField(field.name)
            if less is None:
                pass
            elif is_map(field):
                smaller.MergeFrom(type(message)(**{field.name: less}))
            elif field.is_repeated:
                getattr(smaller, field.name).extend(less)
            else:
                getattr(smaller, field.name).CopyFrom(less)
            yield smaller


def _less_of(field: FieldDescriptor, value: Any) -> Iterator[Any]:
    """Smaller values of a field; ``None``: it is not set."""
    yield None
    if is_map(field):
        for key in value:
            yield {other: value[other] for other in value if other != key}
    elif field.is_repeated:
        for index in range(len(value)):
            yield [*value[:index], *value[index + 1 :]]
            if field.message_type is not None:
                for smaller in _without_one(value[index]):
                    yield [*value[:index], smaller, *value[index + 1 :]]
    elif field.message_type is not None:
        yield from _without_one(value)


async def _fewer_bytes(body: bytes, fails: Fails) -> bytes:
    size = len(body)
    while size:
        at = 0
        while at < len(body):
            shorter = body[:at] + body[at + size :]
            if await fails(shorter):
                body = shorter
            else:
                at += size
        size //= 2
    return body
