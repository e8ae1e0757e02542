"""The files that ``mcp-client`` keeps for its user, who alone can read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import platformdirs

HISTORY_FILE: Final = "chat_history"
"""What was typed in conversations."""

_OWNER_ONLY: Final = 0o600
_OWNER_ONLY_FOLDER: Final = 0o700


def private_file(name: str) -> Path:
    """The path of a file in the user's state folder. It is created if it does not exist.

    Raises:
        OSError: it cannot be written.
    """
    folder = platformdirs.user_state_path("contextprotocol", appauthor=False)
    folder.mkdir(mode=_OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
    path = folder / name
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _OWNER_ONLY)
    try:
        if hasattr(os, "fchmod"):  # a file that existed before may have other permissions
            os.fchmod(file, _OWNER_ONLY)
    finally:
        os.close(file)
    return path
