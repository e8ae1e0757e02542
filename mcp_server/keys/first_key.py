"""The first API key of a store, with which its owner creates all others."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import platformdirs
import structlog

from mcp_server.errors import ConfigError
from mcp_server.interfaces import AccountStore
from mcp_server.settings import Config
from mcp_server.values import SCOPES, Clock, Key
from mcp_server.values.key_secret import hash_of, key_id_from, key_id_of, new_secret

log = structlog.get_logger("contextprotocol.server")

_ADMINISTRATORS: Final = frozenset({"admin", "operator"})


def first_key_file(config: Config) -> Path:
    """Where the secret of the first key is written."""
    if config.auth.first_key_file is not None:
        return config.auth.first_key_file
    store = getattr(config.store, "path", None)
    if isinstance(store, Path):
        return store.with_name(f"{store.name}.first-key")
    return platformdirs.user_data_path("contextprotocol", appauthor=False) / "first-key"


async def ensure_first_key(
    store: AccountStore, file: Path, settings_keys: Mapping[str, Key], clock: Clock, *, tenant: str = "default"
) -> None:
    """Make the first key, with all scopes, unless it was made before or a key of the settings is an administrator's.

    Its id follows from a secret of the store, so that it is made once for each store, also by several servers, and not
    again after it was revoked. The file is written before the store: a key whose secret nobody has does no good.

    Raises:
        ConfigError: the file cannot be written.
    """
    if any(_ADMINISTRATORS.intersection(key.scopes) for key in settings_keys.values()):
        return
    digest = hashlib.sha256(await store.secret("first key")).digest()
    key_id = key_id_from(digest)
    if await store.key(key_id) is not None:
        return
    secret = await asyncio.to_thread(_written, file, key_id)
    now = clock()
    first = Key(
        id=key_id,
        tenant=tenant,
        secret_hash=hash_of(secret),
        create_time=now,
        update_time=now,
        etag="first",
        display_name="first key",
        scopes=SCOPES,
    )
    await store.change_key(key_id, lambda stored: stored or first)
    log.info("first API key created; the file has its secret", key=key_id, file=str(file))


def _written(file: Path, key_id: str) -> str:
    """The secret in the file, which only its owner can read. A secret of this key that is there already is kept."""
    try:
        with contextlib.suppress(FileNotFoundError):
            present = file.read_text().strip()
            if key_id_of(present) == key_id:
                return present
            if key_id_of(present) is None:
                raise ConfigError(
                    f"auth.first_key_file: {file} contains something else than an API key: choose another path"
                )
        secret = new_secret(key_id)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.{os.getpid()}.new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{secret}\n")
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text"
        raise ConfigError(f"auth.first_key_file: {file} cannot be written: {reason}") from error
    return secret
