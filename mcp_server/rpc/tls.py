"""TLS of the listener: certificates that are replaced while connections are open, and those of clients."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from mcp_server.errors import ConfigError
from mcp_server.principal import PeerCertificate
from mcp_server.settings import TLSSettings, WebTLSSettings

if TYPE_CHECKING:
    from mcp_server.certificate_files import CertificateFiles

log = structlog.get_logger("contextprotocol.server")


class ListenerCertificates:
    """The certificates that a listener uses. Connections that are open keep those that they began with.

    gRPC asks either no client for a certificate or every one, and for the whole life of the listener.

    Args:
        files: the first ones.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self.expires = files.expires
        """When the certificate of the server expires, in seconds since the Unix epoch."""
        self.clients_verified = files.client_ca is not None
        """Whether every client has to have a certificate."""
        self._files = files
        self._next: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)

    def credentials(self) -> grpc.ServerCredentials:
        """What the listener is made with."""
        # The type of the stubs does not know that a fetcher may return None.
        fetch: Callable[[], Any] = self._fetch
        return grpc.dynamic_ssl_server_credentials(_configuration(self._files), fetch, self.clients_verified)

    def replace(self, files: CertificateFiles) -> bool:
        """Use other files from the next connection on; return whether they differ from those in use."""
        if files == self._files:
            return False
        self._files, self.expires = files, files.expires
        self._next.append(_configuration(files))
        return True

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, on threads of its own; ``None``: nothing has changed."""
        try:
            return self._next.popleft()
        except IndexError:
            return None


def read_files(settings: TLSSettings | WebTLSSettings, table: str = "server.tls") -> CertificateFiles | None:
    """Read and check the files of the certificates, and log what is unwise about them; ``None`` without TLS.

    Args:
        settings: the files.
        table: the dotted key of their table, for messages.

    Raises:
        ConfigError: one cannot be used; all problems at once.
    """
    if settings.certificate is None:
        return None
    try:
        from mcp_server.certificate_files import read_certificates
    except ModuleNotFoundError as error:
        raise ConfigError(f"{table}: TLS needs cryptography: pip install 'contextprotocol[server]'") from error
    files = read_certificates(settings, table)
    for warning in files.warnings:
        log.warning("certificate files", problem=warning)
    return files


def peer_certificate(context: Mapping[str, Iterable[bytes]]) -> PeerCertificate:
    """The client's certificate.

    Args:
        context: the ``auth_context`` of a call.
    """

    def values(key: str) -> tuple[str, ...]:
        return tuple([value.decode(errors="replace") for value in context.get(key, ())])

    return PeerCertificate(
        common_name="".join(values("x509_common_name")[:1]),
        uris=values("peer_uri"),
        dns_names=values("peer_dns"),
        emails=values("peer_email"),
    )


def _configuration(files: CertificateFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.chain)], files.client_ca)
