"""The commands ``mcp-server keys``."""

from __future__ import annotations

import asyncio
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from mcp_server.app import UnifiedMCPServer
from mcp_server.cli import app
from mcp_server.settings import read
from mcp_server.values.key_secret import key_id_of


class Program:
    """A running server, its settings, and the program that calls it."""

    def __init__(self, server: UnifiedMCPServer, settings: Path) -> None:
        self.server = server
        self._settings = settings

    async def __call__(self, *arguments: str, status: int = 0) -> str:
        """What the program prints to standard output, or to standard error if it fails."""
        options = ("--server", self.server.address, "--config", str(self._settings))
        return await run(*arguments, *options, status=status)


async def run(*arguments: str, status: int = 0) -> str:
    """Run ``mcp-server keys`` with these arguments, beside the server's event loop."""
    done = await asyncio.to_thread(CliRunner().invoke, app, ["keys", *arguments])
    assert done.exit_code == status, done.output
    return done.stdout if status == 0 else done.stderr


def settings_in(folder: Path, more: str = "") -> Path:
    """The settings of a server that stores keys in that folder."""
    file = folder / "settings.toml"
    file.write_text(
        '[server]\naddress = "127.0.0.1:0"\n[store]\npath = "sessions.db"\n[metrics]\naddress = ""\n'
        '[auth]\nstored_keys = true\n[providers.echo]\ntype = "custom"\nclass = "mcp_server.testing:EchoProvider"\n'
        f'[models]\ndefault = "echo/echo"\n{more}'
    )
    return file


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the developer does not matter."""
    for name in ("KEY_FILE", "API_KEY", "CONFIG"):
        monkeypatch.delenv(f"CONTEXTPROTOCOL_{name}", raising=False)


@pytest.fixture
def log_elsewhere() -> Iterator[None]:
    """The program and the server of a test share a process, and the program's output is what is looked at."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    yield
    structlog.reset_defaults()


@pytest.fixture
async def program(tmp_path: Path, log_elsewhere: None) -> AsyncIterator[Program]:
    file = settings_in(tmp_path)
    async with UnifiedMCPServer(read(file, {}).config) as server:
        yield Program(server, file)


async def test_keys_are_managed_over_the_running_server(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first key, which is found beside the store; from creation to revocation."""
    created = await program("create", "--name", "app", "--limit", "tokens_per_day=1000", "--label", "team=web")
    secret = created.splitlines()[0]
    key_id = key_id_of(secret)
    assert key_id is not None
    assert key_id in created.splitlines()[-1]

    head, *rows = [line.split("\t") for line in (await program("list")).splitlines()]
    assert head == ["KEY", "STATE", "TENANT", "SCOPES", "EXPIRES", "FROM", "NAME"]
    assert [row[-1] for row in rows] == ["first key", "app"]
    assert rows[1][:4] == [key_id, "active", "default", "chat sessions.read sessions.write models"]

    shown = dict(line.split("  ", 1) for line in (await program("show", key_id)).splitlines())
    facts = {name.strip(): value.strip() for name, value in shown.items()}
    assert (facts["limit tokens_per_day"], facts["label team"], facts["models"]) == ("1000", "web", "all")

    changed = await program(
        "update", key_id, "--scope", "chat", "--clear", "limits", "--clear", "labels", "--days", "1"
    )
    assert ("limit" in changed, "label" in changed, "expires" in changed) == (False, False, True)

    (tmp_path / "app.key").write_text(secret)
    refused = await program("list", "--key-file", str(tmp_path / "app.key"), status=1)
    assert "requires the scope `admin`" in refused
    assert "PERMISSION_DENIED" in refused
    with monkeypatch.context() as variables:
        variables.setenv("CONTEXTPROTOCOL_API_KEY", secret)
        assert await program("list", status=1) == refused
    assert await program("revoke", key_id) == f"keys/{key_id} revoked\n"
    refused = await program("list", "--key-file", str(tmp_path / "app.key"), status=1)
    assert "the API key is not valid (UNAUTHENTICATED)" in refused


async def test_a_new_key_for_the_settings_opens_the_server(tmp_path: Path, log_elsewhere: None) -> None:
    """What the program prints can be pasted; it calls nothing."""
    printed = await run("new", "--tenant", "red", "--scope", "admin", "--model", "echo/*", "--name", 'the "boss"')
    secret, _, table = printed.partition("\n")
    (key,) = tomllib.loads(table)["auth"]["keys"].values()
    assert (key["tenant"], key["scopes"], key["models"]) == ("red", ["admin"], ["echo/*"])
    file = settings_in(tmp_path, table)
    (tmp_path / "boss.key").write_text(secret)
    async with UnifiedMCPServer(read(file, {}).config) as server:
        listed = await Program(server, file)("list", "--key-file", str(tmp_path / "boss.key"))
        assert 'the "boss"' in listed
    assert not (tmp_path / "sessions.db.first-key").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("new", "--scope", "everything"), 2, "--scope: found 'everything', expected one of chat"),
        (("create", "--limit", "tokens"), 2, "--limit: found 'tokens', expected NAME=VALUE"),
        (("list", "--key-file", "/nowhere"), 2, "/nowhere: No such file or directory"),
        (("list", "--server", "127.0.0.1:1"), 1, "UNAVAILABLE"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(arguments: tuple[str, ...], status: int, message: str) -> None:
    """With an exit status."""
    printed = await run(*arguments, status=status)
    assert message in printed
    assert len(printed.splitlines()) == 1


async def test_a_limit_that_does_not_exist_is_named(program: Program) -> None:
    """Before anything is sent."""
    assert "tokens_per_year" in await program("create", "--limit", "tokens_per_year=1", status=1)
