"""The registry of plug-ins of every kind: providers, stores, middleware, authenticators, admission rules, turn
observers, services and context types.

A plug-in comes from one of three places. Built-in ones are listed in the ``BUILT_IN`` of their folder, by name, in the
syntax of entry points. Installed packages register theirs as entry points of the groups below. Others are arguments of
:class:`~mcp_server.app.UnifiedMCPServer`.

A name stands for a settings table (:class:`~mcp_server.plugin_settings.PluginSettings`), which builds the plug-in, or
for the plug-in itself, which then has no settings. Nothing is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from mcp_server import providers, stores
from mcp_server.entry_points import EntryPoints, load_object
from mcp_server.errors import ConfigError
from mcp_server.plugin_settings import PluginSettings, Secret


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of plug-in."""

    group: str
    """The group of its entry points."""
    built_in: Mapping[str, str] = {}
    """The settings tables that come with the server, ``module:class`` by name."""


class PluginEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A plug-in that settings may use."""

    kind: str
    """A key of :data:`KINDS`."""
    name: str
    """Its name in the settings."""
    package: str
    """The package and the version that it comes from; empty for those that come with the server."""
    extra: str
    """The extra of this package that it needs, or empty."""
    reference: str
    """``module:object``."""
    problem: str
    """Why it cannot be loaded; else empty."""


KINDS: Final[Mapping[str, Kind]] = {
    "providers": Kind(group="contextprotocol.providers", built_in=providers.BUILT_IN),
    "stores": Kind(group="contextprotocol.stores", built_in=stores.BUILT_IN),
    "middleware": Kind(group="contextprotocol.middleware"),
    "authenticators": Kind(group="contextprotocol.authenticators"),
    "admission_rules": Kind(group="contextprotocol.admission"),
    "observers": Kind(group="contextprotocol.observers"),
    "services": Kind(group="contextprotocol.services"),
    "context_types": Kind(group="contextprotocol.context_types"),
}
"""Every kind of plug-in."""
TABLE_REQUIRED: Final = ("providers", "stores")
"""The kinds whose plug-ins are chosen by the key ``type`` and must have a settings table."""


def built_in(kind: str, name: str) -> Any:
    """The settings table of a plug-in that comes with the server."""
    return load_object(KINDS[kind].built_in[name])


class Registry:
    """Finds plug-ins by kind and name. It reads the installed packages at the first use of one of them, and once."""

    def __init__(self) -> None:
        self._entry_points = EntryPoints()

    def names(self, kind: str) -> list[str]:
        """The names that settings may use.

        Raises:
            ConfigError: two plug-ins have the same name.
        """
        return sorted([*KINDS[kind].built_in, *self._installed(kind)])

    def table(self, kind: str, name: str) -> type[PluginSettings] | None:
        """The settings table of a plug-in; ``None`` if there is no plug-in of that name.

        Raises:
            ConfigError: the plug-in cannot be loaded.
        """
        if name not in KINDS[kind].built_in and name not in self._installed(kind):
            return None
        table = self._load(kind, name)
        if table is None:
            hint = f'; write type = "custom" and class = "{name}"' if kind == "providers" else ""
            raise ConfigError(f"the entry point {name!r} of the group {KINDS[kind].group} has no settings table{hint}")
        return table

    def table_or_none(self, kind: str, name: str) -> type[PluginSettings] | None:
        """The settings table of a plug-in that exists; ``None`` if it must have one and has none.

        Raises:
            ConfigError: the plug-in cannot be loaded.
        """
        return self._load(kind, name)

    def tables(self, kind: str) -> Iterator[tuple[str, type[PluginSettings]]]:
        """The settings tables of all plug-ins of a kind that have one, by name.

        Raises:
            ConfigError: a plug-in cannot be loaded.
        """
        for name in self.names(kind):
            table = self._load(kind, name)
            if table is not None:
                yield name, table

    def entries(self) -> Iterator[PluginEntry]:
        """All plug-ins of every kind, each loaded to see whether it can be.

        Raises:
            ConfigError: two have the same name.
        """
        for kind, about in KINDS.items():
            for name, reference in sorted(about.built_in.items()):
                extra = built_in(kind, name).extra
                yield PluginEntry(kind=kind, name=name, package="", extra=extra, reference=reference, problem="")
            for name, entry_point in sorted(self._installed(kind).items()):
                problem = ""
                try:
                    self._entry_points.load(about.group, name)
                except ConfigError as error:
                    problem = str(error)
                dist = entry_point.dist
                package = f"{dist.name} {dist.version}" if dist is not None else ""
                yield PluginEntry(
                    kind=kind, name=name, package=package, extra="", reference=entry_point.value, problem=problem
                )

    def context_types(self, own: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
        """All context types: those of installed packages are active without a setting.

        Args:
            own: those of the server, by name.
            added: further ones, by name.

        Raises:
            ConfigError: two have the same name, or one cannot be loaded.
        """
        group = KINDS["context_types"].group
        installed = self._installed("context_types")
        if taken := sorted(installed.keys() & own.keys()):
            raise _taken(group, taken[0])
        types = dict(own) | {name: self._entry_points.load(group, name) for name in installed}
        if taken := sorted(types.keys() & added.keys()):
            raise ConfigError(f"there is a context type {taken[0]!r} already; choose another name")
        return types | dict(added)

    def check(self) -> None:
        """Make sure that every installed plug-in has a name of its own.

        Raises:
            ConfigError: two have the same name.
        """
        for kind in KINDS:
            self._installed(kind)

    def _load(self, kind: str, name: str) -> type[PluginSettings] | None:
        """The settings table of a plug-in that exists; ``None`` if it must have one and has none."""
        if name in KINDS[kind].built_in:
            table: type[PluginSettings] = built_in(kind, name)
            return table
        loaded = self._entry_points.load(KINDS[kind].group, name)
        if isinstance(loaded, type) and issubclass(loaded, PluginSettings):
            return loaded
        return None if kind in TABLE_REQUIRED else _table_without_keys(loaded)

    def _installed(self, kind: str) -> Mapping[str, Any]:
        """The entry points of one kind by name."""
        found = self._entry_points.group(KINDS[kind].group)
        if taken := sorted(found.keys() & KINDS[kind].built_in.keys()):
            raise _taken(KINDS[kind].group, taken[0])
        return found


def build(settings: PluginSettings, name: str, key: str) -> Any:
    """Make a plug-in from its settings table.

    Args:
        settings: the table.
        name: its name.
        key: its dotted key, for messages.

    Raises:
        ConfigError: an extra is missing, or the plug-in cannot be made; secrets are masked.
    """
    if settings.missing_libraries():
        raise ConfigError(f"{key}: {_install(settings)}")
    try:
        return settings.build(name)
    except ConfigError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and settings.extra:
            raise ConfigError(f"{key}: {_install(settings)}") from error
        text = str(error) or type(error).__name__
        for secret in _secrets(settings):
            text = text.replace(secret, "***")
        raise ConfigError(f"{key}: cannot be built: {text}") from error


def build_all(tables: Mapping[str, PluginSettings], kind: str) -> list[Any]:
    """Make the plug-ins of one kind, in the order of their tables. Raises as :func:`build` does."""
    return [build(settings, name, f"{kind}.{name}") for name, settings in tables.items()]


def _install(settings: PluginSettings) -> str:
    return f"needs the extra `{settings.extra}`: pip install 'contextprotocol[{settings.extra}]'"


def _taken(group: str, name: str) -> ConfigError:
    return ConfigError(f"the entry point {name!r} of the group {group} has the name of a built-in; rename it")


def _table_without_keys(plugin: Any) -> type[PluginSettings]:
    """The settings table of a plug-in that is made already."""

    class NoSettings(PluginSettings):
        def build(self, name: str) -> Any:
            return plugin

    return NoSettings


def _secrets(value: Any) -> Iterator[str]:
    """The text of every secret in a settings table."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from _secrets(getattr(value, field))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _secrets(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _secrets(inner)
