"""Refuses JSON with too many values before anything is built of it: a million small ones hold all other calls up."""

from __future__ import annotations

from typing import Final

from mcp_server.errors import InvalidArgument, Violation

_OTHER: Final = bytes(set(range(256)) - set(b'"{[,'))
"""All bytes but those that begin a value or delimit a string."""


def check_values(body: bytes, most: int) -> None:
    """Refuse JSON with more than ``most`` values. Each step is one of C and takes milliseconds, whatever it holds.

    Raises:
        InvalidArgument: it has more.
    """
    if body.count(b",") + body.count(b"{") + body.count(b"[") <= most:
        return
    # Most of them may be in strings. Without escapes, a quotation mark begins or ends one.
    marks = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHER)
    # A value has a name at most: two strings.
    if marks.count(b'"') > 4 * (most + 1) or sum(map(len, marks.split(b'"')[::2])) > most:
        description = f"the request has more than {most} JSON values: send less at once"
        raise InvalidArgument([Violation(field="", description=description)])
