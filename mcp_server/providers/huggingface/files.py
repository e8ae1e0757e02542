"""What the files of a model say of it, read without loading it and without any library of its makers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from mcp_server.model_files import gguf
from mcp_server.providers.huggingface.protocol import Facts

GENERATING: Final = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How the names of architectures that write text end."""
WINDOW: Final = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
"""What families of models call their context window."""
WIDTH: Final = ("hidden_size", "n_embd", "d_model", "dim")
"""What families of models call the length of their vectors."""
DEFAULT_WINDOW: Final = 8192
"""The context window of a model that has no limit, or does not say."""
INDEX: Final = "model.safetensors.index.json"
WEIGHTS: Final = "model.safetensors"


class BadFiles(Exception):
    """The files of a model are missing, damaged, or of a kind that is not known; the message says which and how."""


def read(path: Path) -> Facts:
    """Look a model's folder or GGUF file over.

    Raises:
        BadFiles: it cannot be used.
    """
    if not path.exists():
        raise BadFiles(f"there is no model {path}")
    if path.is_dir():
        return _folder(path)
    try:
        file = gguf.read(path)
    except gguf.BadModelFile as error:
        raise BadFiles(f"the model file {error}") from error
    return Facts(
        generates=file.generates,
        chat_template=file.chat_template if file.generates else "",
        context_window=file.context_length or DEFAULT_WINDOW,
        dimensions=0 if file.generates else file.embedding_length,
    )


def window(config: dict[str, Any]) -> int:
    """The context window in a ``config.json``; 0: not stated."""
    return _number(config, WINDOW)


def weight_names(folder: Path) -> list[str]:
    """The names of the safetensors files that a model consists of, there or not.

    Raises:
        BadFiles: the list of them is damaged.
    """
    index = folder / INDEX
    if index.is_file() and not (folder / WEIGHTS).is_file():
        return sorted(set(table(index).get("weight_map", {}).values()))
    return [WEIGHTS]


def weights(folder: Path) -> list[Path]:
    """The safetensors files of a model.

    Raises:
        BadFiles: one is missing.
    """
    names = weight_names(folder)
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise BadFiles(f"the model {folder} is incomplete: there is no {missing[0]} in it")
    return [folder / name for name in names]


def table(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        BadFiles: there is none.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise BadFiles(f"{file} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise BadFiles(f"{file} is damaged: {error}") from error


def _folder(folder: Path) -> Facts:
    if not (folder / "config.json").is_file():
        raise BadFiles(f"the folder {folder} holds no model: there is no config.json in it")
    config = table(folder / "config.json")
    weights(folder)
    text = {**config, **config.get("text_config", {})}
    if config.get("is_encoder_decoder"):
        raise BadFiles(f"the model {folder} has an encoder and a decoder; only models with one of them are known")
    architectures = config.get("architectures") or []
    modules = (folder / "modules.json").is_file()
    stated = window(text)
    if modules or not any(str(name).endswith(GENERATING) for name in architectures):
        return Facts(generates=False, context_window=stated, dimensions=_number(text, WIDTH))
    return Facts(generates=True, chat_template=_chat_template(folder), context_window=stated or DEFAULT_WINDOW)


def _chat_template(folder: Path) -> str:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text()
    if not (folder / "tokenizer_config.json").is_file():
        return ""
    written = table(folder / "tokenizer_config.json").get("chat_template") or ""
    if isinstance(written, str):
        return written
    named = {one.get("name"): one.get("template", "") for one in written if isinstance(one, dict)}
    return str(named.get("default", ""))


def _number(config: dict[str, Any], names: tuple[str, ...]) -> int:
    return next((config[name] for name in names if isinstance(config.get(name), int)), 0)
