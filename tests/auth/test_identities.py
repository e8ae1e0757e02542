"""Callers without API keys, on a real server: tokens of an issuer, and client certificates in a real handshake."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from contextprotocol.v1 import chat_pb2, chat_pb2_grpc, key_pb2, key_pb2_grpc, message_pb2
from mcp_client import TLS, MCPClient
from mcp_client.errors import BadCredentials, NotAllowed
from mcp_server.app import UnifiedMCPServer
from mcp_server.errors import ConfigError
from mcp_server.interfaces import Finish
from mcp_server.settings import AuthSettings, Config, KeySettings, MetricsSettings
from mcp_server.settings import testing_config as settings
from mcp_server.settings.identities import CertificateSettings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, running
from mcp_server.values import SECOND
from mcp_server.values.key_secret import new_secret
from tests.certificates import Authority, days, encrypted
from tests.middleware.jwt.issuer import NOW, KeyServer, Signer, jwks, key_server
from tests.middleware.jwt.issuer import settings as issuer

replace = msgspec.structs.replace
SECRET = new_secret("acme00000000")
KEYS = {
    "acme00000000": KeySettings(
        hash=f"sha256:{hashlib.sha256(SECRET.encode()).hexdigest()}", tenant="acme", scopes=("chat",)
    )
}
ECHO = {"echo": EchoProvider()}


class Clock:
    """The time of a server, which the test moves."""

    def __init__(self) -> None:
        self.now = NOW * SECOND

    def __call__(self) -> int:
        """The time, in nanoseconds since the Unix epoch."""
        return self.now


def with_token(server: UnifiedMCPServer, token: str, **arguments: Any) -> MCPClient:
    """A client that sends a token or the secret of a key."""
    return MCPClient(server.address, metadata={"authorization": f"Bearer {token}"}, retry=None, **arguments)


# -- tokens -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def keys() -> AsyncIterator[KeyServer]:
    """Serves the public keys of the issuer."""
    async with key_server(jwks(Signer())) as server:
        yield server


@asynccontextmanager
async def trusting(
    keys: KeyServer, clock: Clock, *, metrics: str = "", **arguments: Any
) -> AsyncIterator[UnifiedMCPServer]:
    """A server that accepts tokens of the issuer, beside an API key."""
    auth = AuthSettings(keys=KEYS, jwt={"corp": issuer(jwks_url=keys.url, scopes=("sessions.write",))})
    config = replace(settings(default_model="echo/echo"), auth=auth, metrics=MetricsSettings(address=metrics))
    async with running(config, clock=clock, **{"providers": ECHO, **arguments}) as server:
        yield server


async def test_a_token_opens_what_its_scopes_say(keys: KeyServer, capsys: pytest.CaptureFixture[str]) -> None:
    """For the tenant of the settings; the log names the subject and never the token."""
    token = Signer().token(scope="chat sessions.read")
    async with trusting(keys, Clock()) as server, with_token(server, token) as client:
        session = await client.create_session("tour")
        assert (await client.chat("hello", session=session.name)).text == "hello"
        with pytest.raises(NotAllowed, match="`models`"):
            await client.list_models()
    printed = capsys.readouterr().out
    assert "subject=corp/ada" in printed
    assert "tenant=acme" in printed
    assert token not in printed


async def test_a_token_and_a_key_of_one_tenant_see_the_same(keys: KeyServer) -> None:
    """And a token of another issuer sees nothing."""
    async with trusting(keys, Clock()) as server:
        async with with_token(server, Signer().token(scope="chat")) as client, with_token(server, SECRET) as other:
            session = await client.create_session("tour")
            assert (await other.chat("hello", session=session.name)).text == "hello"
        async with with_token(server, Signer(number=7).token(scope="chat")) as stranger:
            with pytest.raises(BadCredentials):
                await stranger.chat("hello", session=session.name)


async def test_two_credentials_are_refused(keys: KeyServer) -> None:
    """In either order."""
    bearers = [("authorization", f"Bearer {text}") for text in (Signer().token(scope="chat"), SECRET)]
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="hello")])
    request = chat_pb2.ChatRequest(messages=[message])
    async with trusting(keys, Clock()) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        for metadata in (bearers, bearers[::-1], [bearers[0]] * 2):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Chat(request, metadata=metadata)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        for bearer in bearers:
            await stub.Chat(request, metadata=[bearer])


async def test_a_stream_ends_soon_after_its_token_has_expired(keys: KeyServer) -> None:
    """While one with a token that lives on goes on."""
    clock, gate = Clock(), Gate()
    provider = {"echo": ScriptedProvider(["Once ", gate, "more", Finish()], model=(await EchoProvider().models())[0])}
    short, long = [Signer().token(scope="chat", exp=NOW + seconds) for seconds in (60, 600)]
    async with (
        trusting(keys, clock, providers=provider) as server,
        with_token(server, short) as ending,
        with_token(server, long) as staying,
        staying.stream_chat("hello") as lasting,
        ending.stream_chat("hello") as cut,
    ):
        for stream in (cut, lasting):
            assert await anext(stream) == "Once "
        clock.now += 60 * SECOND
        began = time.monotonic()
        with pytest.raises(BadCredentials, match="not valid any more"):
            await anext(cut)
        assert time.monotonic() - began < 5
        gate.open()
        assert await anext(lasting) == "more"


async def test_a_key_that_the_issuer_withdraws_ends_streams(keys: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as the server has read the keys again."""
    monkeypatch.setattr("mcp_server.middleware.authentication.jwt.fetcher.PAUSE", 0.0)
    provider = {"echo": ScriptedProvider(["Once ", Gate()], model=(await EchoProvider().models())[0])}
    second = Signer("second", number=2)
    async with (
        trusting(keys, Clock(), providers=provider) as server,
        with_token(server, Signer().token(scope="chat")) as client,
        with_token(server, second.token()) as other,
        client.stream_chat("hello") as stream,
    ):
        assert await anext(stream) == "Once "
        keys.body = jwks(second)
        with pytest.raises(NotAllowed):
            await other.chat("hello")
        with pytest.raises(BadCredentials, match="not valid any more"):
            await anext(stream)


