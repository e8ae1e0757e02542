"""The command ``mcp-server``, as a program of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from contextprotocol.v1 import chat_pb2, chat_pb2_grpc, message_pb2, session_pb2, session_pb2_grpc, turn_pb2
from mcp_server.model_files import default_folder, pull
from tests.packages import install

PATIENCE = 20.0
"""Seconds after which a program that should have done something has failed."""

SETTINGS = """
[server]
address = "127.0.0.1:0"
drain_timeout = 10

[store]
path = "sessions.db"

[metrics]
address = "127.0.0.1:0"

[models]
default = "echo/echo"

[providers.echo]
type = "custom"
class = "mcp_server.testing:EchoProvider"
secrets = {}
"""


HELLO = chat_pb2.ChatRequest(
    messages=[message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="hello")])]
)

PROVIDER = """
import asyncio
from pathlib import Path

from mcp_server.interfaces import Finish
from mcp_server.values import Capabilities, Model


class Waiting:
    def __init__(self, *, first, pipe=None):
        self.first, self.pipe = first, pipe

    async def models(self):
        return [Model(name="m", capabilities=Capabilities(chat=True))]

    async def generate(self, request):
        yield self.first
        if self.pipe is None:
            await asyncio.Event().wait()
        yield await asyncio.to_thread(Path(self.pipe).read_text)
        yield Finish()

    async def close(self):
        pass
"""
"""A provider of a stranger: it says a word, and then what comes out of a pipe, or waits for ever without one."""


class Program:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.banner = process.stdout.readline()
        found = re.search(r"listens on (\S+)", self.banner)
        self.address = found[1] if found else ""

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop; return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def logged(self) -> dict[str, object]:
        """The next line of its log."""
        assert self.process.stderr is not None
        line: dict[str, object] = json.loads(self.process.stderr.readline())
        return line

    @property
    def log(self) -> list[dict[str, object]]:
        """Its log, after its end."""
        assert self.process.stderr is not None
        return [json.loads(line) for line in self.process.stderr.read().splitlines()]


Start = Callable[..., Program]


def wait_for_text(events: Iterator[turn_pb2.TurnEvent]) -> None:
    """Read a stream as far as its first text."""
    while next(events).WhichOneof("event") != "delta":
        continue


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONTEXTPROTOCOL_", "GRPC_"))}
    folders = {
        name: str(tmp_path / name.lower()) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
    }
    return kept | folders | {"COLUMNS": "100", "NO_COLOR": "1"}


@pytest.fixture
def run(environ: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``mcp-server`` to its end."""

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mcp_server", *arguments]
        return subprocess.run(
            command, env=environ | variables, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    return run


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file with the settings of a server with the provider ``echo``."""
    file = tmp_path / "server.toml"
    file.write_text(SETTINGS)
    return file


@pytest.fixture
def start(environ: dict[str, str], config: Path) -> Iterator[Start]:
    """Start ``mcp-server serve`` and wait until it says that it listens."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path, **variables: str) -> Program:
        command = [sys.executable, "-m", "mcp_server", "serve", "--config", config, *arguments]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, env=environ | variables, stdout=pipe, stderr=pipe, text=True))
        return Program(processes[-1])

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_server_says_once_where_it_listens_and_what_it_uses(start: Start, config: Path) -> None:
    """Address, store, model, settings and metrics, in one line on standard output."""
    program = start()
    assert re.fullmatch(
        r"mcp-server \S.* listens on 127\.0\.0\.1:\d+ · store \S+/sessions\.db · model echo/echo · settings \S+ · "
        r"metrics http://127\.0\.0\.1:\d+/metrics\n",
        program.banner,
    )
    assert str(config) in program.banner
    assert str(config.parent / "sessions.db") in program.banner


