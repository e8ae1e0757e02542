"""Reads the error objects of servers, in whichever of the usual forms they come."""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mcp_server.values import Struct
from mcp_server.values.surrogates import repaired

MAX_WAIT: Final = 86_400.0
"""The longest wait that a server can ask for, in seconds: quotas are at most for a day."""
_MESSAGE: Final = ("message", "detail", "msg", "error_msg", "error_message", "errorMessage", "description", "title")
_CODE: Final = ("code", "type", "status", "error_code", "errorCode", "reason")
_WAIT: Final = {
    "retry_after_ms": 0.001,
    "retryAfterMs": 0.001,
    "retry_after": 1.0,
    "retryAfter": 1.0,
    "retryDelay": 1.0,
}
_NO_FAULT: Final = frozenset(("", "0", "200", "null", "none", "ok", "success", "false"))
"""Codes and messages of an error object that reports no error."""
_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)(ms|s)?)?", re.IGNORECASE)
_AGAIN: Final = re.compile(
    r"\b(?:try again|retry)(?: your request)? (?:in|after) ((?:\d+(?:\.\d+)?(?:h|ms|m|s) ?)+)(?!\w)", re.IGNORECASE
)
_MAX_DEPTH: Final = 4


class Fault(Struct):
    """The error object of a server."""

    codes: tuple[str, ...] = ()
    """Its codes and types that are words or numbers of the vendor's own, the most specific first."""
    status: int = 0
    """The HTTP status that it names, or 0: some report it in the body alone."""
    message: str = ""
    """Its message, with that of the server behind it if there is one."""
    retry_after: float | None = None
    """The seconds to wait that it asks for."""


def is_fault(error: Any) -> bool:
    """Whether the value of a field ``error`` reports an error: some send the field, without content, with every
    piece."""
    if isinstance(error, Mapping):
        return any(is_fault(value) for value in error.values())
    if isinstance(error, list | tuple):
        return any(is_fault(value) for value in error)
    if isinstance(error, str):
        return error.strip().lower() not in _NO_FAULT
    return error is True or (isinstance(error, int | float) and error not in (0, 200))


def fault_of(body: bytes | Any) -> Fault:
    """Read the error object in the body of an answer or in a stream, in any of the usual forms."""
    if isinstance(body, bytes):
        try:
            body = json.loads(body.decode("utf-8-sig", "replace"), strict=False)
        except (ValueError, RecursionError):
            return Fault()  # the page of a proxy: only the status is known
    try:
        found = _Found()
        found.read(body, 0)
        return found.fault()
    except RecursionError:
        return Fault()


class _Found:
    """What an error object says, however it is nested."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.status = 0
        self.messages: list[str] = []
        self.wait: float | None = None

    def read(self, body: Any, depth: int) -> None:
        if isinstance(body, list) and body:  # Gemini
            body = body[0]
        if isinstance(body, str):
            self._message(body, depth)
        if not isinstance(body, Mapping):
            return
        inner = body.get("innererror")
        if isinstance(inner, Mapping):  # Azure
            self._code(inner.get("code"))
        metadata = body.get("metadata")
        if isinstance(metadata, Mapping) and metadata.get("reasons"):
            self._code("moderation_blocked")  # OpenRouter, which has no code for it
        if depth < _MAX_DEPTH:
            for name in ("error", "errors"):
                if is_fault(body.get(name)):
                    self.read(body[name], depth + 1)
        for name in _CODE:
            self._code(body.get(name))
        for name in _MESSAGE:
            message = body.get(name)
            if isinstance(message, str):
                self._message(message, depth)
            elif isinstance(message, Mapping | list) and message:
                self.messages.append(json.dumps(message))
            if message:
                break
        for raw in _behind(metadata):  # OpenRouter: of the server behind it
            self._message(raw, depth)
        for name, unit in _WAIT.items():
            self._wait(body.get(name), unit)
        details = body.get("details")
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, Mapping):
                self._code(detail.get("reason"))
                self._wait(detail.get("retryDelay"), 1.0)  # google.rpc.RetryInfo

    def _code(self, code: Any) -> None:
        if isinstance(code, float) and code.is_integer():
            code = int(code)
        if isinstance(code, int) and not isinstance(code, bool):
            code = str(code)
        if not isinstance(code, str) or not code.strip() or code in ("0", "200"):
            return
        if code.isdigit() and len(code) == 3:
            self.status = self.status or int(code)
        elif code not in self.codes:
            self.codes.append(code)

    def _message(self, text: str, depth: int) -> None:
        """Take a message; one that is the JSON of another error object is read as such."""
        start = text.find("{")
        if start >= 0 and text.rstrip().endswith("}") and depth < _MAX_DEPTH:
            try:
                inner = json.loads(text[start:], strict=False)
            except (ValueError, RecursionError):
                inner = None
            if isinstance(inner, Mapping) and ("error" in inner or "message" in inner):
                before = len(self.messages)
                self.read(inner, depth + 1)
                if len(self.messages) > before:
                    return
        if text.strip() and text not in self.messages:
            self.messages.append(text)

    def _wait(self, value: Any, unit: float) -> None:
        if self.wait is None:
            self.wait = _seconds(value, unit)

    def fault(self) -> Fault:
        message = ": ".join(self.messages)
        wait = self.wait
        if wait is None and (match := _AGAIN.search(message)):
            wait = _seconds(match[1].replace(" ", ""), 1.0)
        codes = tuple([repaired(code) for code in self.codes])
        return Fault(codes=codes, status=self.status, message=repaired(message), retry_after=wait)


def _behind(metadata: Any) -> Iterator[str]:
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    if isinstance(raw, str):
        yield raw
    elif raw:
        yield json.dumps(raw)


def _seconds(value: Any, unit: float) -> float | None:
    """A number, a text such as ``2s`` or ``1m30.5s``, or the JSON of ``google.protobuf.Duration``."""
    seconds = 0.0
    if isinstance(value, Mapping):
        for name, size in (("seconds", 1.0), ("nanos", 1e-9)):
            part = value.get(name, 0)
            try:
                seconds += float(part) * size
            except (TypeError, ValueError):
                return None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) * unit
    elif isinstance(value, str) and value and (match := _DURATION.fullmatch(value.strip())):
        hours, minutes, rest, scale_name = match.groups()
        scale = {"ms": 0.001, "s": 1.0}.get((scale_name or "").lower(), unit)
        seconds = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest or 0) * scale
    return min(seconds, MAX_WAIT) if math.isfinite(seconds) and seconds > 0 else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait; ``None`` if it does not ask. 0 counts as ``None``: in our errors it means
    that the call may be repeated at once.

    Args:
        headers: the headers of its answer, in any case.
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
    seconds = date.timestamp() - time.time()
    return min(seconds, MAX_WAIT) if seconds > 0 else None
