"""How public keys are fetched: from a real HTTP server that rotates, fails, is slow or sends nonsense."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from mcp_server.errors import ConfigError
from mcp_server.middleware.authentication.jwt import fetcher
from mcp_server.middleware.authentication.jwt.fetcher import PAUSE, KeyFetcher
from mcp_server.middleware.authentication.jwt.keys import MAX_BYTES
from tests.middleware.jwt.issuer import KeyServer, Signer, jwks, key_server, settings


class Watched:
    """A fetcher whose clock the test moves, and what its observer was called with."""

    def __init__(self, url: str, **keys: object) -> None:
        self.now = 1000.0
        self.outcomes: list[bool] = []
        self.fetcher = KeyFetcher("corp", settings(jwks_url=url, **keys), self._observe, lambda: self.now)

    def _observe(self, name: str, succeeded: bool) -> None:
        assert name == "corp"
        self.outcomes.append(succeeded)

    @property
    def key_ids(self) -> list[str]:
        """The ids of the keys."""
        return [key.id for key in self.fetcher.keys.keys]


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    """A server with the key ``first``."""
    async with key_server(jwks(Signer("first"))) as server:
        yield server


async def test_an_unknown_key_has_the_keys_fetched(server: KeyServer) -> None:
    """So that a rotation is noticed at once."""
    watched = Watched(server.url)
    await watched.fetcher.open()
    server.body = jwks(Signer("first"), Signer("second"))
    watched.now += PAUSE
    await watched.fetcher.renew()
    assert watched.key_ids == ["first", "second"]
    assert watched.outcomes == [True, True]


async def test_unknown_keys_cannot_cause_a_flood(server: KeyServer) -> None:
    """Whatever callers send: one fetch per pause, and one at a time."""
    watched = Watched(server.url)
    await watched.fetcher.open()
    await asyncio.gather(*[watched.fetcher.renew() for _ in range(100)])
    watched.now += PAUSE - 0.01
    await asyncio.gather(*[watched.fetcher.renew() for _ in range(100)])
    assert server.fetches == 1
    watched.now += 0.01
    server.gate.clear()
    server.asked.clear()
    waiting = [asyncio.create_task(watched.fetcher.renew()) for _ in range(100)]
    await server.asked.wait()
    watched.now += 2 * PAUSE
    late = [asyncio.create_task(watched.fetcher.renew()) for _ in range(100)]
    server.gate.set()
    await asyncio.gather(*waiting, *late)
    assert server.fetches == 2


async def test_a_caller_who_leaves_does_not_end_the_fetch_of_the_others(server: KeyServer) -> None:
    """It belongs to all who wait."""
    watched = Watched(server.url)
    server.gate.clear()
    leaving, staying = [asyncio.create_task(watched.fetcher.open()) for _ in range(2)]
    await server.asked.wait()
    leaving.cancel()
    server.gate.set()
    await staying
    assert watched.key_ids == ["first"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (404, jwks(Signer("second"))),
        (200, b"<html>"),
        (200, b'{"keys": []}'),
        (200, jwks(Signer("second")) + b" " * MAX_BYTES),
    ],
    ids=["500", "404", "html", "empty", "large"],
)
async def test_the_last_keys_stay_valid_when_a_fetch_fails(
    server: KeyServer, status: int, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a line in the log, and the observer."""
    watched = Watched(server.url)
    await watched.fetcher.open()
    good, server.status, server.body = server.body, status, body
    watched.now += PAUSE
    await watched.fetcher.renew()
    assert watched.key_ids == ["first"]
    assert watched.outcomes == [True, False]
    assert "keys of an issuer cannot be fetched" in capsys.readouterr().out
    server.status, server.body = 200, good
    watched.now += PAUSE
    await watched.fetcher.renew()
    assert watched.outcomes == [True, False, True]


async def test_a_server_that_is_gone_leaves_the_last_keys() -> None:
    """Nobody listens any more."""
    async with key_server(jwks(Signer("first"))) as server:
        watched = Watched(server.url)
        await watched.fetcher.open()
    watched.now += PAUSE
    await watched.fetcher.renew()
    assert watched.key_ids == ["first"]
    assert watched.outcomes == [True, False]


async def test_a_slow_server_is_given_up(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole answer has to come in time."""
    monkeypatch.setattr(fetcher, "SECONDS", 0.05)
    watched = Watched(server.url)
    server.gate.clear()
    await watched.fetcher.open()
    server.gate.set()
    assert watched.outcomes == [False]


async def test_redirects_are_not_followed(server: KeyServer) -> None:
    """They may lead anywhere."""
    async with key_server(jwks(Signer("other"))) as other:
        watched = Watched(server.url)
        server.status, server.headers = 302, {"location": other.url}
        await watched.fetcher.open()
        assert other.fetches == 0
    assert watched.outcomes == [False]


async def test_keys_are_fetched_ahead_again_and_again(server: KeyServer) -> None:
    """Without any token; sooner after a failure than while all is well."""
    watched = Watched(server.url, jwks_refresh=0.01)
    await watched.fetcher.open()
    running = asyncio.create_task(watched.fetcher.run())
    server.body = jwks(Signer("second"))
    while watched.key_ids != ["second"]:
        server.asked.clear()
        await server.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_private_authority_can_be_trusted(tmp_path: Path) -> None:
    """And nobody else is."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with key_server(jwks(Signer("first")), tls=context) as server:
        trusting, other = Watched(server.url, ca_file=tmp_path / "ca.pem"), Watched(server.url)
        await trusting.fetcher.open()
        await other.fetcher.open()
    assert trusting.outcomes == [True]
    assert other.outcomes == [False]


def test_an_unusable_file_of_authorities_is_refused(tmp_path: Path) -> None:
    """By its key."""
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"^auth\.jwt\.corp\.ca_file: .*ca\.pem cannot be used"):
        Watched("https://issuer.example/keys", ca_file=tmp_path / "ca.pem")