def test_a_server_serves_once_it_has_printed_its_line_and_stops_with_status_0(start: Start) -> None:
    """The first health check after the line is SERVING; SIGTERM ends it in good order."""
    program = start()
    with grpc.insecure_channel(program.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert program.end() == 0
    assert [line["event"] for line in program.log][-1] == "stopped"


def test_control_c_stops_a_server_without_a_traceback(start: Start) -> None:
    """Whoever started it in a terminal stops it there."""
    program = start()
    assert program.end(signal.SIGINT) == 0
    assert all(line["level"] == "info" for line in program.log)


def test_a_session_is_there_again_after_a_restart(start: Start) -> None:
    """What was said is kept in the file of the settings."""
    first = start()
    with grpc.insecure_channel(first.address) as channel:
        session_pb2_grpc.SessionServiceStub(channel).CreateSession(
            session_pb2.CreateSessionRequest(session_id="tour"), timeout=PATIENCE
        )
        chat = chat_pb2.ChatRequest(session="sessions/tour", messages=HELLO.messages)
        chat_pb2_grpc.ChatServiceStub(channel).Chat(chat, timeout=PATIENCE)
    assert first.end() == 0
    second = start()
    with grpc.insecure_channel(second.address) as channel:
        session = session_pb2_grpc.SessionServiceStub(channel).GetSession(
            session_pb2.GetSessionRequest(name="sessions/tour"), timeout=PATIENCE
        )
    assert session.message_count == 2


def test_options_go_before_the_file(start: Start, tmp_path: Path) -> None:
    """``--store`` and ``--log-level`` without touching the settings."""
    program = start("--store", tmp_path / "other.db", "--log-level", "error")
    assert str(tmp_path / "other.db") in program.banner
    assert program.end() == 0
    assert program.log == []


@pytest.fixture
def waiting(config: Path) -> dict[str, str]:
    """Settings with a provider from a module of the user's own; the variables to start with."""
    (config.parent / "my_provider.py").write_text(PROVIDER)
    echo = 'class = "mcp_server.testing:EchoProvider"'
    mine = 'class = "my_provider:Waiting"\noptions = { first = "one " }'
    config.write_text(SETTINGS.replace(echo, mine).replace("echo", "mine").replace("mine/mine", "mine/m"))
    return {"PYTHONPATH": os.pathsep.join([str(config.parent), os.environ.get("PYTHONPATH", "")])}


def test_a_running_turn_ends_well_while_the_server_stops(start: Start, waiting: dict[str, str], tmp_path: Path) -> None:
    """SIGTERM takes on no new work, and lets an answer that has begun come to its end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = start(**waiting, CONTEXTPROTOCOL_PROVIDERS__MINE__OPTIONS__PIPE=str(pipe))
    with grpc.insecure_channel(program.address) as channel:
        events = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(HELLO, timeout=PATIENCE)
        wait_for_text(events)
        program.process.send_signal(signal.SIGTERM)
        assert program.logged()["event"] == "stopping when running turns have ended"
        with pytest.raises(grpc.RpcError) as refused:
            chat_pb2_grpc.ChatServiceStub(channel).Chat(HELLO, timeout=PATIENCE)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        pipe.write_text("two")
        completed = list(events)[-1].completed
    assert completed.message.parts[0].text == "one two"
    assert program.process.wait(PATIENCE) == 0


def test_new_turns_are_taken_while_a_proxy_takes_notice(start: Start) -> None:
    """For `drain_delay` only the health says that the server stops; a second signal ends that too."""
    program = start(CONTEXTPROTOCOL_SERVER__DRAIN_DELAY="600")
    with grpc.insecure_channel(program.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        program.process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        answer = chat_pb2_grpc.ChatServiceStub(channel).Chat(HELLO, timeout=PATIENCE)
        assert answer.completed.message.parts[0].text
        assert program.end(signal.SIGTERM) == 0


def test_a_second_signal_ends_running_turns_at_once(start: Start, waiting: dict[str, str]) -> None:
    """Their readers are told that the server went, and the exit is still an orderly one."""
    program = start(**waiting)
    with grpc.insecure_channel(program.address) as channel:
        events = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(HELLO, timeout=PATIENCE)
        wait_for_text(events)
        program.process.send_signal(signal.SIGTERM)
        assert program.logged()["event"] == "stopping when running turns have ended"
        assert program.end(signal.SIGTERM) == 0
        with pytest.raises(grpc.RpcError) as ended:
            list(events)
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_port_in_use_is_one_line_and_status_2(start: Start, run: Run, config: Path, tmp_path: Path) -> None:
    """A second server on the address of the first neither starts nor disturbs it."""
    first = start()
    done = run("serve", "--config", config, "--address", first.address, "--store", tmp_path / "other.db")
    assert done.returncode == 2
    assert done.stderr == (
        f"mcp-server: server.address: cannot listen on {first.address}: the port is in use, "
        "or the address is not this machine's\n"
    )
    assert first.end() == 0


def test_a_store_in_use_is_one_line_and_status_2(start: Start, run: Run, config: Path) -> None:
    """A second server on the file of the first neither starts nor disturbs it."""
    first = start()
    done = run("serve", "--config", config)
    assert done.returncode == 2
    assert done.stderr.startswith("mcp-server: ")
    assert str(config.parent / "sessions.db") in done.stderr
    assert done.stderr.count("\n") == 1
    assert first.end() == 0


def test_bad_settings_are_reported_with_status_2(run: Run, config: Path) -> None:
    """All of them, whichever command reads them."""
    config.write_text(SETTINGS.replace("drain_timeout = 10", "drain_time = 10"))
    loud = '"loud", expected "debug" or "error" or "info" or "warning"'
    for command in ("serve", "check-config"):
        done = run(command, "--config", config, CONTEXTPROTOCOL_LOG__LEVEL="loud")
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.splitlines() == [
            "mcp-server: 2 problems with the settings",
            f"  {config}: server.drain_time: unknown key; did you mean server.drain_timeout?",
            f"  CONTEXTPROTOCOL_LOG__LEVEL: log.level: found {loud}",
        ]


def test_a_provider_that_cannot_be_built_is_reported_with_status_2(run: Run, config: Path) -> None:
    """No traceback: the key, the class and why."""
    config.write_text(SETTINGS.replace("EchoProvider", "NoProvider"))
    done = run("serve", "--config", config)
    assert done.returncode == 2
    assert done.stderr.startswith("mcp-server: providers.echo.class: mcp_server.testing:NoProvider cannot be used: ")
    assert done.stderr.count("\n") == 1


def test_check_config_prints_every_setting_as_toml_with_its_origin(run: Run, config: Path) -> None:
    """What it prints can be read as settings again, and secrets are hidden."""
    config.write_text(SETTINGS + '[providers.far]\ntype = "openai"\napi_key = "k-123456"\n')
    done = run("check-config", "--config", config, CONTEXTPROTOCOL_LOG__LEVEL="debug")
    assert done.returncode == 0, done.stderr
    assert "k-123456" not in done.stdout
    settings = tomllib.loads(done.stdout)
    assert settings["server"]["drain_timeout"] == 10
    assert settings["providers"]["far"]["api_key"] == "***"
    lines = done.stdout.splitlines()
    assert f"server.drain_timeout = 10.0  # {config}" in lines
    assert 'log.level = "debug"  # CONTEXTPROTOCOL_LOG__LEVEL' in lines
    assert "turns.timeout = 600.0  # default" in lines
    assert "# sessions.default_ttl is not set  # default" in lines


def test_config_schema_prints_a_json_schema(run: Run) -> None:
    """Of the whole file, for editors."""
    done = run("config-schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    assert schema["$schema"].endswith("draft-07/schema#")
    assert schema["definitions"]["providers.openai"]["properties"]["keep_alive"]["type"] == "boolean"


def test_check_config_without_settings_prints_the_embedded_default(run: Run) -> None:
    """What a server does that was told nothing."""
    settings = tomllib.loads(run("check-config").stdout)
    assert settings["server"]["address"] == "127.0.0.1:50051"
    assert settings["models"]["default"] == "local/smollm2-135m"


def test_help_names_every_command(run: Run) -> None:
    """One screen, without a stack of imports."""
    done = run("--help")
    assert done.returncode == 0
    for command in ("serve", "models", "check-config", "config-schema", "version"):
        assert command in done.stdout


def test_the_version_is_a_command_and_an_option(run: Run) -> None:
    """As other programs have it."""
    assert run("--version").stdout == f"mcp-server {run('version').stdout}"


def test_plug_ins_are_listed_with_what_cannot_be_loaded(run: Run, tmp_path: Path) -> None:
    """Those that come with the server, and those of installed packages, broken ones too."""
    entry_points = """
        [project.entry-points."contextprotocol.middleware"]
        good = "extra_plugs:good"
        bad = "extra_plugs:missing"
    """
    install(tmp_path, "extra_plugs", "good = 1", entry_points)
    listed = run("plugins")
    assert listed.returncode == 0
    assert "stores\tsqlite\tbuilt in\t\tmcp_server.stores.sqlite.settings:SQLiteSettings" in listed.stdout.splitlines()
    assert "providers\topenai\tbuilt in\topenai\t" in listed.stdout
    broken = run("plugins", "--json", PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert broken.returncode == 1
    found = {one["name"]: one for one in json.loads(broken.stdout) if one["kind"] == "middleware"}
    assert (found["good"]["package"], found["good"]["problem"]) == ("extra_plugs 1.0", "")
    assert "cannot be loaded: module 'extra_plugs' has no attribute 'missing'" in found["bad"]["problem"]


def test_a_mistyped_option_is_reported_with_status_2(run: Run) -> None:
    """The usage, not a traceback."""
    done = run("serve", "--adress", "127.0.0.1:0")
    assert done.returncode == 2
    assert "--address" in done.stderr
    assert "Traceback" not in done.stderr


def test_models_lists_the_catalogue_and_what_the_settings_serve(run: Run, tmp_path: Path) -> None:
    """Lines with tabs for programs; nothing is fetched for a user who has fetched nothing."""
    done = run("models")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0] == ["NAME", "SIZE", "LICENCE", "FETCHED", "WHAT TO EXPECT"]
    assert rows[1][:4] == ["smollm2-135m", "98 MB", "Apache-2.0", "no"]
    file = tmp_path / "xdg_cache_home" / "contextprotocol" / "models" / "smollm2-135m.gguf"
    assert rows[-2:] == [["MODEL", "FETCHED", "FILE"], ["local/smollm2-135m", "no", str(file)]]


def test_models_pull_fetches_what_the_settings_serve(run: Run) -> None:
    """Standard output is the path alone, and a second time there is nothing to do."""
    cache = str(default_folder().parent.parent)
    first = run("models", "pull", XDG_CACHE_HOME=cache)
    assert (first.returncode, first.stdout) == (0, f"{default_folder() / 'smollm2-135m.gguf'}\n"), first.stderr
    second = run("models", "pull", "smollm2-135m", XDG_CACHE_HOME=cache)
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")


@pytest.mark.parametrize(
    ("source", "status", "expected"),
    [
        ("no-such-model", 2, "mcp-server: 'no-such-model' is not a model: expected one of smollm2-135m, "),
        ("hf:owner/file.gguf", 2, "mcp-server: 'hf:owner/file.gguf' is not a file of the model hub: "),
        ("/nowhere/x.gguf", 1, "mcp-server: the model /nowhere/x.gguf: "),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line(run: Run, source: str, status: int, expected: str) -> None:
    """A wrong name is the caller's mistake, a missing file is not."""
    done = run("models", "pull", source)
    assert done.returncode == status
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1


def test_a_server_without_settings_answers_with_the_embedded_model(start: Start, config: Path) -> None:
    """No settings but free ports: the model of the catalogue, in the user's cache folder."""
    pull("smollm2-135m")
    config.write_text("")
    cache = str(default_folder().parent.parent)
    program = start("--address", "127.0.0.1:0", XDG_CACHE_HOME=cache, CONTEXTPROTOCOL_METRICS__ADDRESS="")
    with grpc.insecure_channel(program.address) as channel:
        answer = chat_pb2_grpc.ChatServiceStub(channel).Chat(HELLO, timeout=60)
    assert answer.completed.message.model == "local/smollm2-135m"
    assert answer.completed.message.parts[0].text.strip()
    assert program.end() == 0


@pytest.mark.parametrize("store", [False, True])
def test_the_demo_needs_no_settings(environ: dict[str, str], tmp_path: Path, store: bool) -> None:
    """One option: no file is read, none is written unless it is named, and the answer says what it is."""
    options = ["--store", str(tmp_path / "demo.db")] if store else []
    command = [sys.executable, "-m", "mcp_server", "serve", "--demo", "--address", "127.0.0.1:0", *options]
    environ |= {"CONTEXTPROTOCOL_METRICS__ADDRESS": "", "CONTEXTPROTOCOL_CONFIG": str(tmp_path / "missing.toml")}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True) as process:
        program = Program(process)
        assert f" · store {tmp_path / 'demo.db' if store else 'in memory'} · model demo/demo · " in program.banner
        assert "the demo" in answer(program).lower()
        assert program.end() == 0
    assert (tmp_path / "demo.db").exists() is store
    assert store or not list(tmp_path.iterdir())


