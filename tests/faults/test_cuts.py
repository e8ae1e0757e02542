"""A streamed turn whose connection fails at every byte: the text is the same, and the provider is asked once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from tests.conftest import Serve
from tests.faults.cuts import Ask, Storyteller, client, everywhere, generic, measured, suffer
from tests.faults.proxy import Kind

CUTS = (Kind.CLOSE, Kind.RESET)


@pytest.mark.parametrize(
    ("ask", "kinds", "stride"),
    [
        pytest.param(generic, CUTS, 1, id="cut"),
        pytest.param(client, CUTS, 5, id="cut-client"),
        pytest.param(generic, (Kind.STALL,), 25, id="stalled"),
        pytest.param(generic, (Kind.DELAY, Kind.SPLIT), 10, id="slowed"),
    ],
)
async def test_a_turn_survives_its_connection_at_every_byte(
    serve: Serve, tmp_path: Path, seed: int, ask: Ask, kinds: Sequence[Kind], stride: int
) -> None:
    """Of both streams, with the store that people run."""
    config = msgspec.structs.replace(
        settings(default_model="teller/teller"), store=SQLiteSettings(path=tmp_path / "sessions.db")
    )
    provider = Storyteller()
    wire = await serve(config, providers={"teller": provider})
    sizes = await measured(wire, ask)
    faults = everywhere(sizes, kinds=kinds, seed=seed, stride=stride)
    tally = await suffer(wire, provider, ask, faults, name="turn")
    assert tally.turns == len(faults)
    if kinds is CUTS:
        assert tally.connections > 1.8 * tally.turns, "hardly a connection was cut"
