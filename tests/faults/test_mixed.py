"""Different clients at once on one server, each behind a network that cuts its connections."""

from __future__ import annotations

from pathlib import Path

from tests.soak.clients import starts
from tests.soak.mixed import load

TURNS = 40
"""Of each client."""


async def test_python(tmp_path: Path, seed: int) -> None:
    """Each answer is whole, each exchange once in its session, in order, and the model was asked each question once."""
    clients = starts([], tmp_path)
    result = await load(tmp_path, clients, lambda: iter(range(TURNS)), seed=seed, silent=False)
    print(result.figures)  # noqa: T201
    assert {name: figures.turns for name, figures in result.figures.items()} == dict.fromkeys(clients, TURNS)
    assert set(result.asked.values()) == {1}
    assert len(result.asked) == TURNS * len(clients)
    assert not any(result.left.values()), result.left
    assert result.status == 0
