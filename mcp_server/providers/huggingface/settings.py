"""The settings of the provider ``huggingface``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from mcp_server.entry_points import load_object
from mcp_server.providers.huggingface import files, model_facts
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

HubRepository = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$",
        extra={"allowed": '"owner/name", a repository of the model hub'},
    ),
]
Device = Annotated[
    str,
    Meta(
        pattern=r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?)$",
        extra={"allowed": '"auto", "cpu", "cuda", "cuda:N", "mps", "xpu" or "xpu:N"'},
    ),
]


class HuggingFaceModel(LocalModelSettings):
    """One model in the Hugging Face format. With neither ``path`` nor ``source`` its name is its repository,
    ``owner/name``, on the model hub."""

    path: Path | None = None
    """A folder with ``config.json`` and safetensors, or a GGUF file. A relative path is relative to the configuration
    file."""
    source: HubRepository | None = None
    """A repository of the model hub. It is downloaded at the model's first use, unless it is in the hub's cache."""
    revision: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][\w./-]{0,127}$")] = "main"
    """The branch, tag or commit of the repository."""
    context_window: ContextWindow | None = None
    """The most tokens of prompt and answer together, at most what the model's files say. Not set: as they say."""
    system_instruction: str = ""
    """The system instruction of conversations that have none."""
    temperature: Temperature | None = None
    """The temperature of calls that set none; 0 is greedy. Not set: as the model's files say."""
    max_output_tokens: OutputLimit | None = None
    """The output limit of calls that set none, in tokens. Not set: as much as fits."""
    repetition_penalty: RepetitionPenalty | None = None
    """The ``provider_options.repetition_penalty`` of calls that set none. Not set: as the model's files say."""
    no_repeat_ngram_size: Annotated[int, Meta(ge=0, le=65_536)] | None = None
    """The ``provider_options.no_repeat_ngram_size`` of calls that set none. Not set: as the model's files say."""


class HuggingFaceSettings(LocalSettings, kw_only=True):
    """Models that run on this machine with transformers and PyTorch."""

    extra: ClassVar[str] = "huggingface"
    libraries: ClassVar[tuple[str, ...]] = ("psutil", "torch", "transformers")

    models: Mapping[ModelName, HuggingFaceModel]
    """The models by name. A model is loaded at its first use, into a process of its own."""
    parallel: Annotated[int, Meta(ge=1, le=256)] = 4
    """How many answers each model generates at the same time; together they take little longer than one. Further calls
    wait."""
    max_queued: Annotated[int, Meta(ge=0, le=10_000)] = 64
    """How many calls may wait for each model. Further calls fail with PROVIDER_RATE_LIMITED."""
    device: Device = "auto"
    """The device to compute on, by its name in PyTorch. ``auto``: the fastest that is available."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The data type to compute with. ``auto``: as the model's files say, and ``float32`` on a processor."""
    threads: Threads | None = None
    """The number of threads of each model. Not set: one for each core but one."""

    def build(self, name: str) -> Provider:
        """Make the provider."""
        # By its name: the provider imports this table, and its libraries are imported only where it is used.
        provider: Provider = load_object("mcp_server.providers.huggingface.provider:HuggingFaceProvider")(self)
        return provider

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Each model has a place, and a context window that it can read."""
        yield from super().problems()
        for name, model in self.models.items():
            if (model.path or model.source) is None and "/" not in name:
                yield ("models", name, "path"), "missing key: set path or source, or let the name be owner/name"
            if (problem := _window_problem(model)) is not None:
                yield ("models", name, "context_window"), problem


def _window_problem(model: HuggingFaceModel) -> str | None:
    if model.context_window is None or model.path is None:
        return None
    try:
        largest = model_facts.read(model.path).largest_window
    except files.BadFiles:
        # The state of the model tells of it; the others are served.
        return None
    if not largest or model.context_window <= largest:
        return None
    return f"found {model.context_window}, expected at most {largest}: its files say that the model reads no more"
