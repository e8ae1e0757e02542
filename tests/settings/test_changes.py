"""What differs between two configurations, and what of it a running server can change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server.plugin_settings import Settings
from mcp_server.plugins import built_in
from mcp_server.settings import Config, RouteSettings, ServerSettings, TLSSettings
from mcp_server.settings.changes import LIVE, compare

replace = msgspec.structs.replace
A, B = Path("a"), Path("b")


@pytest.mark.parametrize("key", LIVE)
def test_what_can_change_exists(key: str) -> None:
    """A key that was renamed must not need a restart for that."""
    value: Any = Config()
    for part in key.split("."):
        assert isinstance(value, Settings)
        value = getattr(value, part)


def test_equal_settings_have_no_differences() -> None:
    """Whatever objects they are."""
    changes = compare(Config(), Config())
    assert (changes.live, changes.fixed, changes.config) == ((), (), Config())


def test_differences_are_named_by_the_smallest_table_or_key() -> None:
    """Keys of tables, and names in tables of names; a store of another type is one difference."""
    old = Config()
    new = replace(
        old,
        store=built_in("stores", "memory")(),
        turns=replace(old.turns, timeout=1.0),
        models=replace(old.models, routes={"fast.one": RouteSettings(targets=("a/b",))}),
        providers={},
    )
    changes = compare(old, new)
    assert changes.live == ("turns.timeout", 'models.routes."fast.one"', "providers.local")
    assert changes.fixed == ("store",)
    assert changes.config == replace(new, store=old.store)


@pytest.mark.parametrize(
    ("old", "new", "live"),
    [
        (TLSSettings(), TLSSettings(certificate=A, key=B), False),
        (TLSSettings(certificate=A, key=B), TLSSettings(), False),
        (TLSSettings(certificate=A, key=B), TLSSettings(certificate=B, key=A), True),
    ],
)
def test_tls_can_be_renewed_but_not_begun(old: TLSSettings, new: TLSSettings, live: bool) -> None:
    """All of its keys change, or none."""
    before = Config(server=ServerSettings(tls=old))
    changes = compare(before, Config(server=ServerSettings(tls=new, drain_timeout=1.0)))
    assert changes.config.server.tls == (new if live else old)
    assert changes.config.server.drain_timeout == 1.0
    assert set(changes.fixed) == (set() if live else {"server.tls.certificate", "server.tls.key"})
