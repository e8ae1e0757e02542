"""What web applications say to browsers: events, problems, cookies. No I/O happens here."""

from __future__ import annotations

import hashlib
import http.cookies
import inspect
import json
import logging
import math
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from mcp_client import (
    AccessError,
    AttemptSwitched,
    ContextTooLong,
    DeadlineExceeded,
    Delta,
    EtagMismatch,
    Event,
    InternalError,
    InvalidArgument,
    MCPError,
    Message,
    ModelNotFound,
    NotSupported,
    PartStarted,
    ProviderError,
    ProviderRateLimited,
    ProviderTimeout,
    QuotaExceeded,
    RequestError,
    RequestIdReused,
    SessionBusy,
    SessionExists,
    SessionNotFound,
    ToolResultsMissing,
    ToolRoundsExceeded,
    TryLater,
    TurnCancelled,
    TurnCompleted,
    TurnNotFound,
    TurnQueued,
    TurnStarted,
    TurnTimeout,
    UnsupportedByModel,
)
from mcp_client._core import defaults
from mcp_client._core.channel import Address

EVENT_STREAM: Final = "text/event-stream"
OPENING: Final = b"retry: 1000\n\n"
"""What each stream begins with: browsers that lose their connection wait a second."""
HEARTBEAT: Final = b":\n\n"
"""A comment: no event, but proxies see that the connection lives."""
END: Final = "end"
"""In place of a sequence number: the turn has failed, and nothing comes after that."""

