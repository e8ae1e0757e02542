"""The settings: one TOML file, each key overridable by an environment variable, decoded strictly.

This module is the only reader of configuration files and of the environment. Times are seconds.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import platformdirs

from mcp_server.errors import ConfigError

APPLICATION: Final = "contextprotocol"
ENVIRONMENT_PREFIX: Final = "CONTEXTPROTOCOL_"
FILE_VARIABLE: Final = "CONTEXTPROTOCOL_CONFIG"
CUSTOM_PROVIDERS: Final = "contextprotocol.providers"
"""The entry point group in which packages register provider classes by name."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every table: frozen, and strict about its keys."""


class ServerSettings(_Settings):
    """Where the server listens and how it stops."""

    address: str = "127.0.0.1:50051"
    """`host:port` of the gRPC service; port 0 takes any free one."""
    drain_timeout: float = 30.0
    """Seconds that running turns get to end when the server stops."""


class StoreSettings(_Settings):
    """Where conversations are kept."""

    type: str = "sqlite"
    """`sqlite`, durable; or `memory`, gone with the process."""
    path: str = ""
    """The SQLite file. Empty: `sessions.db` in the user's data folder."""


class SessionSettings(_Settings):
    """How long conversations live."""

    default_ttl: float | None = None
    """Seconds that a session lives unused if it does not say. Unset: for ever."""
    sweep_interval: float = 60.0
    """Seconds between two deletions of what has expired. It is not found at once, swept or not."""


class TurnSettings(_Settings):
    """How long turns run and are kept."""

    timeout: float = 600.0
    """Seconds that a turn may take if its call does not say."""
    heartbeat_interval: float = 15.0
    """Seconds of silence after which a stream gets a sign of life."""
    retention: float = 86_400.0
    """Seconds that a turn that has ended is kept."""


class WindowSettings(_Settings):
    """What of a history a model is shown."""

    max_messages: int = 200
    """The most messages of a history that one turn reads."""


class ModelSettings(_Settings):
    """Names of models."""

    default: str = "local/smollm2-135m"
    """The model of calls and sessions that name none."""
    default_embedding: str = "local/smollm2-135m"
    """The same for embeddings."""
    aliases: dict[str, str] = {}
    """Shorter names, each for a `provider/model`."""


class MetricsSettings(_Settings):
    """Where Prometheus finds the metrics."""

    address: str = "127.0.0.1:9464"
    """`host:port`; port 0 takes any free one. Empty: no metrics are served."""


class LogSettings(_Settings):
    """What is logged."""

    level: str = "info"
    """`debug`, `info`, `warning` or `error`."""
    format: str = "auto"
    """`json`, `console`, or `auto`: the console on a terminal and JSON elsewhere."""


class LlamaCppModel(_Settings):
    """One model file."""

    source: str
    """A name of the catalogue (`mcp-server models`), `hf:OWNER/REPO/FILE.gguf`, or the path of a GGUF file."""
    context_window: int = 0
    """The most tokens of prompt and answer together. 0: as the catalogue or the file says."""
    system_instruction: str | None = None
    """What the model is told when a conversation has no system message. Unset: as the catalogue says."""
    temperature: float | None = None
    """The temperature of calls that set none. Unset: as the catalogue says."""
    max_output_tokens: int | None = None
    """The longest answer of calls that set none. Unset: as the catalogue says."""


class LlamaCppSettings(_Settings, tag_field="type", tag="llama_cpp"):
    """Models that run in this process, by llama.cpp."""

    models: dict[str, LlamaCppModel] = {}
    """The models, by the names that calls use."""
    parallel: int = 4
    """How many turns one model answers at once; more wait."""
    threads: int = 0
    """CPU threads of one model. 0: one a core."""


class CustomSettings(_Settings, tag_field="type", tag="custom", rename={"class_": "class"}):
    """A provider of your own."""

    class_: str
    """`package.module:Class`, or a name registered under the entry point group `contextprotocol.providers`."""
    options: dict[str, Any] = {}
    """Keyword arguments of the class."""

    def load(self) -> Callable[..., Any]:
        """The class.

        Raises:
            ConfigError: there is no such class.
        """
        try:
            if ":" in self.class_:
                module, _, name = self.class_.partition(":")
                loaded: Callable[..., Any] = getattr(importlib.import_module(module), name)
                return loaded
            (entry_point,) = importlib.metadata.entry_points(group=CUSTOM_PROVIDERS, name=self.class_)
            loaded = entry_point.load()
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"class: {self.class_!r} cannot be loaded: {error}") from error
        return loaded


ProviderSettings = LlamaCppSettings | CustomSettings


def _embedded() -> dict[str, ProviderSettings]:
    return {"local": LlamaCppSettings(models={"smollm2-135m": LlamaCppModel(source="smollm2-135m")})}


class Config(_Settings):
    """All settings."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    sessions: SessionSettings = SessionSettings()
    turns: TurnSettings = TurnSettings()
    window: WindowSettings = WindowSettings()
    models: ModelSettings = ModelSettings()
    providers: dict[str, ProviderSettings] = msgspec.field(default_factory=_embedded)
    """By name; without any, the embedded model under the name `local`."""
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()


def testing_config(*, default_model: str) -> Config:
    """Settings for tests: any free port, nothing on disk, no metrics, no configured provider."""
    return Config(
        server=ServerSettings(address="127.0.0.1:0"),
        store=StoreSettings(type="memory"),
        models=ModelSettings(default=default_model, default_embedding=default_model),
        providers={},
        metrics=MetricsSettings(address=""),
    )
