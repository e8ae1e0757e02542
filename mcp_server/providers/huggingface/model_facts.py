"""What a model can do, as all of its files say together. Nothing is loaded, and no library of its makers is needed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mcp_server.providers.huggingface import embedding_files, files, own_code, windows
from mcp_server.providers.huggingface.protocol import Facts


def read(path: Path) -> Facts:
    """Look a model's folder or GGUF file over.

    Raises:
        BadFiles: it cannot be used.
    """
    try:
        if path.is_dir():
            return _folder(path)
    except OSError as error:
        raise files.BadFiles(f"{path} cannot be read: {error.strerror or error}") from error
    facts = files.read(path)
    return msgspec.structs.replace(facts, largest_window=facts.context_window)


def _folder(path: Path) -> Facts:
    own_code.refuse(path)
    facts = files.read(path)
    config = files.table(path / "config.json")
    text = {**config, **(config.get("text_config") or {})}
    known = files.window(text)
    window = windows.usable(text, facts.context_window)
    facts = msgspec.structs.replace(
        facts, context_window=window, largest_window=windows.usable(text, windows.largest(text, known))
    )
    if facts.generates:
        return facts
    described = embedding_files.read(path)
    limit = min([tokens for tokens in (window, described.max_tokens) if tokens], default=0)
    dimensions = described.dimensions(facts.dimensions) if facts.dimensions else 0
    return msgspec.structs.replace(
        facts, context_window=limit, largest_window=limit, dimensions=dimensions, prompts=tuple(described.prompts)
    )
