"""Compares the settings that a server runs with to those that were read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from mcp_server.plugin_settings import PluginSettings, Settings
from mcp_server.settings.decoding import dotted
from mcp_server.settings.tables import Config

replace = msgspec.structs.replace

LIVE: Final = (
    "server.drain_delay",
    "server.drain_timeout",
    "server.tls",
    "sessions",
    "turns",
    "admission.max_turns",
    "admission.max_waiting",
    "admission.queue_timeout",
    "admission.default_output_tokens",
    "limits",
    "tenants",
    "auth.keys",
    "auth.jwt",
    "auth.certificates",
    "window",
    "models",
    "routing",
    "providers",
    "log.level",
)
"""The tables and keys that a running server can change. Everything else needs a restart."""


class Changes(Settings):
    """What differs between the settings in effect and new ones."""

    config: Config
    """The settings to run with: the new ones, apart from keys that need a restart."""
    live: tuple[str, ...]
    """The dotted keys that change."""
    fixed: tuple[str, ...]
    """The dotted keys that keep their former values until a restart."""


def compare(old: Config, new: Config) -> Changes:
    """Compare two configurations, table by table."""
    live = _live(old, new)
    keys = [*_differences("", old, new)]
    changed = tuple(key for key in keys if _within(key, live))
    sections = {name: _mixed(name, getattr(old, name), getattr(new, name), live) for name in Config.__struct_fields__}
    return Changes(config=Config(**sections), live=changed, fixed=tuple(key for key in keys if key not in changed))


def _live(old: Config, new: Config) -> Sequence[str]:
    """Those of :data:`LIVE` that can change from the old settings to the new ones."""
    authenticated = old.auth.configured or bool(old.authenticators)
    tables = {
        # The listener would have to be made anew to begin or end with TLS, or with asking for client certificates.
        "server.tls": all(
            (getattr(old.server.tls, key) is None) == (getattr(new.server.tls, key) is None)
            for key in ("certificate", "client_ca")
        ),
        # Who needs no credentials at the start needs none later, and the other way round.
        "auth.keys": authenticated,
        "auth.certificates": authenticated,
        # The libraries for tokens are imported at the start, if at all.
        "auth.jwt": bool(old.auth.jwt),
    }
    return [key for key in LIVE if tables.get(key, True)]


def _within(key: str, tables: Iterable[str]) -> bool:
    return any(f"{key}.".startswith(f"{table}.") for table in tables)


def _mixed(name: str, old: Any, new: Any, live: Sequence[str]) -> Any:
    """One table: the new one, with the old values of keys that need a restart."""
    if _within(name, live):
        return new
    if isinstance(old, PluginSettings) or not isinstance(old, Settings):
        return old
    return replace(old, **{key: getattr(new, key) for key in old.__struct_fields__ if _within(f"{name}.{key}", live)})


def _differences(key: str, old: Any, new: Any) -> Iterator[str]:
    """The dotted keys whose values differ; a plug-in's table that was replaced by another type counts as one."""
    if old == new:
        return
    if isinstance(old, Settings) and type(old) is type(new):
        for name in old.__struct_fields__:
            yield from _differences(dotted(key, name), getattr(old, name), getattr(new, name))
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            yield from _differences(dotted(key, name), old.get(name), new.get(name))
    else:
        yield key
