"""Maps the failures of a server over HTTP, by status and by the code of its protocol, to the errors of this project."""

from __future__ import annotations

import email.utils
import enum
import math
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.errors import (
    ContextTooLong,
    InvalidArgument,
    MCPError,
    ModelNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStreamCut,
    ProviderTimeout,
    ProviderUnavailable,
    UnsupportedByModel,
)
from mcp_server.values import Struct

MAX_MESSAGE: Final = 300
"""How much of a server's message is passed on, in characters."""
MAX_WAIT: Final = 86_400.0
"""The longest wait that a server can ask for, in seconds: quotas are at most for a day."""


class Kind(enum.Enum):
    """The kind of a failure: who must act, and how."""

    BAD_REQUEST = enum.auto()
    CONTENT = enum.auto()
    CONTEXT = enum.auto()
    CREDENTIALS = enum.auto()
    CUT = enum.auto()
    NO_MODEL = enum.auto()
    RATE = enum.auto()
    TIMEOUT = enum.auto()
    UNAVAILABLE = enum.auto()
    UNSUPPORTED = enum.auto()


BY_STATUS: Final[Mapping[int, Kind]] = {
    401: Kind.CREDENTIALS,
    402: Kind.CREDENTIALS,
    403: Kind.CREDENTIALS,
    404: Kind.NO_MODEL,
    407: Kind.UNAVAILABLE,  # a proxy on the way
    408: Kind.UNAVAILABLE,
    409: Kind.UNAVAILABLE,
    413: Kind.CONTEXT,
    425: Kind.UNAVAILABLE,
    429: Kind.RATE,
    501: Kind.UNSUPPORTED,
    504: Kind.TIMEOUT,
    524: Kind.TIMEOUT,  # Cloudflare
}
"""If the code is unknown. Other statuses from 400 to 499 are bad requests; all others mean that the server is
unavailable."""

KEYS_REFUSED: Final = (401, 402, 429)
"""The statuses that concern the API key: another key may be accepted."""


class Fault(Struct):
    """The error object of a server."""

    codes: tuple[str, ...] = ()
    """Its codes and types, the most specific first."""
    message: str = ""
    """Its message."""


class FailureTable(Struct):
    """What the codes and the messages of a protocol mean."""

    by_code: Mapping[str, Kind]
    """By ``code`` or ``type``, whatever the status."""
    too_long: tuple[str, ...] = ()
    """Words in the message of a bad request that mean that the prompt is too long."""

    def kind(self, status: int, fault: Fault) -> Kind:
        """The kind of an answer with that HTTP status."""
        for code in fault.codes:
            if code in self.by_code:
                return self.by_code[code]
        kind = BY_STATUS.get(status)
        if kind is None:
            kind = Kind.BAD_REQUEST if 400 <= status < 500 else Kind.UNAVAILABLE
        if kind is Kind.BAD_REQUEST and any(words in fault.message.lower() for words in self.too_long):
            kind = Kind.CONTEXT
        return kind

    def kind_in_stream(self, fault: Fault) -> Kind:
        """The kind of an error in the place of a piece of an answer: nearly always the server was interrupted."""
        kind = next((self.by_code[code] for code in fault.codes if code in self.by_code), Kind.CUT)
        return kind if kind in (Kind.CONTENT, Kind.CONTEXT) else Kind.CUT


def fault_of(body: bytes | Any) -> Fault:
    """Read the error object in the body of an answer or in a stream, in any of the usual forms."""
    if isinstance(body, bytes):
        try:
            body = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Fault()  # the page of a proxy: only the status is known
    if isinstance(body, list) and body:  # Gemini
        body = body[0]
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping | str):
        body = body["error"]
    if isinstance(body, str):
        return Fault(message=body)
    if not isinstance(body, Mapping):
        return Fault()
    inner, metadata = body.get("innererror"), body.get("metadata")
    codes = [inner.get("code") if isinstance(inner, Mapping) else None, *[body.get(name) for name in ("code", "type")]]
    if isinstance(metadata, Mapping) and metadata.get("reasons"):
        codes = ["moderation_blocked"]  # OpenRouter, which has no code for it
    message = body.get("message") or body.get("detail") or ""
    return Fault(
        codes=tuple([code for code in codes if isinstance(code, str) and code]),
        message=message if isinstance(message, str) else msgspec.json.encode(message).decode(),
    )


def error_of(
    kind: Kind, fault: Fault, *, provider: str, model: str, status: int, message: str, retry_after: float | None = None
) -> MCPError:
    """The error of a failure.

    Args:
        kind: its kind.
        fault: the error object; its codes are shown.
        provider: the name of the provider.
        model: the model that was asked.
        status: the HTTP status.
        message: the server's message, safe to show.
        retry_after: seconds to wait, if the server asks for it or another key can be used at once.
    """
    where = f"the provider {provider}"
    facts = {"provider": provider, "model": model, "status": str(status)}
    if fault.codes:
        facts["code"] = fault.codes[0]
    code = f"status {status}" + "".join([f", {first}" for first in fault.codes[:1]])
    because = f": {message}" if message else ""
    if kind is Kind.BAD_REQUEST:
        error = InvalidArgument((), f"{where} refuses the request to the model {model} ({code}){because}")
        error.metadata.update(facts)
        return error
    if kind is Kind.CREDENTIALS:
        # The message often shows a part of the key.
        facts["cause"] = "credentials"
        return ProviderRejected(
            f"{where} does not accept its credentials ({code})", metadata=facts, retry_after=retry_after
        )
    if kind is Kind.CONTENT:
        facts["cause"] = "content"
        return ProviderRejected(f"{where} refuses the content ({code}){because}", metadata=facts)
    if kind is Kind.CONTEXT:
        text = f"the request is too long for the model {model} of {where} ({code}){because}"
        return ContextTooLong(text, metadata=facts)
    if kind is Kind.NO_MODEL:
        text = f"{where} has no model {model} at its address ({code}){because}"
        return ModelNotFound(text, metadata=facts)
    if kind is Kind.UNSUPPORTED:
        text = f"the model {model} of {where} cannot do this ({code}){because}"
        return UnsupportedByModel(text, metadata=facts)
    if kind is Kind.RATE:
        return ProviderRateLimited(
            f"{where} asks for fewer calls ({code}){because}", metadata=facts, retry_after=retry_after
        )
    if kind is Kind.TIMEOUT:
        return ProviderTimeout(f"{where} did not answer in time ({code}){because}", metadata=facts)
    if kind is Kind.CUT:
        return ProviderStreamCut(f"{where} broke its answer off with an error ({code}){because}", metadata=facts)
    return ProviderUnavailable(f"{where} is out of order ({code}){because}", metadata=facts, retry_after=retry_after)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds that a server asks to wait; ``None`` if it does not ask. 0 counts as ``None``: in our errors it means
    that the call may be repeated at once.

    Args:
        headers: the headers of its answer, in any case.
        now: seconds since the Unix epoch; by default the present.
    """
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return min(seconds, MAX_WAIT) if seconds > 0 else None
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    seconds = date.timestamp() - (time.time() if now is None else now)
    return min(seconds, MAX_WAIT) if seconds > 0 else None
