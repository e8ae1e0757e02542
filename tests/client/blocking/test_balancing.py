# Generated from tests/client/test_balancing.py by scripts/generate: edit that file.

"""Several servers, and several connections to one."""

from __future__ import annotations

import pytest

from mcp_client import MCPSyncClient, Retry
from tests.client.blocking.beside import Gate, ScriptedProvider, StandIn, running, sleep, spawn
from tests.client.stand_in import OK


def test_calls_go_to_all_servers_in_turn() -> None:
    """None is left out, and none gets more than its share."""
    first, second = ScriptedProvider.saying("one"), ScriptedProvider.saying("two")
    with (
        running(providers={"scripted": first}) as one,
        running(providers={"scripted": second}) as two,
        MCPSyncClient([one.address, two.address]) as client,
    ):
        while not (first.requests and second.requests):
            client.chat("Hi")
        before = len(first.requests), len(second.requests)
        for _ in range(20):
            client.chat("Hi")
    assert (len(first.requests) - before[0], len(second.requests) - before[1]) == (10, 10)


def test_one_address_gets_all_calls_unless_it_is_asked_for() -> None:
    """As a name with one address does."""
    with StandIn() as server:
        for load_balancing in (None, True):
            with MCPSyncClient(f"dns:///{server.address}", load_balancing=load_balancing) as client:
                client.chat("Hi")
        assert len(server.requests) == 2


def test_a_server_that_drains_gets_no_new_calls() -> None:
    """And nobody sees an error."""
    first, second = ScriptedProvider.saying("one"), ScriptedProvider.saying("two")
    with (
        running(providers={"scripted": first}) as one,
        running(providers={"scripted": second}) as two,
        MCPSyncClient([one.address, two.address]) as client,
    ):
        while not (first.requests and second.requests):
            client.chat("Hi")
        stopping = spawn(one.stop, grace=1)
        while not stopping.done():
            assert (client.chat("Hi")).text in ("one", "two")
        stopping.result()
        assert (client.chat("Hi")).text == "two"


def test_a_server_that_is_not_there_is_left_out_until_it_comes() -> None:
    """The others answer meanwhile."""
    with StandIn() as gone:
        pass
    with StandIn() as server, MCPSyncClient([gone.address, server.address]) as client:
        for _ in range(10):
            assert (client.chat("Hi")).text == "ok"


@pytest.mark.parametrize(("max_connections", "served"), [(1, 2), (3, 6)])
def test_more_calls_than_one_connection_carries_take_more(max_connections: int, served: int) -> None:
    """If they may; else they wait."""
    gate = Gate()
    with (
        StandIn([gate, OK], max_streams=2) as server,
        MCPSyncClient(server.address, max_connections=max_connections, retry=Retry(initial_delay=0.01)) as client,
    ):
        client.wait_until_ready(10)
        calls = [spawn(client.chat, "Hi") for _ in range(6)]
        while len(server.requests) < served:  # nobody tells of it
            sleep(0.01)
        sleep(0.1)
        assert len(server.requests) == served
        assert len(server.peers) == max_connections
        gate.open()  # a call that comes in the moment in which another ends may be refused, and comes again
        for call in calls:
            assert (call.result()).text == "ok"


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ([], "of one kind"),
        (["127.0.0.1:1", "[::1]:1"], "of one kind"),
        (["example.com:1", "127.0.0.1:1"], "dns:///example.com:1"),
        (["127.0.0.1"], "IP"),
        (["127.0.0.1:x"], "expected IP:port"),
    ],
)
def test_several_addresses_are_numbers(address: list[str], problem: str) -> None:
    """Names are for the resolver, which knows several servers by one."""
    with pytest.raises(ValueError, match=problem) as caught:
        MCPSyncClient(address)
    assert str(caught.value).startswith("address")
    with pytest.raises(ValueError, match="max_connections"):
        MCPSyncClient(max_connections=0)


def test_addresses_are_shown_as_they_were_given() -> None:
    """Of both kinds."""
    with MCPSyncClient(["[::1]:1", "[::1]:2"]) as client, MCPSyncClient(["localhost:1"]) as other:
        assert (client.address, other.address) == ("[::1]:1, [::1]:2", "localhost:1")