async def test_who_am_i_knows_callers_without_keys(keys: KeyServer) -> None:
    """Their tenant, scopes and models."""
    async with trusting(keys, Clock()) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub: Any = key_pb2_grpc.KeyServiceStub(channel)
        bearer = ("authorization", f"Bearer {Signer().token(scope='chat')}")
        answer = await stub.WhoAmI(key_pb2.WhoAmIRequest(), metadata=[bearer])
        assert (answer.tenant, answer.key, list(answer.scopes)) == ("acme", "", ["chat", "sessions.write"])


async def test_the_metrics_count_fetches_of_keys(keys: KeyServer) -> None:
    """By issuer and outcome."""
    async with trusting(keys, Clock(), metrics="127.0.0.1:0") as server, aiohttp.ClientSession() as http:
        page = await (await http.get(f"http://127.0.0.1:{server.metrics_port}/metrics")).text()
    assert 'contextprotocol_issuer_key_fetches_total{issuer="corp",outcome="succeeded"} 1.0' in page


async def test_an_issuer_that_cannot_be_reached_does_not_keep_the_server_from_starting(keys: KeyServer) -> None:
    """Its callers are refused, others are not."""
    keys.status = 503
    async with trusting(keys, Clock()) as server, with_token(server, SECRET) as client:
        assert (await client.chat("hello")).text == "hello"
        async with with_token(server, Signer().token(scope="chat")) as refused:
            with pytest.raises(BadCredentials):
                await refused.chat("hello")


async def test_a_missing_extra_is_named(keys: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "mcp_server.middleware.authentication.jwt.authenticator", None)
    with pytest.raises(ConfigError, match=r"auth\.jwt: needs the extra `auth`: pip install 'contextprotocol\[auth\]'"):
        async with trusting(keys, Clock()):
            pass


# -- certificates -----------------------------------------------------------------------------------------------------


ROWS = {
    "uri:spiffe://example.test/prod/*": CertificateSettings(tenant="acme", scopes=("chat", "sessions.read")),
    "dns:*.batch.example.test": CertificateSettings(tenant="globex", scopes=("chat",), models=("other/*",)),
    "email:*@example.test": CertificateSettings(tenant="acme", scopes=("sessions.write",)),
}


class Clients:
    """A server that asks for certificates, and clients with some."""

    def __init__(self, folder: Path) -> None:
        self._ours = Authority(folder)

    @asynccontextmanager
    async def server(self, rows: Mapping[str, CertificateSettings]) -> AsyncIterator[UnifiedMCPServer]:
        """Run it."""
        tls = replace(self._ours.server(), client_ca=self._ours.file)
        config: Config = replace(encrypted(tls), auth=AuthSettings(keys=KEYS, certificates=rows))
        async with running(config, providers=ECHO) as server:
            yield server

    def client(self, server: UnifiedMCPServer, *names: str, uri: str = "", secret: str = "") -> MCPClient:
        """A client with a certificate for these names or for a URI, and perhaps with a key."""
        metadata = {"authorization": f"Bearer {secret}"} if secret else {}
        certificate, key = self._with_uri(uri) if uri else map(Path.read_bytes, self._ours.issue("client", *names))
        tls = TLS(ca=self._ours.file, certificate=certificate, key=key)
        return MCPClient(server.address, credentials=tls, metadata=metadata, retry=None)

    def _with_uri(self, uri: str) -> tuple[bytes, bytes]:
        """A certificate for a URI and its key: trustme issues none."""
        authority = self._ours.authority
        issuer_key: Any = load_pem_private_key(authority.private_key_pem.bytes(), None)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(days(-1))
            .not_valid_after(days(1))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
            .sign(issuer_key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM), private


@pytest.fixture
def clients(tmp_path: Path) -> Clients:
    """Clients whose authority the server trusts."""
    return Clients(tmp_path)