def test_the_demo_has_settings_of_its_own(run: Run, config: Path) -> None:
    """So no others can be named."""
    done = run("serve", "--demo", "--config", config)
    assert done.returncode == 2
    assert done.stderr == "mcp-server: --demo and --config cannot be combined: the demo has settings of its own\n"


def test_a_missing_model_file_is_a_warning_that_says_what_to_do(start: Start, config: Path) -> None:
    """The server starts, since the file may come later, and other models answer."""
    config.write_text(SETTINGS + '[providers.local]\ntype = "llama_cpp"\nmodels.mine.path = "mine.gguf"')
    program = start()
    warning = program.logged()
    assert (warning["level"], warning["model"]) == ("warning", "local/mine")
    assert warning["file"] == str(config.parent / "mine.gguf")
    with grpc.insecure_channel(program.address) as channel:
        answer = chat_pb2_grpc.ChatServiceStub(channel).Chat(HELLO, timeout=PATIENCE)
    assert answer.completed.message.parts[0].text == "hello"
    assert program.end() == 0


def imported(stderr: str) -> set[str]:
    """The modules that ``python -X importtime`` tells of, by their first two levels."""
    names = (line.rpartition("|")[2].strip() for line in stderr.splitlines() if line.startswith("import time:"))
    return {part for name in names for part in (name, name.partition(".")[0])}


