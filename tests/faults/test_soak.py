"""The soak in a short form: a little of everything, and nothing left of it."""

from __future__ import annotations

import io

from rich.console import Console

from tests.soak.__main__ import Result, run


async def test_a_short_soak_leaves_nothing_behind(seed: int) -> None:
    """No task, no turn, no connection, no memory; and what it did is told."""
    result = Result(seed)
    await run(result, seconds=6, sessions=20, kills=0, positions=0, upstreams=3)
    output = io.StringIO()
    Console(file=output, width=200).print(result.table())
    assert result.good, output.getvalue()
    assert f"--seed {seed}" in output.getvalue()
