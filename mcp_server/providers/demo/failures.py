"""The failures of the demo: how they are written, and the errors that they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from mcp_server.errors import (
    ContextTooLong,
    MCPError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStreamCut,
    ProviderTimeout,
    ProviderUnavailable,
)

SILENCE: Final = "silence"
"""The kind of failure that is no error: nothing comes any more."""
_USAGE: Final = "KIND [SECONDS] [after N tokens] [once]"
_LONGEST: Final = 86_400.0
_MOST_TOKENS: Final = 100_000


class BadFailure(Exception):
    """No such failure; the message says which there are."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer fails."""

    kind: str
    """A key of :data:`KINDS`."""
    seconds: float | None = None
    """After how many seconds the call may be made again, or how long the silence lasts."""
    after: int = 0
    """How many tokens are written before."""
    once: bool = False
    """Whether the same call succeeds the next time."""

    def error(self, model: str) -> Exception:
        """The error to raise."""
        if self.kind == "error":
            return RuntimeError(f"the model {model} fails as it was told to: this stands for a bug of a provider")
        make, metadata, _ = KINDS[self.kind]
        facts = {"model": model, **metadata}
        what = f"the model {model} fails as it was told to: {self.kind}"
        return make(what, metadata=facts, retry_after=self.seconds)


Kind = tuple[Callable[..., MCPError], Mapping[str, Any], str]

KINDS: Final[Mapping[str, Kind]] = {
    "unavailable": (ProviderUnavailable, {}, "it cannot be reached; with SECONDS it says when it will be"),
    "rate_limit": (ProviderRateLimited, {}, "it asks for fewer calls; with SECONDS it says when to call again"),
    "timeout": (ProviderTimeout, {}, "it says that it takes too long"),
    "cut": (ProviderStreamCut, {}, "its answer breaks off; the default with `after`"),
    "content": (ProviderRejected, {"cause": "content"}, "it refuses the content"),
    "credentials": (ProviderRejected, {"cause": "credentials"}, "it refuses the API key of the server"),
    "too_long": (ContextTooLong, {}, "it finds the prompt too long"),
    "load": (ProviderUnavailable, {"cause": "load"}, "it cannot load the model"),
    "error": (MCPError, {}, "it has a bug, and raises something else"),
    SILENCE: (ProviderTimeout, {}, "it does not answer at all, or for SECONDS, until a limit of the server ends that"),
}
"""The error of each kind, its metadata, and what has happened then."""


def failure_of(text: str) -> Failure:
    """The failure that is written as ``unavailable``, ``rate_limit 5`` or ``after 3 tokens``, for example.

    Raises:
        BadFailure: it is none.
    """
    words = text.lower().split()
    once = "once" in words[-1:]
    words = words[:-1] if once else words
    after = 0
    if "after" in words:
        index = words.index("after")
        words, rest = words[:index], words[index + 1 :]
        if len(rest) not in (1, 2) or rest[1:] not in ([], ["token"], ["tokens"]):
            raise BadFailure(f"found {text!r}, expected after N tokens")
        after = int(_number(rest[0], text, _MOST_TOKENS))
    kind, *more = words or ["cut" if after else "unavailable"]
    if kind not in KINDS:
        raise BadFailure(f"found {text!r}, expected {_USAGE}, where KIND is one of {', '.join(KINDS)}")
    if len(more) > 1:
        raise BadFailure(f"found {text!r}, expected {_USAGE}")
    seconds = _number(more[0], text, _LONGEST) if more else None
    return Failure(kind=kind, seconds=seconds, after=after, once=once)


def _number(word: str, text: str, most: float) -> float:
    try:
        number = float(word)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise BadFailure(f"found {text!r}, expected a number from 0 to {most:g} in the place of {word!r}")
    return number