def test_checking_settings_imports_little(environ: dict[str, str]) -> None:
    """Those that read the settings import no part of the server, and the check of the settings no model library."""

    def modules(command: str) -> set[str]:
        line = [sys.executable, "-X", "importtime", "-m", "mcp_server", command]
        done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return imported(done.stderr)

    listing = modules("models")
    assert "mcp_server.settings" in listing
    assert not listing & {"grpc", "sqlite3", "rich", "structlog", "prometheus_client", "xllamacpp"}
    checking = modules("check-config")
    assert "mcp_server.app" in checking
    assert not checking & {"rich.console", "torch", "transformers", "xllamacpp", "huggingface_hub"}


def test_serving_imports_neither_rich_nor_a_model_library(
    environ: dict[str, str], config: Path, tmp_path: Path
) -> None:
    """What a start does not need would make every start slower."""
    command = [sys.executable, "-X", "importtime", "-m", "mcp_server", "serve", "--config", str(config)]
    log = tmp_path / "imports"
    with log.open("w") as stderr:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True)
        with process:
            program = Program(process)
            assert program.end() == 0
    assert "structlog" in imported(log.read_text())
    assert not imported(log.read_text()) & {"rich.console", "xllamacpp", "huggingface_hub"}


def answer(program: Program) -> str:
    """What the server answers with its default model."""
    with grpc.insecure_channel(program.address) as channel:
        response = chat_pb2_grpc.ChatServiceStub(channel).Chat(HELLO, timeout=PATIENCE)
    text: str = response.completed.message.parts[0].text
    return text


