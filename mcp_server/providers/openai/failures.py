"""What a server's refusals and failures mean: from the HTTP status and the vendor's code to one of our errors."""

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

MAX_SAID: Final = 300
"""How much of a vendor's message is passed on, in characters."""
MAX_WAIT: Final = 86_400.0
"""The longest wait that a server can ask for, in seconds: allowances of a day are the longest there are."""


class Kind(enum.Enum):
    """Who must act, and how."""

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


BY_CODE: Final[Mapping[str, Kind]] = {
    "context_length_exceeded": Kind.CONTEXT,
    "exceed_context_size_error": Kind.CONTEXT,  # llama.cpp
    "string_above_max_length": Kind.CONTEXT,
    "content_filter": Kind.CONTENT,  # Azure
    "content_policy_violation": Kind.CONTENT,
    "data_inspection_failed": Kind.CONTENT,  # Alibaba
    "invalid_prompt": Kind.CONTENT,
    "moderation_blocked": Kind.CONTENT,
    "ResponsibleAIPolicyViolation": Kind.CONTENT,  # Azure
    "account_deactivated": Kind.CREDENTIALS,
    "billing_hard_limit_reached": Kind.CREDENTIALS,
    "billing_not_active": Kind.CREDENTIALS,
    "exceeded_current_quota_error": Kind.CREDENTIALS,  # Moonshot
    "insufficient_quota": Kind.CREDENTIALS,
    "invalid_api_key": Kind.CREDENTIALS,
    "DeploymentNotFound": Kind.NO_MODEL,  # Azure
    "model_not_found": Kind.NO_MODEL,
    "rate_limit_exceeded": Kind.RATE,
    "not_supported_error": Kind.UNSUPPORTED,  # llama.cpp
    "unsupported_parameter": Kind.UNSUPPORTED,
    "unsupported_value": Kind.UNSUPPORTED,
}
"""By the vendor's ``code`` or ``type``, whatever the status."""

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
"""Where the code says nothing. Others of 400 to 499 are bad requests, and all else is out of order."""

TOO_LONG: Final = (
    "context length",
    "context window",
    "maximum number of tokens",
    "prompt is too long",
    "reduce the length",
    "too large for model",
    "too many tokens",
)
"""What is in the messages of those who have no code for it (vLLM, Mistral, Fireworks, Gemini …), with a bad request."""

KEYS_REFUSED: Final = (401, 402, 429)
"""The statuses that are about the key: another one may do."""


class Fault(msgspec.Struct, frozen=True):
    """What a server said went wrong."""

    codes: tuple[str, ...] = ()
    """Its codes and types, the most special first."""
    message: str = ""
    """Its words."""


def fault_of(body: bytes | Any) -> Fault:
    """The fault in the body of an answer, or in the error object of a stream, whichever of the usual forms it has."""
    if isinstance(body, bytes):
        try:
            body = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Fault()  # a page of some proxy: its status says all there is
    if isinstance(body, list) and body:  # Gemini
        body = body[0]
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping | str):
        body = body["error"]
    if isinstance(body, str):
        return Fault(message=body)
    if not isinstance(body, Mapping):
        return Fault()
    inner, metadata = body.get("innererror"), body.get("metadata")
    said = [inner.get("code") if isinstance(inner, Mapping) else None, *[body.get(name) for name in ("code", "type")]]
    if isinstance(metadata, Mapping) and metadata.get("reasons"):
        said = ["moderation_blocked"]  # OpenRouter, which says it in no other way
    message = body.get("message") or body.get("detail") or ""
    return Fault(
        codes=tuple([code for code in said if isinstance(code, str) and code]),
        message=message if isinstance(message, str) else msgspec.json.encode(message).decode(),
    )


def kind_of(status: int, fault: Fault) -> Kind:
    """Who must act."""
    for code in fault.codes:
        if code in BY_CODE:
            return BY_CODE[code]
    kind = BY_STATUS.get(status)
    if kind is None:
        kind = Kind.BAD_REQUEST if 400 <= status < 500 else Kind.UNAVAILABLE
    if kind is Kind.BAD_REQUEST and any(words in fault.message.lower() for words in TOO_LONG):
        kind = Kind.CONTEXT
    return kind


def kind_in_stream(fault: Fault) -> Kind:
    """Who must act where the error came in the place of a piece: as good as always the server was cut short."""
    kind = next((BY_CODE[code] for code in fault.codes if code in BY_CODE), Kind.CUT)
    return kind if kind in (Kind.CONTENT, Kind.CONTEXT) else Kind.CUT


def error_of(
    kind: Kind, fault: Fault, *, provider: str, model: str, status: int, said: str, retry_after: float | None = None
) -> MCPError:
    """The error.

    Args:
        kind: who must act.
        fault: what went wrong; its codes are shown.
        provider: the name of the instance.
        model: the model that was asked.
        status: of HTTP.
        said: the vendor's words, as they may be shown.
        retry_after: seconds to wait, if the server said so or another key can be used at once.
    """
    where = f"the provider {provider}"
    facts = {"provider": provider, "model": model, "status": str(status)}
    if fault.codes:
        facts["code"] = fault.codes[0]
    told = f"status {status}" + "".join([f", {code}" for code in fault.codes[:1]])
    because = f": {said}" if said else ""
    if kind is Kind.BAD_REQUEST:
        error = InvalidArgument((), f"{where} refuses the request to the model {model} ({told}){because}")
        error.metadata.update(facts)
        return error
    if kind is Kind.CREDENTIALS:
        # Its words often show a part of the key.
        facts["cause"] = "credentials"
        return ProviderRejected(
            f"{where} does not accept its credentials ({told})", metadata=facts, retry_after=retry_after
        )
    if kind is Kind.CONTENT:
        facts["cause"] = "content"
        return ProviderRejected(f"{where} refuses the content ({told}){because}", metadata=facts)
    if kind is Kind.CONTEXT:
        text = f"the request is longer than the model {model} of {where} reads ({told}){because}"
        return ContextTooLong(text, metadata=facts)
    if kind is Kind.NO_MODEL:
        text = f"{where} has no model {model} at its address ({told}){because}"
        return ModelNotFound(text, metadata=facts)
    if kind is Kind.UNSUPPORTED:
        text = f"the model {model} of {where} cannot do this ({told}){because}"
        return UnsupportedByModel(text, metadata=facts)
    if kind is Kind.RATE:
        return ProviderRateLimited(
            f"{where} asks for fewer calls ({told}){because}", metadata=facts, retry_after=retry_after
        )
    if kind is Kind.TIMEOUT:
        return ProviderTimeout(f"{where} did not answer in time ({told}){because}", metadata=facts)
    if kind is Kind.CUT:
        return ProviderStreamCut(f"{where} broke its answer off with an error ({told}){because}", metadata=facts)
    return ProviderUnavailable(f"{where} is out of order ({told}){because}", metadata=facts, retry_after=retry_after)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds that a server asks to wait, ``None`` if it does not: 0 is no wish, and means another thing here.

    Args:
        headers: of its answer; the names in any case.
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
