"""Types of settings that several tables share."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

TENANT_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
"""Names of tenants."""

ModelPattern = Annotated[
    str, Meta(pattern="^[^\\s]{1,256}$", extra={"allowed": 'a pattern of "provider/model", with * for any text'})
]
TenantName = Annotated[
    str,
    Meta(
        pattern=TENANT_PATTERN,
        extra={"allowed": "a name of up to 63 letters, digits, . _ and - that begins with a letter or a digit"},
    ),
]
ScopeName = Literal["chat", "sessions.read", "sessions.write", "models", "usage", "admin", "operator"]