def logged_until(program: Program, event: str) -> dict[str, object]:
    """The next line of the log with this event."""
    while True:
        line = program.logged()
        if line["event"] == event:
            return line


ANSWERING = """
from mcp_server.interfaces import Finish
from mcp_server.values import Capabilities, Model


class Answering:
    def __init__(self, *, text):
        self.text = text

    async def models(self):
        return [Model(name="m", capabilities=Capabilities(chat=True))]

    async def generate(self, request):
        yield self.text
        yield Finish()

    async def close(self):
        pass
"""


@pytest.fixture
def answering(config: Path) -> Path:
    """Settings with a provider that answers with the text of a file."""
    (config.parent / "my_provider.py").write_text(ANSWERING)
    secret = config.parent / "text"
    secret.write_text("one")
    table = f'class = "my_provider:Answering"\nsecrets = {{ text = {{ file = "{secret}" }} }}'
    former = 'class = "mcp_server.testing:EchoProvider"\nsecrets = {}'
    config.write_text(SETTINGS.replace(former, table).replace("echo/echo", "echo/m"))
    return secret


def test_sighup_reads_the_settings_again(start: Start, config: Path, answering: Path) -> None:
    """The files of secrets too; what cannot be used is in the log, and the server serves on."""
    program = start(PYTHONPATH=os.pathsep.join([str(config.parent), os.environ.get("PYTHONPATH", "")]))
    assert answer(program) == "one"
    answering.write_text("two")
    program.process.send_signal(signal.SIGHUP)
    assert logged_until(program, "settings reloaded")["changed"] == ["providers.echo.secrets.text"]
    assert answer(program) == "two"
    good = config.read_text()
    config.write_text(good.replace("drain_timeout", "drain_time"))
    program.process.send_signal(signal.SIGHUP)
    assert logged_until(program, "settings not reloaded")["problems"] == [
        f"{config}: server.drain_time: unknown key; did you mean server.drain_timeout?"
    ]
    assert answer(program) == "two"
    config.write_text(
        good.replace("drain_timeout = 10", 'drain_timeout = 10\ninsecure = true\n[log]\nlevel = "warning"')
    )
    program.process.send_signal(signal.SIGHUP)
    assert logged_until(program, "settings that need a restart keep their former values")["keys"] == ["server.insecure"]
    assert answer(program) == "two"
    assert program.end() == 0
    assert program.log == []  # of level info


