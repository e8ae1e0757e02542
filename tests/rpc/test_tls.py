"""TLS of the listener: real handshakes with both clients, and what is said about files that cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from mcp_client import TLS, MCPClient, MCPSyncClient, ServerUnavailable
from mcp_server.errors import ConfigError
from mcp_server.interfaces import Call
from mcp_server.principal import PeerCertificate
from mcp_server.settings import TLSSettings
from mcp_server.testing import EchoProvider, running
from tests.certificates import Authority, days, encrypted

replace = msgspec.structs.replace
ECHO = {"echo": EchoProvider()}


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    """The authority that clients trust."""
    return Authority(tmp_path)


async def test_both_clients_reach_a_server_with_tls(ours: Authority) -> None:
    """By its name and by its address."""
    async with running(encrypted(ours.server()), providers=ECHO) as server:
        for host in ("localhost", "127.0.0.1"):
            address = f"{host}:{server.port}"
            async with MCPClient(address, credentials=TLS(ca=ours.file)) as client:
                assert (await client.chat("Hi")).text

            def blocking(address: str = address) -> str:
                with MCPSyncClient(address, credentials=TLS(ca=ours.file)) as client:
                    return client.chat("Hi").text

            assert await asyncio.to_thread(blocking)


async def test_clients_refuse_a_server_that_they_cannot_trust(ours: Authority, tmp_path: Path) -> None:
    """Of another authority, with another name, or without TLS; and the server refuses who speaks no TLS."""
    other = Authority(tmp_path, "other")
    async with running(encrypted(ours.server()), providers=ECHO) as server:
        for credentials in (TLS(ca=other.file), TLS(ca=ours.file, server_name="another.test"), None):
            async with MCPClient(server.address, credentials=credentials, retry=None) as client:
                with pytest.raises(ServerUnavailable):
                    await client.chat("Hi")


async def test_calls_carry_the_certificate_of_the_client(ours: Authority, tmp_path: Path) -> None:
    """Its names, by their kinds; a client without one, or with one that is foreign or has expired, does not get in."""
    seen: list[PeerCertificate | None] = []

    @contextlib.asynccontextmanager
    async def note(call: Call) -> AsyncIterator[None]:
        seen.append(call.certificate)
        yield

    config = encrypted(replace(ours.server(), client_ca=ours.file))
    certificate, key = ours.issue("client", "batch@example.test", "batch.example.test", common_name="batch")
    strange, strange_key = Authority(tmp_path, "other").issue("client", "batch@example.test", common_name="batch")
    expired, expired_key = ours.issue("former", "batch@example.test", not_before=days(-3), not_after=days(-2))
    async with running(config, providers=ECHO, middleware=[note]) as server:
        tls = TLS(ca=ours.file, certificate=certificate, key=key)
        async with MCPClient(server.address, credentials=tls) as client:
            await client.chat("Hi")
        assert set(seen) == {
            PeerCertificate(common_name="batch", emails=("batch@example.test",), dns_names=("batch.example.test",))
        }
        for credentials in (
            TLS(ca=ours.file),
            TLS(ca=ours.file, certificate=strange, key=strange_key),
            TLS(ca=ours.file, certificate=expired, key=expired_key),
        ):
            async with MCPClient(server.address, credentials=credentials, retry=None) as client:
                with pytest.raises(ServerUnavailable):
                    await client.chat("Hi")


async def test_a_listener_that_asks_for_no_certificates_finds_none(ours: Authority) -> None:
    """``Call.certificate`` is ``None``, whatever the client would show."""
    seen: list[PeerCertificate | None] = []

    @contextlib.asynccontextmanager
    async def note(call: Call) -> AsyncIterator[None]:
        seen.append(call.certificate)
        yield

    certificate, key = ours.issue("client", "batch@example.test")
    async with running(encrypted(ours.server()), providers=ECHO, middleware=[note]) as server:
        tls = TLS(ca=ours.file, certificate=certificate, key=key)
        async with MCPClient(server.address, credentials=tls) as client:
            await client.chat("Hi")
    assert set(seen) == {None}


def handshake(port: int, version: ssl.TLSVersion) -> str | None:
    """The version that the server agrees to, if a client offers only that one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")  # OpenSSL itself refuses old versions otherwise
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as connection:
        return connection.version()


