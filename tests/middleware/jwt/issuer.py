"""An issuer of tokens: signs them, and serves its public keys from a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mcp_server.interfaces import Call
from mcp_server.settings.identities import JWTIssuerSettings

ISSUER = "https://issuer.example/"
AUDIENCE = "contextprotocol"
NOW = 1_700_000_000
"""The time of the tests, in seconds."""


@cache
def _private_key(algorithm: str, number: int) -> Any:
    """A key for an algorithm. Those with the same number are the same: RSA keys take time."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm.startswith("ES"):
        curves: dict[str, ec.EllipticCurve] = {
            "ES256": ec.SECP256R1(),
            "ES384": ec.SECP384R1(),
            "ES512": ec.SECP521R1(),
        }
        return ec.generate_private_key(curves[algorithm])
    return rsa.generate_private_key(65537, 2048)


class Signer:
    """A private key of an issuer."""

    def __init__(self, key_id: str | None = "first", algorithm: str = "ES256", number: int = 0) -> None:
        self.id = key_id
        self.algorithm = algorithm
        self.key = _private_key("RS256" if algorithm[:2] in ("RS", "PS") else algorithm, number)

    def token(
        self, claims: Mapping[str, Any] | None = None, *, header: Mapping[str, Any] | None = None, **more: Any
    ) -> str:
        """A signed token. A claim that is ``None`` is left out."""
        every = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60, "sub": "ada", **(claims or {}), **more}
        headers = {**({} if self.id is None else {"kid": self.id}), **(header or {})}
        payload = json.dumps({name: value for name, value in every.items() if value is not None})
        return jwt.PyJWS().encode(payload.encode(), self.key, self.algorithm, headers)

    @property
    def pem(self) -> bytes:
        """The public key."""
        pem: bytes = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def jwk(self, **more: Any) -> dict[str, Any]:
        """The public key as an entry of a JWKS. A member that is ``None`` is left out."""
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        members = {**algorithm.to_jwk(self.key.public_key(), as_dict=True), "kid": self.id, "use": "sig"}
        members.pop("key_ops", None)
        members.update(more)
        return {name: value for name, value in members.items() if value is not None}


def jwks(*keys: Signer | Mapping[str, Any]) -> bytes:
    """A set of public keys."""
    return json.dumps({"keys": [one.jwk() if isinstance(one, Signer) else one for one in keys]}).encode()


class KeyServer:
    """Serves a set of keys.

    Attributes:
        url: its address.
        fetches: how often it was asked.
        body: what it answers.
        status: with which status.
        headers: with which headers.
        gate: answers wait for it.
        asked: set at each request.
    """

    def __init__(self) -> None:
        self.url = ""
        self.fetches = 0
        self.body = b""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request."""
        self.fetches += 1
        self.asked.set()
        await self.gate.wait()
        return web.Response(body=self.body, status=self.status, headers=self.headers)


@asynccontextmanager
async def key_server(body: bytes, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[KeyServer]:
    """Run a server with these keys."""
    server = KeyServer()
    server.body = body
    application = web.Application()
    application.router.add_get("/keys", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        server.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}/keys"
        yield server
    finally:
        await runner.cleanup()


def settings(**keys: Any) -> JWTIssuerSettings:
    """The settings of the issuer, with one tenant unless ``keys`` say otherwise."""
    defaults: dict[str, Any] = {"issuer": ISSUER, "audiences": (AUDIENCE,), "leeway": 0.0}
    if "tenant_claim" not in keys:
        defaults["tenant"] = "acme"
    return JWTIssuerSettings(**{**defaults, **keys})


def call(token: str, scheme: str = "Bearer") -> Call:
    """A call with a token."""
    metadata = {"authorization": f"{scheme} {token}"}
    return Call(
        service="contextprotocol.v1.ChatService",
        method="Chat",
        kind="unary",
        peer="ipv4:192.0.2.1:1",
        metadata=metadata,
    )


def forged(header: Mapping[str, Any], claims: Mapping[str, Any], signature: bytes = b"") -> str:
    """A token that no library would make."""
    parts: Sequence[bytes] = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(jwt.utils.base64url_encode(part).decode() for part in parts)
