"""Workers that are killed at any moment lose no job and answer none twice: ``examples/queue_worker``."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server.errors import ProviderRejected
from mcp_server.interfaces import Finish
from mcp_server.settings import TurnSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import Gate, ScriptedProvider, running
from tests.examples.conftest import serving
from tests.examples.programs import Program, printed, started
from tests.faults.proxy import Proxy
from tests.killable import calls_in, words

replace = msgspec.structs.replace

QUEUE = "queue_worker/jobs.py"
WORKER = "queue_worker/worker.py"
JOBS = {f"order-{number}": f"{20 + 10 * number} words" for number in range(8)}


@asynccontextmanager
async def working(file: Path, address: str, *, lease: float = 0.2) -> AsyncIterator[Program]:
    """A worker, at work. It is killed at the end."""
    async with started(WORKER, file, address=address, variables={"LEASE": f"{lease}"}) as program:
        await program.until("waiting for jobs")
        yield program


def add(file: Path, jobs: dict[str, str]) -> None:
    """As ``jobs.py FILE add`` does, without a process for each of them."""
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.executemany("INSERT INTO jobs (id, prompt) VALUES (?, ?)", jobs.items())


def rows(file: Path) -> dict[str, list[Any]]:
    """The answer, the error and the turn of each job."""
    with closing(sqlite3.connect(file, timeout=30)) as database:
        return {id: row for id, *row in database.execute("SELECT id, answer, error, turn FROM jobs ORDER BY rowid")}


def due(file: Path) -> float:
    """When ``order-0`` may be taken again."""
    with closing(sqlite3.connect(file, timeout=30)) as database:
        (seconds,) = database.execute("SELECT due FROM jobs WHERE id = 'order-0'").fetchone()
    return float(seconds)


def unfinished(file: Path) -> list[str]:
    return [id for id, (answer, error, _) in rows(file).items() if answer is None and error is None]


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A queue with one job."""
    file = tmp_path / "jobs.db"
    assert await printed(QUEUE, file, "add", "order-0", JOBS["order-0"], address="") == ""
    return file


async def test_a_job_is_answered_once_however_often_it_is_added(file: Path, proxy: Proxy, tmp_path: Path) -> None:
    """The producer may be killed too."""
    await printed(QUEUE, file, "add", "order-0", JOBS["order-0"], address="")
    assert await printed(QUEUE, file, address="") == "order-0: waiting\n"
    async with serving(tmp_path, proxy), working(file, proxy.address) as worker:
        await worker.until("order-0 answered")
        await printed(QUEUE, file, "add", "order-0", JOBS["order-0"], address="")
    expected = "".join(words(JOBS["order-0"]))
    assert await printed(QUEUE, file, address="") == f"order-0: {expected}\n"
    assert calls_in(tmp_path) == {JOBS["order-0"]: 1}


async def test_workers_that_are_killed_lose_nothing(file: Path, proxy: Proxy, tmp_path: Path) -> None:
    """Two at once, killed at other moments each time, until all is done: the model was asked once for each job."""
    add(file, dict(list(JOBS.items())[1:]))
    async with serving(tmp_path, proxy):
        for moment in range(1, 50):
            async with working(file, proxy.address), working(file, proxy.address):
                await asyncio.sleep(0.03 * moment)  # whatever they are doing then
            if not unfinished(file):
                break
    assert {id: row[:2] for id, row in rows(file).items()} == {
        id: ["".join(words(prompt)), None] for id, prompt in JOBS.items()
    }
    assert calls_in(tmp_path) == dict.fromkeys(JOBS.values(), 1)
    assert moment > 1, "they were never killed at work"


async def test_a_server_that_is_killed_too_answers_each_job_once(file: Path, proxy: Proxy, tmp_path: Path) -> None:
    """What it had not finished it generates again, under the same name; what it had finished it does not."""
    add(file, dict(list(JOBS.items())[1:]))
    async with AsyncExitStack() as stack:
        async with serving(tmp_path, proxy):
            worker = await stack.enter_async_context(working(file, proxy.address, lease=60))
            await worker.until("order-1 answered")
        asked = calls_in(tmp_path)
        async with serving(tmp_path, proxy):
            await worker.until(f"{list(JOBS)[-1]} answered")
    assert {id: row[0] for id, row in rows(file).items()} == {id: "".join(words(text)) for id, text in JOBS.items()}
    assert [prompt for prompt, count in calls_in(tmp_path).items() if count > 1] in ([], list(asked)[-1:])
    assert sum(calls_in(tmp_path).values()) <= len(JOBS) + 1
    assert len({turn for _, _, turn in rows(file).values()}) == len(JOBS)


async def test_a_lease_that_is_too_short_costs_nothing(file: Path) -> None:
    """A second worker waits for the same answer."""
    gate = Gate()
    provider = ScriptedProvider(["an ", gate, "answer", Finish()])
    async with (
        running(providers={"scripted": provider}) as server,
        working(file, server.address, lease=0.1) as one,
    ):
        await gate.reached.wait()
        first = due(file)
        async with working(file, server.address, lease=60) as two:
            while due(file) == first:  # noqa: ASYNC110  # a file does not announce its changes
                await asyncio.sleep(0.01)
            gate.open()
            done = [asyncio.create_task(worker.until("order-0 answered")) for worker in (one, two)]
            await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.cancel()
            await asyncio.gather(*done, return_exceptions=True)
    assert rows(file)["order-0"][0] == "an answer"
    assert len(provider.requests) == 1


async def test_a_turn_waits_for_the_next_worker(file: Path) -> None:
    """It is not cancelled when the first one dies, which would be the end of the job."""
    gate = Gate()
    provider = ScriptedProvider(["an ", gate, "answer", Finish()])
    config = replace(settings(default_model="scripted/scripted"), turns=TurnSettings(disconnect_grace=0.01))
    async with running(config, providers={"scripted": provider}) as server:
        async with working(file, server.address):
            await gate.reached.wait()
        async with working(file, server.address) as second:
            gate.open()
            await second.until("order-0 answered")
    assert rows(file)["order-0"][0] == "an answer"
    assert (len(provider.requests), provider.cancelled) == (1, 0)


async def test_a_job_that_cannot_be_answered_holds_up_no_other(file: Path) -> None:
    """Its error is kept in its place."""
    add(file, {"order-1": "Hello"})
    refusal = ProviderRejected("not this", metadata={"cause": "content"})
    provider = ScriptedProvider([refusal], ["Hello!", Finish()])
    async with running(providers={"scripted": provider}) as server, working(file, server.address) as worker:
        await worker.until("order-1 answered")
        assert "order-0 failed" in worker.output
    listed = await printed(QUEUE, file, address="")
    assert "order-0: " in listed and "not this" in listed and "order-1: Hello!\n" in listed
