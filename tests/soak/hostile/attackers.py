"""Has the server attacked from another process, so that the work of the attackers keeps no client waiting."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from tests.soak.hostile.attacks import ATTACKS, ENDLESS
from tests.soak.hostile.process import quiet_environment

NEW_CONNECTIONS: Final = "connections"
"""The attack that takes all places for connections. Clients that are connected stay so; nobody who comes later is
promised a place, so it begins only when all clients are connected."""
BAD: Final = frozenset(["INTERNAL", "unknown", "unimplemented", "data_loss", ENDLESS])
"""Outcomes of calls that are faults of the server, whatever it was sent."""


class Attackers:
    """The process.

    Attributes:
        attacks: how often each was made.
        outcomes: of calls, by attack.
    """

    def __init__(self, process: Process) -> None:
        self.attacks: Counter[str] = Counter()
        self.outcomes: dict[str, Counter[str]] = {name: Counter() for name in ATTACKS}
        self._process = process
        self._ends: dict[int, asyncio.Future[dict[str, int]]] = {}
        self._turns = {name: asyncio.Lock() for name in ATTACKS}

    async def run(
        self,
        generator: random.Random,
        stopped: asyncio.Event,
        *,
        longest: float,
        connected: Callable[[], Awaitable[None]],
    ) -> None:
        """Make one attack after the other, each for up to ``longest`` seconds, until ``stopped``; several may run this
        at once.

        Args:
            connected: returns when all clients are.
        """
        while not stopped.is_set():
            for name in generator.sample(list(ATTACKS), len(ATTACKS)):
                async with self._turns[name]:
                    if name == NEW_CONNECTIONS:
                        await connected()
                    if stopped.is_set():
                        return
                    await self._attack(name, generator.uniform(1, longest), str(generator.random()))
                await asyncio.sleep(generator.uniform(0, 1))

    async def _attack(self, name: str, seconds: float, seed: str) -> None:
        assert self._process.stdin is not None
        number = self.attacks.total()
        self.attacks[name] += 1
        self._ends[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(f"{json.dumps([number, name, seconds, seed])}\n".encode())
        self.outcomes[name].update(await self._ends[number])

    async def read(self) -> None:
        """Take in what it prints, until it ends."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number, outcomes = json.loads(line)
            self._ends.pop(number).set_result(outcomes)
        for end in self._ends.values():
            if not end.done():
                end.set_exception(AssertionError("the attackers have ended"))


@asynccontextmanager
async def attackers(address: str, api_key: str) -> AsyncIterator[Attackers]:
    """Start the process, and end it. Some of its calls are made with the API key."""
    command = (sys.executable, "-m", "tests.soak.hostile.attacks", address, api_key)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=quiet_environment())
    all_of_them = Attackers(process)
    reading = asyncio.create_task(all_of_them.read())
    try:
        yield all_of_them
    finally:
        process.kill()
        await process.wait()
        await reading
