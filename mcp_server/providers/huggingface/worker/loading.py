"""Loads a model by transformers: from a folder, from a GGUF file, or from the model hub."""

from __future__ import annotations

import copy
import importlib.util
import math
import struct
from pathlib import Path
from typing import Any

import msgspec
import torch
import transformers

from mcp_server.providers.huggingface import files, model_facts
from mcp_server.providers.huggingface.protocol import Facts, Loading
from mcp_server.providers.huggingface.worker import hub
from mcp_server.providers.huggingface.worker.device import full
from mcp_server.providers.huggingface.worker.failures import CannotLoad


class Loaded(msgspec.Struct, kw_only=True):
    """A loaded model."""

    model: Any
    tokenizer: Any
    facts: Facts
    folder: Path | None
    """Where its files are; ``None``: it is a single file."""

    def tokenizer_for_another_thread(self) -> Any:
        """A tokenizer is used by one thread alone."""
        return copy.deepcopy(self.tokenizer)


def load(settings: Loading) -> Loaded:
    """The model, ready to compute.

    Raises:
        CannotLoad: it is missing, damaged, of an unknown kind, or too large for the memory.
    """
    torch.set_num_threads(settings.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    path = Path(settings.path) if settings.path else hub.fetch(settings.source, settings.revision)
    try:
        facts = model_facts.read(path)
    except files.BadFiles as error:
        raise CannotLoad(str(error)) from error
    window = settings.context_window or facts.context_window
    if facts.largest_window and window > facts.largest_window:
        raise CannotLoad(f"context_window is {window}, and the model reads {facts.largest_window} tokens at most")
    device = _device(settings.device)
    folder, options = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    dtype = _dtype(settings.dtype, device)
    kind = transformers.AutoModelForCausalLM if facts.generates else transformers.AutoModel
    try:
        _check_memory(path, dtype, device)
        tokenizer = _tokenizer(folder, options)
        model: Any = kind.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False, **options
        )
        model.to(device).eval()
    except CannotLoad:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise CannotLoad(full(device)) from error
    except Exception as error:  # the libraries below raise what they like; whatever it is, there is no model
        text = " ".join(str(error).split())[:300]
        raise CannotLoad(f"transformers does not take it: {type(error).__name__}: {text}") from error
    tokenizer.padding_side = "right"
    template = tokenizer.chat_template if facts.generates else ""
    facts = msgspec.structs.replace(
        facts, context_window=window, chat_template=template if isinstance(template, str) else facts.chat_template
    )
    return Loaded(model=model, tokenizer=tokenizer, facts=facts, folder=path if path.is_dir() else None)


def _tokenizer(folder: Path, options: dict[str, str]) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
    except Exception as error:
        # transformers then tries to read the file in another format, and complains of that.
        if not (folder / "tokenizer.json").is_file() and any(folder.glob("*.model")) and _lacks("sentencepiece"):
            raise CannotLoad(
                "its tokenizer needs the library sentencepiece, which the extra `huggingface` includes: "
                "pip install 'contextprotocol[huggingface]'"
            ) from error
        text = " ".join(str(error).split())[:300]
        raise CannotLoad(f"its tokenizer cannot be loaded: {type(error).__name__}: {text}") from error


def _lacks(library: str) -> bool:
    return importlib.util.find_spec(library) is None


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CannotLoad(f"this machine has no device {name} that PyTorch can use") from error
    return device


def _dtype(name: str, device: torch.device) -> Any:
    if name == "auto":
        # A processor without instructions for smaller numbers is many times slower with them.
        return torch.float32 if device.type == "cpu" else "auto"
    return getattr(torch, name)


def _check_memory(path: Path, dtype: Any, device: torch.device) -> None:
    """Raise where the weights alone have no room: the system would end a process then, perhaps another one."""
    if not path.is_dir():
        return
    size = sum(_bytes(file, dtype) for file in files.weights(path))
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _available()
    if free is not None and size > free:
        numbers = "" if dtype == "auto" else f" as {str(dtype).removeprefix('torch.')}"
        raise CannotLoad(
            f"its weights take {size / 1e9:.1f} GB of memory{numbers}, and {free / 1e9:.1f} GB"
            f"{'' if device.type == 'cpu' else f' of {device}'} are free"
        )


def _bytes(file: Path, dtype: Any) -> int:
    """How much memory the weights in a file take. Its header is read, and nothing of them."""
    size = file.stat().st_size
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > size:
                raise CannotLoad(f"{file} is no safetensors file, or is cut short: it has {size} bytes")
            header = msgspec.json.decode(opened.read(length), type=dict[str, Any])
        weights = [weight for name, weight in header.items() if name != "__metadata__"]
        expected = 8 + length + max((weight["data_offsets"][1] for weight in weights), default=0)
        numbers = sum(math.prod(weight["shape"]) for weight in weights)
    except (struct.error, msgspec.MsgspecError, LookupError, TypeError) as error:
        raise CannotLoad(f"the header of {file} is damaged: {error}") from error
    if size < expected:
        raise CannotLoad(f"{file} is cut short: it has {size} of {expected} bytes")
    return size if dtype == "auto" else int(numbers) * int(torch.empty(0, dtype=dtype).element_size())


def _available() -> int | None:
    """The bytes of memory that are free; ``None`` where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    limit, used, statistics = group / "memory.max", group / "memory.current", group / "memory.stat"
    if limit.is_file() and used.is_file() and statistics.is_file() and (most := limit.read_text().strip()).isdigit():
        # What is kept of files counts as used, and makes room when it is needed.
        kept = dict(line.split() for line in statistics.read_text().splitlines()).get("inactive_file", "0")
        free = min(free, int(most) - int(used.read_text()) + int(kept))
    return free