STATUS: Final[Mapping[type[MCPError], HTTPStatus]] = {
    RequestError: HTTPStatus.BAD_REQUEST,
    ContextTooLong: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedByModel: HTTPStatus.UNPROCESSABLE_ENTITY,
    RequestIdReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    ToolResultsMissing: HTTPStatus.CONFLICT,
    SessionNotFound: HTTPStatus.NOT_FOUND,
    TurnNotFound: HTTPStatus.NOT_FOUND,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    SessionExists: HTTPStatus.CONFLICT,
    SessionBusy: HTTPStatus.CONFLICT,
    TurnCancelled: HTTPStatus.CONFLICT,
    EtagMismatch: HTTPStatus.PRECONDITION_FAILED,
    NotSupported: HTTPStatus.NOT_IMPLEMENTED,
    ToolRoundsExceeded: HTTPStatus.BAD_GATEWAY,
    AccessError: HTTPStatus.INTERNAL_SERVER_ERROR,  # it is the application's access that is wrong, not the visitor's
    TryLater: HTTPStatus.SERVICE_UNAVAILABLE,
    QuotaExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    TurnTimeout: HTTPStatus.GATEWAY_TIMEOUT,
    DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    ProviderError: HTTPStatus.BAD_GATEWAY,
    ProviderRateLimited: HTTPStatus.SERVICE_UNAVAILABLE,
    ProviderTimeout: HTTPStatus.GATEWAY_TIMEOUT,
    InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
    MCPError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""What each error is in HTTP; a kind that is not here is what its parent is."""

_HIDDEN: Final[Mapping[type[MCPError], str]] = {
    TryLater: "The service is away or has too much to do. Try again.",
    ProviderError: "The model could not answer.",
    MCPError: "Something is wrong with the service.",
}
"""What visitors are told of failures that are not theirs: the messages name addresses and models, and go to the log."""

AsyncFrames: TypeAlias = AsyncGenerator[bytes, None]
SyncFrames: TypeAlias = Generator[bytes, None, None]
"""A response as it grows, asynchronous or not."""
Request = TypeVar("Request")
"""A request as a framework has it."""
Options: TypeAlias = Mapping[str, Any] | Callable[[Request], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
"""Arguments, or what tells them from a request."""

_log: Final = logging.getLogger("mcp_client.integrations")
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_TURN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_EVENT_ID: Final = re.compile(rf"({_TURN.pattern})/([0-9]{{1,18}}|{END})")


class Refused(Exception):
    """A request that is refused before the server hears of it.

    Args:
        status: of the response.
        detail: what is wrong and what is allowed.
    """

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """The cookie by which a browser is known again. It holds a random secret; scripts cannot read it."""

    name: str = "chat_visitor"
    max_age: int = 30 * 24 * 3600
    """Seconds that a browser keeps it after the last message."""
    secure: bool | None = None
    """Whether it is sent over HTTPS alone; ``None``: if the request came so. Behind a proxy that ends HTTPS, say so."""
    samesite: Literal["Lax", "Strict", "None"] = "Lax"
    """Whether it comes along from other sites."""
    path: str = "/"
    domain: str | None = None

    def header(self, secret: str, *, secure: bool) -> str:
        """The value of ``Set-Cookie``.

        Args:
            secret: what it holds.
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
    """Who asks.

    Attributes:
        session: the id of their session.
        secret: for the cookie; empty for one who is known otherwise.
    """

    session: str
    secret: str = ""

    @classmethod
    def of_cookie(cls, secret: str | None) -> Visitor:
        """The owner of that cookie; somebody new if there is none, or none that is from here.

        The session is named by a digest: who sees the names of sessions, in a log or a list, cannot become a visitor.
        """
        if secret is None or not _SECRET.fullmatch(secret):
            secret = secrets.token_urlsafe(24)
        return cls("visitor-" + hashlib.sha256(secret.encode()).hexdigest()[:32], secret)

    def turn(self, turn: str) -> str:
        """The full name of one of their turns. It leads to no one else's.

        Raises:
            Refused: it is none.
        """
        if not _TURN.fullmatch(turn):
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no turn {turn[:80]!r}")
        return f"sessions/{self.session}/turns/{turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a visitor says.

    Attributes:
        message: the text.
        request_id: a key of the page's own, so that what is sent twice is answered once; may be empty.
    """

    message: str
    request_id: str = ""

    @classmethod
    def of_call(cls, call: Call) -> Question:
        """Read a request.

        Raises:
            Refused: it says what is wrong with it.
        """
        if call.body is None:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is larger than this application takes")
        # No form of another site can send this type: the browser would ask here first.
        if call.content_type.partition(";")[0].strip().lower() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, with Content-Type: application/json")
        try:
            said = json.loads(call.body)
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from None
        if not isinstance(said, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, 'expected an object like {"message": "Hello!"}')
        if unknown := said.keys() - {"message", "request_id"}:
            names = ", ".join(sorted(unknown))[:200]
            raise Refused(HTTPStatus.BAD_REQUEST, f"expected `message` and `request_id`, not also: {names}")
        for name in ("message", "request_id"):
            if not isinstance(text := said.get(name, ""), str) or _SURROGATE.search(text):
                raise Refused(HTTPStatus.BAD_REQUEST, f"{name}: expected a text")
        if not said.get("message", "").strip():
            raise Refused(HTTPStatus.BAD_REQUEST, "message: say something")
        return cls(**said)


@dataclass(frozen=True, slots=True)
class Seen:
    """The last event that a browser has seen, as it tells in ``Last-Event-ID``.

    Attributes:
        turn: the last part of its name.
        sequence: of the event.
        failed: it was the one that says that the turn has failed; nothing comes after it.
    """

    turn: str
    sequence: int = 0
    failed: bool = False

    @classmethod
    def of_header(cls, header: str) -> Seen | None:
        """Read the header; ``None`` if it is empty.

        Raises:
            Refused: it was not one of our events.
        """
        if not header:
            return None
        if (found := _EVENT_ID.fullmatch(header)) is None:
            raise Refused(HTTPStatus.BAD_REQUEST, f"Last-Event-ID: no event has the id {header[:80]!r}")
        return cls(found[1], failed=True) if found[2] == END else cls(found[1], int(found[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request to one of the routes, as its framework has read it.

    Attributes:
        method: ``GET``, ``POST`` or ``DELETE``.
        path: of the request.
        turn: the path behind that of the conversation; empty: the conversation itself is asked for.
        visitor: who asks.
        last_event_id, accept, content_type: headers of the request; empty: it had none.
        body: of the request; ``None``: it is too large.
        session_options: of a session that begins with this.
        turn_options: of a turn that does.
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

    @property
    def wants_json(self) -> bool:
        """Whether the caller wants to know of the turn alone, and reads the answer later."""
        return "application/json" in self.accept and EVENT_STREAM not in self.accept

    def place(self, turn: str) -> str:
        """Where one of the turns is, as seen from the conversation: a proxy may have that at another path."""
        return f"{self.path.rpartition('/')[2]}/{last_part(turn)}"


Frames = TypeVar("Frames", bound=AsyncFrames | SyncFrames)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Frames]):
    """What a route answers.

    Attributes:
        status: of the response.
        headers: of the response.
        body: all of it, or the beginning of what ``frames`` goes on with.
        frames: the rest, as it comes. They are to be closed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    frames: Frames | None = None


NOTHING_LEFT: Final[Outcome[Any]] = Outcome(HTTPStatus.NO_CONTENT, {"Cache-Control": "no-store"})
"""The reader has the whole answer. Browsers that come for more do not come again after this."""


def found(data: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK, **headers: str) -> Outcome[Any]:
    """An answer in JSON."""
    headers |= {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Outcome(status, headers, json.dumps(data, ensure_ascii=False).encode())


def accepted(call: Call, turn: str) -> Outcome[Any]:
    """A turn has begun, and this is where its answer can be read."""
    return found({"turn": last_part(turn)}, HTTPStatus.ACCEPTED, Location=call.place(turn))


def streaming(call: Call, turn: str, rest: Frames) -> Outcome[Frames]:
    """An answer as it comes."""
    headers = {
        "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx would collect the tokens
    }
    if not call.turn:
        headers["Content-Location"] = call.place(turn)
    return Outcome(HTTPStatus.OK, headers, OPENING, rest)


def problem(error: MCPError | Refused) -> Outcome[Any]:
    """What a visitor is answered for an error, as RFC 9457 has it; what is not theirs to know goes to the log."""
    said = _problem(error)
    headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    if "retry_after" in said:
        headers["Retry-After"] = str(math.ceil(said["retry_after"]))
    return Outcome(said["status"], headers, json.dumps(said, ensure_ascii=False).encode())


def _problem(error: MCPError | Refused) -> dict[str, Any]:
    if isinstance(error, Refused):
        return {"title": error.status.phrase, "status": error.status, "detail": error.detail}
    status = _by_kind(STATUS, error)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        detail = error.message
    else:
        detail = _by_kind(_HIDDEN, error)
        _log.warning("%s: %s", type(error).__name__, error)
    found: dict[str, Any] = {"title": status.phrase, "status": status, "detail": detail}
    if error.reason:
        found["reason"] = error.reason
    if error.turn:
        found["turn"] = last_part(error.turn)
    if error.retry_after is not None:
        found["retry_after"] = error.retry_after
    if isinstance(error, InvalidArgument) and error.violations:
        found["violations"] = dict(error.violations)
    return found


def _by_kind(table: Mapping[type[MCPError], Any], error: MCPError) -> Any:
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


def last_part(turn: str) -> str:
    """The last part of a turn's name: what pages call it."""
    return turn.rpartition("/")[2]


def event(event: Event, turn: str) -> bytes:
    """An event as browsers read it; ``turn``: the full name of its turn."""
    if isinstance(event, Delta):
        kind = "text" if event.text else "reasoning" if event.reasoning else "tool_arguments"
        return _frame("delta", f"{last_part(turn)}/{event.sequence}", {"part": event.part, kind: getattr(event, kind)})
    if isinstance(event, TurnQueued):
        name, data = "queued", {"turn": last_part(turn), "position": event.position}
    elif isinstance(event, TurnStarted):
        name, data = "started", {"turn": last_part(turn), "model": event.model}
    elif isinstance(event, PartStarted):
        name, data = "part", {"part": event.part, "kind": event.kind}
        if event.kind == "tool_call":
            data |= {"tool_call_id": event.tool_call_id, "tool_name": event.tool_name}
    elif isinstance(event, AttemptSwitched):
        switch = {"from_model": event.from_model, "to_model": event.to_model}
        name, data = "switched", {**switch, "restarted": event.restarted, "reason": event.reason}
    elif isinstance(event, TurnCompleted):
        reply = event.reply
        data = {"turn": last_part(turn), "model": reply.message.model, "finish_reason": reply.finish_reason}
        name, data = "completed", {**data, "usage": asdict(reply.usage)}
    else:
        return HEARTBEAT
    return _frame(name, f"{last_part(turn)}/{event.sequence}", data)


def failed(error: MCPError, turn: str) -> bytes:
    """The last event of a response that did not come to the end of an answer.

    (It is not called ``error``: browsers call a lost connection so.) If the turn has failed, nothing comes after this;
    else it has no id, so that who comes again goes on behind what was seen before.
    """
    return _frame("failed", f"{last_part(turn)}/{END}" if error.details.final else "", _problem(error))


def history(messages: Sequence[Message], active: str) -> dict[str, Any]:
    """What a page shows that is opened again.

    Args:
        messages: in their order.
        active: the full name of the turn that runs, or empty.
    """
    said = [
        {"role": message.role, "text": message.text, "turn": last_part(message.turn)}
        for message in messages
        if message.text
    ]
    # It may have ended while the messages were fetched, and be among them.
    runs = active and not any(message.turn == active for message in messages)
    return {"messages": said, "turn": last_part(active) if runs else None}


def _frame(name: str, id: str, data: Mapping[str, Any]) -> bytes:
    # JSON has no bare line breaks, which would end the line.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    head = f"id: {id}\n" if id else ""
    return f"{head}event: {name}\ndata: {text}\n\n".encode()


class Settings(Generic[Request]):
    """How a chat is set up, whatever the framework.

    Args:
        address: of the server, or several, as :class:`~mcp_client.MCPClient` takes them.
        session_of: tells from a request the id of its session, for applications that know their users; what it raises
            ends the request. If it returns ``None``, and by default, the visitor is known by a cookie.
        session_options: what ``create_session`` is given for a session that begins, for example ``{"ttl": 86400}``; or
            a function that tells it from the request of the first message.
        turn_options: what ``stream_chat`` is given with each message, for example ``{"temperature": 0.2}``; or a
            function that tells it from the request.
        cookie: by which visitors are known.
        max_body: bytes that the request of a message may have.
        **client_options: what the client is made with besides, for example ``credentials``.
    """

    def __init__(
        self,
        address: Address = defaults.ADDRESS,
        *,
        session_of: Callable[[Request], str | Awaitable[str | None] | None] | None = None,
        session_options: Options[Request] = MappingProxyType({}),
        turn_options: Options[Request] = MappingProxyType({}),
        cookie: Cookie = Cookie(),  # it cannot be changed
        max_body: int = 1 << 20,
        **client_options: Any,
    ) -> None:
        self.address = address
        self.session_of = session_of
        self.session_options = session_options
        self.turn_options = turn_options
        self.cookie = cookie
        self.max_body = max_body
        self.client_options = client_options

    def headers(self, call: Call, outcome: Outcome[Any], *, secure: bool) -> dict[str, str]:
        """Those of the response, with the cookie of who speaks for the first time, or again.

        Args:
            call: what was asked.
            outcome: what is answered.
            secure: whether the request came over HTTPS.
        """
        if call.turn or not call.visitor.secret:
            return dict(outcome.headers)
        return {**outcome.headers, "Set-Cookie": self.cookie.header(call.visitor.secret, secure=secure)}


async def resolved(given: Any, request: Any) -> Any:
    """A setting: as it is, or as its function tells from the request, asynchronously or not."""
    found = given(request) if callable(given) else given
    return await found if inspect.isawaitable(found) else found
