"""A conversation that two languages continue: ``examples/polyglot``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from mcp_server.testing import EchoProvider, ScriptedProvider, running
from tests.examples.programs import EXAMPLES, ROOT, Program, printed, started

FOLDER = EXAMPLES / "polyglot"
FILES = ("ask.js", "package.json", "package-lock.json", ".npmrc")


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> Path:
    """The folder of the example with what ``npm ci`` installs; kept until the example changes."""
    if missing := [name for name in ("node", "npm") if shutil.which(name) is None]:
        pytest.skip(f"examples/polyglot: this machine lacks {', '.join(missing)}")
    digest = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in FILES)).hexdigest()[:16]
    cache = request.config.cache.mkdir("examples")
    folder = cache / f"polyglot-{digest}"
    if not (folder / "installed").exists():
        for old in cache.glob("polyglot-*"):
            shutil.rmtree(old)
        folder.mkdir()
        for name in FILES:
            shutil.copy(FOLDER / name, folder)
        npm = ("npm", "ci", "--silent", "--no-audit", "--no-fund", "--no-update-notifier")
        subprocess.run(npm, cwd=folder, check=True)
        (folder / "installed").touch()
    return folder


async def test_each_language_knows_what_was_said_to_the_other(node: Path) -> None:
    """One session, three questions."""
    provider = ScriptedProvider.saying("Hello, Python!", "Hello, Node.js!", "Both.")
    async with running(providers={"scripted": provider}) as server:
        first = await printed("polyglot/ask.py", "tour", "I am Python.", address=server.address)
        second = await in_node(node, "tour", "I am Node.js.", address=server.address)
        third = await printed("polyglot/ask.py", "tour", "Who am I?", address=server.address)
    assert [output.splitlines()[0] for output in (first, second, third)] == [
        "Hello, Python!",
        "Hello, Node.js!",
        "Both.",
    ]
    texts = [message.text for message in provider.requests[2].messages]
    assert texts == ["I am Python.", "Hello, Python!", "I am Node.js.", "Hello, Node.js!", "Who am I?"]
    assert all(text in third for text in [*texts, "Both."])
    assert all(text in second for text in texts[:4])


async def test_node_begins_and_python_continues(node: Path) -> None:
    """It does not matter who comes first. A text of any length and script arrives as it was sent."""
    text = "Grüße, 世界 🌍 " * 50
    async with running(providers={"echo": EchoProvider()}) as server:
        assert (await in_node(node, "tour", text, address=server.address)).startswith(text)
        assert "Grüße" in await printed("polyglot/ask.py", "tour", "Hello", address=server.address)


async def test_a_failure_in_node_is_one_line(node: Path) -> None:
    """With the message of the server."""
    async with running() as server, node_program(node, "No such name!", "Hi", address=server.address) as program:
        ended = await program.ended()
    assert (ended.status, ended.output, len(ended.errors.splitlines())) == (1, "", 1)


def node_program(folder: Path, *arguments: str, address: str) -> AbstractAsyncContextManager[Program]:
    return started(
        "ask.js",
        *arguments,
        address=address,
        command=["node"],
        folder=folder,
        variables={"PROTOS": str(ROOT / "protos")},
    )


async def in_node(folder: Path, *arguments: str, address: str) -> str:
    """What ``ask.js`` prints."""
    async with node_program(folder, *arguments, address=address) as program:
        ended = await program.ended()
    assert (ended.status, ended.errors) == (0, "")
    return ended.output
