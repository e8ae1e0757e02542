"""Files that ``mcp-client`` keeps between runs. Only their owner can read them."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Final

import platformdirs

HISTORY_FILE: Final = "chat_history"
"""The messages and commands that the user typed in conversations."""
_LAST_FILE: Final = "last_sessions.json"
"""The session that was used last, by the address of the server."""

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


def remember_session(address: str, session: str) -> None:
    """Keep the id of the session that was used last with a server. A folder that cannot be written is no error."""
    with contextlib.suppress(OSError):
        path = private_file(_LAST_FILE)
        sessions = {**_last_sessions(path), address: session}
        path.write_text(json.dumps(sessions))


def last_session(address: str) -> str:
    """The id of the session that was used last with a server.

    Raises:
        ValueError: none was.
    """
    try:
        found = _last_sessions(private_file(_LAST_FILE)).get(address)
    except OSError as error:
        raise ValueError(f"the last session is not known: {error}") from error
    if found is None:
        raise ValueError(f"no session was used with {address} from here; mcp-client sessions list shows all")
    return found


def _last_sessions(path: Path) -> dict[str, str]:
    try:
        value = json.loads(path.read_text() or "{}")
    except ValueError:  # cut off by a crash: the next use writes it again
        return {}
    return value if isinstance(value, dict) else {}
