"""Reads the bodies of requests: JSON of a known shape. What is not known is refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from mcp_server.api.conversions import LARGE_BYTES
from mcp_server.errors import InvalidArgument, Violation
from mcp_server.rules import Violations, shown
from mcp_server.web.exchange import Exchange
from mcp_server.web.json_values import check_values

T = TypeVar("T")
MAX_VALUES: Final = 200_000
"""The most JSON values of a body."""

Convert = Callable[..., Awaitable[Any]]
"""``await convert(large, function, *arguments)``: what the function returns, which runs in a thread if it is large."""


class Shape(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The base of every object in a body."""


async def read_body(exchange: Exchange, convert: Convert, read: Callable[[bytes], T]) -> T:
    """What ``read`` makes of the body, which must be JSON.

    Raises:
        HTTPProblem: the body is too large, or of another media type.
        InvalidArgument: ``read`` refuses it.
    """
    exchange.require_content_type("application/json")
    data = await exchange.body()
    found: T = await convert(len(data) > LARGE_BYTES, read, data)
    return found


def decode(decoder: msgspec.json.Decoder[T], data: bytes, at: str = "") -> T:
    """The body as a typed object.

    Args:
        decoder: knows its type.
        data: the body, or a part of it.
        at: the path of the part.

    Raises:
        InvalidArgument: it is no JSON, of another shape, or has too many values.
    """
    if len(data) > LARGE_BYTES:
        check_values(data, MAX_VALUES)
    try:
        return decoder.decode(data.decode())
    except msgspec.ValidationError as error:
        raise InvalidArgument([_violation(str(error), at)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument([Violation(field=at, description=f"the body is not valid JSON: {error}")]) from None
    except RecursionError:
        raise InvalidArgument([Violation(field=at, description="the body is nested too deeply")]) from None


_AT: Final = " - at `$"
_UNKNOWN: Final = "Object contains unknown field `"
_MISSING: Final = "Object missing required field `"


def _violation(text: str, at: str) -> Violation:
    """What the decoder has found, with the path of the field as its caller writes it."""
    what, at_path, path = text.rpartition(_AT)  # no pattern: a value in the text may have megabytes
    what, path = (what, path[:-1].removeprefix(".")) if at_path else (text, "")
    path = f"{at}.{path}" if at and path else at or path
    for start, description in ((_UNKNOWN, "unknown parameter: {}"), (_MISSING, "missing required parameter: {}")):
        if what.startswith(start):
            name = what.removeprefix(start)[:-1]
            field = f"{path}.{name}" if path else name
            found = Violations()
            found.add(field, description.format(shown(field)))
            return found[0]
    found = Violations()
    found.add(path, what[:1].lower() + what[1:])
    return found[0]
