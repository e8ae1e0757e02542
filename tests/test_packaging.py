"""What is built is complete: it installs and imports where there is no checkout, beside the PyPI package ``mcp``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from contextprotocol.protos import path

ROOT = Path(__file__).parent.parent

CONTRACT_AND_CLIENT = """
import contextprotocol.v1.chat_pb2_grpc, contextprotocol.v1.turn_pb2, contextprotocol.protos
assert (contextprotocol.protos.path() / "contextprotocol/v1/chat.proto").is_file()
import mcp, mcp_client
assert mcp_client.MCPClient.__module__.startswith("mcp_client")
assert "mcp_client" not in mcp.__file__
"""
LIBRARY = {"contextprotocol", "googleapis-common-protos", "grpcio", "grpcio-health-checking", "msgspec", "protobuf"}
"""All that the plain installation brings, but for what these libraries and pip need."""
SERVER = """
import mcp, mcp_client, mcp_server.app, mcp_server.stores.sqlite, mcp_server.testing
"""


def run(*command: str | Path, folder: Path, status: int = 0) -> str:
    """What the program printed; it must end with the status."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it is built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, folder=ROOT)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    """Each package comes with its type information, and no test or script comes along."""
    names = zipfile.ZipFile(wheel).namelist()
    packages = {"contextprotocol", "mcp_client", "mcp_server"}
    info = f"contextprotocol-{version('contextprotocol')}.dist-info"
    assert {name.partition("/")[0] for name in names} == packages | {info}
    assert {f"{package}/py.typed" for package in packages} <= set(names)
    assert f"{info}/licenses/LICENSE" in names


def test_the_wheel_holds_the_proto_files(wheel: Path) -> None:
    """Where `contextprotocol.protos.path()` finds them: compilers of other languages need no checkout."""
    archive = zipfile.ZipFile(wheel)
    held = {name.removeprefix("contextprotocol/_protos/") for name in archive.namelist() if name.endswith(".proto")}
    assert held == {file.relative_to(path()).as_posix() for file in path().rglob("*.proto")}
    assert "contextprotocol/v1/chat.proto" in held


def test_the_readme_leads_somewhere_wherever_it_is_shown(wheel: Path) -> None:
    """Its links and pictures are absolute in the package, below the address of the repository."""
    metadata = zipfile.ZipFile(wheel).read(f"contextprotocol-{version('contextprotocol')}.dist-info/METADATA").decode()
    readme = metadata.partition("\n\n")[2]
    links = re.findall(r"\]\(([^)\s]+)\)", readme)
    assert [link for link in links if not link.startswith("https://")] == []
    repository = "https://contextprotocol.example/contextprotocol"
    assert f"![The console: a conversation, its sessions and its turns]({repository}/docs/images/console.png)" in readme
    here = (ROOT / "README.md").read_text()
    assert readme.replace(f"]({repository}/", "](").strip() == here.strip()


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """Whoever builds from the sdist gets file for file what the checkout gives."""
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path, folder=ROOT)
    sdist = next(tmp_path.glob("*.tar.gz"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--isolated")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", sdist, folder=tmp_path)
    rebuilt = next(tmp_path.glob("*.whl"))
    assert contents(rebuilt) == contents(wheel)


def contents(wheel: Path) -> dict[str, int]:
    """Each file of the wheel with its checksum."""
    return {entry.filename: entry.CRC for entry in zipfile.ZipFile(wheel).infolist()}


@pytest.mark.timeout(600)
def test_the_wheel_works_alone_and_beside_mcp(wheel: Path, tmp_path: Path) -> None:
    """The plain installation is the client library; each command line says which extra it needs, and works with it."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", folder=tmp_path)
    programs = tmp_path / "venv" / "bin"
    pip = (programs / "pip", "--disable-pip-version-check", "install", "--only-binary", ":all:")
    pins = ROOT / "scripts" / "requirements" / "packaging.txt"

    run(*pip, "--constraint", pins, wheel, folder=tmp_path)
    listed = run(programs / "pip", "--disable-pip-version-check", "list", "--format", "json", folder=tmp_path)
    assert {package["name"] for package in json.loads(listed)} - {"pip", "setuptools", "typing_extensions"} == LIBRARY
    run(*pip, "--constraint", pins, "mcp", folder=tmp_path)
    run(programs / "python", "-c", CONTRACT_AND_CLIENT, folder=tmp_path)
    printed = run(programs / "mcp-client", "--help", folder=tmp_path, status=1)
    assert printed == "mcp-client needs platformdirs, prompt_toolkit, rich, typer: pip install 'contextprotocol[cli]'\n"
    assert "pip install 'contextprotocol[" in run(programs / "mcp-server", "version", folder=tmp_path, status=1)

    run(*pip, "--constraint", pins, f"{wheel}[cli]", folder=tmp_path)
    assert "chat" in run(programs / "mcp-client", "--help", folder=tmp_path)

    run(*pip, "--constraint", pins, f"{wheel}[server]", folder=tmp_path)
    run(programs / "python", "-W", "error", "-c", SERVER, folder=tmp_path)
    assert version("contextprotocol") in run(programs / "mcp-server", "version", folder=tmp_path)
    run(programs / "pip", "--disable-pip-version-check", "check", folder=tmp_path)
