"""The files of certificates and keys: read, checked, and what is wrong with them in plain words."""

from __future__ import annotations

import datetime as dt
import itertools
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from mcp_server.errors import ConfigError
from mcp_server.settings import TLSSettings, WebTLSSettings
from mcp_server.values import Struct

_PRIVATE_KEY: Final = b"PRIVATE KEY-----"
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"


class CertificateFiles(Struct):
    """The content of the files of a table of settings, which has been checked."""

    chain: bytes
    """The certificate of the server and those of intermediate authorities, in PEM format."""
    key: bytes
    """The private key, in PEM format."""
    client_ca: bytes | None
    """The authorities that issue client certificates, in PEM format; ``None``: clients are asked for no certificate."""
    expires: float
    """When the first certificate of the chain expires, in seconds since the Unix epoch."""
    warnings: tuple[str, ...]
    """What is unwise, but works."""

    def __repr__(self) -> str:
        return "CertificateFiles(***)"


def read_certificates(settings: TLSSettings | WebTLSSettings, table: str = "server.tls") -> CertificateFiles:
    """Read and check the files; ``certificate`` and ``key`` are set.

    Args:
        settings: the files.
        table: the dotted key of their table, for messages.

    Raises:
        ConfigError: one cannot be used; all problems at once.
    """
    assert settings.certificate is not None
    assert settings.key is not None
    client_ca = settings.client_ca if isinstance(settings, TLSSettings) else None
    return _Check(table).files(settings.certificate, settings.key, client_ca)


class _Check:
    """One look at all files."""

    def __init__(self, table: str) -> None:
        self._certificate_key = f"{table}.certificate"
        self._private_key_key = f"{table}.key"
        self._client_ca_key = f"{table}.client_ca"
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._now = dt.datetime.now(dt.UTC)

    def files(self, certificate: Path, key: Path, client_ca: Path | None) -> CertificateFiles:
        chain_pem = self._read(self._certificate_key, certificate)
        key_pem = self._read(self._private_key_key, key)
        ca_pem = self._read(self._client_ca_key, client_ca) if client_ca is not None else None
        chain = self._certificates(self._certificate_key, certificate, chain_pem)
        private = self._private_key(key, key_pem)
        if chain:
            self._chain(certificate, chain)
        if chain and private is not None:
            self._match(certificate, chain, key, private)
        if client_ca is not None:
            self._authorities(client_ca, self._certificates(self._client_ca_key, client_ca, ca_pem))
        if self._problems:
            raise ConfigError("\n".join(self._problems))
        assert chain_pem is not None
        assert key_pem is not None
        return CertificateFiles(
            chain=chain_pem,
            key=key_pem,
            client_ca=ca_pem,
            expires=min(one.not_valid_after_utc.timestamp() for one in chain),
            warnings=tuple(self._warnings),
        )

    def _problem(self, key: str, file: Path, text: str) -> None:
        self._problems.append(f"{key}: the file {file} {text}")

    def _read(self, key: str, file: Path) -> bytes | None:
        try:
            return file.read_bytes()
        except OSError as error:
            self._problem(key, file, f"cannot be read: {error.strerror}")
            return None

    def _certificates(self, key: str, file: Path, pem: bytes | None) -> Sequence[x509.Certificate]:
        if pem is None:
            return ()
        if _CERTIFICATE not in pem:
            found = "contains a private key and no certificate" if _PRIVATE_KEY in pem else "contains no certificate"
            self._problem(key, file, f"{found} in PEM format (BEGIN CERTIFICATE){_der(pem)}")
            return ()
        try:
            return x509.load_pem_x509_certificates(pem)
        except ValueError as error:
            self._problem(key, file, f"contains a certificate that is damaged: {error}")
            return ()

    def _private_key(self, file: Path, pem: bytes | None) -> PrivateKeyTypes | None:
        if pem is None:
            return None
        if _PRIVATE_KEY not in pem:
            found = "contains a certificate and no private key" if _CERTIFICATE in pem else "contains no private key"
            self._problem(self._private_key_key, file, f"{found} in PEM format (BEGIN PRIVATE KEY){_der(pem)}")
            return None
        try:
            private = load_pem_private_key(pem[pem.rindex(b"-----BEGIN ", 0, pem.index(_PRIVATE_KEY)) :], None)
        except TypeError:
            decrypt = f"openssl pkey -in {file} -out NEW_FILE"
            self._problem(
                self._private_key_key, file, f"contains a private key that is encrypted; decrypt it: {decrypt}"
            )
            return None
        except (ValueError, UnsupportedAlgorithm):  # their texts may quote the key
            self._problem(self._private_key_key, file, "contains a private key that is damaged or of an unknown kind")
            return None
        if file.stat().st_mode & stat.S_IROTH:
            self._warnings.append(
                f"{self._private_key_key}: every user of this machine can read {file}: chmod 600 {file}"
            )
        return private

    def _chain(self, file: Path, chain: Sequence[x509.Certificate]) -> None:
        """The certificate of the server, and what comes behind it."""
        for number, certificate in enumerate(chain, 1):
            which = "a certificate" if number == 1 else f"a certificate (number {number} in the file)"
            self._dates(self._certificate_key, file, certificate, which)
        own = chain[0]
        try:
            usages = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            pass
        else:
            if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usages):
                self._problem(
                    self._certificate_key, file, "contains a certificate that is not for servers (serverAuth)"
                )
        try:
            own.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            self._warnings.append(
                f"{self._certificate_key}: the certificate in {file} has no subject alternative names: "
                "no client accepts it"
            )
        for issued, issuer in itertools.pairwise(chain):
            try:
                issued.verify_directly_issued_by(issuer)
            except (ValueError, TypeError, InvalidSignature):
                self._warnings.append(
                    f"{self._certificate_key}: in {file}, {_subject(issued)} is followed by {_subject(issuer)}, "
                    "which has not issued it: many clients accept only chains in order"
                )

    def _match(self, file: Path, chain: Sequence[x509.Certificate], key: Path, private: PrivateKeyTypes) -> None:
        wanted = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        matches = [
            one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == wanted for one in chain
        ]
        if not any(matches):
            self._problem(self._private_key_key, key, f"contains the private key of another certificate than {file}")
        elif not matches[0]:
            self._problem(
                self._certificate_key, file, "must begin with the certificate of the server, then intermediate ones"
            )

    def _authorities(self, file: Path, authorities: Sequence[x509.Certificate]) -> None:
        for certificate in authorities:
            try:
                is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            except x509.ExtensionNotFound:
                is_authority = certificate.issuer == certificate.subject
            if not is_authority:
                self._problem(
                    self._client_ca_key,
                    file,
                    f"contains {_subject(certificate)}, which is not the certificate of an authority",
                )
            self._dates(self._client_ca_key, file, certificate, f"the certificate {_subject(certificate)}")

    def _dates(self, key: str, file: Path, certificate: x509.Certificate, which: str) -> None:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if end < self._now:
            self._problem(key, file, f"contains {which} that expired on {end:%Y-%m-%d %H:%M} UTC: renew it")
        elif begin > self._now:
            self._problem(
                key,
                file,
                f"contains {which} that is not valid before {begin:%Y-%m-%d %H:%M} UTC; the clock of this machine "
                f"says {self._now:%Y-%m-%d %H:%M}",
            )


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial number {certificate.serial_number:x}"


def _der(content: bytes) -> str:
    """What to do about a file in the other common format."""
    return "; it seems to be in DER format: convert it with openssl" if content.startswith(b"\x30\x82") else ""
