"""Models in memory and on disk: ``mcp-server models ps``, ``stop``, ``rm``, ``show``, their page and their metrics."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import msgspec
import psutil
import pytest

from mcp_client import MCPClient
from mcp_server.app import UnifiedMCPServer
from mcp_server.errors import ConfigError
from mcp_server.interfaces import Finish
from mcp_server.model_files import gguf, pull, remove
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.settings import AdminSettings, AuthSettings, Config, load
from mcp_server.settings import testing_config as settings
from mcp_server.settings.editing import with_default_model
from mcp_server.testing import Gate, ScriptedProvider, running
from tests.auth.keys import new_key

NAME = "smollm2-135m"
replace = msgspec.structs.replace

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def served(path: Path, **tables: object) -> Config:
    """Settings with the embedded model as ``local/m``, and the admin port on any free one."""
    model = LlamaCppModel(path=path, context_window=512)
    config = replace(settings(default_model="local/m"), providers={"local": LlamaCppSettings(models={"m": model})})
    return replace(config, admin=AdminSettings(address="127.0.0.1:0"), **tables)


@pytest.fixture(scope="module")
def model_file() -> Path:
    """The file of the embedded model."""
    return pull(NAME)


@pytest.fixture
def cache(tmp_path: Path, model_file: Path) -> Path:
    """A cache folder in which the embedded model is downloaded; return its file there."""
    folder = tmp_path / "cache" / "contextprotocol" / "models"
    folder.mkdir(parents=True)
    return Path(shutil.copy(model_file, folder / f"{NAME}.gguf"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``mcp-server models`` to its end, as a user with a cache folder of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONTEXTPROTOCOL_")}
    folders = {name: str(tmp_path / "home") for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    environ = kept | folders | {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mcp_server", "models", *arguments]
        return subprocess.run(
            command, env=environ | variables, capture_output=True, text=True, timeout=30, check=False, input=""
        )

    return run


@pytest.fixture
async def server(model_file: Path) -> AsyncIterator[UnifiedMCPServer]:
    """A server with the embedded model as ``local/m``."""
    async with running(served(model_file)) as server:
        yield server


async def ask(server: UnifiedMCPServer, method: str, path: str, **headers: str) -> tuple[int, str]:
    """The status and the text of the admin port's answer."""

    def read() -> tuple[int, str]:
        connection = HTTPConnection(server.admin_address, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    return await asyncio.to_thread(read)


async def test_models_in_memory_are_listed_and_stopped(server: UnifiedMCPServer, run: Run) -> None:
    """With their process, memory and time left; the metrics count loads, and the next call loads the model again."""
    admin = ("--admin", server.admin_address)
    assert json.loads((await asyncio.to_thread(run, "ps", "--json", *admin)).stdout) == []
    async with MCPClient(server.address) as client:
        await client.chat("Hi", max_output_tokens=2)
        (row,) = json.loads((await asyncio.to_thread(run, "ps", "--json", *admin)).stdout)
        assert (row["name"], row["state"], row["calls"]) == ("local/m", "loaded", 0)
        assert row["memory_bytes"] > 50_000_000
        assert 0 < row["unload_in_seconds"] <= 300
        os.kill(row["pid"], 0)
        listed = await asyncio.to_thread(run, "ps", *admin)
        assert [line.split("\t")[0] for line in listed.stdout.splitlines()] == ["MODEL", "local/m"]
        mistyped = await asyncio.to_thread(run, "stop", "local/n", *admin)
        assert (mistyped.returncode, mistyped.stderr) == (
            1,
            "mcp-server: the model 'local/n' is not in memory: did you mean local/m?\n",
        )
        stopped = await asyncio.to_thread(run, "stop", "m", *admin)
        assert stopped.stdout == "local/m unloaded\n"
        assert json.loads((await asyncio.to_thread(run, "ps", "--json", *admin)).stdout) == []
        await client.embed("Hi")
        _, page = await ask(server, "GET", "/metrics")
        lines = [line for line in page.splitlines() if line.startswith("contextprotocol_local_model")]
        assert 'contextprotocol_local_models_loaded{provider="local"} 1.0' in lines
        assert 'contextprotocol_local_model_loads_total{provider="local"} 2.0' in lines
        assert 'contextprotocol_local_model_unloads_total{provider="local"} 1.0' in lines


async def test_a_model_in_use_is_stopped_when_its_calls_have_ended(server: UnifiedMCPServer, run: Run) -> None:
    """The turn that runs gets its whole answer."""
    async with MCPClient(server.address) as client:
        options = {"ignore_eos": True}
        async with client.stream_chat("Hi", max_output_tokens=50, provider_options=options) as stream:
            await anext(aiter(stream))
            (row,) = json.loads((await ask(server, "GET", "/debug/models"))[1])["models"]
            worker = psutil.Process(row["pid"])
            worker.suspend()
            stopped = await asyncio.to_thread(run, "stop", "local/m", "--admin", server.admin_address)
            worker.resume()
            assert stopped.stdout == "local/m is in use (calls: 1), and is unloaded when they have ended\n"
            reply = await stream.reply()
        assert reply.usage.output_tokens == 50
    async with asyncio.timeout(10):
        while json.loads((await ask(server, "GET", "/debug/models"))[1])["models"]:
            pass


async def test_only_operators_of_this_machine_unload_models(model_file: Path) -> None:
    """As for the page of the turns; a method that a browser would send without asking first does nothing."""
    operator, chat = new_key(scopes=["operator"]), new_key(scopes=["chat"])
    auth = AuthSettings(keys={key.id: key.table for key in (operator, chat)})
    async with running(served(model_file, auth=auth)) as server:
        for token, status in (("", 401), (chat.secret, 403), (operator.secret, 200)):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            assert (await ask(server, "GET", "/debug/models", **headers))[0] == status
            assert (await ask(server, "DELETE", "/debug/models/local/m", **headers))[0] == status
    async with running(served(model_file)) as server:
        assert (await ask(server, "DELETE", "/debug/models/local/m", Host="stranger.test"))[0] == HTTPStatus.FORBIDDEN
        for method in ("GET", "POST", "OPTIONS"):
            status, _ = await ask(server, method, "/debug/models/local/m")
            assert status == HTTPStatus.METHOD_NOT_ALLOWED
        assert await ask(server, "DELETE", "/debug/models/local/n") == (
            HTTPStatus.NOT_FOUND,
            "there is no local model 'n': choose one of m\n",
        )
        assert (await ask(server, "DELETE", "/debug/models/elsewhere/m"))[0] == HTTPStatus.NOT_FOUND
        assert json.loads((await ask(server, "DELETE", "/debug/models/local/m"))[1]) == {"model": None}


async def test_models_elsewhere_take_no_memory_here() -> None:
    """A provider that loads nothing has no row."""
    config = replace(settings(default_model="slow/scripted"), admin=AdminSettings(address="127.0.0.1:0"))
    async with running(config, providers={"slow": ScriptedProvider([Gate(), Finish()])}) as server:
        assert await ask(server, "GET", "/debug/models") == (HTTPStatus.OK, '{"models":[]}')


def test_without_a_server_the_commands_say_how_to_start_one(run: Run) -> None:
    """With the address that was asked, and the setting that it comes from."""
    for command in (("ps",), ("stop", "m")):
        done = run(*command, "--admin", "127.0.0.1:1")
        assert done.returncode == 1
        assert "no server answers at 127.0.0.1:1 (admin.address): start one with `mcp-server serve`" in done.stderr
    assert "expected HOST:PORT" in run("ps", "--admin", "nowhere").stderr
    assert "switched off" in run("ps", CONTEXTPROTOCOL_ADMIN__ADDRESS="").stderr


def test_a_model_is_shown_with_what_it_can_do(run: Run, cache: Path) -> None:
    """From its file, the catalogue and the settings."""
    facts = json.loads(run("show", NAME, "--json").stdout)
    assert (facts["name"], facts["file"], facts["size"]) == (f"local/{NAME}", str(cache), cache.stat().st_size)
    assert (facts["licence"], facts["architecture"], facts["trained_context_length"]) == ("Apache-2.0", "llama", 8192)
    assert (facts["chat_template"], facts["context_window"], facts["keep_alive"]) == (True, 4096, 300.0)
    assert {"chat", "completion", "embedding"} <= {*facts["capabilities"]}
    assert facts["defaults"]["temperature"] == 0.0
    shown = run("show", str(cache)).stdout
    assert "chat template           yes" in shown
    assert "served                  no" in shown
    missing = json.loads(run("show", "qwen2.5-1.5b", "--json").stdout)
    assert (missing["downloaded"], missing["licence"]) == (False, "Apache-2.0")
    assert "did you mean smollm2-135m?" in run("show", "smolm2-135m").stderr


def test_a_downloaded_file_is_deleted_when_that_is_meant(run: Run, cache: Path) -> None:
    """Without a terminal only with ``--yes``; what was not downloaded stays."""
    off = ("--admin", "127.0.0.1:1")
    refused = run("rm", NAME, *off)
    assert (refused.returncode, "--yes is needed" in refused.stderr, cache.is_file()) == (2, True, True)
    deleted = run("rm", NAME, "--yes", *off)
    assert deleted.returncode == 0, deleted.stderr
    assert f"{cache} · 98 MB · deleted" in deleted.stdout
    assert f"mcp-server models pull {NAME}" in deleted.stdout, "the settings still name it"
    assert not cache.exists()
    assert "is not downloaded" in run("rm", NAME, "--yes", *off).stderr
    mine = cache.with_name("mine.gguf")
    mine.write_bytes(b"GGUF")
    assert "delete it yourself" in run("rm", str(mine), "--yes", *off).stderr
    assert mine.exists()


def test_a_pulled_model_becomes_the_default(run: Run, cache: Path, tmp_path: Path) -> None:
    """In the usual settings file, which is made for it, and beside the models that were served before."""
    pulled = run("pull", str(cache.rename(cache.with_name("mine.gguf"))), "--default")
    file = tmp_path / "home" / "contextprotocol" / "contextprotocol.toml"
    assert f"local/mine is now the default model in {file}" in pulled.stderr
    config = load(file)
    assert (config.models.default, file.stat().st_mode & 0o777) == ("local/mine", 0o600)
    assert [*config.providers["local"].model_names()] == [NAME, "mine"]


@pytest.mark.parametrize(
    ("before", "source", "default", "added"),
    [
        ('# mine\n[models]\ndefault = "local/a" # old\n', "qwen2.5-0.5b", "local/qwen2.5-0.5b", "qwen2.5-0.5b"),
        ('[providers.gg]\ntype = "llama_cpp"\n[providers.gg.models."qwen2.5-0.5b"]\n# end\n', "qwen2.5-0.5b", "gg", ""),
        ('[providers.gg]\ntype = "llama_cpp"\n', "hf:owner/repo/Big-Q4.gguf", "gg/Big-Q4", "hf:owner/repo/Big-Q4.gguf"),
        ('providers = {gg = {type = "llama_cpp", models = {a = {path = "/a.gguf"}}}}\n', "/a.gguf", "gg/a", ""),
        ('providers = {gg = {type = "llama_cpp", models = {a = {path = "/a.gguf"}}}}\n', "/b.gguf", "gg/b", "/b.gguf"),
        ('[providers.gg]\ntype = "llama_cpp"\n', "/my Ünique (2).gguf", "gg/my-nique-2-", "/my Ünique (2).gguf"),
        ('providers.gg.type = "llama_cpp"\n[models]\naliases = {x = "gg/y"}\n', "/b.gguf", "gg/b", "/b.gguf"),
        ('[providers.web]\ntype = "openai"\n', "smollm2-135m", "local/smollm2-135m", "llama_cpp"),
    ],
)
def test_the_default_model_changes_and_nothing_else(before: str, source: str, default: str, added: str) -> None:
    """However the file is written: its comments stay, and a model that is there is not added again."""
    after, name = with_default_model(before, source)
    assert name.startswith(default)
    assert tomllib.loads(after)["models"]["default"] == name
    assert added in after
    assert after.count("path") == before.count("path") + added.startswith("/")
    assert [line for line in before.splitlines() if "#" in line and line.partition("#")[2] not in after] == []
    assert with_default_model(after, source) == (after, name)


@pytest.mark.parametrize(
    ("before", "problem"),
    [
        ('[providers.local]\ntype = "openai"\n', "providers.local: is not of the type llama_cpp"),
        ('[providers.gg]\ntype = "llama_cpp"\nmodels.b.path = "/other/b.gguf"\n', "gg.models.b: is another model"),
    ],
)
def test_names_that_are_taken_stay(before: str, problem: str) -> None:
    """Nothing is replaced that somebody else may use."""
    with pytest.raises(ConfigError, match=problem):
        with_default_model(before, "/b.gguf")


def test_settings_that_cannot_be_used_stay_as_they_are(run: Run, cache: Path, tmp_path: Path) -> None:
    """Also if a variable decides on the default model."""
    file = tmp_path / "mine.toml"
    file.write_text('[providers.local]\ntype = "llama_cpp"\n[providers.local.models.m]\npath = "m.gguf"\n')
    before = file.read_text()
    other = run("pull", NAME, "--default", "--config", file, CONTEXTPROTOCOL_MODELS__DEFAULT="local/m")
    assert (other.returncode, "CONTEXTPROTOCOL_MODELS__DEFAULT: makes local/m the default" in other.stderr) == (2, True)
    assert (file.read_text(), [*tmp_path.glob(".mine*")]) == (before, [])
    file.write_text("x =")
    broken = run("pull", NAME, "--default", "--config", file)
    assert (broken.returncode, "is not valid TOML" in broken.stderr, file.read_text()) == (2, True, "x =")
    assert run("pull", "--default").returncode == 2


async def test_a_file_in_use_is_not_deleted(run: Run, cache: Path) -> None:
    """The message says how to unload it."""
    model = LlamaCppModel(path=cache, context_window=512)
    config = replace(
        settings(default_model=f"local/{NAME}"), providers={"local": LlamaCppSettings(models={NAME: model})}
    )
    async with running(replace(config, admin=AdminSettings(address="127.0.0.1:0"))) as server:
        async with MCPClient(server.address) as client:
            await client.chat("Hi", max_output_tokens=2)
        refused = await asyncio.to_thread(run, "rm", NAME, "--yes", "--admin", server.admin_address)
        assert refused.returncode == 1
        assert f"unload it with `mcp-server models stop local/{NAME}`" in refused.stderr
        assert os.path.isfile(cache)  # noqa: ASYNC240, PTH113  # a moment


def test_all_parts_of_a_model_are_deleted(tmp_path: Path) -> None:
    """And the folders that were made for it, and nothing else."""
    folder = tmp_path / "hub" / "owner" / "repository"
    folder.mkdir(parents=True)
    first = folder / "big-00001-of-00002.gguf"
    for part in gguf.parts_of(first):
        part.write_bytes(b"GGUF")
    other = tmp_path / "hub" / "owner" / "other.gguf"
    other.write_bytes(b"GGUF")
    remove(first, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]
    assert not folder.exists()
