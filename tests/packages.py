"""Installs packages for tests: a module and its entry points, in a folder of the import path."""

from __future__ import annotations

import tomllib
from pathlib import Path


def install(folder: Path, name: str, code: str, entry_points: str) -> None:
    """Write a module and the metadata of a package beside it.

    Args:
        folder: a folder of the import path.
        name: the name of the module and of the package.
        code: the module.
        entry_points: the part of ``pyproject.toml`` that registers them.
    """
    (folder / f"{name}.py").write_text(code)
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines: list[str] = []
    for group, entries in tomllib.loads(entry_points)["project"]["entry-points"].items():
        lines += [f"[{group}]", *[f"{entry} = {value}" for entry, value in entries.items()]]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")
