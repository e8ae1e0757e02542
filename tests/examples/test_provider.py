"""A provider in a package of its own: ``examples/provider``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_client import MCPClient
from tests.examples.programs import EXAMPLES, started

FOLDER = EXAMPLES / "provider"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--isolated")
OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation")


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """What a program prints that ends well."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An import path with the package, as pip installs it from a copy of its folder."""
    folder = tmp_path_factory.mktemp("provider")
    shutil.copytree(FOLDER, folder / "source", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    run(*PIP, "wheel", *OFFLINE, folder / "source", folder=folder)
    run(*PIP, "install", *OFFLINE, "--target", folder / "site", next(folder.glob("*.whl")), folder=folder)
    return os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_its_own_tests_pass(installed: str, tmp_path: Path) -> None:
    """The contract suite among them, on what is installed."""
    shutil.copytree(FOLDER / "tests", tmp_path / "tests")
    shutil.copy(FOLDER / "pyproject.toml", tmp_path)
    output = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path, PYTHONPATH=installed)
    assert re.search(r"^\d\d passed", output, re.MULTILINE), output


def test_the_server_lists_it(installed: str, tmp_path: Path) -> None:
    """With the package that it comes from; and its settings are part of the schema for editors."""
    listed = run(sys.executable, "-m", "mcp_server", "plugins", folder=tmp_path, PYTHONPATH=installed)
    assert re.search(r"eliza.*contextprotocol-eliza", listed), listed
    schema = run(sys.executable, "-m", "mcp_server", "config-schema", folder=tmp_path, PYTHONPATH=installed)
    assert "Seconds before each word; 0: none." in schema


async def test_a_server_with_its_settings_answers(installed: str, tmp_path: Path) -> None:
    """As its README says."""
    command = (sys.executable, "-m", "mcp_server", "serve")
    options = ("--address", "127.0.0.1:0", "--store", tmp_path / "sessions.db")
    config = ("--config", FOLDER / "contextprotocol.toml")
    quiet = {"PYTHONPATH": installed, "CONTEXTPROTOCOL_METRICS__ADDRESS": ""}
    async with started(*config, *options, address="", command=command, variables=quiet) as server:
        await server.until("\n")
        (address,) = re.findall(r"127\.0\.0\.1:\d+", server.output)
        async with MCPClient(address) as client:
            (model,) = await client.list_models()
            assert model.name == "doctor/eliza"
            session = await client.create_session()
            async with client.stream_chat("I am tired of my work.", session=session) as stream:
                pieces = [piece async for piece in stream]
    assert pieces == ["How ", "long ", "have ", "you ", "been ", "tired ", "of ", "your ", "work?"]
