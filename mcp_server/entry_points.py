"""Finds and loads what installed packages register as entry points."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mcp_server.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class EntryPoints:
    """The entry points of all installed packages, which are read once, at the first use."""

    def group(self, group: str) -> Mapping[str, EntryPoint]:
        """The entry points of a group by name.

        Raises:
            ConfigError: two packages register the same name.
        """
        found: dict[str, EntryPoint] = {}
        for entry_point in self._all.select(group=group):
            if other := found.get(entry_point.name):
                raise ConfigError(
                    f"the entry point {entry_point.name!r} of the group {group} is registered twice, as {other.value} "
                    f"and as {entry_point.value}: uninstall one of the two packages"
                )
            found[entry_point.name] = entry_point
        return found

    def load(self, group: str, name: str) -> Any:
        """The object that an entry point names.

        Raises:
            ConfigError: there is none, or it cannot be loaded.
        """
        entry_point = self.group(group).get(name)
        if entry_point is None:
            raise ConfigError(f"no installed package has an entry point {name!r} in the group {group}")
        try:
            return entry_point.load()
        except Exception as error:
            raise ConfigError(
                f"the entry point {name!r} ({entry_point.value}) of the group {group} cannot be loaded: {error}"
            ) from error

    @cached_property
    def _all(self) -> Any:
        import importlib.metadata  # slow to import, and not needed for built-in plug-ins

        return importlib.metadata.entry_points()


def load_object(reference: str) -> Any:
    """The object that ``module:attribute`` names."""
    module, _, attribute = reference.partition(":")
    return operator.attrgetter(attribute)(importlib.import_module(module))
