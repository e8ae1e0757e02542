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
MAX_JSON: Final = 1 << 26
"""The largest files of this kind, the indices of the largest models, have a few megabytes."""
MAX_TEMPLATE: Final = 1 << 22


class BadFiles(Exception):
    """The files of a model are missing, damaged, or of a kind that is not known; the message says which and how."""


def read(path: Path) -> Facts:
    """Look a model's folder or GGUF file over.

    Raises:
        BadFiles: it cannot be used.
    """
    try:
        path.stat()
        if path.is_dir():
            return _folder(path)
        file = gguf.read(path)
    except FileNotFoundError as error:
        raise BadFiles(f"there is no model {path}") from error
    except gguf.BadModelFile as error:
        raise BadFiles(f"the model file {error}") from error
    except OSError as error:
        raise BadFiles(f"{path} cannot be read: {error.strerror or error}") from error
    if file.parts > 1:
        raise BadFiles(f"{path} is one of {file.parts} parts of a model, and transformers reads a single GGUF file")
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
        return sorted(_parts(index))
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
        if (size := file.stat().st_size) > MAX_JSON:
            raise BadFiles(f"{file} is damaged: it has {size} bytes")
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise BadFiles(f"{file} cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BadFiles(f"{file} is damaged: {error}") from error
    except RecursionError as error:
        raise BadFiles(f"{file} is damaged: it is nested too deeply") from error


def _parts(index: Path) -> set[str]:
    """The names of the safetensors files that an index lists."""
    names = table(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise BadFiles(f"{index} is damaged: its weight_map does not name a file for each weight")
    found = set(names.values())
    if strange := sorted(name for name in found if Path(name).name != name or "\0" in name):
        raise BadFiles(f"{index} is damaged: {strange[0]!r} is not the name of a file in its folder")
    return found


def _folder(folder: Path) -> Facts:
    if not (folder / "config.json").is_file():
        raise BadFiles(f"the folder {folder} holds no model: there is no config.json in it")
    config = table(folder / "config.json")
    weights(folder)
    text = {**config, **_part(config, "text_config", folder)}
    if config.get("is_encoder_decoder"):
        raise BadFiles(f"the model {folder} has an encoder and a decoder; only models with one of them are known")
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list):
        raise BadFiles(f"{folder / 'config.json'} is damaged: its architectures are not a list")
    modules = (folder / "modules.json").is_file()
    stated = window(text)
    if modules or not any(str(name).endswith(GENERATING) for name in architectures):
        return Facts(generates=False, context_window=stated, dimensions=_number(text, WIDTH))
    return Facts(generates=True, chat_template=_chat_template(folder), context_window=stated or DEFAULT_WINDOW)


def _chat_template(folder: Path) -> str:
    if (file := folder / "chat_template.jinja").is_file():
        return _text(file)
    if not (folder / "tokenizer_config.json").is_file():
        return ""
    written = table(folder / "tokenizer_config.json").get("chat_template") or ""
    if isinstance(written, list):
        named = {str(one.get("name")): one.get("template", "") for one in written if isinstance(one, dict)}
        written = named.get("default", "")
    if not isinstance(written, str):
        raise BadFiles(f"{folder / 'tokenizer_config.json'} is damaged: its chat_template is not a text")
    return written


def _text(file: Path) -> str:
    try:
        if (size := file.stat().st_size) > MAX_TEMPLATE:
            raise BadFiles(f"{file} is damaged: it has {size} bytes")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadFiles(f"{file} is not UTF-8 text: byte {error.start} is invalid") from error


def _part(config: dict[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """The table of that name in a ``config.json``; empty if there is none."""
    part = config.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise BadFiles(f"{folder / 'config.json'} is damaged: its {name} is not an object")
    return part


def _number(config: dict[str, Any], names: tuple[str, ...]) -> int:
    """The first of these that is a length a model can have; 0: there is none."""
    values = [config.get(name) for name in names]
    return next((value for value in values if type(value) is int and 0 < value <= gguf.MAX_NUMBER), 0)
