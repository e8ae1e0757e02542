"""One model that runs on this machine: its file and its defaults."""

from __future__ import annotations

from pathlib import Path

from mcp_server.values import Struct


class LocalModel(Struct):
    """One model that runs on this machine: its file and its defaults."""

    name: str
    """What calls name it by."""
    path: Path
    """Its GGUF file. It may come later than the server: it is looked for when the model is used."""
    context_window: int | None = None
    """The most tokens that prompt and answer may have together; ``None``: as the file says, up to
    :data:`DEFAULT_CONTEXT_WINDOW`, since memory is taken for all of it."""
    system_instruction: str = ""
    """What the model is told before a conversation without a SYSTEM message."""
    temperature: float | None = None
    """The temperature of calls that set none; ``None``: llama.cpp's own."""
    max_output_tokens: int | None = None
    """The longest answer of calls that do not say; ``None``: as much as fits."""
    if_missing: str = ""
    """What to do if the file is not there, for an operator to read."""


DEFAULT_CONTEXT_WINDOW = 8192
"""The context window of a model whose file allows more, or does not say."""
