"""The settings of the provider ``llama_cpp``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from mcp_server.entry_points import load_object
from mcp_server.errors import ConfigError
from mcp_server.plugin_settings import ModelFile
from mcp_server.providers.local.settings import (
    ContextWindow,
    LocalModelSettings,
    LocalSettings,
    ModelName,
    OutputLimit,
    RepetitionPenalty,
    Temperature,
    Threads,
)

if TYPE_CHECKING:
    from mcp_server.interfaces import Provider
    from mcp_server.model_files.gguf import ModelFile as ModelFileFacts

Breakers = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(min_length=1, max_length=32)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Window = Annotated[int, Meta(ge=0, le=65_536)]
REPETITION: Final = (
    "repeat_penalty",
    "repeat_last_n",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
)
"""The settings against repetition, each the ``provider_options`` of that name of calls that set none."""
WINDOWS: Final = ("context_window", "embedding_window")
"""The settings that a model's training limits."""
DEFAULTS: Final = ("context_window", "system_instruction", "temperature", "max_output_tokens")
"""What the catalogue knows of its models."""


class LlamaCppModel(LocalModelSettings):
    """One model file. With neither ``path`` nor ``source`` it is the model of the catalogue with this name."""

    path: Path | None = None
    """A GGUF file on this machine. A relative path is relative to the configuration file."""
    source: str | None = None
    """What ``mcp-server models pull`` fetches: a name of the catalogue, which ``mcp-server models`` lists, or
    ``hf:owner/repository/file.gguf`` for a file of the model hub."""
    context_window: ContextWindow | None = None
    """The most tokens of prompt and answer together: at most what the model was trained with. Not set: as the catalogue
    or the file says, at most 8192."""
    embedding_window: ContextWindow | None = None
    """The most tokens of a text to embed, at most those of the context window. It is read in one go: the other calls to
    the model wait for so long, and it takes up to a megabyte of memory for each token. Not set: 1024."""
    system_instruction: str | None = None
    """The system instruction of conversations that have none. Not set: as the catalogue says."""
    temperature: Temperature | None = None
    """The temperature of calls that set none; 0 is greedy. Not set: as the catalogue says."""
    max_output_tokens: OutputLimit | None = None
    """The output limit of calls that set none, in tokens. Not set: as the catalogue says."""
    chat_template: Path | None = None
    """A file with the chat template, in Jinja, to use instead of the model file's own: for example one with tools. A
    relative path is relative to the configuration file."""
    projector: Path | None = None
    """A GGUF file that turns images into what the model reads, often named ``mmproj``: with it the model sees images. A
    relative path is relative to the configuration file."""
    reasoning_effort: ReasoningEffort | None = None
    """How much the model reasons in chats that do not say it: the ``provider_options`` of that name. Not set: as its
    chat template says."""
    repeat_penalty: RepetitionPenalty | None = None
    """The factor by which tokens that came lately become less likely, whatever surrounds them; 1: none. Like the next
    six, it is the ``provider_options`` of that name of calls that set none, and does not apply to answers that are
    held to JSON. Not set: as the catalogue says, or else 1."""
    repeat_last_n: Window | None = None
    """How many tokens of prompt and answer ``repeat_penalty`` looks back; 0: none. Not set: as the catalogue says, or
    else 64."""
    dry_multiplier: Annotated[float, Meta(ge=0, le=100)] | None = None
    """How strongly a token is held back that would continue a repeated sequence (DRY: "don't repeat yourself"); 0: not
    at all. Not set: as the catalogue says, or else 0."""
    dry_base: Annotated[float, Meta(ge=1, le=100)] | None = None
    """By which factor DRY grows with each further token of the repeated sequence. Not set: as the catalogue says, or
    else 1.75."""
    dry_allowed_length: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    """The longest sequence, in tokens, whose repetition DRY does not mind. Not set: as the catalogue says, or
    else 2."""
    dry_penalty_last_n: Window | None = None
    """How many tokens of prompt and answer DRY looks back; 0: none. Not set: as the catalogue says, or
    else 64."""
    dry_sequence_breakers: Breakers | None = None
    """The texts at which DRY ends a sequence: with the end of a line among them it does not see repeated lines. Not
    set: as the catalogue says, or else the end of a line, the colon, the quotation mark and the asterisk."""

    @property
    def repetition(self) -> dict[str, Any]:
        """What of :data:`REPETITION` is set."""
        return {name: value for name in REPETITION if (value := getattr(self, name)) is not None}

    def resolved(self, name: str) -> LlamaCppModel:
        """The model with its file, and with the defaults of the catalogue.

        Args:
            name: its name.

        Returns:
            A model with a ``path``, and with a ``source`` unless the user provides the file.

        Raises:
            ConfigError: the source does not name a model.
        """
        from mcp_server.model_files import CATALOGUE, location

        if self.path is not None:
            return self
        source = self.source if self.source is not None else name
        known = CATALOGUE.get(source)
        defaults = {} if known is None else {key: getattr(known, key) for key in DEFAULTS} | dict(known.repetition)
        missing = {key: value for key, value in defaults.items() if getattr(self, key) is None}
        return msgspec.structs.replace(self, path=location(source), source=source, **missing)


def window_problem(window: int | None, file: ModelFileFacts) -> str:
    """What is wrong with one of the :data:`WINDOWS` of the settings for a model file; empty if nothing is."""
    if window is None or not 0 < file.context_length < window:
        return ""
    return (
        f"found {window}, but the model was trained with {file.context_length} tokens; "
        f"set {file.context_length} or less"
    )


class LlamaCppSettings(LocalSettings, kw_only=True):
    """Models that run in the server itself, from GGUF files."""

    extra: ClassVar[str] = "local"
    libraries: ClassVar[tuple[str, ...]] = ("psutil", "xllamacpp")

    models: Mapping[ModelName, LlamaCppModel]
    """The models by name. A model is loaded at its first use."""
    parallel: Annotated[int, Meta(ge=1, le=64)] = 4
    """How many answers each model generates at the same time. Further calls wait."""
    threads: Threads | None = None
    """The number of threads of each model. Not set: one for each core but one."""

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Those of all local models, and no context window is larger than the model's own. Files that are not there
        yet, or are damaged, make their model unavailable later."""
        from mcp_server.model_files import gguf

        yield from super().problems()
        for name, model in self.models.items():
            windows = {key: window for key in WINDOWS if (window := getattr(model, key)) is not None}
            path = model.resolved(name).path if windows else None
            if path is None or not path.is_file():
                continue
            with contextlib.suppress(gguf.BadModelFile):
                file = gguf.read(path)
                for key, window in windows.items():
                    if problem := window_problem(window, file):
                        yield ("models", name, key), problem

    def build(self, name: str) -> Provider:
        """Make the provider."""
        # By its name: the provider imports this table, and its libraries are imported only where it is used.
        make = load_object("mcp_server.providers.llama_cpp.provider:LlamaCppProvider")
        try:
            provider: Provider = make(self)
        except ConfigError as error:
            raise ConfigError(f"providers.{name}.models: {error}") from error
        return provider

    def model_files(self) -> dict[str, ModelFile]:
        """The file of each model."""
        resolved = {name: model.resolved(name) for name, model in self.models.items()}
        return {
            name: ModelFile(path=model.path, source=model.source)
            for name, model in resolved.items()
            if model.path is not None
        }
