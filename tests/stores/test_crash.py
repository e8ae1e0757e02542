"""No acknowledged change is lost when the process is killed."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest

from mcp_server.stores.sqlite import SQLiteStore
from mcp_server.testing.contracts.stores.values import texts
from mcp_server.values import TurnState
from tests.stores.crashing import SESSIONS

KILLS = 20
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """After every kill, each acknowledged change is in the file, complete and once."""
    path = tmp_path / "sessions.db"
    generator = random.Random(11)  # noqa: S311  # no secret
    acknowledged: set[str] = set()
    for number in range(KILLS):
        lines = await killed(path, number, after=generator.randint(1, 200))
        acknowledged |= {name for what, name in lines if what == "exchange"}
        await check(path, number, acknowledged, gone={name for what, name in lines if what == "gone"})
    assert len(acknowledged) > 20 * KILLS


async def killed(path: Path, number: int, *, after: int) -> list[list[str]]:
    """Kill the program after it has acknowledged ``after`` changes, and return everything that it has printed."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.stores.crashing", str(path), str(number), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert program.stdout is not None
    lines = [await program.stdout.readline() for _ in range(after)]
    program.kill()
    lines += (await program.stdout.read()).splitlines(keepends=True)
    assert await program.wait() == -signal.SIGKILL
    return [line.decode().split() for line in lines if line.endswith(b"\n")]


async def check(path: Path, number: int, acknowledged: set[str], *, gone: set[str]) -> None:
    """Check that every acknowledged exchange is stored once, and every stored one is complete, with its turn."""
    store = SQLiteStore(path)
    await store.open()
    found: list[str] = []
    for n in range(SESSIONS):
        history = [text.split() for text in await texts(store, f"uid-s{n}")]
        exchanges = [exchange for exchange, _ in history[::2]]
        assert history == [[exchange, word] for exchange in exchanges for word in ("asks", "answers")]
        stored = await store.session("t", f"s{n}")
        assert stored is not None
        assert stored.message_count == len(history)
        found += exchanges
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    new = [exchange for exchange in found if exchange.startswith(f"{number}-")]
    turns = await asyncio.gather(*[store.turn("t", exchange) for exchange in new])
    assert {turn and turn.state for turn in turns} <= {TurnState.SUCCEEDED}
    assert {tuple(await store.events("t", exchange)) for exchange in new} <= {(b"begun",)}
    sessions = await asyncio.gather(*[store.session("t", name + end) for name in gone for end in ("", "-fork")])
    assert set(sessions) <= {None}
    await store.close()
