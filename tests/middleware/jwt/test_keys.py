"""Which public keys of an issuer are used, and for what."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mcp_server.middleware.authentication.jwt.keys import MAX_BYTES, MAX_KEYS, UnusableKeys, parse_file, parse_jwks
from tests.middleware.jwt.issuer import Signer, jwks


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_key_serves_the_algorithms_of_its_kind(algorithm: str) -> None:
    """And of no other."""
    keys = parse_jwks(jwks(Signer("a", algorithm).jwk(alg=None)))
    assert [key.id for key in keys.candidates("a", algorithm)] == ["a"]
    every = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "none"]
    kind = [name for name in every if name[:2] in ("RS", "PS")] if algorithm[:2] in ("RS", "PS") else [algorithm]
    assert [name for name in every if keys.candidates("a", name)] == kind


def test_a_key_that_names_an_algorithm_serves_only_that() -> None:
    """As its issuer intends."""
    keys = parse_jwks(jwks(Signer("a", "RS256").jwk(alg="PS256")))
    assert keys.candidates("a", "PS256")
    assert not keys.candidates("a", "RS256")


WEAK: Any = rsa.generate_private_key(65537, 1024)  # noqa: S505  # that is the point
UNKNOWN_KIND = "is not an RSA key, nor one on the curves P-256, P-384, P-521 or Ed25519"


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, UNKNOWN_KIND),
        ({"kty": ["RSA"]}, UNKNOWN_KIND),
        ({}, UNKNOWN_KIND),
        (Signer().jwk(use="enc"), "is not for signatures"),
        (Signer().jwk(key_ops=["sign"]), "is not for signatures"),
        (Signer().jwk(key_ops="verify"), "is not for signatures"),
        (Signer().jwk(kid=7), "has a kid that is not a text of up to 256 characters"),
        (Signer().jwk(kid="a" * 257), "has a kid that is not a text of up to 256 characters"),
        (Signer().jwk(x=None), "is damaged or of an unknown kind"),
        (Signer().jwk(x="!"), "is damaged or of an unknown kind"),
        (Signer().jwk(x=7), "is damaged or of an unknown kind"),
        (Signer().jwk(crv="secp256k1"), UNKNOWN_KIND),
        (Signer("a", "RS256").jwk(n="AQAB"), "is damaged or of an unknown kind"),
        (Signer("a", "RS256").jwk(e=None), "is damaged or of an unknown kind"),
        (Signer("a", "EdDSA").jwk(crv="X25519"), UNKNOWN_KIND),
        (Signer().jwk(alg="RS256"), "names an algorithm that it cannot be used with"),
        (Signer().jwk(alg="HS256"), "names an algorithm that it cannot be used with"),
        (Signer().jwk(alg=["ES256"]), "names an algorithm that it cannot be used with"),
        (Signer().jwk(d="AQAB"), "is a private key that is published: anybody can sign with it"),
        (jwt.algorithms.RSAAlgorithm.to_jwk(WEAK.public_key(), as_dict=True), "has 1024 bits; expected 2048 to 8192"),
    ],
)
def test_an_unusable_key_is_left_out(jwk: dict[str, Any], reason: str) -> None:
    """With the reason; the others are used."""
    keys = parse_jwks(jwks(jwk, Signer("good")))
    assert [key.id for key in keys.keys] == ["good"]
    assert keys.ignored == (f"keys[0] {reason}",)
    with pytest.raises(UnusableKeys, match="contains no usable key"):
        parse_jwks(jwks(jwk))


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"keys": {}}', b'{"keys": ["a"]}', b"\xff", b"[" * 100_000])
def test_what_is_no_jwks_is_refused(body: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(UnusableKeys):
        parse_jwks(body)


def test_the_number_of_keys_is_bounded() -> None:
    """Further ones are ignored."""
    keys = parse_jwks(jwks(*[Signer().jwk(kid=str(number)) for number in range(MAX_KEYS + 1)]))
    assert len(keys.keys) == MAX_KEYS
    assert keys.ignored == (f"all keys beyond {MAX_KEYS}",)


def test_a_token_without_key_id_is_tried_with_a_few_keys_only() -> None:
    """So that it costs no more than others."""
    few, many = [parse_jwks(jwks(*[Signer(str(n), number=n) for n in range(count)])) for count in (4, 5)]
    assert len(few.candidates("", "ES256")) == 4
    assert not many.candidates("", "ES256")


def test_a_file_may_contain_keys_and_certificates_in_pem() -> None:
    """Each for tokens with any key id."""
    keys = parse_file(Signer("a", "RS256").pem + Signer().pem + trustme.CA().cert_pem.bytes())
    assert len(keys.keys) == 3
    assert keys.candidates("any", "RS256")


def test_a_file_may_be_a_jwks() -> None:
    """As other servers export it."""
    assert parse_file(b"\n" + jwks(Signer("a"))).candidates("a", "ES256")


def private_pem() -> bytes:
    """A private key by mistake."""
    private: bytes = Signer().key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private


def exchange_pem() -> bytes:
    """A key of a kind that tokens are not signed with."""
    key = x25519.X25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "contains neither a JWKS nor a public key in PEM format"),
        (private_pem(), "contains a private key; only the issuer may have it"),
        (exchange_pem(), "is of a kind that no algorithm here uses"),
        (Signer().pem.replace(b"A", b"B"), "contains a key that is damaged or of an unknown kind"),
        (b"".join(Signer(number=number).pem for number in range(5)), "contains more than 4 keys"),
        (b" " * (MAX_BYTES + 1), "is larger than 1,048,576 bytes"),
        (json.dumps({"keys": []}).encode(), "contains no usable key"),
    ],
)
def test_an_unusable_file_is_refused(content: bytes, reason: str) -> None:
    """With the reason."""
    with pytest.raises(UnusableKeys, match=reason):
        parse_file(content)
