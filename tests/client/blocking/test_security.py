# Generated from tests/client/test_security.py by scripts/generate: edit that file.

"""Who a client is, and whom it trusts: metadata, tokens that expire, TLS with one certificate or two."""

from __future__ import annotations

import itertools
from pathlib import Path

import grpc
import pytest
import trustme

from mcp_client import TLS, BadCredentials, DeadlineExceeded, MCPSyncClient, Retry, ServerUnavailable
from tests.client.blocking.beside import Gate, StandIn, sleep
from tests.client.stand_in import OK, STARTED, Failure, text

LOST = Failure()
QUICK = Retry(initial_delay=0.01, max_delay=0.02)


def test_a_token_is_asked_for_before_each_attempt() -> None:
    """Of unary calls, streams that go on, watches, and what stops a turn."""
    numbers = itertools.count(1)

    def metadata() -> dict[str, str]:
        return {"Authorization": f"Bearer {next(numbers)}"}

    server = StandIn([LOST], [OK], [STARTED, LOST], [STARTED, LOST], [OK])
    with server, MCPSyncClient(server.address, metadata=metadata, retry=QUICK) as client:
        client.wait_until_ready(10)
        client.chat("Hi")
        with client.stream_chat("Hi") as stream:
            stream.reply()
    assert [sent["authorization"] for sent in server.metadata] == [f"Bearer {number}" for number in range(1, 7)]


def test_a_refused_token_is_an_error_of_its_own_and_a_new_one_is_taken() -> None:
    """Without a new client. The function need not be asynchronous."""
    tokens = ["old"]
    server = StandIn()
    server.token = "new"
    with server, MCPSyncClient(server.address, metadata=lambda: {"authorization": f"Bearer {tokens[-1]}"}) as client:
        with pytest.raises(BadCredentials):
            client.chat("Hi")
        tokens.append("new")
        assert (client.chat("Hi")).text == "ok"
    assert len(server.metadata) == 2


def test_what_goes_wrong_with_a_token_comes_to_the_caller() -> None:
    """As it was raised; and what cannot be sent is named."""

    def lost() -> dict[str, str]:
        raise FileNotFoundError("the token is gone")

    with StandIn() as server:
        with MCPSyncClient(server.address, metadata=lost) as client:
            with pytest.raises(FileNotFoundError, match="gone"):
                client.chat("Hi")
            with pytest.raises(FileNotFoundError, match="gone"):
                with client.stream_chat("Hi") as stream:
                    stream.reply()
        with MCPSyncClient(server.address, metadata=lambda: {"authorization": "Bearer \n"}) as client:
            with pytest.raises(ValueError, match="metadata"):
                client.chat("Hi")
    assert server.requests == []


