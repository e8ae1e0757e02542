"""The requests of browsers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from mcp_client.integrations._web.problems import RequestRefused, turn_id
from mcp_client.integrations._web.tools import Tools
from mcp_client.integrations._web.visitors import TURN_ID, Visitor

EVENT_STREAM: Final = "text/event-stream"
END: Final = "end"
"""Replaces the sequence number in the id of the last event of a turn that failed."""

_EVENT_ID: Final = re.compile(rf"({TURN_ID.pattern})/([0-9]{{1,18}}|{END})")
_REQUEST_ID: Final = re.compile("[ -~]*")
_MAX_REQUEST_ID: Final = 128
_NUMBER: Final = 8
"""How many of these characters the number of a round of functions takes at most, with its dot."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A request to one of the routes, as the framework has parsed it.

    Attributes:
        method: ``GET``, ``POST`` or ``DELETE``.
        path: of the request.
        turn: the segment of the path after that of the conversation; empty: the request is for the conversation.
        visitor: who makes the request.
        last_event_id, accept, content_type: headers of the request; empty if absent.
        body: of the request; ``None``: it is too large.
        session_options: of a session that the request creates.
        turn_options: of a turn that the request starts.
        tools: the functions that the model may call.
    """

    method: str
    path: str
    turn: str
    visitor: Visitor
    last_event_id: str
    accept: str
    content_type: str
    body: bytes | None
    session_options: Mapping[str, Any]
    turn_options: Mapping[str, Any]
    tools: Tools

    @property
    def wants_json(self) -> bool:
        """Whether the browser only wants the id of the turn, and reads the answer with another request."""
        return "application/json" in self.accept and EVENT_STREAM not in self.accept

    def turn_path(self, turn: str) -> str:
        """The path of a turn relative to the conversation, because a proxy may serve that at another path."""
        return f"{self.path.rpartition('/')[2]}/{turn_id(turn)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """The message of a visitor.

    Attributes:
        message: the text.
        request_id: the page's idempotency key, so that a repeated message is answered once; may be empty.
    """

    message: str
    request_id: str = ""

    @classmethod
    def of_request(cls, request: ChatRequest) -> NewMessage:
        """Parse the body of a request.

        Raises:
            RequestRefused: the body is invalid.
        """
        if request.body is None:
            raise RequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is larger than the application accepts")
        # Forms of other sites cannot send this type without the browser's preflight request.
        if request.content_type.partition(";")[0].strip().lower() != "application/json":
            raise RequestRefused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json")
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError) as error:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, f"the body is not valid JSON: {error}") from None
        if not isinstance(body, dict):
            raise RequestRefused(HTTPStatus.BAD_REQUEST, 'expected an object like {"message": "Hello!"}')
        if unknown := body.keys() - {"message", "request_id"}:
            names = ", ".join(sorted(unknown))[:200]
            raise RequestRefused(HTTPStatus.BAD_REQUEST, f"unknown fields: {names}; allowed: message, request_id")
        for name in ("message", "request_id"):
            if not isinstance(text := body.get(name, ""), str) or _SURROGATE.search(text):
                raise RequestRefused(HTTPStatus.BAD_REQUEST, f"{name}: expected a text")
        longest, key = _MAX_REQUEST_ID - (_NUMBER if request.tools else 0), body.get("request_id", "")
        if len(key) > longest or not _REQUEST_ID.fullmatch(key):
            what = f"request_id: expected up to {longest} printable ASCII characters"
            raise RequestRefused(HTTPStatus.BAD_REQUEST, what)
        if not body.get("message", "").strip():
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "message: must not be empty")
        return cls(**body)


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The last event that a browser has received, from the header ``Last-Event-ID``.

    Attributes:
        turn: the id of the turn.
        sequence: of the event.
        failed: whether the event reported the failure of the turn, which ends its stream.
    """

    turn: str
    sequence: int = 0
    failed: bool = False

    @classmethod
    def of_header(cls, header: str) -> LastEvent | None:
        """Parse the header; ``None`` if it is empty.

        Raises:
            RequestRefused: it is not the id of an event.
        """
        if not header:
            return None
        if (match := _EVENT_ID.fullmatch(header)) is None:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, f"Last-Event-ID: {header[:80]!r} is not the id of an event")
        return cls(match[1], failed=True) if match[2] == END else cls(match[1], int(match[2]))
