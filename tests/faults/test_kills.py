"""The process dies in the middle of turns."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.faults.kills import Lives

KILLS = 12
SIDES = 2


@pytest.mark.timeout(300)
async def test_a_turn_is_whole_or_interrupted_after_a_kill(tmp_path: Path, seed: int) -> None:
    """At random moments, tens of times: nothing halfway, nothing paid for twice, and the same request goes on."""
    folders = [tmp_path / str(side) for side in range(SIDES)]
    for folder in folders:
        folder.mkdir()
    lives = [Lives(folder, random.Random(f"{seed}/{side}")) for side, folder in enumerate(folders)]  # noqa: S311  # no secret
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(life.run(KILLS, longest=0.6)) for life in lives]
    for tally in [task.result() for task in running]:
        assert tally.interrupted > KILLS, tally
        assert tally.succeeded > KILLS, tally
        assert tally.kept > 0, tally
