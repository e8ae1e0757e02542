"""Which tokens are accepted, and what their callers may do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hypothesis
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.errors import BadCredentials, ConfigError
from mcp_server.middleware.authentication.jwt import fetcher
from mcp_server.middleware.authentication.jwt.authenticator import MAX_KNOWN, MAX_TOKEN, JWTAuthenticator
from mcp_server.plugin_settings import Secret
from mcp_server.principal import Principal
from mcp_server.settings.identities import JWTIssuerSettings
from mcp_server.values import SECOND
from tests.middleware.jwt.issuer import (
    AUDIENCE,
    ISSUER,
    NOW,
    KeyServer,
    Signer,
    call,
    forged,
    jwks,
    key_server,
    settings,
)

SECRET = "0123456789abcdef0123456789abcdef"


class Checker:
    """An authenticator with its own clock."""

    def __init__(self, **issuers: JWTIssuerSettings) -> None:
        self.now = NOW * SECOND
        self.authenticator = JWTAuthenticator(issuers, lambda: self.now, lambda name, succeeded: None)

    async def check(self, token: str, scheme: str = "Bearer") -> Principal:
        """The principal of a token."""
        principal = await self.authenticator.authenticate(call(token, scheme))
        assert principal is not None
        return principal

    async def refused(self, token: str, capsys: pytest.CaptureFixture[str]) -> str:
        """The reason in the log why a token is refused; the caller does not learn it."""
        capsys.readouterr()
        with pytest.raises(BadCredentials, match=r"^the token is not valid for this server$"):
            await self.check(token)
        printed = capsys.readouterr().out
        assert token not in printed
        return printed


def pem_file(folder: Path, *signers: Signer) -> Path:
    """A file with the public keys."""
    file = folder / "keys.pem"
    file.write_bytes(b"".join(signer.pem for signer in signers))
    return file


@pytest.fixture
def checker(tmp_path: Path) -> Checker:
    """One issuer with one key."""
    return Checker(corp=settings(keys_file=pem_file(tmp_path, Signer())))


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_a_token_is_accepted(tmp_path: Path, algorithm: str) -> None:
    """With each of the usual algorithms."""
    signer = Signer(algorithm=algorithm)
    checker = Checker(corp=settings(keys_file=pem_file(tmp_path, signer)))
    principal = await checker.check(signer.token(scope="chat usage"))
    assert (principal.tenant, principal.scopes, principal.models) == ("acme", frozenset({"chat", "usage"}), None)
    assert (principal.key, principal.subject) == ("", "corp/ada")


async def test_two_tokens_have_two_credentials(checker: Checker) -> None:
    """Which do not reveal them; the same token always has the same one."""
    first, second = Signer().token(jti="1"), Signer().token(jti="2")
    credentials = [(await checker.check(token)).credential for token in (first, second, first)]
    assert credentials[0] == credentials[2] != credentials[1]
    assert credentials[0].startswith("jwt:") and first.rpartition(".")[2] not in credentials[0]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://other.example/"}, "no issuer of that name is configured"),
        ({"iss": ISSUER.rstrip("/")}, "no issuer of that name is configured"),
        ({"iss": None}, "the token is malformed"),
        ({"iss": 7}, "the token is malformed"),
        ({"aud": "other"}, "the claim aud is another audience"),
        ({"aud": ["other", "another"]}, "the claim aud is another audience"),
        ({"aud": None}, "the claim aud is neither"),
        ({"aud": [AUDIENCE, 7]}, "the claim aud is neither"),
        ({"aud": {AUDIENCE: True}}, "the claim aud is neither"),
        ({"exp": None}, "the claim exp is missing"),
        ({"exp": "1800000000"}, "the claim exp is not a time"),
        ({"exp": True}, "the claim exp is not a time"),
        ({"exp": 1e308}, "the claim exp is not a time"),
        ({"exp": 10**400}, "the claim exp is not a time"),
        ({"exp": 2**64}, "the claim exp is not a time"),
        ({"nbf": -1}, "the claim nbf is not a time"),
        ({"nbf": NOW + 1}, "the token is not valid yet"),
        ({"nbf": "0"}, "the claim nbf is not a time"),
        ({"iat": NOW + 1}, "the token is not valid yet"),
        ({"iat": []}, "the claim iat is not a time"),
        ({"sub": 7}, "the claim sub is not a text"),
        ({"scope": 7}, "the claim scope is neither a text nor an array of texts"),
        ({"scope": ["chat", 7]}, "the claim scope is neither a text nor an array of texts"),
    ],
)
async def test_a_token_for_others_is_refused(
    checker: Checker, claims: dict[str, Any], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log says why."""
    assert reason in await checker.refused(Signer().token(claims), capsys)


