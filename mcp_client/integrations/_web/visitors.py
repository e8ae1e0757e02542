"""The visitors of a web application, and the cookie that identifies them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.cookies
import re
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal

from mcp_client.integrations._web.problems import RequestRefused

TURN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The last segment of a turn's full name."""

MIN_KEY_BYTES: Final = 16

_COOKIE: Final = re.compile(r"([A-Za-z0-9_-]{32})\.([A-Za-z0-9_-]{43})")
"""A visitor's secret and its signature."""
_SECRET_OF_PROCESS: Final = secrets.token_bytes(32)
"""One for all chats of a process: they share a cookie."""


class CookieKey:
    """Signs the cookies of a site, which accepts no others.

    Args:
        secret: of the site; ``None``: a random one, which ends with the process.

    Raises:
        ValueError: the secret is too short.
    """

    def __init__(self, secret: str | bytes | None = None) -> None:
        if secret is None:
            secret = _SECRET_OF_PROCESS
        self._key = secret.encode() if isinstance(secret, str) else secret
        if len(self._key) < MIN_KEY_BYTES:
            raise ValueError(f"secret: must have at least {MIN_KEY_BYTES} bytes, not {len(self._key)}")

    def cookie(self, visitor: str) -> str:
        """The value of the cookie of a visitor."""
        return f"{visitor}.{self._signature(visitor)}"

    def visitor(self, cookie: str) -> str | None:
        """The secret of the visitor in a cookie; ``None`` if this site did not make the cookie."""
        if (match := _COOKIE.fullmatch(cookie)) is None:
            return None
        visitor, signature = match.groups()
        return visitor if hmac.compare_digest(signature, self._signature(visitor)) else None

    def _signature(self, visitor: str) -> str:
        digest = hmac.digest(self._key, f"visitor {visitor}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """The cookie that identifies a visitor. It holds a signed random secret and is not readable by scripts."""

    name: str = "chat_visitor"
    max_age: int = 30 * 24 * 3600
    """How long a browser keeps the cookie after the last message, in seconds."""
    secure: bool | None = None
    """Whether the cookie is only sent over HTTPS; ``None``: if the request came over HTTPS. Set it behind a proxy that
    terminates HTTPS."""
    samesite: Literal["Lax", "Strict", "None"] = "Lax"
    """Whether the cookie is sent with requests from other sites."""
    path: str = "/"
    domain: str | None = None

    def header(self, value: str, *, secure: bool) -> str:
        """The value of ``Set-Cookie``.

        Args:
            value: of the cookie.
            secure: whether the request came over HTTPS.
        """
        morsel: http.cookies.Morsel[str] = http.cookies.Morsel()
        morsel.set(self.name, value, value)
        morsel.update({"max-age": str(self.max_age), "path": self.path, "samesite": self.samesite})
        morsel["httponly"] = True
        morsel["secure"] = secure if self.secure is None else self.secure
        if self.domain is not None:
            morsel["domain"] = self.domain
        return morsel.OutputString()


@dataclass(frozen=True, slots=True)
class Visitor:
    """The visitor who makes a request.

    Attributes:
        session: the id of their session.
        cookie: the value of their cookie; empty if the application identifies them.
    """

    session: str
    cookie: str = ""

    @classmethod
    def of_cookie(cls, cookie: str | None, chat: str, key: CookieKey) -> Visitor:
        """The visitor with this cookie; a new one if there is none, or one that this site did not make.

        The session's name is a digest of the visitor's secret: names in logs and lists do not reveal the cookie.

        Args:
            cookie: the value of the cookie.
            chat: the path of the chat: a visitor has one conversation in each chat of a site.
            key: of the site.
        """
        secret = key.visitor(cookie) if cookie is not None else None
        if secret is None:
            secret = secrets.token_urlsafe(24)
        digest = hashlib.sha256(f"{secret} {chat}".encode(errors="surrogateescape"))
        return cls("visitor-" + digest.hexdigest()[:32], key.cookie(secret))

    def turn_name(self, turn: str) -> str:
        """The full name of one of the visitor's turns, which cannot be that of another visitor.

        Raises:
            RequestRefused: it is not a valid id of a turn.
        """
        if not TURN_ID.fullmatch(turn):
            raise RequestRefused(HTTPStatus.NOT_FOUND, f"turn {turn[:80]!r} not found")
        return f"sessions/{self.session}/turns/{turn}"
