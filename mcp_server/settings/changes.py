"""Compares the settings that a server runs with to those that were read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from mcp_server.plugin_settings import PluginSettings, Settings
from mcp_server.settings.decoding import dotted
from mcp_server.settings.tables import Config, TLSSettings

replace = msgspec.structs.replace

LIVE: Final = (
    "server.drain_delay",
    "server.drain_timeout",
    "server.tls",
    "auth.keys",
    "auth.jwt",
    "auth.certificates",
    "sessions",
    "turns",
    "admission.max_turns",
    "admission.default_output_tokens",
    "limits",
    "tenants",
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
    keys = [*_differences("", old, new)]
    rigid = _fixed_tls(old.server.tls, new.server.tls)
    # Without authentication at the start no call is authenticated, whatever keys there are.
    open_to_all = not old.auth.configured
    # The libraries for tokens are imported at the start, if at all.
    no_tokens = not old.auth.jwt
    parts = (("server.tls.", rigid), ("auth.", open_to_all), ("auth.jwt.", no_tokens))
    fixed = [prefix for prefix, is_fixed in parts if is_fixed]
    live = tuple(key for key in keys if _is_live(key) and not key.startswith(tuple(fixed)))
    sections = {name: _mixed(name, getattr(old, name), getattr(new, name)) for name in Config.__struct_fields__}
    if rigid:
        sections["server"] = replace(sections["server"], tls=old.server.tls)
    if no_tokens:
        sections["auth"] = replace(sections["auth"], jwt=old.auth.jwt)
    if open_to_all:
        sections["auth"] = old.auth
    return Changes(config=Config(**sections), live=live, fixed=tuple(key for key in keys if key not in live))


def _fixed_tls(old: TLSSettings, new: TLSSettings) -> bool:
    """Whether the listener would have to be made anew: to begin or end with TLS, or with asking for certificates."""
    return any((getattr(old, key) is None) != (getattr(new, key) is None) for key in ("certificate", "client_ca"))


def _is_live(key: str) -> bool:
    return any(f"{key}.".startswith(f"{live}.") for live in LIVE)


def _mixed(name: str, old: Any, new: Any) -> Any:
    """One table: the new one, with the old values of keys that need a restart."""
    if _is_live(name):
        return new
    if isinstance(old, PluginSettings) or not isinstance(old, Settings):
        return old
    return replace(old, **{key: getattr(new, key) for key in old.__struct_fields__ if _is_live(f"{name}.{key}")})


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
