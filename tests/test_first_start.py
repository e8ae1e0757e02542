"""`mcp-server serve` on a new machine: what is missing is named, offered or fetched, and a key is enough."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_client import MCPClient
from mcp_server.model_files import default_folder, pull
from mcp_server.settings import read
from mcp_server.settings import testing_config as settings
from mcp_server.settings.default_providers import HOSTED
from mcp_server.testing import EchoProvider, running
from tests.test_model_files import SOURCE, Hub
from tests.upstream.replies import Answer, in_turn
from tests.upstream.server import Upstream

PATIENCE = 30.0
"""Seconds after which a program that should have done something has failed."""
KEYS = [hosted.variable for hosted in HOSTED.values()]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has set nothing, with free ports."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONTEXTPROTOCOL_")}
    kept = {name: value for name, value in kept.items() if name not in (*KEYS, "OPENAI_BASE_URL")}
    folders = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
    return (
        kept
        | {name: str(tmp_path / name.lower()) for name in folders}
        | {
            "CONTEXTPROTOCOL_SERVER__ADDRESS": "127.0.0.1:0",
            "CONTEXTPROTOCOL_METRICS__ADDRESS": "",
            "CONTEXTPROTOCOL_WEB__ADDRESS": "",
            "NO_COLOR": "1",
        }
    )


@pytest.fixture
def hub(environ: dict[str, str], tmp_path: Path) -> Iterator[Hub]:
    """A stand-in for the model hub, which the environment names, and settings with a model of it."""
    hub = Hub(pull("smollm2-135m").read_bytes())
    thread = threading.Thread(target=hub.server.serve_forever, args=(0.01,))
    thread.start()
    file = tmp_path / "server.toml"
    file.write_text(f'[providers.local]\ntype = "llama_cpp"\nmodels.small.source = "{SOURCE}"\n')
    environ |= {
        "CONTEXTPROTOCOL_CONFIG": str(file),
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "NO_PROXY": "*",
    }
    yield hub
    hub.server.shutdown()
    hub.server.server_close()
    thread.join()


async def run(environ: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run ``mcp-server`` to its end, without a terminal: its status, what it printed, and its errors."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mcp_server", *arguments, env=environ, stdin=pipe, stdout=pipe, stderr=pipe
    )
    async with asyncio.timeout(PATIENCE):
        printed, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode(), errors.decode()


class Started:
    """``mcp-server serve`` in a process of its own."""

    def __init__(self, environ: dict[str, str], *arguments: str) -> None:
        self._command = [sys.executable, "-m", "mcp_server", "serve", *arguments]
        self._environ = environ

    async def __aenter__(self) -> Started:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environ, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            self.banner = (await self._process.stdout.readline()).decode()
        return self

    @property
    def address(self) -> str:
        """Where it listens."""
        found = re.search(r"listens on (\S+)", self.banner)
        assert found is not None, self.banner
        return found[1]

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            self.errors = (await self._process.communicate())[1].decode()


# -- models ------------------------------------------------------------------------------------------------------------


async def test_without_its_model_a_server_names_the_commands_that_fetch_it(environ: dict[str, str]) -> None:
    """Where nobody can be asked, the start ends."""
    assert await run(environ, "serve") == (
        1,
        "",
        (
            "mcp-server: the default model local/smollm2-135m is not on this machine: run `mcp-server models pull "
            "smollm2-135m`, or start with `mcp-server serve --pull`\n"
        ),
    )


@pytest.mark.usefixtures("hub")
async def test_a_model_of_the_settings_that_is_missing_is_named_too(environ: dict[str, str], tmp_path: Path) -> None:
    """With its source, or with the place for the user's own file."""
    status, _, errors = await run(environ, "serve")
    assert (status, f"`mcp-server models pull {SOURCE}`" in errors) == (1, True)
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[providers.local]\ntype = "llama_cpp"\nmodels.mine.path = "/nowhere/mine.gguf"\n'
        '[models]\ndefault = "usual"\naliases.usual = "local/mine"\n'
    )
    assert await run(environ, "serve", "--config", str(mine)) == (
        1,
        "",
        "mcp-server: the default model local/mine is not on this machine: put the file at /nowhere/mine.gguf\n",
    )


