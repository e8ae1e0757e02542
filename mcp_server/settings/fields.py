"""Types of settings that several tables share."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, get_args

from msgspec import Meta

DAY: Final = 86_400.0
"""In seconds."""
_TENANT: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"

PluginName = Annotated[
    str,
    Meta(pattern="^[a-z][a-z0-9_-]{0,62}$", extra={"allowed": "a name of a-z, 0-9, _ and - that begins with a letter"}),
]
ModelPattern = Annotated[
    str, Meta(pattern="^[^\\s]{1,256}$", extra={"allowed": 'a pattern of "provider/model", with * for any text'})
]
TenantName = Annotated[
    str,
    Meta(
        pattern=f"^{_TENANT}$",
        extra={"allowed": "a name of up to 63 letters, digits, . _ and - that begins with a letter or a digit"},
    ),
]
TenantOrAll = Annotated[
    str,
    Meta(
        pattern=f"^({_TENANT}|\\*)$",
        extra={"allowed": "a name of letters, digits, . _ and -, or * for all others"},
    ),
]
ScopeName = Literal["chat", "sessions.read", "sessions.write", "models", "usage", "admin", "operator"]
_SCOPES: Final[tuple[str, ...]] = get_args(ScopeName)
Scopes = Annotated[
    tuple[ScopeName, ...], Meta(extra={"allowed": f"an array of {', '.join(_SCOPES[:-1])} and {_SCOPES[-1]}"})
]
Models = Annotated[
    tuple[ModelPattern, ...],
    Meta(max_length=64, extra={"allowed": 'an array of up to 64 patterns of "provider/model", with * for any text'}),
]


def split_address(address: str) -> tuple[str, int]:
    """The host and the port of ``host:port``; an IPv6 host is written in brackets.

    Raises:
        ValueError: it is not of that form.
    """
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", address)
    if match is None or int(match[2]) > 65_535:
        raise ValueError(address)
    return match[1].strip("[]"), int(match[2])


def _check_optional_address(address: str) -> None:
    if address:
        split_address(address)


_ADDRESS = "host:port with a port from 0 to 65535"
Address = Annotated[str, Meta(extra={"check": split_address, "allowed": _ADDRESS})]
OptionalAddress = Annotated[str, Meta(extra={"check": _check_optional_address, "allowed": f"{_ADDRESS}, or empty"})]
