"""What is derived from the contract is fresh, and the contract keeps its promises."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUF = Path(sys.executable).parent / "buf"
BASELINE = ROOT / "protos" / "baseline.binpb"


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    """A copy of the contract to change, with its rules."""
    shutil.copytree(ROOT / "protos" / "contextprotocol", tmp_path / "protos" / "contextprotocol")
    shutil.copyfile(ROOT / "buf.yaml", tmp_path / "buf.yaml")
    return tmp_path


def run(*command: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_generating_again_makes_no_difference() -> None:
    """What is committed is what the contract and the docstrings say now."""
    done = run("scripts/generate", "--check")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_stale_checkout_is_noticed(contract: Path) -> None:
    """A change of the contract or of the asynchronous client alone fails the check, and the check names the files."""
    for part in ("scripts", "mcp_server", "mcp_client", "protos/gen", "docs", "tests/client", "tests/interop"):
        shutil.copytree(ROOT / part, contract / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", contract / "pyproject.toml")
    chat = contract / "protos" / "contextprotocol" / "v1" / "chat.proto"
    chat.write_text(chat.read_text() + "\n// New.\nmessage New {}\n")
    client = contract / "mcp_client" / "_aio" / "client.py"
    client.write_text(client.read_text().replace("async def close(", "async def shut("))
    done = run(sys.executable, "scripts/_generate.py", "--check", folder=contract)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "mcp_client/_sync/client.py is out of date",
        "protos/gen/contextprotocol/v1/chat_pb2.py is out of date",
        "protos/gen/contextprotocol/v1/chat_pb2.pyi is out of date",
        "docs/api_reference.md is out of date",
        "docs/reference/contract/chat.md is out of date",
        "docs/reference/python/mcp_client-async.md is out of date",
    ]


def test_the_contract_follows_the_style(contract: Path) -> None:
    """The linter is content, and would not be with a bad name."""
    assert (clean := run(BUF, "lint", folder=contract)).returncode == 0, clean.stdout
    chat = contract / "protos" / "contextprotocol" / "v1" / "chat.proto"
    chat.write_text(chat.read_text() + "\nmessage bad_name {}\n")
    assert "bad_name" in run(BUF, "lint", folder=contract).stdout


def test_the_contract_is_compatible_with_its_last_release(contract: Path) -> None:
    """Nothing that was released is gone, and a message that goes is noticed."""
    command = (BUF, "breaking", "--against", BASELINE)
    assert (clean := run(*command, folder=contract)).returncode == 0, clean.stdout
    chat = contract / "protos" / "contextprotocol" / "v1" / "chat.proto"
    chat.write_text(chat.read_text().replace("rpc StreamChat", "rpc Renamed"))
    assert "StreamChat" in run(*command, folder=contract).stdout
