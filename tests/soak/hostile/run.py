"""A run: one server, its clients, its attackers, and a machine where everything goes wrong.

What is promised:

- While the server is up and its disk has room, a turn is answered within :data:`~tests.soak.hostile.outages.ANSWER`,
  whatever attackers do, whether the write-ahead log is removed or the clock set. The time in which the server or its
  clients wait for a processor is not counted.
- While it is down or its disk full, clients try the same request again. It is answered within that time after the end
  of the outage and the recovery of the clients. A full disk refuses with advice, and reading goes on.
- What was acknowledged is there at the end: each exchange once, in order, and each turn with its text.
- Every tenant sees its own sessions alone, and its ledger has the tokens of its turns.
- The memory stays below twice what the idle server takes, and what its settings allow callers to hold.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from mcp_client import MCPClient
from mcp_server.settings import ServerSettings
from tests.auth.keys import new_key
from tests.soak.hostile.attackers import attackers
from tests.soak.hostile.clients import PATIENCE, Canary, Conversation, Talker, Tenant, compared, opened, unbalanced
from tests.soak.hostile.disk import disk
from tests.soak.hostile.disturbances import Disturbances
from tests.soak.hostile.outages import Outages
from tests.soak.hostile.process import AttackedServer, Vitals
from tests.soak.hostile.report import Report

TALKERS: Final = tuple(f"talker-{number}" for number in range(4))
"""The tenants whose clients talk beside the canary."""
TENANTS: Final = ("canary", *TALKERS, "watcher", "attacker")
"""All of them."""
ATTACKS_AT_ONCE: Final = 2
QUIET: Final = 2.0
"""Seconds at the beginning in which only clients talk, which show what the server takes then."""
CONFIGURED: Final = ServerSettings().max_bytes_in_flight
"""Bytes that the callers of the server may hold of it."""


async def attacked(folder: Path, *, seconds: float, seed: int) -> Report:
    """Run for so many seconds; all that is random follows from the seed.

    Args:
        folder: an empty one, for the disk of the server.
    """

    def chosen(what: str) -> random.Random:
        return random.Random(f"{seed}/{what}")  # noqa: S311  # no secret

    outages, stopped = Outages(), asyncio.Event()
    longest = max(1.0, min(4.0, seconds / 15))
    log = folder / "log"
    async with AsyncExitStack() as stack:
        held = stack.enter_context(disk(folder / "disk", 128 + int(seconds)))
        keys = {name: new_key(name) for name in TENANTS}
        tenants = {name: Tenant(name=name, api_key=key.secret) for name, key in keys.items()}
        (folder / "keys").write_bytes(msgspec.json.encode({key.id: key.table for key in keys.values()}))
        server = AttackedServer(folder / "disk" / "sessions.db", folder / "keys", log, chosen("port"))
        stack.push_async_callback(server.kill)
        await server.start()
        vitals = Vitals(server)

        async def client(name: str, *, patient: bool = True) -> MCPClient:
            return await stack.enter_async_context(opened(server.address, tenants[name], patient=patient))

        conversation = Conversation(await client("canary"), "canary")
        await conversation.begin()
        canary = Canary(conversation, chosen("canary"))
        talkers = [Talker(await client(name), tenants[name], chosen(name)) for name in TALKERS]
        watcher = await client("watcher", patient=False)
        disturbances = Disturbances(server, held, outages, watcher, chosen("disturbances"), longest=longest)
        crowd = await stack.enter_async_context(attackers(server.address, tenants["attacker"].api_key))
        async with asyncio.timeout(seconds + 3 * PATIENCE), asyncio.TaskGroup() as group:
            group.create_task(canary.run(stopped))
            for talker in talkers:
                group.create_task(talker.run(stopped))
            await asyncio.sleep(QUIET)
            vitals.note_idle()
            watching = group.create_task(vitals.watch())
            working = [group.create_task(disturbances.run(stopped))]
            for number in range(ATTACKS_AT_ONCE):
                generator, connected = chosen(f"attack {number}"), disturbances.connected
                attack = crowd.run(generator, stopped, longest=longest, connected=connected)
                working.append(group.create_task(attack))
            await asyncio.sleep(seconds - QUIET)
            stopped.set()
            await asyncio.wait(working)
            watching.cancel()
        # What is only in memory does not count.
        problems = [f"SIGTERM: exit status {status}" for status in [await server.terminate()] if status]
        await server.start()
        conversations = [conversation, *[each for talker in talkers for each in talker.conversations]]
        problems += await compared(conversations)
        for name in ("canary", *TALKERS):
            problems += await unbalanced(await client(name), tenants[name])
        problems += [f"the last SIGTERM: exit status {status}" for status in [await server.terminate()] if status]
    return Report(
        exchanges=conversation.exchanges,
        turns=sum(len(each.exchanges) for each in conversations) - len(conversation.exchanges),
        outages=outages,
        starts=server.starts,
        attacks=crowd.attacks,
        outcomes=crowd.outcomes,
        disturbances=disturbances.counts,
        vitals=vitals,
        configured=CONFIGURED,
        log=log,
        problems=[
            *canary.problems,
            *disturbances.problems,
            *[one for each in talkers for one in each.problems],
            *problems,
        ],
    )
