"""Converts what a function returns or raises to a tool result."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mcp_client.values import Blob, Text, ToolCall, ToolResult

MAX_RESULT_BYTES: Final = 3 * 1024 * 1024
"""The maximum size of a message that a server stores."""
MAX_ERROR_CHARACTERS: Final = 10_000
"""The maximum length of the text of an exception."""

_ENCODING_BYTES: Final = 64
"""More than the encoding of a message, or of one of its parts, adds to its strings."""
_MIME_TYPE: Final = re.compile(r"[^/\s]+/[^/\s]+")


def success(call: ToolCall, value: Any) -> ToolResult:
    """The result of a function that returned: a text as it is, parts of a message, anything else as JSON.

    Raises:
        TypeError, ValueError: the value cannot be sent.
    """
    parts: Sequence[Text | Blob]
    if isinstance(value, Text | Blob):
        parts = (value,)
    elif isinstance(value, list | tuple) and value and all(isinstance(part, Text | Blob) for part in value):
        parts = tuple(value)
    else:
        text = value if isinstance(value, str) else _json(value)
        parts = (Text(text=text or '""'),)
    size = len(call.id.encode()) + _ENCODING_BYTES + sum([_checked_size(part) + _ENCODING_BYTES for part in parts])
    if size > MAX_RESULT_BYTES:
        raise ValueError(f"the result has {size:,} bytes; a server accepts at most {MAX_RESULT_BYTES:,}")
    return ToolResult(tool_call_id=call.id, parts=parts)


def failure(call: ToolCall, error: BaseException) -> ToolResult:
    """The result of a function that raised. The model may correct its call."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # the exception has no message
        text = type(error).__name__
    text = text[:MAX_ERROR_CHARACTERS].encode(errors="replace").decode()
    return ToolResult(tool_call_id=call.id, parts=(Text(text=text),), is_error=True)


def _checked_size(part: Text | Blob) -> int:
    """The size of the part in bytes.

    Raises:
        ValueError: a server would refuse the part.
    """
    if isinstance(part, Text):
        if not part.text:
            raise ValueError("a Text of the result is empty")
        return len(part.text.encode())  # raises for half a surrogate pair
    if not _MIME_TYPE.fullmatch(part.mime_type):
        raise ValueError(f"the mime_type of a Blob of the result is {part.mime_type!r}; expected for example image/png")
    if part.uri and not part.uri.startswith(("https://", "data:")):
        raise ValueError("the uri of a Blob of the result must start with https:// or data:")
    return len(part.data) + len(part.uri.encode()) + len(part.mime_type.encode())


def _json(value: Any) -> str:
    builtins = msgspec.to_builtins(value, enc_hook=_encode_custom, str_keys=True, order="deterministic")
    return json.dumps(builtins, ensure_ascii=False, allow_nan=False)


def _encode_custom(value: Any) -> Any:
    """A value that msgspec cannot encode: a pydantic model, or an instance of a subclass of a JSON type."""
    if hasattr(value, "model_dump") and hasattr(value, "model_validate"):
        return value.model_dump(mode="json")
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"the result cannot be sent to a model: {type(value).__name__} has no JSON form")
