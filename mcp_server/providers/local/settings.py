"""The settings that every provider of models on this machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from mcp_server.plugin_settings import ProviderSettings, Settings

ModelName = Annotated[
    str,
    Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}$", extra={"allowed": "a name of letters, digits, . _ / and -"}),
]
Threads = Annotated[int, Meta(ge=1, le=1024)]
ContextWindow = Annotated[int, Meta(ge=128, le=10_000_000)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
OutputLimit = Annotated[int, Meta(ge=1, le=10_000_000)]
RepetitionPenalty = Annotated[float, Meta(ge=0.01, le=100)]
KeepAlive = Annotated[float, Meta(ge=0, le=31_536_000)] | Literal["never"]
MemoryLimit = Annotated[float, Meta(gt=0, le=1_000_000)]


def thread_count(configured: int | None) -> int:
    """How many threads a model computes with."""
    return configured if configured is not None else max(1, (os.cpu_count() or 1) - 1)


class LocalModelSettings(Settings):
    """Where the files of a model are."""

    path: Path | None = None
    source: str | None = None
    keep_alive: KeepAlive = 300.0
    """How long the model stays in memory after its last call, in seconds. Then its process ends; the next call loads it
    again. 0: at once. ``"never"``: it stays loaded."""

    @property
    def keep_alive_seconds(self) -> float | None:
        """``keep_alive``; ``None``: it is never unloaded."""
        return None if isinstance(self.keep_alive, str) else self.keep_alive


class LocalSettings(ProviderSettings, kw_only=True):
    """Models that run on this machine."""

    models: Mapping[ModelName, LocalModelSettings]
    memory_limit: MemoryLimit | None = None
    """The most memory, in GiB, that the process of each model may take besides the pages of its files. One that takes
    more is ended and started again. Not set: a quarter of the machine's memory more than it takes once it is loaded;
    on macOS no limit."""

    @property
    def memory_limit_bytes(self) -> int | None:
        """``memory_limit`` in bytes."""
        return None if self.memory_limit is None else int(self.memory_limit * 2**30)

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """There is a model, and each has one place."""
        if not self.models:
            yield ("models",), "found an empty table, expected at least one model"
        for name, model in self.models.items():
            if model.path is not None and model.source is not None:
                yield ("models", name, "source"), "cannot be combined with path; set one of the two"

    def model_names(self) -> list[str]:
        """The names of the tables."""
        return list(self.models)

    def any_model(self) -> bool:
        """Only the models of the table run."""
        return False
