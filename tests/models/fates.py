"""What becomes of a call whose provider fails, fault by fault: the table of docs/faults.md, for the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What becomes of it."""

    reason: str
    """What the caller is told where nothing helps."""
    retried: bool
    """Whether the same provider is asked again."""
    falls_back: bool = True
    """Whether another provider is asked."""
    costs: bool
    """Whether its row has an estimate of the prompt and of what came; else it took nothing."""


def _of(reason: str, *names: str, retried: bool, falls_back: bool = True, costs: bool = False) -> Mapping[str, Fate]:
    return dict.fromkeys(names, Fate(reason=reason, retried=retried, falls_back=falls_back, costs=costs))


FATES: Final[Mapping[str, Fate]] = {
    **_of("PROVIDER_RATE_LIMITED", "429", "429 with Retry-After", "429 with Retry-After: 0", retried=True),
    **_of("PROVIDER_RATE_LIMITED", "429 with a senseless Retry-After", retried=False),
    **_of(
        "PROVIDER_UNAVAILABLE",
        "500",
        "502 with a page",
        "503",
        "reset before headers",
        "closed before headers",
        "garbage instead of HTTP",
        "header bomb",
        "redirect",
        "wrong content type",
        retried=True,
    ),
    **_of(
        "PROVIDER_TIMEOUT",
        "504",
        "no answer at all",
        "headers and no token",
        "headers that trickle",
        "nothing but comments",
        "nothing but empty pieces",
        retried=True,
        costs=True,
    ),
    **_of(
        "PROVIDER_STREAM_CUT",
        "stream of nothing",
        "stream of nothing but its end",
        "error object as the first event",
        "compressed bomb",
        "stream cut",
        "stream closed",
        "stream that ends early",
        "stream that ends with its connection",
        "malformed event",
        "event that is not UTF-8",
        "event of a wrong shape",
        "error object in the stream",
        "no finish reason",
        "enormous line",
        "stalled stream",
        "stream that goes on with comments",
        retried=True,
        costs=True,
    ),
    **_of("PROVIDER_REJECTED", "401", "402", "403", "quota used up", retried=False),
    **_of("MODEL_NOT_FOUND", "no such model", retried=False),
    **_of("CONTEXT_TOO_LONG", "context too long", retried=False, falls_back=False),
    **_of("PROVIDER_REJECTED", "content refused", retried=False, falls_back=False),
    **_of("INVALID_ARGUMENT", "400", retried=False, falls_back=False),
}

UNREACHABLE: Final[Mapping[str, Fate]] = _of(
    "PROVIDER_UNAVAILABLE",
    "certificate of an unknown authority",
    "expired certificate",
    "plain HTTP on a TLS port",
    "TLS on a port of plain HTTP",
    "nobody listens",
    retried=True,
)
"""The faults of an address: nothing is sent there."""

LATER: Final = ("429 with Retry-After", "429 with a senseless Retry-After")
"""The faults with which a provider says when it can be asked again."""
ELSEWHERE_FIRST: Final = (
    "429 with a senseless Retry-After",
    *[name for name, fate in FATES.items() if fate.reason == "PROVIDER_TIMEOUT"],
)
"""The faults after which other models are asked before the same one again, if there are any."""
