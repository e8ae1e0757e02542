"""Checks the names of options, and suggests the right name for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from mcp_client.values import TurnOptions

_OTHER_NAMES: Final = {
    "engine": "model",
    "max_completion_tokens": "max_output_tokens",
    "max_length": "max_output_tokens",
    "max_new_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "extra_body": "provider_options",
    "idempotency_key": "request_id",
    "metadata": "labels",
    "response_format": "schema",
    "response_model": "schema",
    "stop_sequences": "stop",
    "top_logprobs": "logprobs",
    "user": "labels",
}
"""The names that other libraries have for an option."""
_ARGUMENTS: Final = ("session", "schema", "repair", "tools", "tool_choice", "truncation", "timeout")
"""The arguments of calls that are no options of a turn."""
_OF_ONE_CALL: Final = ("etag", "request_id")


def check(names: Iterable[str]) -> None:
    """Check the names of the options of a call.

    Raises:
        TypeError: one does not exist; the error names those that do.
    """
    known = TurnOptions.__annotations__
    unknown = sorted(set(names) - known.keys())
    if unknown:
        described = ", ".join([repr(name) + _suggestion(name) for name in unknown])
        kind = "options" if len(unknown) > 1 else "option"
        raise TypeError(f"unknown {kind} {described}; the options are {', '.join(known)}")


def check_defaults(names: Iterable[str]) -> None:
    """Check the names of options that become defaults of many calls.

    Raises:
        TypeError: one does not exist, or applies to a single call.
    """
    names = list(names)
    check(names)
    for name in _OF_ONE_CALL:
        if name in names:
            raise TypeError(f"{name}: applies to a single call, and cannot be a default")


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, (*TurnOptions.__annotations__, *_ARGUMENTS), n=1)
    meant = _OTHER_NAMES.get(name) or (near[0] if near else "")
    return f" (did you mean {meant!r}?)" if meant else ""
