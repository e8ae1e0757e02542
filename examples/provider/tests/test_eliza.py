"""The contract that the server's own providers keep, and what is special about this one."""

import pytest
from contextprotocol_eliza import Eliza
from contextprotocol_eliza.rules import OTHERWISE, reply

from mcp_client import MCPClient, UnsupportedByModel
from mcp_server.testing import running
from mcp_server.testing.contracts.providers import ProviderContract, SamplingContract, Subject, TokenCounterContract


class TestEliza(ProviderContract, SamplingContract, TokenCounterContract):
    """Everything that the server relies on."""

    @classmethod
    async def make(cls) -> Subject:
        """A new provider."""
        return Subject(provider=Eliza(), model="eliza")


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("I am tired of my work.", "How long have you been tired of your work?"),
        ("My mother called", "Tell me more about your mother."),
        ("Hello", OTHERWISE),
    ],
)
def test_it_answers_by_its_rules(message: str, answer: str) -> None:
    """The first that fits."""
    assert reply(message) == answer


async def test_it_answers_in_a_whole_server() -> None:
    """With a session, over gRPC; what it cannot do is refused by name."""
    async with running(providers={"doctor": Eliza()}) as server, MCPClient(server.address) as client:
        session = await client.create_session()
        assert (await client.chat("I need a holiday!", session=session)).text == "Why do you need a holiday?"
        with pytest.raises(UnsupportedByModel, match="doctor/eliza"):
            await client.embed("Hello")
