"""What attackers do to the server, in a process of their own.

Arguments: the address, and an API key. For each line that it reads, ``[number, attack, seconds, seed]`` in JSON, it
begins that attack; when the attack has ended it prints ``[number, calls by outcome]``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

import grpc

from contextprotocol.v1 import chat_pb2, model_pb2, session_pb2, turn_pb2
from tests.costly import METHODS, different, fields, filled, is_map, path_of
from tests.faults.caller import reason_of
from tests.faults.proxy import Fault, Kind, Proxy, Way
from tests.http2 import PREFACE, SETTINGS, connect, frame, resets
from tests.wire import Wire, user

CONNECTIONS: Final = 400
"""Of a flood: more than the server takes."""
HALF_SENT: Final = 64
"""Messages that are never complete, at a time."""
SLOW_READERS: Final = 400
"""Readers that take nothing, at a time."""
WORKERS: Final = 64
"""Calls of a flood at a time, on :data:`CHANNELS` connections."""
CHANNELS: Final = 8
ENDING: Final = 20.0
"""Seconds after which calls of an attack that is over must have ended."""
ENDLESS: Final = "without an end"
"""The outcome of such a call."""
MIB: Final = 1 << 20
LARGEST: Final = 16 * MIB - 100
"""The largest message, in bytes."""
OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


class Target(NamedTuple):
    """What is attacked."""

    address: str
    metadata: tuple[tuple[str, str], ...]
    """Of calls."""


Attack = Callable[[Target, float, random.Random, Counter[str]], Awaitable[None]]
"""Goes on for so many seconds, and counts its calls by their outcomes."""


async def flood_connections(target: Target, seconds: float, generator: random.Random, outcomes: Counter[str]) -> None:
    """Open more connections than there may be, and say nothing, or only that HTTP/2 follows."""
    host, _, port = target.address.rpartition(":")
    end = time.monotonic() + seconds
    writers = []
    try:
        for _ in range(CONNECTIONS):
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                outcomes["connection refused"] += 1
                break
            outcomes["connected"] += 1
            writers.append(writer)
            if generator.random() < 0.5:
                writer.write(PREFACE + frame(SETTINGS, 0, 0, b""))
        await asyncio.sleep(end - time.monotonic())
    finally:
        for writer in writers:
            writer.close()


async def reset(target: Target, seconds: float, generator: random.Random, outcomes: Counter[str]) -> None:
    """Begin calls and reset them at once, as fast as connections take them."""
    end, stopped = time.monotonic() + seconds, threading.Event()

    def attack() -> None:
        while time.monotonic() < end and not stopped.is_set():
            with contextlib.suppress(OSError), connect(target.address) as connection:
                for first in range(1, 20_000, 2000):
                    connection.sendall(resets("/contextprotocol.v1.ChatService/StreamChat", first, 1000))
                    outcomes["reset"] += 1000
                    if time.monotonic() > end or stopped.is_set():
                        return
            stopped.wait(0.05)

    try:
        await asyncio.to_thread(attack)
    finally:
        stopped.set()


async def send_halves(target: Target, seconds: float, generator: random.Random, outcomes: Counter[str]) -> None:
    """Send the largest messages, and stop before they are complete."""
    body, end = bytes(LARGEST), time.monotonic() + seconds

    def stall() -> Fault:
        return Fault(kind=Kind.STALL, way=Way.TO_SERVER, position=generator.randrange(MIB, LARGEST))

    def calls(channel: grpc.aio.Channel) -> list[Any]:
        call: Any = channel.unary_unary(path_of(generator.choice(METHODS)))
        return [call(body, metadata=target.metadata)]

    await _stalled(target.address, stall, HALF_SENT, calls, end, outcomes)


async def read_slowly(target: Target, seconds: float, generator: random.Random, outcomes: Counter[str]) -> None:
    """Ask for large answers, and take nothing of them."""
    end = time.monotonic() + seconds
    async with _channels(target.address, 1) as (channel,):
        wire = Wire(None, channel)  # type: ignore[arg-type]  # it runs elsewhere
        session = turn = ""
        while not turn:
            try:
                create = wire.sessions.CreateSession(session_pb2.CreateSessionRequest(), metadata=target.metadata)
                session = (await create).name
                request = chat_pb2.ChatRequest(session=session, messages=[user("20000 0 x")])
                turn = (await wire.chat.Chat(request, metadata=target.metadata)).turn
            except grpc.aio.AioRpcError as error:
                outcomes[_outcome(error)] += 1
                if time.monotonic() > end:
                    return
                await asyncio.sleep(0.2)

    def stall() -> Fault:
        return Fault(kind=Kind.STALL, way=Way.TO_CLIENT, position=2000)

    def calls(channel: grpc.aio.Channel) -> list[Any]:
        wire = Wire(None, channel)  # type: ignore[arg-type]  # it runs elsewhere
        watch = turn_pb2.StreamTurnRequest(name=turn)
        opened = [wire.turns.StreamTurn(watch, metadata=target.metadata) for _ in range(SLOW_READERS // CHANNELS)]
        listed = wire.sessions.ListMessages(session_pb2.ListMessagesRequest(parent=session), metadata=target.metadata)
        return [listed, *map(_drained, opened)]

    await _stalled(target.address, stall, CHANNELS, calls, end, outcomes)


async def send_costly(target: Target, seconds: float, generator: random.Random, outcomes: Counter[str]) -> None:
    """Send what takes the most work for its size, to every method."""
    end = time.monotonic() + seconds

    async def send(channel: grpc.aio.Channel) -> None:
        while time.monotonic() < end:
            method = generator.choice(METHODS)
            path = generator.choice(list(fields(method.input_type)))
            size = LARGEST if len(path) == 1 and generator.random() < 0.1 else generator.choice([60_000, MIB])
            body = (different if is_map(path[-1]) and generator.random() < 0.5 else filled)(path, size)
            make: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
            call = make(path_of(method))(body, timeout=end - time.monotonic() + 1, metadata=target.metadata)
            await _count(outcomes, _drained(call) if method.server_streaming else call)

    async with _channels(target.address, 4) as all:
        await asyncio.gather(*[send(channel) for channel in all])


async def flood_calls(target: Target, seconds: float, generator: random.Random, outcomes: Counter[str]) -> None:
    """Make many cheap calls at once: turns without a session, streams that are left at once, and reads."""
    end = time.monotonic() + seconds

    async def work(channel: grpc.aio.Channel) -> None:
        wire = Wire(None, channel)  # type: ignore[arg-type]  # it runs elsewhere
        ask = chat_pb2.ChatRequest(messages=[user("1 0 x")])
        while time.monotonic() < end:
            choice, left = generator.random(), end - time.monotonic() + 1
            if choice < 0.3:
                await _count(outcomes, wire.chat.Chat(ask, timeout=left, metadata=target.metadata))
            elif choice < 0.4:
                stream = wire.chat.StreamChat(ask, timeout=left, metadata=target.metadata)
                await asyncio.sleep(generator.uniform(0, 0.002))
                stream.cancel()
                outcomes["left"] += 1
            elif choice < 0.7:
                request = session_pb2.GetSessionRequest(name="sessions/nobody-knows")
                await _count(outcomes, wire.sessions.GetSession(request, timeout=left, metadata=target.metadata))
            else:
                await _count(
                    outcomes,
                    wire.models.ListModels(model_pb2.ListModelsRequest(), timeout=left, metadata=target.metadata),
                )

    async with _channels(target.address, CHANNELS) as all:
        await asyncio.gather(*[work(all[number % CHANNELS]) for number in range(WORKERS)])


ATTACKS: Final[Mapping[str, Attack]] = {
    "connections": flood_connections,
    "resets": reset,
    "half-sent messages": send_halves,
    "slow readers": read_slowly,
    "costly requests": send_costly,
    "cheap calls": flood_calls,
}


@asynccontextmanager
async def _channels(address: str, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    """So many connections."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options=OPTIONS)) for _ in range(count)
        ]


