"""The models that are loaded on this machine, as operators see them and unload them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mcp_server.errors import ModelNotFound
from mcp_server.interfaces import LoadedModel, Provider, Unloader
from mcp_server.values import SECOND

Providers = Callable[[], Mapping[str, Provider]]


class LoadedModels:
    """Lists and unloads models of the providers in use. For the event loop, except :func:`with_memory`.

    Args:
        providers: the providers in use, by name.
    """

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    def rows(self) -> list[dict[str, Any]]:
        """A row for each model that is loaded or is being loaded."""
        return [
            _shown(name, model)
            for name, provider in self._providers().items()
            if isinstance(provider, Unloader)
            for model in provider.loaded()
        ]

    def unload(self, name: str) -> dict[str, Any] | None:
        """Unload a model as soon as no call uses it.

        Args:
            name: ``provider/model``.

        Returns:
            Its row as it is then; ``None`` if it is no longer loaded, or was not.

        Raises:
            ModelNotFound: there is none of that name that could be loaded here.
        """
        provider_name, _, model = name.partition("/")
        provider: object = self._providers().get(provider_name)
        if not isinstance(provider, Unloader):
            raise ModelNotFound(f"no model {name!r} runs on this machine", metadata={"model": name})
        provider.unload(model)
        return next((row for row in self.rows() if row["name"] == name), None)


def _shown(provider: str, model: LoadedModel) -> dict[str, Any]:
    return {
        "name": f"{provider}/{model.model}",
        "state": "loading" if model.loading else "loaded",
        "pid": model.pid,
        "loaded_at": None if model.load_time is None else model.load_time // SECOND,
        "calls": model.calls,
        "unload_in_seconds": None if model.unload_in is None else round(model.unload_in, 1),
    }


def with_memory(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the memory of the model's process. It takes milliseconds: not for the event loop."""
    return {**row, "memory_bytes": None if row["pid"] is None else memory_of(row["pid"])}


def memory_of(pid: int) -> int | None:
    """The memory of a process in bytes, in which pages that processes share count in parts (PSS); where the system does
    not say, its resident memory (RSS). ``None``: the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    # Where no local model runs, its library need not be installed.
    import psutil

    try:
        memory: int = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return None
    return memory
