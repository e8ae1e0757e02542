"""Several servers, and several connections to one."""

from __future__ import annotations

import pytest

from mcp_client import MCPClient, Retry
from tests.client.beside import Gate, ScriptedProvider, StandIn, running, sleep, spawn
from tests.client.stand_in import OK


async def test_calls_go_to_all_servers_in_turn() -> None:
    """None is left out, and none gets more than its share."""
    first, second = ScriptedProvider.saying("one"), ScriptedProvider.saying("two")
    async with (
        running(providers={"scripted": first}) as one,
        running(providers={"scripted": second}) as two,
        MCPClient([one.address, two.address]) as client,
    ):
        while not (first.requests and second.requests):
            await client.chat("Hi")
        before = len(first.requests), len(second.requests)
        for _ in range(20):
            await client.chat("Hi")
    assert (len(first.requests) - before[0], len(second.requests) - before[1]) == (10, 10)


async def test_one_address_gets_all_calls_unless_it_is_asked_for() -> None:
    """As a name with one address does."""
    async with StandIn() as server:
        for load_balancing in (None, True):
            async with MCPClient(f"dns:///{server.address}", load_balancing=load_balancing) as client:
                await client.chat("Hi")
        assert len(server.requests) == 2


async def test_a_server_that_drains_gets_no_new_calls() -> None:
    """And nobody sees an error."""
    first, second = ScriptedProvider.saying("one"), ScriptedProvider.saying("two")
    async with (
        running(providers={"scripted": first}) as one,
        running(providers={"scripted": second}) as two,
        MCPClient([one.address, two.address]) as client,
    ):
        while not (first.requests and second.requests):
            await client.chat("Hi")
        stopping = spawn(one.stop, grace=1)
        while not stopping.done():
            assert (await client.chat("Hi")).text in ("one", "two")
        await stopping.result()
        assert (await client.chat("Hi")).text == "two"


async def test_a_server_that_is_not_there_is_left_out_until_it_comes() -> None:
    """The others answer meanwhile."""
    async with StandIn() as gone:
        pass
    async with StandIn() as server, MCPClient([gone.address, server.address]) as client:
        for _ in range(10):
            assert (await client.chat("Hi")).text == "ok"


@pytest.mark.parametrize(("max_connections", "served"), [(1, 2), (3, 6)])
async def test_more_calls_than_one_connection_carries_take_more(max_connections: int, served: int) -> None:
    """If they may; else they wait."""
    gate = Gate()
    async with (
        StandIn([gate, OK], max_streams=2) as server,
        MCPClient(server.address, max_connections=max_connections, retry=Retry(initial_delay=0.01)) as client,
    ):
        await client.wait_until_ready(10)
        calls = [spawn(client.chat, "Hi") for _ in range(6)]
        while len(server.requests) < served:  # nobody tells of it
            await sleep(0.01)
        await sleep(0.1)
        assert len(server.requests) == served
        assert len(server.peers) == max_connections
        gate.open()  # a call that comes in the moment in which another ends may be refused, and comes again
        for call in calls:
            assert (await call.result()).text == "ok"


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
        MCPClient(address)
    assert str(caught.value).startswith("address")
    with pytest.raises(ValueError, match="max_connections"):
        MCPClient(max_connections=0)


async def test_addresses_are_shown_as_they_were_given() -> None:
    """Of both kinds."""
    async with MCPClient(["[::1]:1", "[::1]:2"]) as client, MCPClient(["localhost:1"]) as other:
        assert (client.address, other.address) == ("[::1]:1, [::1]:2", "localhost:1")
