"""What ``mcp-server models show`` knows of a model, without loading it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mcp_server.model_files import CATALOGUE, gguf, size_of
from mcp_server.plugins import Registry
from mcp_server.values import Model

if TYPE_CHECKING:
    from mcp_server.interfaces import Provider
    from mcp_server.plugin_settings import ProviderSettings
    from mcp_server.settings import Config


def facts_of(settings: Config, *, name: str, source: str | None, path: Path) -> dict[str, Any]:
    """The facts, by their names, in the order in which they are shown.

    Args:
        settings: those of the server.
        name: ``provider/model`` of a model of the settings, or else the name of the catalogue or of the hub, or a path.
        source: what it is downloaded from; ``None``: the user provides the file.
        path: its file.
    """
    provider_name, _, own_name = name.partition("/")
    served = own_name in (provider.model_names() if (provider := settings.providers.get(provider_name)) else ())
    if provider is None or not served:
        own_name = "model"
        provider = _alone(own_name, {"source": source} if source is not None else {"path": path})
    about = asyncio.run(_model(provider, own_name))
    table = provider.models[own_name]  # type: ignore[attr-defined]  # only such providers have model files
    resolved = table.resolved(own_name)
    known = CATALOGUE.get(source or "")
    facts: dict[str, Any] = {
        "name": name,
        "served": served,
        "source": source,
        "file": str(path),
        "downloaded": path.is_file(),
    }
    try:
        file = gguf.read(path)
    except gguf.BadModelFile as error:
        return {**facts, "licence": known.license if known else None, "problem": str(error)}
    return {
        **facts,
        "size": size_of(path),
        "licence": known.license if known else file.metadata.get("general.license"),
        "title": file.metadata.get("general.name"),
        "architecture": file.architecture,
        "parameters": file.metadata.get("general.size_label"),
        "trained_context_length": file.context_length or None,
        "context_window": about.context_window,
        "embedding_dimensions": file.embedding_length or None,
        "chat_template": bool(file.chat_template),
        "capabilities": [key for key, can in msgspec.structs.asdict(about.capabilities).items() if can],
        "defaults": _defaults(resolved),
        "system_instruction": resolved.system_instruction or None,
        "keep_alive": table.keep_alive,
        "problem": about.state_reason or None,
    }


def _alone(name: str, model: Mapping[str, Any]) -> ProviderSettings:
    """The settings of a provider with this model alone."""
    table = Registry().table("providers", "llama_cpp")
    assert table is not None
    settings: Any = msgspec.convert({"models": {name: model}}, table)
    alone: ProviderSettings = settings
    return alone


def _defaults(model: Any) -> Mapping[str, Any]:
    """The sampling parameters of calls that set none."""
    sampling = {"temperature": model.temperature, "max_output_tokens": model.max_output_tokens, **model.repetition}
    return {key: value for key, value in sampling.items() if value is not None}


async def _model(provider: ProviderSettings, name: str) -> Model:
    built: Provider = provider.build("show")
    try:
        return next(model for model in await built.models() if model.name == name)
    finally:
        await built.close()