async def test_versions_before_tls_1_2_are_refused(ours: Authority) -> None:
    """1.2 and 1.3 are spoken, 1.0 and 1.1 are not."""
    async with running(encrypted(ours.server()), providers=ECHO) as server:
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            assert await asyncio.to_thread(handshake, server.port, version) == name
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(handshake, server.port, version)


async def refusal(tls: TLSSettings) -> list[str]:
    """What stops a start with these files."""
    with pytest.raises(ConfigError) as refused:
        async with running(encrypted(tls), providers=ECHO):
            pass
    return str(refused.value).splitlines()


def missing(tls: TLSSettings, folder: Path) -> TLSSettings:
    return replace(tls, certificate=folder / "nosuch.pem", key=folder / "nosuch.key", client_ca=folder / "nosuch.ca")


def not_pem(tls: TLSSettings, folder: Path) -> TLSSettings:
    for name in ("certificate", "key", "client_ca"):
        (folder / name).write_text("secret")
    return replace(tls, certificate=folder / "certificate", key=folder / "key", client_ca=folder / "client_ca")


def damaged(tls: TLSSettings, folder: Path) -> TLSSettings:
    (folder / "certificate").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (folder / "key").write_text(f"-----BEGIN PRIVATE {'KEY'}-----\nAAAA\n-----END PRIVATE {'KEY'}-----\n")
    return replace(tls, certificate=folder / "certificate", key=folder / "key")


def swapped(tls: TLSSettings, folder: Path) -> TLSSettings:
    return replace(tls, certificate=tls.key, key=tls.certificate)


def key_of_another(tls: TLSSettings, folder: Path) -> TLSSettings:
    return replace(tls, key=Authority(folder, "other").server().key)


