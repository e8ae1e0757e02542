"""LlamaIndex as a client. It needs an older client of OpenAI's than the tests, and so an environment of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Final

import pytest

from mcp_server.interfaces import Provider
from mcp_server.testing import EchoProvider, running
from tests.web.meteorologist import Meteorologist
from tests.web.openai.test_chat import ALL
from tests.web.servers import web_config

PROGRAM: Final = Path(__file__).with_name("llama_index_program.py")
PINS: Final = Path(__file__).parents[2] / "scripts" / "requirements" / "llama_index.txt"


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of an environment with LlamaIndex, which is made once for each list of versions."""
    cache = request.config.cache.mkdir("llama_index")
    folder = cache / hashlib.sha256(PINS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    interpreter = folder / "bin" / "python"
    if not (folder / "installed").exists():
        for old in cache.iterdir():
            shutil.rmtree(old)
        pip = (interpreter, "-m", "pip", "--disable-pip-version-check", "install", "--only-binary", ":all:")
        for command in ((sys.executable, "-m", "venv", folder), (*pip, "--requirement", PINS)):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            assert done.returncode == 0, done.stdout
        (folder / "installed").touch()
    return interpreter


@pytest.mark.timeout(600)  # it may have to be installed first
async def test_llama_index(python: Path) -> None:
    """Chats whole and streamed, calls tools, gets objects and vectors."""
    providers: dict[str, Provider] = {"p": Meteorologist(model=ALL), "echo": EchoProvider()}
    async with running(web_config(), providers=providers) as server:
        process = await asyncio.create_subprocess_exec(
            *(python, "-I", PROGRAM, f"{server.web_url}v1"), stdout=PIPE, stderr=PIPE
        )
        output, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    assert json.loads(output) == {
        "chat": "It is sunny.",
        "stream": "It is sunny.",
        "tools": "sun",
        "object": {"city": "Rome"},
        "embeddings": [[2, 2], [0, 0]],
    }
