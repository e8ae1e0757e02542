"""`scripts/run`, as the README has a stranger type it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from mcp_server.testing import EchoProvider, running

ROOT = Path(__file__).parent.parent


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user who has nothing yet but the model file, and a port that nobody listens on."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CONTEXTPROTOCOL_")} | {
        "CONTEXTPROTOCOL_ADDRESS": f"127.0.0.1:{free_port()}",
        "CONTEXTPROTOCOL_METRICS__ADDRESS": "",
        "CONTEXTPROTOCOL_WEB__ADDRESS": "127.0.0.1:0",
        "CONTEXTPROTOCOL_STORE__PATH": str(tmp_path / "sessions.db"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


async def run(environment: dict[str, str], *arguments: str, status: int = 0, checkout: Path = ROOT) -> tuple[str, str]:
    """What `scripts/run` wrote to standard output and to standard error; it must end with the status."""
    process = await asyncio.create_subprocess_exec(
        checkout / "scripts" / "run",
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == status, errors.decode()
    return output.decode(), errors.decode()


def pins(name: str) -> set[str]:
    """The pinned packages of a file, with their versions."""
    return set(re.findall(r"^\S+==\S+", (ROOT / "scripts" / "requirements" / name).read_text(), re.MULTILINE))


def packages_in(environment: Path) -> set[str]:
    """The packages that are installed in a virtual environment."""
    return {path.name.partition("-")[0] for path in environment.glob("lib/*/site-packages/*.dist-info")}


def listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as caller:
        return caller.connect_ex((host, int(port))) == 0


@pytest.mark.timeout(300)
async def test_a_conversation_outlives_the_server(environment: dict[str, str]) -> None:
    """What was said before the server stopped is remembered after it has started again, and nothing is left running."""
    answer, printed = await run(environment, "--session", "tour", "The secret word is banana.")
    assert "The console, a page for the same conversations: http://127.0.0.1:" in printed
    assert answer.strip()
    assert not listening(environment["CONTEXTPROTOCOL_ADDRESS"])
    asked, _ = await run(environment, "--session", "tour", "What is the secret word?")
    assert "banana" in asked.lower()


async def test_a_server_that_runs_already_answers_and_stays(environment: dict[str, str]) -> None:
    """Only a server that the script started is stopped by it; standard output has the answer and nothing else."""
    async with running(providers={"echo": EchoProvider()}) as server:
        output, _ = await run(environment | {"CONTEXTPROTOCOL_ADDRESS": server.address}, "say this")
        assert output == "say this\n"
        assert listening(server.address)


async def test_a_server_that_cannot_start_says_why(environment: dict[str, str], tmp_path: Path) -> None:
    """The end of its log is shown, and the exit status tells."""
    (tmp_path / "sessions.db").write_text("This is no database. " * 100)
    output, errors = await run(environment, "hello", status=1)
    assert output == ""
    assert "The server did not start" in errors
    assert "sessions.db" in errors


def test_what_runs_has_the_versions_that_are_tested() -> None:
    """What `scripts/run` installs is a part of what `scripts/test` does."""
    assert pins("run.txt") < pins("lock.txt")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is tracked, or about to be."""
    copy = tmp_path / "clone"
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.mark.timeout(600)
async def test_a_fresh_clone_installs_what_running_needs_and_no_more(
    environment: dict[str, str], checkout: Path
) -> None:
    """The embedded model and the console, without the tools of development."""
    answer, printed = await run(environment, "Hello", checkout=checkout)
    assert answer.strip()
    assert "The console, a page for the same conversations: http://127.0.0.1:" in printed
    assert not (checkout / ".venv").exists()
    packages = packages_in(checkout / ".venv-run")
    assert packages >= {"contextprotocol", "xllamacpp", "starlette"}
    assert not packages & {"pytest", "mypy", "torch", "buf_bin"}
