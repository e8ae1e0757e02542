"""A certificate authority in a folder, for development: it has no list of revoked certificates and no passphrase."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SKEW = dt.timedelta(minutes=5)
"""How long before now certificates begin to be valid: the clock of another machine may be behind."""


class Issued(NamedTuple):
    """A certificate that was written."""

    name: str
    """Whose it is."""
    certificate: Path
    """The file of the certificate."""
    key: Path
    """The file of its private key."""


class Authority:
    """A local certificate authority, whose files are ``ca.pem`` and ``ca.key``.

    Args:
        folder: where it and what it issues are.
        certificate: its certificate.
        key: its private key.
    """

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate_file = folder / "ca.pem"
        """The certificate that clients trust."""
        self._folder = folder
        self._certificate = certificate
        self._key = key

    @classmethod
    def load_or_make(cls, folder: Path, days: int) -> Self:
        """The authority of a folder; a new one if the folder has none.

        Raises:
            ValueError: what is there is no authority that can be used.
            OSError: a file cannot be read or written.
        """
        certificate_file, key_file = folder / "ca.pem", folder / "ca.key"
        if certificate_file.exists() and key_file.exists():
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            key = load_pem_private_key(key_file.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
                raise ValueError(f"{key_file} is not the key of {certificate_file}: choose another folder")
            return cls(folder, certificate, key)
        if certificate_file.exists() or key_file.exists():
            raise ValueError(f"{folder} holds one of ca.pem and ca.key, but not both: choose another folder")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, f"contextprotocol development CA {os.urandom(4).hex()}")]
        )
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(name, name, key, days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(key_file, _pem(key), 0o600)
        _write(certificate_file, certificate.public_bytes(Encoding.PEM), 0o644)
        return cls(folder, certificate, key)

    def issue_server(self, hosts: Sequence[str], days: int) -> Issued:
        """Write ``server.pem`` and ``server.key``, valid for these names and addresses.

        Raises:
            ValueError: one is no host name.
        """
        return self._issue("server", hosts[0], [_host(host) for host in hosts], ExtendedKeyUsageOID.SERVER_AUTH, days)

    def issue_client(self, name: str, days: int) -> Issued:
        """Write ``client.pem`` and ``client.key``, with ``name`` as common name and subject alternative name.

        Raises:
            ValueError: it cannot be in a certificate.
        """
        alternative: x509.GeneralName
        if "://" in name:
            alternative = x509.UniformResourceIdentifier(name)
        elif "@" in name:
            alternative = x509.RFC822Name(name)
        else:
            alternative = x509.DNSName(name)
        return self._issue("client", name, [alternative], ExtendedKeyUsageOID.CLIENT_AUTH, days)

    def _issue(
        self, role: str, name: str, alternatives: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier, days: int
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        certificate = (
            _builder(subject, self._certificate.subject, key, days)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        issued = Issued(role, self._folder / f"{role}.pem", self._folder / f"{role}.key")
        _write(issued.key, _pem(key), 0o600)
        _write(issued.certificate, certificate.public_bytes(Encoding.PEM), 0o644)
        return issued


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError as error:
        if not re.fullmatch(r"(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*", host):
            raise ValueError(f"{host!r} is neither a host name nor an IP address") from error
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(file: Path, content: bytes, mode: int) -> None:
    """Write a file with these rights from its first byte on, replacing one that is there in a single step."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    draft.replace(file)