async def test_a_token_whose_times_have_no_end_is_refused(checker: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON of other languages knows such numbers."""
    payload = json.dumps({"iss": ISSUER, "aud": AUDIENCE, "exp": 0}).replace('"exp": 0', '"exp": 1e999')
    token = jwt.PyJWS().encode(payload.encode(), Signer().key, "ES256")
    assert "token refused" in await checker.refused(token, capsys)


async def test_a_token_expires(checker: Checker) -> None:
    """At its end, also where it was accepted before; the caller learns that."""
    token = Signer().token(exp=NOW + 60)
    await checker.check(token)
    checker.now = (NOW + 60) * SECOND - 1
    await checker.check(token)
    checker.now += 1
    with pytest.raises(BadCredentials, match=r"^the token has expired: send a new one$"):
        await checker.check(token)


async def test_a_token_becomes_valid(checker: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """At the moment that it names."""
    token = Signer().token(nbf=NOW + 1)
    assert "not valid yet" in await checker.refused(token, capsys)
    checker.now += SECOND
    await checker.check(token)


async def test_clocks_may_differ(tmp_path: Path) -> None:
    """By the leeway."""
    checker = Checker(corp=settings(keys_file=pem_file(tmp_path, Signer()), leeway=30.0))
    await checker.check(Signer().token(exp=NOW - 29, iat=NOW - 100))
    await checker.check(Signer().token(iat=NOW + 30))
    with pytest.raises(BadCredentials):
        await checker.check(Signer().token(exp=NOW - 30))


# -- forgeries --------------------------------------------------------------------------------------------------------


CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60, "sub": "mallory", "scope": "chat"}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "none"}, "the algorithm is none of algorithms"),
        ({"alg": "None"}, "the algorithm is none of algorithms"),
        ({"alg": "HS256"}, "the algorithm is none of algorithms"),
        ({"alg": "RS384"}, "the algorithm is none of algorithms"),
        ({"alg": ""}, "the algorithm is none of algorithms"),
        ({"alg": ["ES256"]}, "the token is malformed"),
        ({"alg": None}, "the token is malformed"),
        ({}, "the token is malformed"),
        ({"alg": "ES256"}, "no key of the issuer has signed the token"),
        ({"alg": "RS256"}, "no key of the issuer has signed the token"),
        ({"alg": "ES256", "kid": 7}, "the token is malformed"),
        ({"alg": "ES256", "typ": 7}, "the token is malformed"),
        ({"alg": "ES256", "jwk": Signer(number=9).jwk()}, "no key of the issuer has signed the token"),
        ({"alg": "ES256", "jku": "https://mallory.example/"}, "no key of the issuer has signed the token"),
        ({"alg": "ES256", "crit": ["exp"]}, "the token has a critical extension"),
        ({"alg": "ES256", "crit": []}, "the token has a critical extension"),
        ({"alg": "ES256", "b64": False}, "the token is malformed"),
    ],
)
@pytest.mark.parametrize("signature", [b"", b"x" * 64])
async def test_a_token_that_nobody_signed_is_refused(
    checker: Checker, header: dict[str, Any], reason: str, signature: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever its header says about itself."""
    assert reason in await checker.refused(forged(header, CLAIMS, signature), capsys)


async def test_the_public_key_is_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """HS256 with the public key as the secret, which everybody knows."""
    signer = Signer(algorithm="RS256")
    checker = Checker(corp=settings(keys_file=pem_file(tmp_path, signer)))
    hmac = jwt.get_algorithm_by_name("HS256")
    for secret in (signer.pem, signer.pem.strip(), json.dumps(signer.jwk()).encode()):
        unsigned = forged({"alg": "HS256"}, CLAIMS).rstrip(".")
        signature = jwt.utils.base64url_encode(hmac.sign(unsigned.encode(), secret)).decode()
        assert "none of algorithms" in await checker.refused(f"{unsigned}.{signature}", capsys)


async def test_a_changed_token_is_refused(checker: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """In any of its parts."""
    token = Signer().token(scope="chat")
    header, payload, signature = token.split(".")
    other = base64.urlsafe_b64encode(json.dumps(CLAIMS | {"scope": "admin"}).encode()).decode().rstrip("=")
    await checker.check(token)
    for changed in (f"{header}.{other}.{signature}", f"{header}.{payload}.{signature[::-1]}", f"{header}.{payload}."):
        assert "token refused" in await checker.refused(changed, capsys)


@pytest.mark.parametrize(
    "token",
    [
        "..",
        "a.b",
        "a.b.c.d",
        "!.!.!",
        ".".join(["W10"] * 3),
        ".".join([base64.urlsafe_b64encode(b"[" * 2000).decode()] * 3),
        "é.é.é",
    ],
)
async def test_what_is_no_token_is_refused(checker: Checker, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As soon as it has a dot, which API keys have not."""
    assert "the token is malformed" in await checker.refused(token, capsys)


async def test_a_huge_token_is_refused_unread(checker: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """However valid it is."""
    token = Signer().token(filling="x" * MAX_TOKEN)
    assert "more than 8,192 characters" in await checker.refused(token, capsys)


async def test_nested_claims_do_no_harm(checker: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a token that is signed."""
    payload = f'{{"iss": "{ISSUER}", "deep": {"[" * 2500}{"]" * 2500}}}'
    token = jwt.PyJWS().encode(payload.encode(), Signer().key, "ES256")
    assert "token refused" in await checker.refused(token, capsys)


async def test_a_key_of_another_issuer_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each issuer vouches for its own tokens only, whatever the key is called."""
    ours, theirs = Signer("ours", number=1), Signer("theirs", number=2)
    files = [tmp_path / "ours.json", tmp_path / "theirs.json"]
    for file, signer in zip(files, (ours, theirs), strict=True):
        file.write_bytes(jwks(signer))
    checker = Checker(
        ours=settings(keys_file=files[0], tenant="acme"),
        theirs=settings(keys_file=files[1], tenant="globex", issuer="theirs"),
    )
    assert (await checker.check(theirs.token(iss="theirs"))).tenant == "globex"
    assert "no key of the issuer" in await checker.refused(theirs.token(), capsys)
    assert "no key of the issuer" in await checker.refused(theirs.token(header={"kid": "ours"}), capsys)


@pytest.mark.parametrize(("type_", "accepted"), [("at+jwt", True), ("application/AT+JWT", True), ("dpop+jwt", False)])
async def test_the_type_of_a_token_counts(
    checker: Checker, type_: str, accepted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token for another purpose is none for this."""
    token = Signer().token(header={"typ": type_})
    if accepted:
        await checker.check(token)
    else:
        assert "the type is none of types" in await checker.refused(token, capsys)


async def test_a_shared_secret_can_be_configured(capsys: pytest.CaptureFixture[str]) -> None:
    """For issuers that have nothing else."""
    checker = Checker(corp=settings(secret=Secret(SECRET), algorithms=("HS256",)))
    claims: dict[str, Any] = dict(CLAIMS)
    assert (await checker.check(jwt.encode(claims, SECRET, "HS256"))).subject == "corp/mallory"
    assert "no key of the issuer" in await checker.refused(jwt.encode(claims, SECRET[::-1], "HS256"), capsys)
    assert "none of algorithms" in await checker.refused(jwt.encode(claims, SECRET * 2, "HS512"), capsys)


async def test_other_credentials_are_somebody_elses(checker: Checker) -> None:
    """API keys, and other schemes."""
    for token, scheme in (("ctx_abc", "Bearer"), (Signer().token(), "Basic"), ("", "")):
        assert await checker.authenticator.authenticate(call(token, scheme)) is None


async def test_known_tokens_are_bounded(checker: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is verified again."""
    monkeypatch.setattr("mcp_server.middleware.authentication.jwt.authenticator.MAX_KNOWN", 2)
    assert MAX_KNOWN > 2
    for number in range(4):
        await checker.check(Signer().token(jti=str(number)))
    assert len(checker.authenticator._known) == 2


# -- what callers may do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "claims", "expected"),
    [
        ({}, {}, set()),
        ({}, {"scope": "chat models unknown"}, {"chat", "models"}),
        ({}, {"scope": ["chat", "sessions.read"]}, {"chat", "sessions.read"}),
        ({}, {"scope": "admin operator usage"}, {"usage"}),
        ({"scopes": ("models",)}, {"scope": "chat"}, {"chat", "models"}),
        ({"scopes": ("models",), "scopes_claim": None}, {"scope": "chat"}, {"models"}),
        ({"scopes_claim": "realm_access.roles"}, {"realm_access": {"roles": ["chat"]}}, {"chat"}),
        ({"scopes_claim": "realm_access.roles"}, {"realm_access": ["chat"]}, set()),
        ({"scopes_claim": "https://a.example/roles"}, {"https://a.example/roles": ["chat"]}, {"chat"}),
        (
            {"scope_map": {"staff": ("chat", "usage"), "root": ("admin", "operator")}},
            {"scope": "staff root models"},
            {"chat", "usage", "admin", "operator"},
        ),
    ],
)
async def test_scopes(tmp_path: Path, keys: dict[str, Any], claims: dict[str, Any], expected: set[str]) -> None:
    """Those of the settings, and those of the token as the settings translate them."""
    checker = Checker(corp=settings(keys_file=pem_file(tmp_path, Signer()), **keys))
    assert (await checker.check(Signer().token(claims))).scopes == frozenset(expected)


async def test_a_token_names_one_of_the_tenants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That the settings list for its issuer."""
    keys: dict[str, Any] = {"tenant_claim": "org.id", "tenants": ("acme", "globex")}
    checker = Checker(corp=settings(keys_file=pem_file(tmp_path, Signer()), **keys))
    assert (await checker.check(Signer().token(org={"id": "globex"}))).tenant == "globex"
    others: tuple[Any, ...] = ("initech", "ACME", ["acme"], None, 7, {})
    for value in others:
        assert "is none of tenants" in await checker.refused(Signer().token(org={"id": value}), capsys)


async def test_a_claim_cannot_change_a_fixed_tenant(checker: Checker) -> None:
    """Whatever it is called."""
    assert (await checker.check(Signer().token(tenant="globex"))).tenant == "acme"


async def test_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the settings or those of the token."""
    file = pem_file(tmp_path, Signer())
    fixed = Checker(corp=settings(keys_file=file, models=("openai/*",)))
    assert (await fixed.check(Signer().token())).models == ("openai/*",)
    claimed = Checker(corp=settings(keys_file=file, models_claim="models"))
    assert (await claimed.check(Signer().token(models="a/b c/*"))).models == ("a/b", "c/*")
    for value in (None, [], "", [7], ["a/b"] * 65):
        assert "the claim models" in await claimed.refused(Signer().token(models=value), capsys)


async def test_the_subject_is_short_and_on_one_line(checker: Checker) -> None:
    """Since logs show it."""
    subject = (await checker.check(Signer().token(sub="ada\n\x1b[31m" + "x" * 500))).subject
    assert subject.startswith("corp/ada??[31mxxx") and len(subject) == len("corp/") + 128


# -- keys that change -------------------------------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    """Serves the key ``first``."""
    async with key_server(jwks(Signer("first", number=1))) as server:
        yield server


async def test_a_rotation_is_noticed(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token with the new key is accepted, and one with the key that is gone is not any more."""
    monkeypatch.setattr(fetcher, "PAUSE", 0.0)
    first, second = Signer("first", number=1), Signer("second", number=2)
    checker = Checker(corp=settings(jwks_url=server.url))
    await checker.authenticator.open()
    await checker.check(first.token())
    server.body = jwks(second)
    await checker.check(first.token())
    assert server.fetches == 1
    await checker.check(second.token())
    assert server.fetches == 2
    assert "no key of the issuer" in await checker.refused(first.token(), capsys)


async def test_a_token_that_was_accepted_fetches_no_keys_when_its_own_is_gone(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Running streams are checked every second, and must not wait for the issuer."""
    first, second = Signer("first", number=1), Signer("second", number=2)
    checker = Checker(corp=settings(jwks_url=server.url))
    await checker.authenticator.open()
    token = first.token()
    await checker.check(token)
    server.body = jwks(second)
    monkeypatch.setattr(fetcher, "PAUSE", 0.0)
    await checker.check(second.token())
    assert "no key of the issuer" in await checker.refused(token, capsys)
    assert server.fetches == 2


async def test_unknown_keys_do_not_flood_the_issuer(server: KeyServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor do they keep good tokens from being accepted."""
    checker = Checker(corp=settings(jwks_url=server.url))
    await checker.authenticator.open()
    for number in range(200):
        assert "no key of the issuer" in await checker.refused(Signer(f"unknown-{number}").token(), capsys)
    await checker.check(Signer("first", number=1).token())
    assert server.fetches == 1


async def test_an_outage_at_the_start_ends(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody is accepted before the keys are there."""
    server.status = 503
    checker = Checker(corp=settings(jwks_url=server.url))
    await checker.authenticator.open()
    token = Signer("first", number=1).token()
    assert "could not be fetched yet" in await checker.refused(token, capsys)
    server.status = 200
    monkeypatch.setattr(fetcher, "PAUSE", 0.0)
    await checker.check(token)


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_an_issuer_that_is_changed_during_an_outage_keeps_its_keys(server: KeyServer, elsewhere: bool) -> None:
    """Unless they come from another address now."""
    checker = Checker(corp=settings(jwks_url=server.url))
    await checker.authenticator.open()
    token = Signer("first", number=1).token()
    await checker.check(token)
    server.status = 503
    url = f"{server.url}?new" if elsewhere else server.url
    checker.authenticator.use(checker.authenticator.prepare({"corp": settings(jwks_url=url, scopes=("models",))}))
    if elsewhere:
        with pytest.raises(BadCredentials):
            await checker.check(token)
    else:
        assert (await checker.check(token)).scopes == frozenset({"models"})
    await checker.authenticator.close()


async def test_issuers_can_be_replaced(server: KeyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While the server runs: those that stay keep their keys, those that are gone are not believed any more."""
    stays, goes = Signer("first", number=1), Signer(number=2)
    file = pem_file(tmp_path, goes)
    both = {"stays": settings(jwks_url=server.url), "goes": settings(keys_file=file, issuer="goes")}
    checker = Checker(**both)
    await checker.authenticator.open()
    tokens = stays.token(), goes.token(iss="goes"), Signer(number=3).token(iss="goes")
    for token in tokens[:2]:
        await checker.check(token)
    file.write_bytes(Signer(number=3).pem)
    checker.authenticator.use(checker.authenticator.prepare(both))
    assert "no key of the issuer" in await checker.refused(tokens[1], capsys)
    await checker.check(tokens[2])
    checker.authenticator.use(checker.authenticator.prepare({"stays": both["stays"]}))
    assert "no issuer of that name" in await checker.refused(tokens[2], capsys)
    await checker.check(tokens[0])
    assert server.fetches == 1
    file.unlink()
    with pytest.raises(ConfigError):
        checker.authenticator.prepare(both)
    await checker.check(tokens[0])
    await checker.authenticator.close()


@pytest.mark.parametrize("content", [None, "nothing"])
def test_a_file_that_cannot_be_used_is_reported(tmp_path: Path, content: str | None) -> None:
    """By its key."""
    file = tmp_path / "keys.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"^auth\.jwt\.corp\.keys_file: .*keys\.pem "):
        Checker(corp=settings(keys_file=file))


# -- anything ---------------------------------------------------------------------------------------------------------


TEXT = st.text("abc.XYZ019-_=/ \n\0é\u2028😀", max_size=20)
"""Few characters: the tables of all others take seconds to build."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
HEADERS = st.fixed_dictionaries(
    {}, optional={"alg": JSON | st.just("ES256"), "kid": JSON, "typ": JSON, "crit": JSON, "b64": JSON}
)
EXAMPLES = hypothesis.settings(derandomize=True, deadline=None, max_examples=100)
NAMES = ("iss", "aud", "exp", "nbf", "iat", "sub", "scope", "org", "models")


@pytest.fixture(scope="module")
def any_checker(tmp_path_factory: pytest.TempPathFactory) -> Checker:
    """An issuer whose tokens need every claim."""
    keys: dict[str, Any] = {"tenant_claim": "org", "tenants": ("acme",), "models_claim": "models"}
    return Checker(corp=settings(keys_file=pem_file(tmp_path_factory.mktemp("keys"), Signer()), **keys))


async def is_accepted(checker: Checker, token: str) -> bool:
    """Whether a token is accepted; no other error than a refusal comes out."""
    try:
        return await checker.authenticator.authenticate(call(token)) is not None
    except BadCredentials:
        return False


@EXAMPLES
@given(
    header=HEADERS,
    claims=st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON)),
    signature=st.binary(max_size=80),
)
def test_no_forgery_is_accepted(
    any_checker: Checker, header: dict[str, Any], claims: dict[str, Any], signature: bytes
) -> None:
    """Whatever its parts are."""
    assert not asyncio.run(is_accepted(any_checker, forged(header, CLAIMS | claims, signature)))


@EXAMPLES
@given(text=TEXT, place=st.integers(0, 300))
@hypothesis.example(text="\u2028", place=224)
def test_no_text_is_accepted(any_checker: Checker, text: str, place: int) -> None:
    """On its own, or within a token that is valid."""
    assert not asyncio.run(is_accepted(any_checker, text))
    token = Signer().token(org="acme", models="a/*")
    changed = token[:place] + text + token[place:]
    assert changed == token or not asyncio.run(is_accepted(any_checker, changed))


@EXAMPLES
@given(claims=st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON)))
def test_claims_of_the_issuer_do_no_harm(any_checker: Checker, claims: dict[str, Any]) -> None:
    """Whatever they are: the caller is accepted for a tenant of the settings, or refused."""
    token = Signer().token({**CLAIMS, "org": "acme", "models": "a/*", **claims})
    principal = None
    with contextlib.suppress(BadCredentials):
        principal = asyncio.run(any_checker.authenticator.authenticate(call(token)))
    assert principal is None or principal.tenant == "acme"