class Certificates:
    """An authority, and what it has signed, as files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.server = authority.issue_cert("server.test")
        client = authority.issue_cert("client@example.test")
        self.certificate, self.key = folder / "client.pem", folder / "client.key"
        client.private_key_pem.write_to_path(self.key)
        for blob in client.cert_chain_pems:
            blob.write_to_path(self.certificate, append=True)

    def credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        """Of a server; ``mutual``: which asks its clients who they are."""
        pair = (self.server.private_key_pem.bytes(), b"".join(pem.bytes() for pem in self.server.cert_chain_pems))
        roots = self.ca.read_bytes() if mutual else None
        return grpc.ssl_server_credentials([pair], root_certificates=roots, require_client_auth=mutual)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once: it takes a while."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_a_server_proves_who_it_is(certificates: Certificates) -> None:
    """To who trusts its authority, and knows its name."""
    with StandIn(credentials=certificates.credentials(mutual=False)) as server:
        for ca in (certificates.ca, str(certificates.ca), certificates.ca.read_bytes(), certificates.ca.read_text()):
            with MCPSyncClient(server.address, credentials=TLS(ca=ca, server_name="server.test")) as client:
                assert (client.chat("Hi")).text == "ok"
        for distrusted in (TLS(ca=certificates.ca, server_name="other.test"), TLS(server_name="server.test"), None):
            with MCPSyncClient(server.address, credentials=distrusted, retry=None) as client:
                with pytest.raises(ServerUnavailable):
                    client.chat("Hi")
    assert len(server.requests) == 4


def test_an_address_can_ask_for_tls(certificates: Certificates) -> None:
    """With the authorities of the client, by default those that ship with gRPC."""
    with StandIn(credentials=certificates.credentials(mutual=False)) as server:
        address = f"https://{server.address}"
        with MCPSyncClient(address, credentials=TLS(ca=certificates.ca, server_name="server.test")) as client:
            assert (client.chat("Hi")).text == "ok"
        with MCPSyncClient(address, retry=None) as client:
            with pytest.raises(ServerUnavailable, match="certificate"):
                client.chat("Hi")
        with pytest.raises(ValueError, match="host:port"):
            MCPSyncClient("https://")


def test_a_client_proves_who_it_is(certificates: Certificates) -> None:
    """To a server that asks; without a certificate it does not get in."""
    tls = TLS(ca=certificates.ca, certificate=certificates.certificate, key=certificates.key, server_name="server.test")
    with StandIn(credentials=certificates.credentials(mutual=True)) as server:
        with MCPSyncClient(server.address, credentials=tls) as client:
            assert (client.chat("Hi")).text == "ok"
        nobody = TLS(ca=certificates.ca, server_name="server.test")
        with MCPSyncClient(server.address, credentials=nobody, retry=None) as client:
            with pytest.raises(ServerUnavailable):
                client.chat("Hi")
    assert len(server.requests) == 1


def test_half_a_proof_is_none_and_keys_are_not_shown(tmp_path: Path) -> None:
    """What is wrong is said when it is made."""
    with pytest.raises(ValueError, match="certificate and key"):
        TLS(certificate=b"x")
    with pytest.raises(FileNotFoundError, match="ca: No such file"):
        MCPSyncClient(credentials=TLS(ca=tmp_path / "nosuch.pem"))
    assert "secret" not in repr(TLS(certificate=b"x", key=b"secret"))
    certificate = "-----BEGIN CERTIFICATE-----\nx\n"
    for key in ("secret", b"secret", "secret" * 1000):
        with pytest.raises((OSError, ValueError), match="key: ") as raised:
            MCPSyncClient(credentials=TLS(certificate=certificate, key=key))
        assert "secret" not in str(raised.value)


def test_bytes_can_be_metadata() -> None:
    """By names that end in ``-bin``."""
    with StandIn() as server, MCPSyncClient(server.address, metadata={"trace-bin": b"\x00\xff"}) as client:
        client.chat("Hi")
    assert [sent["trace-bin"] for sent in server.metadata] == [b"\x00\xff"]


def test_a_token_that_takes_its_time_takes_it_from_the_call() -> None:
    """A call's ``timeout`` holds for all that it does."""

    def slow() -> dict[str, str]:
        sleep(0.3)
        return {}

    with StandIn() as server, MCPSyncClient(server.address, metadata=slow) as client:
        with pytest.raises(DeadlineExceeded):
            client.chat("Hi", timeout=0.2)
        with pytest.raises(DeadlineExceeded):
            client.wait_until_ready(timeout=0.2)
        assert (client.chat("Hi", timeout=30)).text == "ok"


def test_who_leaves_hears_nothing_of_a_lost_token() -> None:
    """What was raised in the block comes out of it, and not what became of the courtesy of stopping the turn."""
    asked: list[int] = []

    def metadata() -> dict[str, str]:
        asked.append(1)
        if len(asked) > 1:
            raise FileNotFoundError("the token is gone")
        return {}

    server = StandIn([STARTED, text(2, "a"), Gate()])
    with server, MCPSyncClient(server.address, metadata=metadata) as client:
        with pytest.raises(KeyError, match="the caller's own"):
            with client.stream_chat("Hi") as stream:
                for _ in stream:
                    raise KeyError("the caller's own")
    assert len(asked) == 2
