"""One model in the Hugging Face format: where its files are, and its defaults."""

from __future__ import annotations

from pathlib import Path

from mcp_server.values import Struct


class TransformersModel(Struct):
    """One model: where its files are, and its defaults."""

    name: str
    """What calls name it by."""
    path: Path | None = None
    """Its folder, with ``config.json`` and safetensors, or its GGUF file. ``None``: it comes from the model hub."""
    source: str = ""
    """Its repository on the model hub, ``owner/name``; only without ``path``. It is fetched when it is first used."""
    revision: str = "main"
    """The branch, tag or commit of the repository."""
    context_window: int | None = None
    """The most tokens that prompt and answer may have together; ``None``: as the model's files say."""
    system_instruction: str = ""
    """What the model is told before a conversation without a SYSTEM message."""
    temperature: float | None = None
    """The temperature of calls that set none; ``None``: as the model's files say."""
    max_output_tokens: int | None = None
    """The longest answer of calls that do not say; ``None``: as much as fits."""
