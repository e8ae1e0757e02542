"""The connection of a command: the address is an option, what proves who the caller is comes from the environment.

Every user of a machine can read the arguments of its programs, so a key is never an option.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mcp_client import TLS, MCPClient
from mcp_client._core.retry import OnRetry

API_KEY_VARIABLE: Final = "CONTEXTPROTOCOL_API_KEY"
"""The environment variable with the API key, or another bearer token."""
KEY_FILE_VARIABLE: Final = "CONTEXTPROTOCOL_KEY_FILE"
"""The environment variable with the path of a file with the API key, for where the other one is not set."""
CA_VARIABLE: Final = "CONTEXTPROTOCOL_CA"
"""The environment variable with the path of the trusted authorities' certificates."""
CERTIFICATE_VARIABLE: Final = "CONTEXTPROTOCOL_CERTIFICATE"
"""The environment variable with the path of the client's certificate chain, for servers that require one."""
CERTIFICATE_KEY_VARIABLE: Final = "CONTEXTPROTOCOL_CERTIFICATE_KEY"
"""The environment variable with the path of the private key of that certificate."""

_TLS_SCHEME: Final = "https://"


def connect(server: str, on_retry: OnRetry | None) -> MCPClient:
    """A client of a server.

    Args:
        server: its address; ``https://HOST:PORT``: with TLS.
        on_retry: called before each retry.

    Raises:
        ValueError: a variable cannot be used.
    """
    ca, certificate, key = [_path(name) for name in (CA_VARIABLE, CERTIFICATE_VARIABLE, CERTIFICATE_KEY_VARIABLE)]
    encrypted = server.startswith(_TLS_SCHEME)
    if not encrypted and (ca or certificate or key):
        raise ValueError(f"{CA_VARIABLE} and {CERTIFICATE_VARIABLE} require an address with TLS: {_TLS_SCHEME}{server}")
    if (certificate is None) != (key is None):
        raise ValueError(f"{CERTIFICATE_VARIABLE} and {CERTIFICATE_KEY_VARIABLE}: expected both or none")
    try:
        return MCPClient(
            server.removeprefix(_TLS_SCHEME),
            api_key=_api_key(),
            credentials=TLS(ca=ca, certificate=certificate, key=key) if encrypted else None,
            on_retry=on_retry,
        )
    except OSError as error:
        variables = f"{CA_VARIABLE}, {CERTIFICATE_VARIABLE} or {CERTIFICATE_KEY_VARIABLE}"
        raise ValueError(f"{variables} cannot be used: {error.strerror}") from error


def _api_key() -> str | None:
    if key := os.environ.get(API_KEY_VARIABLE):
        return key
    if (path := _path(KEY_FILE_VARIABLE)) is None:
        return None
    try:
        found = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{KEY_FILE_VARIABLE}: cannot read {path}: {getattr(error, 'strerror', error)}") from error
    if not found:
        raise ValueError(f"{KEY_FILE_VARIABLE}: {path} contains no key")
    return found


def _path(variable: str) -> str | None:
    return os.environ.get(variable) or None