async def _stalled(
    address: str,
    stall: Callable[[], Fault],
    connections: int,
    calls: Callable[[grpc.aio.Channel], Sequence[Awaitable[Any]]],
    end: float,
    outcomes: Counter[str],
) -> None:
    """Make calls on connections that stall, and count how they end; those that have not ended by then lose their
    connection.

    gRPC keeps no deadline of a call whose message is stuck on its way.
    """
    async with AsyncExitStack() as stack:
        async with Proxy(address, lambda _: [stall()]) as proxy:
            channels = await stack.enter_async_context(_channels(proxy.address, connections))
            counting = [asyncio.create_task(_count(outcomes, call)) for channel in channels for call in calls(channel)]
            await asyncio.wait(counting, timeout=max(0.0, end - time.monotonic()))
            proxy.cut_all()
        ended, left = await asyncio.wait(counting, timeout=1)
        for call in left:  # on connections that were made at the last moment
            call.cancel()
        outcomes["left"] += len(left)
        await asyncio.gather(*ended)


async def _drained(stream: Any) -> None:
    async for _ in stream:
        pass


async def _count(outcomes: Counter[str], call: Awaitable[Any]) -> None:
    """Count how the call ends. One that fails is not repeated at once."""
    try:
        await call
        outcomes["OK"] += 1
    except grpc.aio.AioRpcError as error:
        outcomes[_outcome(error)] += 1
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            await asyncio.sleep(0.1)


def _outcome(error: grpc.aio.AioRpcError) -> str:
    """The reason that the server gives; without one, the status in lower case: it is gRPC's own."""
    return reason_of(error) or error.code().name.lower()


async def main(address: str, api_key: str) -> None:
    """Attack as often as a line asks for it."""
    target = Target(address, (("authorization", f"Bearer {api_key}"),))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    async def attack(number: int, name: str, seconds: float, seed: str) -> None:
        outcomes: Counter[str] = Counter()
        try:
            async with asyncio.timeout(seconds + ENDING):
                await ATTACKS[name](target, seconds, random.Random(seed), outcomes)  # noqa: S311  # no secret
        except TimeoutError:
            outcomes[ENDLESS] += 1
        print(json.dumps([number, outcomes]), flush=True)  # noqa: T201  # this is what the soak reads

    async with asyncio.TaskGroup() as group:
        while line := await lines.readline():
            group.create_task(attack(*json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