def encrypted_key(tls: TLSSettings, folder: Path) -> TLSSettings:
    assert tls.key is not None
    key = load_pem_private_key(tls.key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"secret")
    (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return replace(tls, key=folder / "key")


def expired(tls: TLSSettings, folder: Path) -> TLSSettings:
    return Authority(folder, "other").server(not_before=days(-3), not_after=days(-2))


def not_yet_valid(tls: TLSSettings, folder: Path) -> TLSSettings:
    return Authority(folder, "other").server(not_before=days(2), not_after=days(3))


def no_authority(tls: TLSSettings, folder: Path) -> TLSSettings:
    return replace(tls, client_ca=tls.certificate)


def chain_reversed(tls: TLSSettings, folder: Path) -> TLSSettings:
    assert tls.certificate is not None
    (folder / "chain").write_bytes((folder / "ours-ca.pem").read_bytes() + tls.certificate.read_bytes())
    return replace(tls, certificate=folder / "chain")


WRONG: list[tuple[Callable[[TLSSettings, Path], TLSSettings], list[str]]] = [
    (
        missing,
        ["certificate: the file * cannot be read: No such", "key: the file * cannot", "client_ca: the file"],
    ),
    (not_pem, ["certificate: the file * no certificate", "key: the file * no private key", "client_ca: the file * no"]),
    (damaged, ["certificate: the file * a certificate that is damaged", "key: the file * a private key that is damag"]),
    (swapped, ["certificate: the file * a private key and no certificate", "key: the file * a certificate and no pri"]),
    (key_of_another, ["key: the file * contains the private key of another certificate than "]),
    (encrypted_key, ["key: the file * contains a private key that is encrypted; decrypt it: openssl pkey -in "]),
    (expired, ["certificate: the file * contains a certificate that expired on "]),
    (not_yet_valid, ["certificate: the file * contains a certificate that is not valid before "]),
    (no_authority, ["client_ca: the file * which is not the certificate of an authority"]),
    (chain_reversed, ["certificate: the file * must begin with the certificate of the server"]),
]


@pytest.mark.parametrize(("spoil", "expected"), WRONG, ids=[spoil.__name__ for spoil, _ in WRONG])
async def test_a_file_that_cannot_be_used_stops_the_start(
    spoil: Callable[[TLSSettings, Path], TLSSettings], expected: list[str], ours: Authority, tmp_path: Path
) -> None:
    """The key of the settings, the file, what is wrong, and all files at once; never what is in a file."""
    problems = await refusal(spoil(ours.server(), tmp_path))
    assert len(problems) == len(expected)
    for problem, pattern in zip(problems, expected, strict=True):
        begin, _, end = pattern.partition(" * ")
        assert problem.startswith(f"server.tls.{begin}")
        assert end in problem
        assert "secret" not in problem


async def test_a_key_that_everybody_can_read_is_warned_about(ours: Authority) -> None:
    """With the command that mends it; the server starts."""
    tls = ours.server()
    assert tls.key is not None
    tls.key.chmod(0o644)
    with capture_logs() as lines:
        async with running(encrypted(tls), providers=ECHO):
            pass
    (warning,) = [line for line in lines if line["event"] == "certificate files"]
    assert f"chmod 600 {tls.key}" in warning["problem"]


async def test_one_file_may_hold_certificate_and_key(ours: Authority, tmp_path: Path) -> None:
    """As some tools write it."""
    tls = ours.server()
    assert tls.certificate is not None
    assert tls.key is not None
    both = tmp_path / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(tls.certificate.read_bytes() + tls.key.read_bytes())
    async with (
        running(encrypted(TLSSettings(certificate=both, key=both)), providers=ECHO) as server,
        MCPClient(server.address, credentials=TLS(ca=ours.file)) as client,
    ):
        assert (await client.chat("Hi")).text


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "server.test:0"])
async def test_a_server_for_other_machines_needs_authentication_and_tls(address: str, ours: Authority) -> None:
    """The error names the settings, and the one that lets it listen all the same."""
    config = encrypted(TLSSettings())
    for tls, lacking in (
        (
            TLSSettings(),
            [
                "authentication (auth.keys, auth.stored_keys, auth.jwt or server.tls.client_ca)",
                "TLS (server.tls.certificate and server.tls.key)",
            ],
        ),
        (ours.server(), ["authentication (auth.keys, auth.stored_keys, auth.jwt or server.tls.client_ca)"]),
    ):
        with pytest.raises(ConfigError, match=r"server\.address: found") as refused:
            async with running(
                replace(config, server=replace(config.server, address=address, tls=tls)), providers=ECHO
            ):
                pass
        assert all(name in str(refused.value) for name in (*lacking, "server.insecure = true"))


@pytest.mark.parametrize("secure", [True, False])
async def test_a_server_may_listen_on_all_addresses(secure: bool, ours: Authority) -> None:
    """With both, or with ``server.insecure``."""
    tls = replace(ours.server(), client_ca=ours.file) if secure else TLSSettings()
    config = encrypted(tls)
    config = replace(config, server=replace(config.server, address="0.0.0.0:0", insecure=not secure))
    async with running(config, providers=ECHO) as server:
        assert server.port


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0", "127.8.9.1:0"])
async def test_this_machine_alone_needs_neither(address: str) -> None:
    """Loopback, in whatever form."""
    config = encrypted(TLSSettings())
    try:
        async with running(replace(config, server=replace(config.server, address=address)), providers=ECHO) as server:
            assert server.port
    except ConfigError as error:
        assert address == "[::1]:0"  # a machine without IPv6
        assert "the address is not this machine's" in str(error)
