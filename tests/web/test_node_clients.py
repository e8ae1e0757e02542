"""OpenAI's SDK for Node.js and the AI SDK as clients: ordinary programs, in ``node``."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from mcp_server.interfaces import Provider
from mcp_server.testing import EchoProvider, running
from tests.web.meteorologist import Meteorologist
from tests.web.openai.test_chat import ALL
from tests.web.servers import web_config

NODE: Final = Path(__file__).parent / "node"
MISSING: Final = [command for command in ("node", "npm") if shutil.which(command) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"this machine lacks {', '.join(MISSING)}")
VECTORS: Final = [[2, 2], [0, 0]]


@pytest.fixture(scope="module")
def programs(request: pytest.FixtureRequest) -> Path:
    """The programs beside the packages that they need, which are installed once for each lock file."""
    locked = b"".join((NODE / name).read_bytes() for name in (".npmrc", "package.json", "package-lock.json"))
    cache = request.config.cache.mkdir("node_clients")
    folder = cache / hashlib.sha256(locked).hexdigest()[:16]
    if not (folder / "installed").exists():
        for old in cache.iterdir():
            shutil.rmtree(old)
        shutil.copytree(NODE, folder)
        command = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--no-update-notifier"]
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0, f"the packages cannot be installed:\n{done.stdout}"
        (folder / "installed").touch()
    for program in NODE.glob("*.js"):
        shutil.copy(program, folder)
    return folder


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The base address of a server with a model of each kind."""
    providers: dict[str, Provider] = {"p": Meteorologist(model=ALL), "echo": EchoProvider()}
    async with running(web_config(), providers=providers) as server:
        yield f"{server.web_url}v1"


async def found(program: Path, *arguments: str) -> Any:
    """What the program printed when it ended well and without complaints."""
    process = await asyncio.create_subprocess_exec("node", program, *arguments, stdout=PIPE, stderr=PIPE)
    output, complaints = await process.communicate()
    assert (process.returncode, complaints.decode()) == (0, "")
    return json.loads(output)


@pytest.mark.timeout(300)  # the packages may have to be installed first
async def test_openais_sdk_for_node(programs: Path, url: str) -> None:
    """Chats whole and streamed, its own loop of tools, objects by its own schema, embeddings, responses, errors."""
    assert await found(programs / "openai.js", url) == {
        "chat": ["It is sunny.", "stop", 18],
        "stream": ["It is sunny.", 18],
        "tools": ["It is sunny.", "It is sunny.", ["Rome", "Rome"]],
        "object": {"city": "Rome"},
        "embeddings": VECTORS,
        "responses": ["It is sunny.", "It is sunny.", True],
        "refused": [True, "temperature"],
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["compatible", "chat", "responses", "messages"])
async def test_the_ai_sdk(programs: Path, url: str, way: str) -> None:
    """By its provider for compatible servers, by both APIs of its provider for OpenAI, and by Anthropic's."""
    assert await found(programs / "ai.js", url, way) == {
        "chat": ["It is sunny.", "stop", 11, 7],
        "stream": ["It is sunny.", "stop", 11],
        "tools": ["It is sunny.", "It is sunny.", 2, ["Rome", "Rome"]],
        "object": {"city": "Rome"},
        **({"embeddings": VECTORS} if way in ("compatible", "chat") else {}),
        "refused": 404,
    }
