"""The first key: made once for each store, and written to a file that only its owner can read."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from contextprotocol.v1 import key_pb2
from mcp_server.errors import ConfigError
from mcp_server.plugins import built_in
from mcp_server.settings import Config
from mcp_server.testing import EchoProvider, running
from mcp_server.values import SCOPES
from mcp_server.values.key_secret import key_id_of, new_key_id, new_secret
from tests.auth.keys import Metadata, bearer, config_with, new_key
from tests.wire import Refused, Wire


def config_in(folder: Path, *keys: Any, **auth: Any) -> Config:
    """A server with its store in that folder."""
    store = built_in("stores", "sqlite")(path=folder / "sessions.db")
    return msgspec.structs.replace(config_with(*keys, stored_keys=True, **auth), store=store)


@asynccontextmanager
async def serving(config: Config) -> AsyncIterator[Wire]:
    """A server and a channel to it."""
    async with (
        running(config, providers={"echo": EchoProvider()}) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield Wire(server, channel)


async def who_am_i(config: Config, secret: str, *, revoke: bool = False) -> Any:
    """Who the key is to a server that is started for this question."""
    async with serving(config) as wire:
        who = await wire.keys.WhoAmI(key_pb2.WhoAmIRequest(), metadata=bearer(secret or _secret(config)))
        if revoke:
            await wire.keys.RevokeKey(key_pb2.RevokeKeyRequest(name=who.key), metadata=bearer(_secret(config)))
        return who


def _secret(config: Config) -> str:
    path: Path = config.store.path  # type: ignore[attr-defined]  # it is the table of the SQLite store
    return path.with_name("sessions.db.first-key").read_text().strip()


async def started(config: Config) -> None:
    """A server that starts and stops."""
    async with running(config, providers={"echo": EchoProvider()}):
        pass


async def test_the_first_start_makes_a_key_with_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its secret is beside the store, for the owner's eyes, and nowhere in the log."""
    config = config_in(tmp_path)
    who = await who_am_i(config, "")
    assert (who.tenant, list(who.scopes)) == ("default", list(SCOPES))
    file = tmp_path / "sessions.db.first-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert who.key == f"keys/{key_id_of(file.read_text().strip())}"
    printed = "".join(capsys.readouterr())
    assert (str(file) in printed, file.read_text().strip() in printed) == (True, False)


async def test_it_is_made_once(tmp_path: Path) -> None:
    """Not again at the next start, nor when its owner has deleted the file, or revoked the key."""
    config = config_in(tmp_path)
    first = await who_am_i(config, "")
    secret = _secret(config)
    (tmp_path / "sessions.db.first-key").unlink()
    assert (await who_am_i(config, secret)).key == first.key
    (tmp_path / "sessions.db.first-key").write_text(secret)
    await who_am_i(config, secret, revoke=True)
    (tmp_path / "sessions.db.first-key").unlink()
    await started(config)
    assert not (tmp_path / "sessions.db.first-key").exists()


async def test_a_start_that_died_between_file_and_store_is_made_good(tmp_path: Path) -> None:
    """The secret in the file becomes the key's."""
    config = config_in(tmp_path)
    await who_am_i(config, "")
    secret = _secret(config)
    with sqlite3.connect(tmp_path / "sessions.db") as connection:
        assert connection.execute("DELETE FROM api_keys").rowcount == 1
    connection.close()
    await who_am_i(config, secret)
    assert _secret(config) == secret


async def test_the_file_of_another_store_is_replaced(tmp_path: Path) -> None:
    """Its key opens nothing here."""
    config = config_in(tmp_path, first_key_file=tmp_path / "sessions.db.first-key")
    (tmp_path / "sessions.db.first-key").write_text(new_secret(new_key_id()))
    await who_am_i(config, "")


async def test_a_file_with_something_else_is_left_alone(tmp_path: Path) -> None:
    """The server says so and does not start."""
    (tmp_path / "notes").write_text("remember the milk")
    config = config_in(tmp_path, first_key_file=tmp_path / "notes")
    with pytest.raises(ConfigError, match="contains something else than an API key"):
        await started(config)
    assert (tmp_path / "notes").read_text() == "remember the milk"


async def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """And nothing is left running."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="folder cannot be written: Is a directory"):
        await started(config_in(tmp_path, first_key_file=tmp_path / "folder"))


@pytest.mark.parametrize(("scopes", "made"), [(["chat"], True), (["admin"], False), (["operator"], False)])
async def test_an_administrator_in_the_settings_needs_no_first_key(
    tmp_path: Path, scopes: list[str], made: bool
) -> None:
    """No secret lies around that nobody asked for."""
    key = new_key("red", scopes)
    await who_am_i(config_in(tmp_path, key), key.secret)
    assert (tmp_path / "sessions.db.first-key").exists() == made


async def test_the_first_key_can_be_renamed_and_its_power_given_up(tmp_path: Path) -> None:
    """By itself; once given up it does not come back."""
    config = config_in(tmp_path)
    async with serving(config) as wire:
        metadata = bearer(_secret(config))
        name = (await wire.keys.WhoAmI(key_pb2.WhoAmIRequest(), metadata=metadata)).key
        changes: list[dict[str, Any]] = [{"display_name": "boss"}, {"scopes": ["admin", "chat"]}]
        for fields in changes:
            await _update(wire, name, metadata, **fields)
        with Refused() as refused:
            await _update(wire, name, metadata, scopes=["operator"])
        assert refused.reason == "NOT_ALLOWED"


async def _update(wire: Wire, name: str, metadata: Metadata, **fields: Any) -> None:
    request = key_pb2.UpdateKeyRequest(key=key_pb2.Key(name=name, **fields))
    request.update_mask.paths.extend(fields)
    await wire.keys.UpdateKey(request, metadata=metadata)
