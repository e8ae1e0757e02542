"""What docs/clients shows of a language is what the tests run, and what is packed is what they are built from."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from tests.interop.languages import LANGUAGES, ROOT, Language
from tests.interop.pages import PAGES, blocks, stripped, written

GENERATED = [language for language in LANGUAGES if language.commands and not language.web]
"""Those with a page of their own. Python has finished clients, and a page that tests/client sees to."""
languages = pytest.mark.parametrize("language", GENERATED, ids=lambda language: language.folder)


@pytest.mark.parametrize(
    "page", ["README.md", "web.md", "../browsers.md", *[f"{language.folder}.md" for language in GENERATED]]
)
def test_a_page_is_fresh(page: str) -> None:
    """``python -m tests.interop.pages`` would not change it."""
    text = (PAGES / page).read_text(encoding="utf-8")
    assert written(text) == text


@languages
def test_a_page_shows_what_is_tested(language: Language) -> None:
    """How the program is built and what has an answer as whole files, and else only pieces of the program."""
    sources = {path.name.lower(): stripped(path.read_text(encoding="utf-8")) for path in language.sources()}
    shown = [stripped(block) for block in blocks((PAGES / f"{language.folder}.md").read_text(encoding="utf-8"))]
    for name, source in sources.items():
        if name == "build" or name.startswith("answer."):
            assert source in shown, name
    assert [block for block in shown if not any(block in source for source in sources.values())] == []


def packed(folder: Path) -> Path:
    """The archive, made anew."""
    done = subprocess.run([ROOT / "scripts" / "protos", folder], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_the_contract_is_packed(tmp_path: Path) -> None:
    """Each .proto file as it is, and one set of descriptors that needs nothing else; the same bytes each time."""
    archive = packed(tmp_path / "one")
    assert archive.read_bytes() == packed(tmp_path / "two").read_bytes()
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    sources = {path.relative_to(ROOT / "protos") for path in (ROOT / "protos").rglob("*.proto")}
    assert {path.relative_to(unpacked) for path in unpacked.rglob("*.proto")} == sources
    for path in sources:
        assert (unpacked / path).read_bytes() == (ROOT / "protos" / path).read_bytes()

    found = descriptor_pb2.FileDescriptorSet.FromString((unpacked / "contextprotocol.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for descriptor in found.file:  # each behind what it imports, or this fails
        pool.Add(descriptor)
    chat = pool.FindServiceByName("contextprotocol.v1.ChatService")
    assert [method.name for method in chat.methods] == ["Chat", "StreamChat"]
    assert pool.FindServiceByName("grpc.health.v1.Health").file.name == "grpc/health/v1/health.proto"
    assert pool.FindMessageTypeByName("google.rpc.ErrorInfo").file.name == "google/rpc/error_details.proto"


def test_buf_generates_for_every_language(tmp_path: Path) -> None:
    """By ``buf.gen.yaml``, where the plugins are."""
    plugins = (
        "protoc",
        "protoc-gen-go",
        "protoc-gen-go-grpc",
        *[f"grpc_{name}_plugin" for name in ("java", "cpp", "ruby")],
    )
    if missing := [name for name in plugins if shutil.which(name) is None]:
        pytest.skip(f"buf: this machine lacks {', '.join(missing)}")
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([buf, "generate", "--output", tmp_path], cwd=ROOT, check=True)
    for file in (
        "go/contextprotocol.io/gen/contextprotocol/v1/chat_grpc.pb.go",
        "cpp/contextprotocol/v1/chat.grpc.pb.h",
    ):
        assert (tmp_path / "gen" / file).is_file()
    assert (tmp_path / "gen/java/io/contextprotocol/v1/ChatServiceGrpc.java").is_file()
    assert (tmp_path / "gen/ruby/contextprotocol/v1/chat_services_pb.rb").is_file()
