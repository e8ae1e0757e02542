"""The credentials of an encrypted connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

_PEM: Final = "-----BEGIN "


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """An encrypted connection to a server that authenticates itself. PEM files are given as a path or as content."""

    ca: Path | str | bytes | None = None
    """The certificates of the trusted authorities; ``None``: those that ship with gRPC."""
    certificate: Path | str | bytes | None = None
    """The client's certificate chain, for servers that require one (mTLS)."""
    key: Path | str | bytes | None = field(default=None, repr=False)
    """The private key of ``certificate``."""
    server_name: str = ""
    """The name in the server's certificate, if it differs from the address."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: expected both or none")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files and create gRPC's credentials.

        Raises:
            OSError: a file cannot be read.
            ValueError: a value is not in PEM format.
        """
        ca, key, certificate = [_pem(name, getattr(self, name)) for name in ("ca", "key", "certificate")]
        return grpc.ssl_channel_credentials(ca, key, certificate)


def _pem(name: str, value: Path | str | bytes | None) -> bytes | None:
    """The content of a PEM file. No error message quotes the value, which may be a private key."""
    if value is None:
        return None
    content = value
    if isinstance(content, str) and _PEM in content:
        content = content.encode()
    if not isinstance(content, bytes):
        try:
            content = Path(content).read_bytes()
        except OSError as error:
            raise OSError(error.errno, f"{name}: {error.strerror}") from None
    if _PEM.encode() not in content:
        raise ValueError(f"{name}: expected the path or the content of a file in PEM format")
    return content
