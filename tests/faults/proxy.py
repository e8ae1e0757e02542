"""A TCP proxy that does to connections what networks do: it cuts, stalls, delays and splits them, at any byte."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

_CHUNK: Final = 1 << 16
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: closing the socket sends RST instead of FIN."""


class Way(enum.Enum):
    """Which bytes of a connection are meant."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


class Kind(enum.Enum):
    """What happens."""

    CLOSE = "close"
    """Both ends see the end of the connection, as if the other had closed it."""
    RESET = "reset"
    """Both ends see that the other knows nothing of the connection any more."""
    STALL = "stall"
    """Nothing passes from there on, and nobody is told."""
    DELAY = "delay"
    """Nothing passes for some time; then it goes on."""
    SPLIT = "split"
    """From there on each byte travels alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Something that happens to a connection."""

    kind: Kind
    """What."""
    way: Way
    """To which of its two streams; a cut ends both."""
    position: int
    """After how many bytes."""
    seconds: float = 0.0
    """How long a DELAY lasts."""


Plan = Callable[[int], Sequence[Fault]]
"""What happens to the connection with that number, from 0 in the order in which they are made."""


def once(*faults: Fault) -> Plan:
    """To the first connection only."""
    return lambda number: faults if number == 0 else ()


def at_random(generator: random.Random, *, share: float, reach: int) -> Plan:
    """A fault of any kind to that share of the connections, somewhere in the first ``reach`` bytes of a stream."""

    def plan(_: int) -> Sequence[Fault]:
        if generator.random() >= share:
            return ()
        kind, way = generator.choice(list(Kind)), generator.choice(list(Way))
        return [Fault(kind=kind, way=way, position=generator.randrange(reach), seconds=generator.uniform(0, 0.2))]

    return plan


class Proxy:
    """Passes connections on, with faults: an async context manager.

    Args:
        target: ``host:port`` of the server.
        plan: what goes wrong.

    Attributes:
        address: where it listens, while it is entered.
        passed: how many bytes have gone each way, of all connections together.
        connections: how many have been made.
    """

    def __init__(self, target: str, plan: Plan) -> None:
        self.address = ""
        self.passed = dict.fromkeys(Way, 0)
        self.connections = 0
        self.switch(target)
        self._plan = plan
        self._open: set[_Connection] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def switch(self, target: str) -> None:
        """Pass new connections on to another server."""
        self._host, _, self._port = target.rpartition(":")

    def cut_all(self) -> None:
        """Reset every connection now."""
        for connection in self._open:
            connection.reset()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:  # it was on its way in already
            writer.transport.abort()
            return
        faults = self._plan(self.connections)
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer, faults))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: Sequence[Fault]) -> None:
        connection = _Connection([writer])
        self._open.add(connection)
        # A connection ends in many ways here, and all of them are what this is for.
        try:
            with contextlib.suppress(OSError):
                from_server, to_server = await asyncio.open_connection(self._host, int(self._port))
                connection.ends.append(to_server)
                ways = {Way.TO_SERVER: (reader, to_server), Way.TO_CLIENT: (from_server, writer)}
                await self._both(connection, ways, faults)
        finally:
            self._open.discard(connection)
            connection.close()

    async def _both(
        self,
        connection: _Connection,
        ways: dict[Way, tuple[asyncio.StreamReader, asyncio.StreamWriter]],
        faults: Sequence[Fault],
    ) -> None:
        """Pass on what comes from both ends, until one of them ends."""
        tasks = [
            asyncio.create_task(self._pass(connection, way, *ends, [fault for fault in faults if fault.way is way]))
            for way, ends in ways.items()
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass(
        self,
        connection: _Connection,
        way: Way,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        faults: Sequence[Fault],
    ) -> None:
        """Pass one stream on, until it ends or is cut."""
        ahead = deque(sorted(faults, key=lambda fault: fault.position))
        position, alone, data = 0, False, b""

        async def write(piece: bytes) -> None:
            for part in [piece[n : n + 1] for n in range(len(piece))] if alone else [piece]:
                sink.write(part)
                await sink.drain()
                if alone:
                    await asyncio.sleep(0)
            self.passed[way] += len(piece)

        while True:
            while ahead and ahead[0].position <= position + len(data):
                fault = ahead.popleft()
                head, data = data[: fault.position - position], data[fault.position - position :]
                await write(head)
                position += len(head)
                match fault.kind:
                    case Kind.CLOSE:
                        return
                    case Kind.RESET:
                        connection.reset()
                        return
                    case Kind.STALL:
                        await asyncio.Event().wait()
                    case Kind.DELAY:
                        await asyncio.sleep(fault.seconds)
                    case Kind.SPLIT:
                        alone = True
            await write(data)
            position += len(data)
            data = await source.read(_CHUNK)
            if not data:
                return


@dataclass(eq=False, slots=True)
class _Connection:
    """The ends of one connection: the client's, then the server's."""

    ends: list[asyncio.StreamWriter] = field(default_factory=list)

    def close(self) -> None:
        for end in self.ends:
            end.close()

    def reset(self) -> None:
        for end in self.ends:
            peer: socket.socket | None = end.get_extra_info("socket")
            if peer is not None and peer.fileno() >= 0:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            end.transport.abort()
