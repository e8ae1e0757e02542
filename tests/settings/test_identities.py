"""Settings of issuers of tokens and of client certificates: what is allowed, and what the start says about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_server.errors import ConfigError
from mcp_server.settings import load

ISSUER = """
[auth.jwt.corp]
issuer = "https://issuer.example/"
audiences = ["contextprotocol"]
tenant = "acme"
"""
KEYS = 'jwks_url = "https://issuer.example/keys"\n'
CERTIFICATES = """
[server.tls]
certificate = "server.pem"
key = "server.key"
client_ca = "ca.pem"
"""


def problem(folder: Path, text: str) -> str:
    """What stops a server with these settings."""
    file = folder / "contextprotocol.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    return str(caught.value).replace(f"{file}: ", "").removeprefix("default: ")


def test_the_smallest_issuer(tmp_path: Path) -> None:
    """What it leaves out has safe defaults."""
    file = tmp_path / "contextprotocol.toml"
    file.write_text(ISSUER + KEYS)
    config = load(file, {})
    issuer = config.auth.jwt["corp"]
    assert issuer.algorithms == ("RS256", "PS256", "ES256", "EdDSA")
    assert (issuer.scopes, issuer.types) == ((), ("JWT", "at+jwt"))
    assert config.auth.configured


@pytest.mark.parametrize(
    "url", ["https://issuer.example:8443/a?b=c", "http://127.0.0.1:1/k", "http://[::1]/k", "http://localhost/k"]
)
def test_keys_come_by_https_or_from_this_machine(tmp_path: Path, url: str) -> None:
    """Nobody on the way can replace them."""
    file = tmp_path / "contextprotocol.toml"
    file.write_text(f'{ISSUER}jwks_url = "{url}"')
    assert load(file, {}).auth.jwt["corp"].jwks_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://127.0.0.1.issuer.example/",
        "http://192.0.2.1/keys",
        "http://localhost@issuer.example/",
        "https://user:password@issuer.example/",
        "https://issuer.example/#keys",
        "https://issuer.example:99999/",
        "https:///keys",
        "file:///etc/passwd",
        "issuer.example",
        "",
    ],
)
def test_keys_from_elsewhere_are_refused(tmp_path: Path, url: str) -> None:
    """With what is allowed."""
    expected = f'auth.jwt.corp.jwks_url: found "{url}", expected an https:// address, or http:// on loopback'
    assert problem(tmp_path, f'{ISSUER}jwks_url = "{url}"') == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "jwks_url: found none; expected exactly one of jwks_url, keys_file and secret"),
        (
            f'{KEYS}keys_file = "a.pem"',
            "jwks_url: found jwks_url and keys_file; expected exactly one of jwks_url, keys_file and secret",
        ),
        (f'{KEYS}algorithms = ["RS256", "HS256"]', "algorithms: found HS256, which requires secret"),
        (f'{KEYS}algorithms = ["none"]', "algorithms: found an array, expected an array of RS256"),
        (f"{KEYS}algorithms = []", "algorithms: found an array, expected an array of RS256"),
        (
            'secret = "abc"\nalgorithms = ["HS256", "RS256"]',
            "algorithms: with a secret, expected HS256, HS384 or HS512 only",
        ),
        ('secret = "abc"', "algorithms: with a secret, expected HS256, HS384 or HS512 only"),
        (f'secret = "{"x" * 47}"\nalgorithms = ["HS384", "HS256"]', "secret: is too short; HS384 requires 48 bytes"),
        (f'{KEYS}tenant_claim = "org"', "tenant: expected exactly one of tenant and tenant_claim"),
        (f'{KEYS}tenants = ["acme"]', "tenants: expected the tenants that tenant_claim may name, and nothing without"),
        (f'{KEYS}models = ["a/*"]\nmodels_claim = "models"', "models: cannot be combined with models_claim"),
        ('keys_file = "a.pem"\nca_file = "b.pem"', "ca_file: requires jwks_url"),
        (f"{KEYS}leeway = 301", "leeway: found 301, expected a number from 0 to 300"),
        (f'{KEYS}scopes = ["root"]', "scopes: found an array, expected an array of chat"),
        (f'{KEYS}scope_map = {{ staff = ["root"] }}', "scope_map.staff: found an array, expected an array of chat"),
    ],
)
def test_contradictions_of_an_issuer_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    """By the key, with what to do."""
    assert problem(tmp_path, ISSUER + text).startswith(f"auth.jwt.corp.{expected}")


def test_an_issuer_needs_an_audience_and_a_tenant(tmp_path: Path) -> None:
    """A token for somebody else must not open this server."""
    found = problem(tmp_path, f'[auth.jwt.corp]\nissuer = "a"\n{KEYS}')
    assert found == "auth.jwt.corp.audiences: missing key; expected an array of 1 to 16 audiences"
    found = problem(tmp_path, f'[auth.jwt.corp]\nissuer = "a"\naudiences = ["b"]\n{KEYS}')
    assert found == "auth.jwt.corp.tenant: expected exactly one of tenant and tenant_claim"
    found = problem(tmp_path, f'[auth.jwt.corp]\nissuer = "a"\naudiences = ["b"]\ntenant_claim = "org"\n{KEYS}')
    assert found.startswith("auth.jwt.corp.tenants: expected the tenants that tenant_claim may name")


def test_two_tables_cannot_have_one_issuer(tmp_path: Path) -> None:
    """A token would belong to either."""
    both = ISSUER + KEYS + ISSUER.replace("corp", "other") + KEYS
    expected = 'auth.jwt.other.issuer: found "https://issuer.example/", which is also auth.jwt.corp.issuer'
    assert problem(tmp_path, both) == expected


@pytest.mark.parametrize("name", ["batch", "cn:batch", "uri:", "dns:*", "uri:spiffe://a b"])
def test_a_certificate_is_named_with_its_kind(tmp_path: Path, name: str) -> None:
    """And a pattern that matches everything is refused."""
    text = f'{CERTIFICATES}[auth.certificates."{name}"]\ntenant = "acme"\nscopes = ["chat"]'
    assert 'expected "uri:", "dns:" or "email:" and a name, with * for any text' in problem(tmp_path, text)


def test_certificates_need_an_authority(tmp_path: Path) -> None:
    """Whose clients are asked for one."""
    text = '[auth.certificates."dns:batch.example"]\ntenant = "acme"\nscopes = ["chat"]'
    assert problem(tmp_path, text) == "auth.certificates: requires server.tls.client_ca, which is not set"
    file = tmp_path / "contextprotocol.toml"
    file.write_text(CERTIFICATES + text)
    assert load(file, {}).auth.certificates["dns:batch.example"].scopes == ("chat",)