def test_a_changed_file_is_read_without_a_signal(start: Start, config: Path, answering: Path) -> None:
    """The file of the settings, and those of secrets."""
    program = start(PYTHONPATH=os.pathsep.join([str(config.parent), os.environ.get("PYTHONPATH", "")]))
    answering.write_text("two")
    assert logged_until(program, "settings reloaded")["changed"] == ["providers.echo.secrets.text"]
    assert answer(program) == "two"
    config.write_text(config.read_text() + "\n[turns]\ntimeout = 60\n")
    assert logged_until(program, "settings reloaded")["changed"] == ["turns.timeout"]
    assert program.end() == 0


def test_a_running_server_is_backed_up_and_the_copy_serves(
    start: Start, run: Run, config: Path, tmp_path: Path
) -> None:
    """By other processes; a restoration under a running server is refused."""
    backup, other = tmp_path / "backup.db", tmp_path / "other.db"
    program = start()
    with grpc.insecure_channel(program.address) as channel:
        sessions, chat = session_pb2_grpc.SessionServiceStub(channel), chat_pb2_grpc.ChatServiceStub(channel)
        sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="tour"), timeout=PATIENCE)
        request = chat_pb2.ChatRequest(session="sessions/tour", messages=HELLO.messages)
        chat.Chat(request, timeout=PATIENCE)
        done = run("backup", backup, "--config", config)
        assert (done.returncode, done.stdout.startswith(f"{backup} · ")) == (0, True)
        refused = run("restore", backup, "--config", config, "--overwrite")
        assert (refused.returncode, "another process uses it" in refused.stderr) == (2, True)
        chat.Chat(request, timeout=PATIENCE)
    assert program.end() == 0
    assert run("restore", backup, "--config", config, "--store", other).returncode == 0
    second = start("--store", other)
    with grpc.insecure_channel(second.address) as channel:
        session = session_pb2_grpc.SessionServiceStub(channel).GetSession(
            session_pb2.GetSessionRequest(name="sessions/tour"), timeout=PATIENCE
        )
    assert session.message_count == 2
    assert second.end() == 0


def test_a_store_without_a_file_cannot_be_backed_up(run: Run, config: Path, tmp_path: Path) -> None:
    """The message names the setting."""
    config.write_text(SETTINGS.replace('path = "sessions.db"', 'type = "memory"'))
    done = run("backup", tmp_path / "backup.db", "--config", config)
    assert (done.returncode, done.stderr) == (
        2,
        "mcp-server: store.type: only the store sqlite has a file to back up and restore\n",
    )


def test_development_certificates_serve(start: Start, run: Run, config: Path, tmp_path: Path) -> None:
    """Made by one command, with private keys that only their owner can read; made again, they are renewed."""
    folder = tmp_path / "certificates"
    done = run("certs", "dev", folder, "--host", "server.test", "--client", "batch@example.test")
    assert done.returncode == 0
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.glob("*.key")}
    assert modes == dict.fromkeys(("ca.key", "server.key", "client.key"), "0o600")
    settings = done.stdout[done.stdout.index("[server.tls]") :]
    config.write_text(SETTINGS + "\n" + settings)
    program = start()
    credentials = grpc.ssl_channel_credentials(
        *[(folder / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem")]
    )
    for name in ("localhost", "server.test"):
        options = [("grpc.ssl_target_name_override", name)]
        with grpc.secure_channel(program.address, credentials, options=options) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    authority, before = (folder / "ca.pem").read_bytes(), (folder / "server.pem").read_bytes()
    assert run("certs", "dev", folder).returncode == 0
    assert logged_until(program, "settings reloaded")["changed"] == ["the files of server.tls and web.tls"]
    assert (folder / "ca.pem").read_bytes() == authority
    assert (folder / "server.pem").read_bytes() != before
    with grpc.secure_channel(program.address, credentials) as channel:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert program.end() == 0
    wrong = run("certs", "dev", folder, "--host", "two words")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "mcp-server: 'two words' is neither a host name nor an IP address\n",
    )