@pytest.mark.usefixtures("hub")
async def test_pull_fetches_what_the_settings_name_before_it_serves(environ: dict[str, str]) -> None:
    """Scripts need one command."""
    async with Started(environ, "--pull") as started, MCPClient(started.address) as client:
        assert (await client.chat("Hello")).text.strip()


def at_a_terminal(environ: dict[str, str], answer: str) -> tuple[str, subprocess.Popen[bytes], int]:
    """Start a server at a terminal and answer its question; what it has printed then, the process and the terminal."""
    terminal, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mcp_server", "serve"], env=environ, stdin=other, stdout=other, stderr=other
    )
    os.close(other)
    printed = read_until(terminal, "[Y/n]")
    os.write(terminal, f"{answer}\n".encode())
    return printed, process, terminal


def read_until(terminal: int, text: str) -> str:
    """What comes out of a terminal as far as the text, or to the end."""
    printed = b""
    while text.encode() not in printed:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        printed += piece
    return printed.decode()


@pytest.mark.usefixtures("hub")
def test_at_a_terminal_the_download_is_offered(environ: dict[str, str]) -> None:
    """After a yes the server serves."""
    asked, process, terminal = at_a_terminal(environ, "y")
    assert "Not on this machine: local/small. Download now? [Y/n]" in asked
    assert "listens on 127.0.0.1:" in read_until(terminal, "settings ")
    process.send_signal(signal.SIGTERM)
    read_until(terminal, "stopped")
    assert process.wait(PATIENCE) == 0
    os.close(terminal)


def test_at_a_terminal_a_no_is_the_end(environ: dict[str, str]) -> None:
    """The question says how much would be downloaded, and under which licence it is."""
    asked, process, terminal = at_a_terminal(environ, "n")
    assert "local/smollm2-135m (98 MB, Apache-2.0). Download now?" in asked.replace("\r\n", "")
    assert "mcp-server serve --pull" in read_until(terminal, "--pull")
    assert process.wait(PATIENCE) == 1
    os.close(terminal)


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_a_key_in_the_environment_is_enough(environ: dict[str, str]) -> None:
    """Without settings and without a model, its provider answers, and the start says which and why."""
    async with Upstream(in_turn(Answer(tokens=("Good ", "day.")))) as upstream:
        environ |= {"OPENAI_API_KEY": "sk-mine", "OPENAI_BASE_URL": upstream.url}
        async with Started(environ) as started, MCPClient(started.address) as client:
            assert " · model openai/gpt-5-mini with the key of OPENAI_API_KEY · " in started.banner
            assert (await client.chat("Hello")).text == "Good day."
        assert (upstream.calls[0].key, upstream.calls[0].body["model"]) == ("sk-mine", "gpt-5-mini")


