"""Page tokens and pages: opaque to callers, bound to what was listed, and cut by bytes as well as by number."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import msgspec
from google.protobuf.message import Message

from mcp_server.api.checks import Checks

_DIGEST_BYTES: Final = 9
T = TypeVar("T")
Wire = TypeVar("Wire", bound=Message)


def page_token(position: Any, *query: Any) -> str:
    """A token that leads to ``position`` of the list that ``query`` describes."""
    body = msgspec.msgpack.encode(position)
    return base64.urlsafe_b64encode(_digest(body, query) + body).decode().rstrip("=")


def position_of(checks: Checks, token: str, kind: type[T], *query: Any) -> T | None:
    """The position that a token leads to; ``None`` for the first page. A token of another list is a violation."""
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if digest == _digest(body, query):
            return msgspec.msgpack.decode(body, type=kind, strict=False)
    except (ValueError, msgspec.DecodeError):
        pass
    checks.fail(
        "page_token",
        "it is not the next_page_token of this list: send it unchanged, and everything else as it was then",
    )
    return None


def _digest(body: bytes, query: tuple[Any, ...]) -> bytes:
    return hashlib.blake2b(msgspec.msgpack.encode((query, body)), digest_size=_DIGEST_BYTES).digest()


def fitting(messages: Iterable[Wire], room: int, *, at_least_one: bool = True) -> list[Wire]:
    """As many of the messages as fit into ``room`` bytes."""
    result: list[Wire] = []
    size: Callable[[Wire], int] = lambda message: message.ByteSize() + 8  # noqa: E731  # what a list adds to each
    for message in messages:
        room -= size(message)
        if room < 0 and (result or not at_least_one):
            break
        result.append(message)
    return result
