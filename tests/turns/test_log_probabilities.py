"""Log probabilities are part of the size of an event: no response exceeds what every client of gRPC receives."""

from __future__ import annotations

import pytest

from contextprotocol.v1 import generation_pb2, turn_pb2
from mcp_client import Delta, MCPClient
from mcp_server import values
from mcp_server.interfaces import Finish, TextDelta
from mcp_server.testing import ScriptedProvider, running
from mcp_server.turns.log import MAX_DELTA_BYTES, TurnLog, delta_size, logprob_size
from mcp_server.values import Logprob

TOP = tuple([Logprob(token=f"alternative{number}", logprob=-float(number)) for number in range(20)])
TOKEN = Logprob(token="\u5b57", logprob=-0.1, top=TOP)

MANY = [TextDelta(text="\u5b57", logprobs=(TOKEN,))] * 2000
"""Small pieces, which are merged for a slow reader."""
ONE = [TextDelta(text="\u5b57" * 2000, logprobs=(TOKEN,) * 2000)]
"""A single piece, as a provider sends it that does not stream."""


@pytest.mark.parametrize("script", [MANY, ONE], ids=["many", "one"])
async def test_an_answer_with_log_probabilities_can_be_read_late(script: list[TextDelta]) -> None:
    """By a client with the default receive limit of 4 MiB; all of them arrive, in small messages."""
    provider = ScriptedProvider([*script, Finish()])
    async with running(providers={"scripted": provider}) as server, MCPClient(server.address) as client:
        session = await client.create_session()
        turn = (await client.chat("Hi", session=session, logprobs=20)).turn
        async with client.stream_turn(turn) as stream:
            deltas = [event async for event in stream.events() if isinstance(event, Delta)]
        assert stream.text == "\u5b57" * 2000
    assert sum([len(delta.logprobs) for delta in deltas]) == 2000
    assert len(deltas) < 200


async def test_a_slow_reader_of_a_running_turn_receives_small_messages() -> None:
    """Of what it has not read, as much is merged as is within the limit."""
    log = TurnLog(lambda: None)
    for _ in range(2000):
        log.append(values.Delta(part=0, kind="text", text="\u5b57", logprobs=(TOKEN,)))
    log.end()
    with log.reader() as reader:
        deltas = [event async for _, event in reader]
    assert all(isinstance(delta, values.Delta) for delta in deltas)
    sizes = [delta_size(len(delta.text), delta.logprobs) for delta in deltas if isinstance(delta, values.Delta)]
    assert max(sizes) <= MAX_DELTA_BYTES
    assert len(sizes) < 200


async def test_a_token_that_is_too_large_has_no_log_probability() -> None:
    """No model has such a token, but an upstream may send it."""
    large = Logprob(token="x" * 5_000_000, logprob=-0.1)
    wide = Logprob(token="y", logprob=-0.1, top=TOP * 20_000)
    provider = ScriptedProvider([TextDelta(text="a", logprobs=(large, TOKEN, wide, TOKEN)), Finish()])
    async with running(providers={"scripted": provider}) as server:
        async with MCPClient(server.address) as client, client.stream_chat("Hi", logprobs=20) as stream:
            deltas = [event async for event in stream.events() if isinstance(event, Delta)]
        assert stream.text == "a"
    assert [logprob.token for delta in deltas for logprob in delta.logprobs] == [TOKEN.token] * 2


@pytest.mark.parametrize(
    "token", [TOKEN, Logprob(token="\U0001f600" * 300, logprob=-1e300), Logprob(token="", logprob=0)]
)
def test_the_size_is_at_least_that_of_the_encoding(token: Logprob) -> None:
    """So that a delta within the limit is one on the wire."""
    encoded = turn_pb2.Delta(logprobs=[_encoded(token)] * 10)
    assert encoded.ByteSize() <= 10 * logprob_size(token)
    assert MAX_DELTA_BYTES <= 64 * 1024


def _encoded(logprob: Logprob) -> generation_pb2.Logprob:
    top = [_encoded(each) for each in logprob.top]
    return generation_pb2.Logprob(token=logprob.token, logprob=logprob.logprob, top=top)
