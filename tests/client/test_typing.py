"""The types that the clients promise, as the checkers of their users read them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("typed_program.py")

WRONG = """
from mcp_client import MCPClient, MCPSyncClient

async def wrong(client: MCPClient, blocking: MCPSyncClient) -> None:
    number: int = (await client.chat("Hi")).text
    await client.chat(7)
    other: int = (await client.chat("Hi", schema=str)).parsed
    client.with_options(max_tokens=1)
    blocking.chat("Hi", temprature=1)
    async for token in blocking.stream_chat("Hi"):
        pass
"""


def mypy(file: Path) -> list[str]:
    """In its strict mode."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=", file.name]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False)
    assert not done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def pyright(file: Path) -> list[str]:
    """In its strict mode."""
    settings = {"include": [file.name], "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (file.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    return [found["message"] for found in report["generalDiagnostics"]]


@pytest.mark.parametrize("check", [mypy, pyright])
def test_a_program_of_a_user_is_sound(tmp_path: Path, check: Callable[[Path], list[str]]) -> None:
    """All that it uses has a type, and the one that it says; a wrong one is not."""
    program, wrong = tmp_path / "program.py", tmp_path / "wrong.py"
    program.write_text(PROGRAM.read_text())
    assert check(program) == []
    wrong.write_text(WRONG)
    assert len(check(wrong)) >= 6
