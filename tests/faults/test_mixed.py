"""Different clients at once on one server, each behind a network that cuts its connections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.interop.languages import LANGUAGES
from tests.soak.clients import starts
from tests.soak.mixed import load

TURNS = 40
"""Of each client."""


@pytest.mark.timeout(60, func_only=True)  # what is built for other languages takes its time
@pytest.mark.parametrize("languages", [(), ("go", "node")], ids=["python", "all"])
async def test_a_mixed_load(languages: Sequence[str], pytestconfig: pytest.Config, tmp_path: Path, seed: int) -> None:
    """Each answer is whole, each exchange once in its session, in order, and the model was asked each question once."""
    chosen = [language for language in LANGUAGES if language.folder in languages]
    if missing := [f"{one.title}: this machine lacks {', '.join(one.missing)}" for one in chosen if one.missing]:
        pytest.skip("; ".join(missing))
    clients = starts(chosen, pytestconfig.cache.mkdir("interop"))
    result = await load(tmp_path, clients, lambda: iter(range(TURNS)), seed=seed, silent=False)
    print(result.figures)  # noqa: T201  # shown where it fails
    assert {name: figures.turns for name, figures in result.figures.items()} == dict.fromkeys(clients, TURNS)
    assert set(result.asked.values()) == {1}
    assert len(result.asked) == TURNS * len(clients)
    assert not any(result.left.values()), result.left
    assert result.status == 0
