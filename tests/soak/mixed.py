"""A load of different clients on one server, each behind a network that cuts its connections again and again.

Whatever the network does, each answer is whole, each exchange is once in its session, in order, and the model was asked
each question once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from tests.faults.caller import OPTIONS
from tests.faults.proxy import Fault, Kind, Plan, Proxy, Way
from tests.soak import process
from tests.soak.clients import PATIENCE, WORKERS, Client, Sent, Start, Turn
from tests.soak.server import answer
from tests.wire import Wire

TURNS_OF_A_SESSION: Final = 10
"""After so many turns its history is looked at, and another session begins."""
LEAVING: Final = 10.0
"""Seconds that the server is given to let go of everything when all clients have gone."""
REACH: Final = {Way.TO_SERVER: 2000, Way.TO_CLIENT: 16000}
"""How far into a connection its end may be, in bytes: some turns."""
LEFT: Final = ("live turns", "logs of turns", "readers")
"""What the server is to hold none of in the end."""


@dataclass(slots=True)
class Figures:
    """What one client came to."""

    turns: int = 0
    """That were answered, with whole answers."""
    connections: int = 0
    """That it made for them."""
    sent: Sent = field(default_factory=Sent)
    """What was sent again."""
    longest: float = 0.0
    """Seconds of the slowest turn."""
    seconds: float = 0.0
    """Of all of them, side by side."""


@dataclass(slots=True)
class Load:
    """What a load came to."""

    figures: Mapping[str, Figures]
    """By client."""
    asked: Mapping[str, int]
    """How often the model was asked each question."""
    left: Mapping[str, int]
    """What the server still holds of turns."""
    status: int | None = None
    """How the server ended."""


def mortal(generator: random.Random, *, silent: bool) -> Plan:
    """Each connection ends somewhere, and may stutter before.

    Args:
        generator: decides.
        silent: whether some end without telling anybody.
    """
    ends = [Kind.CLOSE, Kind.RESET] * 50 + [Kind.STALL] * silent

    def fault(kinds: Sequence[Kind]) -> Fault:
        way = generator.choice(list(Way))
        position = generator.randrange(REACH[way])
        return Fault(kind=generator.choice(kinds), way=way, position=position, seconds=generator.uniform(0, 0.1))

    return lambda _: [fault(ends), fault([Kind.DELAY, Kind.SPLIT])]


async def load(
    folder: Path, clients: Mapping[str, Start], numbers: Callable[[], Iterator[int]], *, seed: int, silent: bool
) -> Load:
    """All clients at once, on one server.

    Args:
        folder: for the server's database.
        clients: how each is started, by its name.
        numbers: makes those of the turns of one client, which ends when they do.
        seed: of all that is random.
        silent: whether some connections end without telling anybody. It takes clients some time to notice.
    """
    async with process.started(folder, str(PATIENCE)) as server:
        async with (
            grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel,
            asyncio.TaskGroup() as group,
        ):
            wire = Wire(None, channel)  # type: ignore[arg-type]  # it runs elsewhere
            tasks = {}
            for name, start in clients.items():
                plan = mortal(random.Random(f"{seed}/{name}/network"), silent=silent)  # noqa: S311  # no secret
                choices = random.Random(f"{seed}/{name}/turns")  # noqa: S311  # no secret
                one = _one_client(name, start, Proxy(server.address, plan), wire, numbers(), choices)
                tasks[name] = group.create_task(one)
        figures = {name: task.result() for name, task in tasks.items()}
        result = Load(figures, await server.asked(), await _left(server))
    result.status = server.status
    return result


async def _left(server: process.Server) -> dict[str, int]:
    """What the server still holds when it has had the time to see that all have gone."""
    end = time.monotonic() + LEAVING
    while True:
        held = await server.held()
        left = {what: held[what] for what in LEFT}
        if not any(left.values()) or time.monotonic() > end:
            return left
        await asyncio.sleep(0.1)


async def _one_client(
    name: str, start: Start, proxy: Proxy, wire: Wire, numbers: Iterator[int], generator: random.Random
) -> Figures:
    figures = Figures()
    prefix = "".join(letter for letter in name.lower() if letter.isalnum())
    async with proxy, start(proxy.address) as client:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                worker = _Worker(wire, client, f"{prefix}-{number}", generator, figures)
                group.create_task(worker.run(numbers))
        figures.seconds = time.monotonic() - began
        figures.connections, figures.sent = proxy.connections, await client.sent()
    return figures


class _Worker:
    """Has one turn after the other asked, and knows what each must come to.

    Args:
        wire: stubs of a connection that suffers nothing.
        client: asks.
        name: begins the ids of its sessions, and of all that it asks.
        generator: decides.
        figures: are counted on.
    """

    def __init__(self, wire: Wire, client: Client, name: str, generator: random.Random, figures: Figures) -> None:
        self._wire = wire
        self._client = client
        self._name = name
        self._random = generator
        self._figures = figures
        self._session = ""
        self._expected: list[tuple[str, str]] = []
        """What must be in the session."""

    async def run(self, numbers: Iterator[int]) -> None:
        """A turn for each of the numbers, from which others take as well."""
        for number in numbers:
            if len(self._expected) == 2 * TURNS_OF_A_SESSION:
                await self._look()
            if not self._session:
                self._session = (await self._wire.create(f"{self._name}-{number}")).name
            await self._ask(number)
        await self._look()

    async def _ask(self, number: int) -> None:
        words, pause = self._random.randrange(1, 40), self._random.choice([0, 1, 1, 5, 20])
        turn = Turn(
            text=f"{words} {pause} {self._name}-{number}",
            session=self._random.choice([self._session, ""]),
            request_id=f"{self._name}-{number}",
            streamed=self._random.random() < 0.7,
        )
        began = time.monotonic()
        try:
            text = await self._client.ask(turn)
        except Exception as error:
            raise AssertionError(f"{turn} was not answered") from error
        whole = "".join(answer(turn.text))
        assert text == whole, turn
        self._figures.turns += 1
        self._figures.longest = max(self._figures.longest, time.monotonic() - began)
        if turn.session:
            self._expected += [("USER", turn.text), ("ASSISTANT", whole)]

    async def _look(self) -> None:
        """Each exchange is there once, in order."""
        if self._session:
            assert await self._wire.history(self._session, page_size=1000) == self._expected, self._session
        self._session, self._expected = "", []
