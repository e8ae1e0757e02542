"""A run: three tenants with several clients each on one server, among faults, kills, reloads and revoked keys.

What is promised:

- The usage of each tenant is the sum of the attempts of its turns, by key and session, to the token, and what the
  provider has counted. Tokens are compared for each attempt that succeeded, calls for each turn that no kill has met:
  of those that one has, the last calls may be missing, and an attempt that did not end may not have reached the
  provider.
- Nothing is held when nothing runs.
- Nothing of one tenant is seen by another: in no answer, list, error or prompt. Metrics and logs contain no texts.
- The streams of a revoked key end within a second, and nothing can be done with it any more.
- A used-up budget is refused with its limit and whom it binds, and the same request is accepted when it is raised.
- Memory, tasks, threads and descriptors at the end are those after the warm-up of the same process.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_server.values import SCOPES
from tests.auth.keys import new_key
from tests.soak.hostile.process import free_port
from tests.soak.tenants.audit import Balance
from tests.soak.tenants.clients import PATIENCE, Notes, Worker
from tests.soak.tenants.disturbances import Disturbances, opened
from tests.soak.tenants.process import TenantServer
from tests.soak.tenants.provider import Provider
from tests.soak.tenants.tenants import SettingsFile, new_tenants

CLIENTS: Final = 3
"""Of each tenant."""
SETTLING: Final = 2.0
"""Seconds in which the server lets go of what nobody wants any more."""
PHASES: Final = (("lives", 0.5), ("warm-up", 0.2), ("steady", 0.3))
"""The parts of a run, and their shares of its time: the process ends again and again in the first alone."""


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What a run came to."""

    disturbances: Counter[str]
    outcomes: Counter[str]
    balance: Balance
    slowest: float
    """How long a stream of a revoked key went on at most, in seconds."""
    held: list[dict[str, int]]
    """What the process held after the warm-up, and at the end."""
    problems: list[str]


async def served(folder: Path, *, seconds: float, seed: int) -> Outcome:
    """Run for so many seconds; all that is random follows from the seed.

    Args:
        folder: an empty one.
    """

    def chosen(what: str) -> random.Random:
        return random.Random(f"{seed}/tenants/{what}")  # noqa: S311  # no secret

    tenants, operator_key = new_tenants(), new_key("office", SCOPES)
    notes, provider = Notes(tenants), Provider(tenants, chosen("provider"))
    log, held, problems = folder / "log", list[dict[str, int]](), list[str]()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(provider.upstream)
        address, admin = (f"127.0.0.1:{free_port(chosen(port))}" for port in ("port", "admin port"))
        settings = SettingsFile(
            path=folder / "settings.toml",
            address=address,
            admin=admin,
            upstream=provider.upstream.url,
            tenants=tenants,
            operator=operator_key,
        )
        settings.write()
        server = TenantServer(settings.path, admin, log)
        stack.push_async_callback(server.kill)
        await server.start()
        clients = {
            (tenant.name, number): await stack.enter_async_context(opened(address, tenant.keys[number % 2].secret))
            for tenant in tenants
            for number in range(CLIENTS)
        }
        operator = await stack.enter_async_context(opened(address, operator_key.secret))
        admins = {
            tenant.name: await stack.enter_async_context(opened(address, tenant.keys[0].secret)) for tenant in tenants
        }
        for client in (*clients.values(), *admins.values(), operator):
            await client.whoami()  # whom a server has never answered is not patient with it
        disturbances = Disturbances(server, settings, provider, admins, notes, chosen("disturbances"))
        workers = [
            Worker(
                clients[tenant.name, number],
                tenant,
                tenant.keys[number % 2],
                f"{tenant.name}-{number}",
                chosen(f"{tenant.name} {number}"),
                notes,
            )
            for tenant in tenants
            for number in range(CLIENTS)
        ]
        for phase, share in PHASES:
            stopped = asyncio.Event()
            async with asyncio.timeout(seconds * share + 4 * PATIENCE), asyncio.TaskGroup() as group:
                for worker in workers:
                    group.create_task(worker.run(stopped))
                group.create_task(disturbances.run(stopped, lives=phase == "lives"))
                await asyncio.sleep(seconds * share)
                stopped.set()
            if phase != "lives":
                await asyncio.sleep(SETTLING)
                held.append(await server.held())
        balance = Balance()
        for tenant in tenants:
            await balance.check(admins[tenant.name], tenant, operator, notes, provider)
        problems += await disturbances.still_refused()
        shown = {"metrics": await server.metrics(), "the log": log.read_text()}
        problems += [
            f"{name} contain a text of {tenant.name}"
            for name, text in shown.items()
            for tenant in tenants
            if tenant.canary in text
        ]
        if status := await server.terminate():
            problems.append(f"the last SIGTERM: exit status {status}")
    return Outcome(
        disturbances=disturbances.counts,
        outcomes=notes.outcomes,
        balance=balance,
        slowest=disturbances.slowest,
        held=held,
        problems=[*notes.problems, *provider.problems, *balance.problems, *problems],
    )
