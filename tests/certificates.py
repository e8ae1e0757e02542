"""Certificates for tests, as files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import trustme

from mcp_server.settings import Config, ServerSettings, TLSSettings
from mcp_server.settings import testing_config as settings


class Authority:
    """An authority that writes what it issues into a folder.

    Args:
        folder: where the files are.
        name: what they begin with.
    """

    def __init__(self, folder: Path, name: str = "ours") -> None:
        self._folder, self._name = folder, name
        self.authority = trustme.CA()
        self.file = folder / f"{name}-ca.pem"
        """The certificate of the authority."""
        self.authority.cert_pem.write_to_path(self.file)

    def issue(self, role: str, *identities: str, **arguments: Any) -> tuple[Path, Path]:
        """Write a certificate and its key, over what is there; return both files."""
        issued = self.authority.issue_cert(*identities, **arguments)
        certificate, key = self._folder / f"{self._name}-{role}.pem", self._folder / f"{self._name}-{role}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        key.chmod(0o600)
        return certificate, key

    def server(self, **arguments: Any) -> TLSSettings:
        """The settings of a server with a certificate for this machine."""
        certificate, key = self.issue("server", "localhost", "127.0.0.1", **arguments)
        return TLSSettings(certificate=certificate, key=key)


def days(number: int) -> dt.datetime:
    """So many days from now."""
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=number)


def encrypted(tls: TLSSettings, **fields: Any) -> Config:
    """The settings of a test server with TLS."""
    config = settings(default_model=fields.pop("default_model", "echo/echo"))
    server = ServerSettings(address="127.0.0.1:0", drain_timeout=5, tls=tls, **fields)
    return Config(**{name: getattr(config, name) for name in config.__struct_fields__} | {"server": server})
