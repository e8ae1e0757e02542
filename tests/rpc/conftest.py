"""What the tests of turns share: settings for a server on every store."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mcp_server.plugins import built_in
from mcp_server.settings import Config, TurnSettings
from mcp_server.settings import testing_config as settings

GRACE = 0.05
"""Seconds that a turn goes on without readers."""


@pytest.fixture(params=["memory", "sqlite"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A server whose only provider is ``scripted``; one after the other on every store."""
    return msgspec.structs.replace(
        settings(default_model="scripted/scripted"),
        store=built_in("stores", request.param)(path=tmp_path / "sessions.db"),
        turns=TurnSettings(disconnect_grace=GRACE, journal_interval=0.05, max_queued=3),
    )