@pytest.fixture
def nothing_pulled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without model files and without a settings file."""
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.mark.usefixtures("nothing_pulled")
@pytest.mark.parametrize("name", HOSTED)
def test_the_first_provider_with_a_key_is_used(name: str) -> None:
    """In the order of the table; its key is sent to its own service alone."""
    names = [*HOSTED]
    later = names[names.index(name) :]
    loaded = read(environ={HOSTED[one].variable: f"key of {one}" for one in later})
    assert loaded.config.models.default == f"{name}/{HOSTED[name].model}"
    assert loaded.key_variable == HOSTED[name].variable
    (provider,) = loaded.config.providers.values()
    assert provider.all_keys() == [f"key of {name}"]  # type: ignore[attr-defined]  # of providers over HTTP
    (origin,) = [one.origin for one in loaded.settings if one.key == f"providers.{name}.api_key"]
    assert origin == HOSTED[name].variable


def test_the_guide_names_the_providers_in_their_order() -> None:
    """With their variables and models."""
    page = (Path(__file__).parent.parent / "docs" / "setup.md").read_text()
    rows = re.findall(r"^\| `(\w+_API_KEY)` \| `(.*)` \|$", page, re.MULTILINE)
    assert rows == [(hosted.variable, f"{name}/{hosted.model}") for name, hosted in HOSTED.items()]


@pytest.mark.usefixtures("nothing_pulled")
@pytest.mark.parametrize("variable", ["PROVIDERS__LOCAL__THREADS=2", "MODELS__DEFAULT=local/smollm2-135m"])
def test_settings_go_before_keys(variable: str) -> None:
    """Who configures a provider or a model gets that."""
    name, _, value = variable.partition("=")
    loaded = read(environ={"OPENAI_API_KEY": "sk-mine", f"CONTEXTPROTOCOL_{name}": value})
    assert (loaded.config.models.default, loaded.key_variable) == ("local/smollm2-135m", "")


def test_a_model_on_this_machine_goes_before_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What costs nothing and tells nobody is used where it is there."""
    pull("smollm2-135m")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert read(environ={"OPENAI_API_KEY": "sk-mine"}).config.models.default == "local/smollm2-135m"


# -- extras ------------------------------------------------------------------------------------------------------------


def without(environ: dict[str, str], folder: Path, *libraries: str) -> dict[str, str]:
    """The environment of a user who has not installed these libraries."""
    lines = [f"sys.modules[{library!r}] = None\n" for library in libraries]
    (folder / "sitecustomize.py").write_text("import sys\n" + "".join(lines))
    return environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize(
    ("missing", "key", "extra"),
    [
        (("xllamacpp",), "", "local"),
        (("xllamacpp", "aiohttp"), "", "local"),
        (("xllamacpp", "aiohttp"), "GEMINI_API_KEY", "openai"),
    ],
)
async def test_a_missing_extra_is_named_at_the_start(
    environ: dict[str, str], tmp_path: Path, missing: tuple[str, ...], key: str, extra: str
) -> None:
    """With the command that installs it: of models on this machine, or of the provider whose key is there."""
    environ = without(environ, tmp_path, *missing) | ({key: "mine"} if key else {})
    provider = "gemini" if key else "local"
    expected = f"mcp-server: providers.{provider}: needs the extra `{extra}`: pip install 'contextprotocol[{extra}]'\n"
    assert await run(environ, "serve") == (2, "", expected)


async def test_a_key_without_its_extra_does_not_stand_in_the_way(environ: dict[str, str], tmp_path: Path) -> None:
    """Where models on this machine can be had, one is offered."""
    environ = without(environ, tmp_path, "aiohttp") | {"OPENAI_API_KEY": "sk-mine"}
    status, _, errors = await run(environ, "serve")
    assert (status, "mcp-server models pull smollm2-135m" in errors) == (1, True)


# -- the console -------------------------------------------------------------------------------------------------------


async def test_without_a_file_the_console_is_served_unless_its_port_is_taken(environ: dict[str, str]) -> None:
    """At 127.0.0.1:8080, as the banner says; another program's port is a warning in the log."""
    del environ["CONTEXTPROTOCOL_WEB__ADDRESS"]
    environ["XDG_CACHE_HOME"] = str(default_folder().parent.parent)
    pull("smollm2-135m")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 8080))
            other.listen()
        except OSError:
            pass  # somebody else has it
        async with Started(environ) as started:
            assert "web http" not in started.banner
    assert "web.address: cannot listen on 127.0.0.1:8080: " in started.errors


