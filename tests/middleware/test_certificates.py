"""Who the clients are whose certificates the listener has verified."""

from __future__ import annotations

import pytest

from mcp_server.errors import BadCredentials
from mcp_server.interfaces import Call
from mcp_server.middleware.authentication.certificate import CertificateAuthenticator
from mcp_server.principal import PeerCertificate, Principal
from mcp_server.settings.identities import CertificateSettings


def call(**names: tuple[str, ...] | str) -> Call:
    """A call from a client with a certificate for these names."""
    return Call(
        service="contextprotocol.v1.ChatService",
        method="Chat",
        kind="unary",
        peer="ipv4:192.0.2.1:1",
        metadata={},
        certificate=PeerCertificate(**names),  # type: ignore[arg-type]  # by their names
    )


def authenticator(*patterns: str) -> CertificateAuthenticator:
    """Rows for these patterns, each with a tenant of its own: ``t0``, ``t1`` …"""
    rows = {
        pattern: CertificateSettings(tenant=f"t{number}", scopes=("chat",)) for number, pattern in enumerate(patterns)
    }
    return CertificateAuthenticator(rows)


async def tenant(caller: Call, *patterns: str) -> str:
    """The tenant of a caller; empty if it is refused."""
    try:
        principal = await authenticator(*patterns).authenticate(caller)
    except BadCredentials:
        return ""
    assert principal is not None
    return principal.tenant


@pytest.mark.parametrize(
    ("pattern", "names", "matches"),
    [
        ("uri:spiffe://a/ns/prod/sa/*", {"uris": ("spiffe://a/ns/prod/sa/batch",)}, True),
        ("uri:spiffe://a/ns/prod/sa/*", {"uris": ("spiffe://a/ns/prod/sa/batch/x",)}, False),
        ("uri:spiffe://a/ns/prod/sa/*", {"uris": ("spiffe://a/ns/prod/sa/",)}, False),
        ("uri:spiffe://a/ns/*/sa/batch", {"uris": ("spiffe://a/ns/dev/sa/batch",)}, True),
        ("uri:spiffe://a/ns/*/sa/batch", {"uris": ("spiffe://a/ns/x/y/sa/batch",)}, False),
        ("uri:spiffe://a/b", {"uris": ("spiffe://a/B",)}, False),
        ("uri:spiffe://a/b", {"dns_names": ("spiffe://a/b",)}, False),
        ("uri:spiffe://a.b", {"uris": ("spiffe://aXb",)}, False),
        ("dns:*.batch.example", {"dns_names": ("one.BATCH.example",)}, True),
        ("dns:*.Batch.example", {"dns_names": ("one.batch.example",)}, True),
        ("dns:*.batch.example", {"dns_names": ("two.one.batch.example",)}, False),
        ("dns:*.batch.example", {"dns_names": ("batch.example",)}, False),
        ("dns:batch.example", {"dns_names": ("batch.example.mallory.example",)}, False),
        ("dns:batch.example", {"dns_names": ("batch.example\n",)}, False),
        ("email:*@example.test", {"emails": ("ada@Example.test",)}, True),
        ("email:Ada@example.test", {"emails": ("ada@example.test",)}, False),
        ("email:*@example.test", {"emails": ("ada@mallory.test@example.test",)}, False),
        ("dns:batch.example", {"common_name": "batch.example"}, False),
        ("dns:batch.example", {}, False),
        ("dns:batch.example", {"dns_names": ("other.example", "batch.example")}, True),
    ],
)
async def test_a_pattern_matches_one_kind_of_name(
    pattern: str, names: dict[str, tuple[str, ...]], matches: bool
) -> None:
    """As a whole, ``*`` only within one of its parts."""
    assert bool(await tenant(call(**names), pattern)) == matches


async def test_the_first_row_that_matches_applies() -> None:
    """Whatever the order of the names in the certificate."""
    caller = call(dns_names=("a.example", "b.example"))
    assert await tenant(caller, "dns:b.example", "dns:a.example") == "t0"
    assert await tenant(caller, "dns:c.example", "dns:*.example", "dns:a.example") == "t1"


async def test_a_row_says_what_the_caller_may_do() -> None:
    """And nothing else does."""
    row = CertificateSettings(tenant="acme", scopes=("chat", "usage"), models=("openai/*",))
    principal = await CertificateAuthenticator({"dns:*.example": row}).authenticate(call(dns_names=("a.example",)))
    assert principal == Principal(
        tenant="acme",
        scopes=frozenset({"chat", "usage"}),
        models=("openai/*",),
        credential="certificate:dns:a.example",
        subject="dns:a.example",
    )
    every = CertificateSettings(tenant="acme", scopes=("chat",))
    principal = await CertificateAuthenticator({"dns:*.example": every}).authenticate(call(dns_names=("a.example",)))
    assert principal is not None
    assert principal.models is None


async def test_a_call_without_a_certificate_is_left_to_others() -> None:
    """It may have another credential."""
    caller = Call(service="s", method="m", kind="unary", peer="p", metadata={})
    assert await authenticator("dns:a.example").authenticate(caller) is None
