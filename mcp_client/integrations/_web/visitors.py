"""The visitors of a web application, and the cookie that identifies them."""

from __future__ import annotations

import hashlib
import http.cookies
import re
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal

from mcp_client.integrations._web.problems import RequestRefused

TURN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The last segment of a turn's full name."""

_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """The cookie that identifies a visitor. It holds a random secret and is not readable by scripts."""

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

    def header(self, secret: str, *, secure: bool) -> str:
        """The value of ``Set-Cookie``.

        Args:
            secret: the value of the cookie.
            secure: whether the request came over HTTPS.
        """
        morsel: http.cookies.Morsel[str] = http.cookies.Morsel()
        morsel.set(self.name, secret, secret)
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
        secret: the value of their cookie; empty if the application identifies them.
    """

    session: str
    secret: str = ""

    @classmethod
    def of_cookie(cls, secret: str | None, chat: str) -> Visitor:
        """The visitor with this cookie; a new one if there is none, or an invalid one.

        The session's name is a digest of the secret: names in logs and lists do not reveal the cookie.

        Args:
            secret: the value of the cookie.
            chat: the path of the chat: a visitor has one conversation in each chat of a site.
        """
        if secret is None or not _SECRET.fullmatch(secret):
            secret = secrets.token_urlsafe(24)
        digest = hashlib.sha256(f"{secret} {chat}".encode(errors="surrogateescape"))
        return cls("visitor-" + digest.hexdigest()[:32], secret)

    def turn_name(self, turn: str) -> str:
        """The full name of one of the visitor's turns, which cannot be that of another visitor.

        Raises:
            RequestRefused: it is not a valid id of a turn.
        """
        if not TURN_ID.fullmatch(turn):
            raise RequestRefused(HTTPStatus.NOT_FOUND, f"turn {turn[:80]!r} not found")
        return f"sessions/{self.session}/turns/{turn}"
