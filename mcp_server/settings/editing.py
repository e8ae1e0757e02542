"""Changes the text of a settings file, and keeps its comments and its order."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

import tomlkit
import tomlkit.items

from mcp_server.errors import ConfigError
from mcp_server.settings.tables import DEFAULT_PROVIDERS

_TYPE: Final = "llama_cpp"
_NEW: Final = "local"
"""The name of a provider that is added."""


def with_default_model(text: str, source: str) -> tuple[str, str]:
    """Make a model that runs on this machine the default one, and configure it if it is not.

    Args:
        text: a settings file that can be used; empty if there is none.
        source: the source of its file: a name of the catalogue, ``hf:OWNER/REPOSITORY/FILE.gguf``, or the absolute path
            of a GGUF file.

    Returns:
        The new text, and the full name of the model.

    Raises:
        ConfigError: another provider or model has the name that is needed.
    """
    document = tomlkit.parse(text)
    providers = _table(document, "providers")
    if not providers:  # as without them
        for name, table in DEFAULT_PROVIDERS.items():
            _table(providers, name)["type"] = table["type"]
            for model in table["models"]:
                _table(_table(providers[name], "models"), model)
    provider = next((name for name, table in providers.items() if table.get("type") == _TYPE), _NEW)
    table = _table(providers, provider)
    if table.setdefault("type", _TYPE) != _TYPE:
        raise ConfigError(f"providers.{provider}: is not of the type {_TYPE}: add a provider of this type")
    models = _table(table, "models")
    model = next((name for name, one in models.items() if source in (one.get("path"), _source(name, one))), "")
    if not model:
        model = _name_of(Path(source)) if source.endswith(".gguf") else source
        if model in models:
            raise ConfigError(f"providers.{provider}.models.{model}: is another model: rename one of them")
        added = _table(models, model)
        if model != source:
            added["path" if Path(source).is_absolute() else "source"] = source
    full = f"{provider}/{model}"
    _table(document, "models")["default"] = full
    return tomlkit.dumps(document), full


def _name_of(file: Path) -> str:
    """A name for the model of a file, of characters that names of models may have."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).lstrip("._-")
    return name[:100] or "model"


def _source(name: str, model: Any) -> str:
    return "" if "path" in model else str(model.get("source", name))


def _table(parent: MutableMapping[str, Any], name: str) -> MutableMapping[str, Any]:
    """The table of that name, which is added if it is not there."""
    if name not in parent:
        inline = isinstance(parent, tomlkit.items.InlineTable)  # which contains no others
        parent[name] = tomlkit.inline_table() if inline else tomlkit.table()
    table: MutableMapping[str, Any] = parent[name]
    return table