async def test_the_default_of_the_console_is_an_address_like_any_other() -> None:
    """It is printed, and settings go before it."""
    async with running(providers={"echo": EchoProvider()}, default_web="127.0.0.1:0") as server:
        assert server.web_url == f"http://{server.web_address}/"
        _, writer = await asyncio.open_connection(*server.web_address.split(":"))
        writer.close()
        await writer.wait_closed()


async def test_a_file_of_settings_serves_no_console_unasked(environ: dict[str, str], tmp_path: Path) -> None:
    """Servers that were set up open no further port."""
    del environ["CONTEXTPROTOCOL_WEB__ADDRESS"]
    file = tmp_path / "server.toml"
    file.write_text('[providers.echo]\ntype = "custom"\nclass = "mcp_server.testing:EchoProvider"\n')
    async with Started(environ, "--config", str(file)) as started:
        assert " · settings " in started.banner
        assert " · web " not in started.banner
    assert "web.address" not in started.errors


# -- check-config ------------------------------------------------------------------------------------------------------

ECHO = '[providers.echo]\ntype = "custom"\nclass = "mcp_server.testing:EchoProvider"\n'
REFUSED = {
    "a class that is not there": (ECHO.replace("EchoProvider", "NoProvider"), "NoProvider cannot be used"),
    "a certificate that is not there": (
        ECHO + '[server.tls]\ncertificate = "none.pem"\nkey = "none.key"\n',
        "server.tls.certificate",
    ),
    "an authority that is not there": (
        '[providers.far]\ntype = "openai"\nca_file = "none.pem"\n[models]\ndefault = "far/x"\n',
        "providers.far.ca_file",
    ),
    "keys of an issuer that are not there": (
        ECHO
        + '[auth.jwt.us]\nissuer = "https://issuer.test"\naudiences = ["us"]\nkeys_file = "none.json"\ntenant = "us"\n',
        "auth.jwt.us.keys_file",
    ),
    "an exporter that is not installed": (ECHO + "[tracing]\nenabled = true\n", "OTEL_TRACES_EXPORTER"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_check_config_refuses_what_serve_refuses(environ: dict[str, str], tmp_path: Path, case: str) -> None:
    """In the same words, without opening anything."""
    text, expected = REFUSED[case]
    file = tmp_path / "server.toml"
    file.write_text(text)
    environ["OTEL_TRACES_EXPORTER"] = "none-such"
    checked = await run(environ, "check-config", "--config", str(file))
    assert checked[0] == 2
    assert expected in checked[2]
    assert checked == await run(environ, "serve", "--config", str(file))
    assert not (tmp_path / "xdg_data_home").exists()


async def test_check_config_names_a_missing_extra(environ: dict[str, str], tmp_path: Path) -> None:
    """As the start does."""
    environ = without(environ, tmp_path, "uvicorn") | {"CONTEXTPROTOCOL_WEB__ADDRESS": "127.0.0.1:0"}
    file = tmp_path / "server.toml"
    file.write_text(ECHO)
    checked = await run(environ, "check-config", "--config", str(file))
    assert (checked[0], "pip install 'contextprotocol[web]'" in checked[2]) == (2, True)
    assert checked == await run(environ, "serve", "--config", str(file))


async def test_check_config_opens_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    """It says what is missing, and leaves no file behind."""
    status, printed, errors = await run(environ, "check-config")
    assert status == 0
    assert 'models.default = "local/smollm2-135m"' in printed
    assert re.fullmatch(r"mcp-server: the model local/smollm2-135m is not on this machine: .*\n", errors)
    assert not (tmp_path / "xdg_data_home").exists()


async def test_a_server_that_was_checked_can_be_started() -> None:
    """The check leaves nothing behind in it."""
    from mcp_server.app import UnifiedMCPServer

    server = UnifiedMCPServer(settings(default_model="echo/echo"), providers={"echo": EchoProvider()})
    await server.check()
    async with server, MCPClient(server.address) as client:
        assert (await client.chat("hello")).text == "hello"
