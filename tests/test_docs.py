"""The programs in the README and the user guide run as they stand there."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from mcp_client import MCPClient
from mcp_server.testing import running

ROOT = Path(__file__).parent.parent
ADDRESS = "127.0.0.1:50051"


def blocks(page: str) -> list[str]:
    """The Python code of a page."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/usage.md"])
async def test_a_whole_program_runs(page: str) -> None:
    """As a process of its own, against a real server."""
    (program,) = [block for block in blocks(page) if "asyncio.run(" in block]
    async with running() as server:
        assert ADDRESS in program
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            "-c",
            program.replace(ADDRESS, server.address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, errors = await process.communicate()
        assert (process.returncode, errors.decode()) == (0, "")
        assert printed


async def test_the_pieces_of_the_guide_run_in_their_order() -> None:
    """All of them in one program, as a reader would collect them."""
    pieces = [block for block in blocks("docs/usage.md") if "asyncio.run(" not in block and "def test_" not in block]
    assert len(pieces) > 5
    body = "\n".join(pieces)
    source = "async def guide(client):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    names: dict[str, object] = {}
    exec(compile(source, "docs/usage.md", "exec"), names)  # noqa: S102  # it is our own page
    async with running() as server, MCPClient(server.address) as client:
        await names["guide"](client)  # type: ignore[operator]  # defined a line above


async def test_the_test_of_the_guide_passes() -> None:
    """The example of the chapter on tests."""
    (block,) = [block for block in blocks("docs/usage.md") if "def test_" in block]
    names: dict[str, object] = {}
    exec(compile(block, "docs/usage.md", "exec"), names)  # noqa: S102  # it is our own page
    await names["test_a_busy_session_is_refused"]()  # type: ignore[operator]  # defined a line above


async def test_the_provider_of_the_setup_guide_answers() -> None:
    """Ten lines are enough."""
    (block,) = blocks("docs/setup.md")
    names: dict[str, object] = {}
    exec(compile(block, "docs/setup.md", "exec"), names)  # noqa: S102  # it is our own page
    provider = names["Shouting"]()  # type: ignore[operator]  # defined a line above
    async with running(providers={"shouting": provider}) as server, MCPClient(server.address) as client:
        assert (await client.chat("hello there")).text == "HELLO THERE "
