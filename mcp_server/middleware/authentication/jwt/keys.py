"""The public keys of an issuer of tokens: read from a JWKS or from PEM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from mcp_server.values import Struct

MAX_BYTES: Final = 1024 * 1024
"""The most bytes of a set of keys."""
MAX_KEYS: Final = 100
"""The most keys of a set; further ones are ignored."""
MAX_CANDIDATES: Final = 4
"""The most keys that one token is tried with."""
_RSA_BITS: Final = (2048, 8192)
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_READ_AS: Final = {
    ("RSA", ""): "RS256",
    ("EC", "P-256"): "ES256",
    ("EC", "P-384"): "ES384",
    ("EC", "P-521"): "ES512",
    ("OKP", "Ed25519"): "EdDSA",
}
"""By the ``kty`` of a key and its curve, an algorithm as whose key PyJWT reads it."""


class UnusableKeys(Exception):
    """A set of keys has none that can be used; the message says why."""


class VerificationKey(Struct):
    """One key."""

    id: str
    """Its ``kid``; empty if it has none, and belongs to tokens with any."""
    algorithms: frozenset[str]
    """The algorithms that it may be used with: those of its kind, or the one that it names."""
    key: Any
    """The public key of ``cryptography``, or the bytes of a secret."""


class KeySet(Struct):
    """The keys of one issuer."""

    keys: tuple[VerificationKey, ...] = ()
    """All of them."""
    ignored: tuple[str, ...] = ()
    """Why others of the same source cannot be used."""

    def candidates(self, key_id: str, algorithm: str) -> Sequence[VerificationKey]:
        """The keys that a token may be signed with.

        Args:
            key_id: the ``kid`` of the token, or empty.
            algorithm: its algorithm.
        """
        suited = [one for one in self.keys if algorithm in one.algorithms]
        exact = [one for one in suited if one.id == key_id] if key_id else suited
        found = exact or [one for one in suited if not one.id]
        # A token that does not say which of many keys it means would make us try them all.
        return found if len(found) <= MAX_CANDIDATES else ()


def parse_jwks(data: bytes) -> KeySet:
    """Read a JWKS. Keys that are of another kind or for another use are left out.

    Raises:
        UnusableKeys: nothing is left, or it is no JWKS.
    """
    try:
        listed = msgspec.json.decode(data, type=_Document).keys
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnusableKeys("is not a JWKS") from error
    keys: dict[tuple[str, frozenset[str]], VerificationKey] = {}
    ignored: list[str] = []
    for number, jwk in enumerate(listed[:MAX_KEYS]):
        try:
            key = _from_jwk(jwk)
        except UnusableKeys as error:
            ignored.append(f"keys[{number}] {error}")
        else:
            keys.setdefault((key.id, key.algorithms), key)
    if len(listed) > MAX_KEYS:
        ignored.append(f"all keys beyond {MAX_KEYS}")
    if not keys:
        raise UnusableKeys(f"contains no usable key{': ' if ignored else ''}{'; '.join(ignored[:3])}")
    return KeySet(keys=tuple(keys.values()), ignored=tuple(ignored))


def parse_file(data: bytes) -> KeySet:
    """Read a file: a JWKS, or public keys and certificates in PEM format.

    Raises:
        UnusableKeys: it is neither, or a key cannot be used.
    """
    if len(data) > MAX_BYTES:
        raise UnusableKeys(f"is larger than {MAX_BYTES:,} bytes")
    if data.lstrip().startswith(b"{"):
        return parse_jwks(data)
    if b"PRIVATE KEY-----" in data:
        raise UnusableKeys("contains a private key; only the issuer may have it: write the public key into the file")
    keys = tuple([VerificationKey(id="", algorithms=_algorithms(key), key=key) for key in _from_pem(data)])
    if not keys:
        raise UnusableKeys("contains neither a JWKS nor a public key in PEM format")
    if len(keys) > MAX_CANDIDATES:
        raise UnusableKeys(f"contains more than {MAX_CANDIDATES} keys in PEM format; write a JWKS, whose keys have ids")
    return KeySet(keys=keys)


def secret_key(secret: bytes, algorithms: Sequence[str]) -> KeySet:
    """The one key of an issuer that shares a secret with this server."""
    return KeySet(keys=(VerificationKey(id="", algorithms=frozenset(algorithms), key=secret),))


class _Document(msgspec.Struct):
    keys: list[dict[str, Any]]


def _from_jwk(jwk: Mapping[str, Any]) -> VerificationKey:
    kind, kid, named = (str(jwk.get("kty")), str(jwk.get("crv", ""))), jwk.get("kid", ""), jwk.get("alg")
    if kind not in _READ_AS:
        raise UnusableKeys("is not an RSA key, nor one on the curves P-256, P-384, P-521 or Ed25519")
    if not isinstance(kid, str) or len(kid) > 256:
        raise UnusableKeys("has a kid that is not a text of up to 256 characters")
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKeys("is not for signatures")
    if "d" in jwk:
        raise UnusableKeys("is a private key that is published: anybody can sign with it")
    try:
        key = jwt.PyJWK(dict(jwk), _READ_AS[kind]).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm) as error:
        raise UnusableKeys("is damaged or of an unknown kind") from error
    algorithms = _algorithms(key)
    if named is not None:
        if not isinstance(named, str) or named not in algorithms:
            raise UnusableKeys("names an algorithm that it cannot be used with")
        algorithms = frozenset({named})
    return VerificationKey(id=kid, algorithms=algorithms, key=key)


def _from_pem(data: bytes) -> Iterator[Any]:
    for block in data.split(b"-----BEGIN ")[1:]:
        pem = b"-----BEGIN " + block
        try:
            if block.startswith(b"CERTIFICATE-----"):
                yield load_pem_x509_certificate(pem).public_key()
            else:
                yield load_pem_public_key(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UnusableKeys("contains a key that is damaged or of an unknown kind") from error


def _algorithms(key: Any) -> frozenset[str]:
    """The algorithms that fit a public key.

    Raises:
        UnusableKeys: there is none.
    """
    if isinstance(key, RSAPublicKey):
        least, most = _RSA_BITS
        if not least <= key.key_size <= most:
            raise UnusableKeys(f"has {key.key_size} bits; expected {least} to {most}")
        return _RSA
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return frozenset({_CURVES[key.curve.name]})
    if isinstance(key, Ed25519PublicKey):
        return frozenset({"EdDSA"})
    raise UnusableKeys("is of a kind that no algorithm here uses")