async def test_a_certificate_says_who_calls(clients: Clients) -> None:
    """By its names of each kind; scopes and models are those of the row."""
    async with clients.server(ROWS) as server:
        async with clients.client(server, "ada@example.test") as writer:
            session = await writer.create_session("tour")
            with pytest.raises(NotAllowed):
                await writer.chat("hello", session=session.name)
        async with clients.client(server, "a.batch.example.test") as batch:
            with pytest.raises(NotAllowed):
                await batch.chat("hello")


async def test_a_certificate_with_a_uri_says_who_calls(clients: Clients) -> None:
    """As service meshes issue them."""
    async with clients.server(ROWS) as server:
        async with clients.client(server, uri="spiffe://example.test/prod/web") as client:
            assert (await client.chat("hello")).text == "hello"
        async with clients.client(server, uri="spiffe://example.test/dev/web") as stranger:
            with pytest.raises(BadCredentials):
                await stranger.chat("hello")


@pytest.mark.parametrize("name", ["batch.example.test", "other.test", "ada@other.test"])
async def test_a_certificate_without_a_row_is_refused(clients: Clients, name: str) -> None:
    """Although the authority is trusted."""
    async with clients.server(ROWS) as server, clients.client(server, name) as client:
        with pytest.raises(BadCredentials, match="does not belong to a caller"):
            await client.chat("hello")


async def test_a_certificate_and_a_key_at_once_are_refused(clients: Clients) -> None:
    """Both may be valid, and of one tenant."""
    names = "ada@example.test"
    async with clients.server(ROWS) as server, clients.client(server, names, secret=SECRET) as client:
        with pytest.raises(BadCredentials, match="two credentials"):
            await client.chat("hello")


async def test_without_rows_a_certificate_only_opens_the_connection(clients: Clients) -> None:
    """Callers prove who they are by a key."""
    async with clients.server({}) as server:
        async with clients.client(server, "other.test", secret=SECRET) as client:
            assert (await client.chat("hello")).text == "hello"
        async with clients.client(server, "other.test") as stranger:
            with pytest.raises(BadCredentials):
                await stranger.chat("hello")


# -- changes ----------------------------------------------------------------------------------------------------------


async def test_issuers_change_while_the_server_runs(keys: KeyServer, tmp_path: Path) -> None:
    """Streams of those that are gone end; a table that cannot be used changes nothing."""
    provider = {"echo": ScriptedProvider(["Once ", Gate()], model=(await EchoProvider().models())[0])}
    async with trusting(keys, Clock(), providers=provider) as server:
        old, other = server.config, Signer("other", number=5)
        pem = tmp_path / "other.pem"
        new_issuer = issuer(issuer="other", keys_file=pem, tenant="globex", scopes=("models",))
        new = replace(old, auth=replace(old.auth, jwt={"other": new_issuer}))
        async with with_token(server, Signer().token(scope="chat")) as client, client.stream_chat("hello") as stream:
            assert await anext(stream) == "Once "
            with pytest.raises(ConfigError, match=r"auth\.jwt\.other\.keys_file"):
                await server.reload(lambda: new)
            async with with_token(server, Signer().token()) as same:
                await same.create_session()
            pem.write_bytes(other.pem)
            assert set((await server.reload(lambda: new)).live) == {"auth.jwt.corp", "auth.jwt.other"}
            with pytest.raises(BadCredentials):
                await anext(stream)
        async with with_token(server, other.token(iss="other")) as accepted:
            assert len(await accepted.list_models()) == 1
        pem.write_bytes(Signer(number=6).pem)
        await server.reload(lambda: new)
        async with with_token(server, other.token(iss="other")) as refused:
            with pytest.raises(BadCredentials):
                await refused.create_session()


async def test_the_first_issuer_needs_a_restart(keys: KeyServer) -> None:
    """Since the libraries for tokens are imported at the start; the rest of the table takes effect."""
    first = replace(settings(default_model="echo/echo"), auth=AuthSettings(keys=KEYS))
    async with running(first, providers=ECHO) as server:
        new = replace(first, auth=AuthSettings(jwt={"corp": issuer(jwks_url=keys.url)}))
        changes = await server.reload(lambda: new)
        assert (changes.live, changes.fixed) == (("auth.keys.acme00000000",), ("auth.jwt.corp",))
        async with with_token(server, SECRET) as refused:
            with pytest.raises(BadCredentials):
                await refused.chat("hello")


async def test_rows_of_certificates_change_while_the_server_runs(clients: Clients) -> None:
    """From the next call on."""
    async with clients.server(ROWS) as server, clients.client(server, "ada@example.test") as client:
        await client.create_session()
        row = CertificateSettings(tenant="acme", scopes=("chat",))
        new = replace(server.config, auth=replace(server.config.auth, certificates={"email:*@example.test": row}))
        await server.reload(lambda: new)
        assert (await client.chat("hello")).text == "hello"
        with pytest.raises(NotAllowed):
            await client.create_session()
