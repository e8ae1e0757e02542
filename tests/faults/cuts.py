"""One turn through a connection that suffers a fault, and all that must hold afterwards."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from contextprotocol.v1 import chat_pb2, turn_pb2
from mcp_client import MCPClient, Retry
from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent
from mcp_server.values import Capabilities, Model
from tests.faults.caller import Received, persist
from tests.faults.proxy import Fault, Kind, Proxy, Way, once
from tests.wire import Wire, text_of, user

ANSWER: Final = "Ünder a cut, each wörd comes once. "
AT_ONCE: Final = 16
"""How many turns run side by side."""


class Storyteller:
    """Answers word by word, in so little time that some cuts come before the end and some after it.

    Attributes:
        calls: how often it was asked each question.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def models(self) -> Sequence[Model]:
        return [Model(name="teller", capabilities=Capabilities(chat=True))]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        question = request.messages[-1].text
        self.calls[question] += 1
        for number, word in enumerate(answer(question).split(" ")):
            yield word if number == 0 else f" {word}"
            await asyncio.sleep(0.0005)
        yield Finish()

    async def close(self) -> None: ...


def answer(question: str) -> str:
    """What it says."""
    return ANSWER + question


Ask = Callable[[str, chat_pb2.ChatRequest], Awaitable[Received]]
"""Gets a turn's answer from the server at that address, whatever it takes."""


async def generic(address: str, request: chat_pb2.ChatRequest) -> Received:
    """As a program in any language does it."""
    return await persist(address, request, timeout=0.5)


async def client(address: str, request: chat_pb2.ChatRequest) -> Received:
    """As a program with this project's client does it, which is to notice nothing."""
    received = Received()
    retry = Retry(patience=20, initial_delay=0.002, max_delay=0.02)
    async with (
        MCPClient(address, retry=retry) as calls,
        calls.stream_chat(
            request.messages[0].parts[0].text,
            session=request.session.removeprefix("sessions/"),
            request_id=request.request_id,
        ) as stream,
    ):
        async for token in stream:
            received.text += token
        received.turn = stream.turn
    return received


@dataclass(slots=True)
class Tally:
    """What a run came to."""

    turns: int = 0
    connections: int = 0


async def measured(wire: Wire, ask: Ask) -> dict[Way, int]:
    """How many bytes a turn takes each way when nothing goes wrong."""
    await wire.create("measured")
    async with Proxy(wire.server.address, once()) as proxy:
        await ask(proxy.address, request_of("measured"))
    return dict(proxy.passed)


def request_of(name: str) -> chat_pb2.ChatRequest:
    """The request of the turn on the session with that id."""
    return chat_pb2.ChatRequest(session=f"sessions/{name}", messages=[user(f"ask {name}")], request_id=f"key-{name}")


def everywhere(sizes: dict[Way, int], *, kinds: Sequence[Kind], seed: int, stride: int = 1) -> list[Fault]:
    """A fault at each position of both streams, of one of the kinds; with a stride, at a random one of each stride."""
    generator = random.Random(seed)  # noqa: S311  # no secret
    return [
        Fault(kind=generator.choice(kinds), way=way, position=position + generator.randrange(stride), seconds=0.02)
        for way, size in sizes.items()
        for position in range(0, size + 1, stride)
    ]


async def suffer(wire: Wire, provider: Storyteller, ask: Ask, faults: Iterable[Fault], *, name: str) -> Tally:
    """Ask for one turn for each fault, and check it; ``name`` begins the ids of their sessions."""
    tally = Tally()
    ahead = enumerate(faults)

    async def work() -> None:
        for number, fault in ahead:
            await _suffer_one(wire, provider, ask, fault, f"{name}-{number}", tally)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return tally


async def _suffer_one(wire: Wire, provider: Storyteller, ask: Ask, fault: Fault, name: str, tally: Tally) -> None:
    session, request = f"sessions/{name}", request_of(name)
    question = text_of(request.messages[0])
    await wire.create(name)
    async with Proxy(wire.server.address, once(fault)) as proxy:
        received = await ask(proxy.address, request)
    tally.turns += 1
    tally.connections += proxy.connections
    assert received.text == answer(question), fault
    assert await wire.history(session) == [("USER", question), ("ASSISTANT", received.text)], fault
    assert provider.calls[question] == 1, fault
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=received.turn))
    assert turn.state == turn_pb2.TURN_STATE_SUCCEEDED, fault
    assert (len(turn.attempts), text_of(turn.message)) == (1, received.text), fault
