"""Pages and their tokens: opaque to callers, bound to what was listed, and cut by bytes as well as by number."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec
from google.protobuf.message import Message

from mcp_server.api.conversions import Pieces
from mcp_server.rules import Violations
from mcp_server.rules.limits import MAX_RESPONSE_BYTES

MAX_PAGE_SIZE: Final = 1000
_SIGNATURE_BYTES: Final = 16
_ITEM_BYTES: Final = 8
"""What a list adds to the size of each of its messages."""
T = TypeVar("T")
Wire = TypeVar("Wire", bound=Message)


def page_size(found: Violations, size: int, default: int) -> int:
    """A page size by AIP-158: 0 means the default, and a larger size than the maximum means the maximum."""
    if size < 0:
        found.add("page_size", f"must be at least 0, not {size}")
    return min(size or default, MAX_PAGE_SIZE)


class PageTokens:
    """Makes page tokens, and reads them. Tokens are signed: a server takes only those that it could have made.

    Args:
        key: signs the tokens, 16 to 64 bytes, the same in all servers that share a store; ``None``: a random one. Then
            the tokens end with the process.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self.use(key)

    def use(self, key: bytes | None) -> None:
        """Sign with this key from now on."""
        self._key = secrets.token_bytes(32) if key is None else key
        self._advice = "send it unchanged, with the same parent, filter and order as before" + (
            ", and list from the first page again if the server was restarted" if key is None else ""
        )

    def token(self, position: Any, *query: Any) -> str:
        """A token that leads to ``position`` of the list that ``query`` describes."""
        body = msgspec.msgpack.encode(position)
        return base64.urlsafe_b64encode(self._signature(body, query) + body).decode().rstrip("=")

    def position(self, found: Violations, token: str, kind: type[T], *query: Any) -> T | None:
        """The position that a token leads to; ``None`` for the first page. A token of another list is a violation."""
        if not token:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
            if hmac.compare_digest(signature, self._signature(body, query)):
                return msgspec.msgpack.decode(body, type=kind, strict=False)
        except (ValueError, msgspec.DecodeError):  # a server of another version may have signed another type
            pass
        found.add("page_token", f"is not a next_page_token of this list: {self._advice}")
        return None

    def _signature(self, body: bytes, query: tuple[Any, ...]) -> bytes:
        signed = msgspec.msgpack.encode((query, body))
        return hashlib.blake2b(signed, key=self._key, digest_size=_SIGNATURE_BYTES).digest()


class Page(list[Wire]):
    """The messages of one response, as many as fit."""

    __slots__ = ("_room", "_size")

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._room = MAX_RESPONSE_BYTES

    def add(self, message: Wire) -> bool:
        """Take a message if it fits; the first one always does."""
        self._room -= message.ByteSize() + _ITEM_BYTES
        if len(self) == self._size or (self._room < 0 and self):
            return False
        self.append(message)
        return True


async def page_of(messages: Iterable[Wire], size: int) -> Page[Wire]:
    """The first of the messages, as many as fit. At most one more is taken from the iterator."""
    page: Page[Wire] = Page(size)
    pieces = Pieces()
    for message in messages:
        if not page.add(message):
            break
        await pieces.step()
    return page
