"""Keys of providers go to their providers and nowhere else, whatever goes wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from contextprotocol.v1 import (
    chat_pb2,
    completion_pb2,
    embedding_pb2,
    model_pb2,
    session_pb2,
    turn_pb2,
)
from mcp_server.errors import ConfigError
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAISettings
from mcp_server.settings import read
from tests.upstream.books import Call
from tests.upstream.faults import FAULTS, SILENT, STALLED
from tests.upstream.replies import Answer, Body, End, Head, Plan, Refusal, Reply, Step, Steps, sse
from tests.upstream.server import Upstream
from tests.wire import Wire, collect, user

MARK: Final = "Geheimnis0815"
"""Is in every secret: no part of one may be seen either."""
IN_FILE: Final = (f"sk-file-{MARK}-a", f"sk-file-{MARK}-b")
IN_ENVIRONMENT: Final = f"sk-env-{MARK}-c"
HEADER: Final = f"hdr-{MARK}-d"
SETTINGS: Final = """
[server]
address = "127.0.0.1:0"

[store]
path = "{folder}/sessions.db"

[metrics]
address = "127.0.0.1:0"

[log]
level = "debug"
format = "{format}"

[models]
default = "answers"
default_embedding = "answers"

[models.routes.answers]
targets = ["first/m", "second/m"]

[routing]
max_attempts = 2
backoff = 0.001
max_backoff = 0.001
circuit_failures = 1000
first_token_timeout = 0.1
silence_timeout = 0.1

[providers.first]
type = "openai"
base_url = "{first}"
api_keys = {keys}
key_rest = 0
headers = {{ X-Tenant-Key = "{header}" }}

[providers.second]
type = "openai"
base_url = "{second}"

[providers.plain]
type = "openai"
base_url = "{unreachable}"
api_key = "{key}"
"""


@dataclass(frozen=True, slots=True)
class Telltale:
    """A provider that says the caller's secrets wherever it can say something."""

    where: str

    def steps(self, call: Call) -> Iterator[Step]:
        """Head, error, code, page, finish reason or name."""
        keys = f"{call.key} {call.headers.get('x-tenant-key', '')}".strip()
        replies: dict[str, Reply] = {
            "the message": Refusal(status=400, message=f"Incorrect request with {keys}"),
            "the message of a refused key": Refusal(status=401, message=f"Incorrect API key provided: {keys}"),
            "the middle of a long message": Refusal(status=500, message=f"{'x' * 270} {keys} {'y' * 270}"),
            "the code": Refusal(status=500, code=keys, type=keys),
            "the code of a bad request": Refusal(status=422, code=keys, type=keys),
            "a page": Steps((Head(503, "text/html"), Body(f"<html>{keys}</html>".encode()), End())),
            "the content type": Steps((Head(200, f"text/{keys.replace(' ', '')}"), Body(keys.encode()), End())),
            "a header": Steps((Head(302, "text/html", {"Location": f"http://{keys.replace(' ', '')}/"}), End())),
            "an error in the stream": Answer(
                fails_after=2, failure=(Body(sse({"error": {"message": keys, "code": keys}})), End())
            ),
            "a malformed event": Answer(fails_after=2, failure=(Body(f"data: {{{keys}\n\n".encode()), End())),
            "the finish reason": Answer(finish=keys),
            "nested": Steps(
                (
                    Head(500, "application/json"),
                    Body(json.dumps({"error": {"message": {"detail": keys}}}).encode()),
                    End(),
                )
            ),
        }
        return replies[self.where].steps(call)


TELLTALES: Final = (
    "the message",
    "the message of a refused key",
    "the middle of a long message",
    "the code",
    "the code of a bad request",
    "a page",
    "the content type",
    "a header",
    "an error in the stream",
    "a malformed event",
    "the finish reason",
    "nested",
)
PROVOKED: Final[Mapping[str, Sequence[Reply]]] = {
    "json": [*[Telltale(where) for where in TELLTALES], *FAULTS.values()],
    "console": [Telltale(where) for where in TELLTALES],
}
"""By the format of the log."""
SLOW: Final = (*SILENT.values(), *STALLED.values())


class Seen:
    """All that anybody has seen, to look for secrets in."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self.size = 0

    def add(self, where: str, what: object) -> None:
        """Look through a text, bytes or anything that has a ``repr``."""
        data = what if isinstance(what, bytes) else str(what).encode()
        self.size += len(data)
        forms = {MARK.encode(), MARK.lower().encode(), MARK.encode().hex().encode()}
        forms |= {base64.b64encode(MARK.encode()[start:])[2:-4] for start in range(3)}
        for form in forms:
            if (place := data.find(form)) >= 0:
                self._found.append(f"{where}: …{data[max(0, place - 80) : place + 40]!r}…")

    def check(self) -> None:
        """Nothing was found, and there was something to look through."""
        assert self.size
        assert not self._found, "\n".join(self._found)


def environ(folder: Path) -> dict[str, str]:
    """The environment of a server, with one of the secrets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONTEXTPROTOCOL_")}
    return kept | {"CONTEXTPROTOCOL_PROVIDERS__SECOND__API_KEY": IN_ENVIRONMENT, "HOME": str(folder), "COLUMNS": "200"}


def command(folder: Path, *arguments: str) -> Sequence[str]:
    """``mcp-server`` with the settings in a folder."""
    return [sys.executable, "-m", "mcp_server", *arguments, "--config", str(folder / "settings.toml")]


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[tuple[subprocess.Popen[str], str]]:
    """``mcp-server serve`` in a process of its own, and its first line."""
    pipe = subprocess.PIPE
    with (folder / "log").open("w") as log:
        arguments = command(folder, "serve")
        process = await asyncio.to_thread(
            subprocess.Popen, arguments, env=environ(folder), stdout=pipe, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        yield process, await asyncio.to_thread(process.stdout.readline)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        process.stdout.close()


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``mcp-server`` to its end."""
    return subprocess.run(
        command(folder, *arguments), env=environ(folder), capture_output=True, text=True, timeout=60, check=False
    )


async def provoke(wire: Wire, seen: Seen, reply: Reply) -> None:
    """Ask in every way, and look at all that comes."""
    calls: list[Any] = [
        collect(wire.chat.StreamChat(chat_pb2.ChatRequest(session="sessions/tour", messages=[user("go on")]))),
        wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("go on")])),
    ]
    if reply not in SLOW:
        calls += [
            wire.completion.Complete(completion_pb2.CompleteRequest(prompt="once")),
            wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["once"])),
            wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("go on")], model="plain/m")),
        ]
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, grpc.aio.AioRpcError):
            seen.add("an error", outcome.details() or "")
            for name, value in outcome.trailing_metadata() or ():
                seen.add(f"the trailer {name}", value)
        else:
            assert not isinstance(outcome, BaseException)
            seen.add("an answer", outcome)


async def look_around(wire: Wire, seen: Seen) -> None:
    """Read all that the server says of itself and of what it keeps."""
    seen.add("the models", await wire.models.ListModels(model_pb2.ListModelsRequest()))
    seen.add("a model", await wire.models.GetModel(model_pb2.GetModelRequest(name="models/first/m")))
    seen.add("a session", await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour")))
    turns = await wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent="sessions/tour", page_size=100))
    assert len(turns.turns) >= len(TELLTALES)
    seen.add("the turns", turns)
    for service in ("", "providers/first", "providers/second"):
        try:
            seen.add("health", await wire.health.Check(health_pb2.HealthCheckRequest(service=service)))
        except grpc.aio.AioRpcError as error:
            seen.add("health", error)
    info = wire.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )()
    ask = reflection_pb2.ServerReflectionRequest
    for request in (ask(list_services=""), ask(file_containing_symbol="contextprotocol.v1.ChatService")):
        await info.write(request)
        seen.add("reflection", await info.read())
    await info.done_writing()


def settings(folder: Path, first: str, second: str, format: str) -> str:
    """The settings of a server with providers at those addresses, and one that cannot be reached."""
    return SETTINGS.format(
        folder=folder,
        format=format,
        first=first,
        second=second,
        unreachable=first.replace("http", "https"),
        keys=list(IN_FILE),
        key=IN_FILE[0],
        header=HEADER,
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("format", PROVOKED)
async def test_no_secret_is_seen_whatever_goes_wrong(tmp_path: Path, format: str) -> None:
    """Not by callers, in errors, trailers and turns; not by operators, in logs, metrics and files."""
    seen = Seen()
    present: list[Reply] = [Answer()]
    plan: Plan = lambda _: present[0]  # noqa: E731  # it changes
    async with Upstream(plan) as first, Upstream(plan) as second:
        (tmp_path / "settings.toml").write_text(settings(tmp_path, first.url, second.url, format))
        async with server(tmp_path) as (process, banner):
            seen.add("the first line", banner)
            address, metrics = (
                banner.partition("listens on ")[2].split(" ")[0],
                banner.rpartition("metrics ")[2].strip(),
            )
            async with grpc.aio.insecure_channel(address) as channel:
                wire = Wire(None, channel)  # type: ignore[arg-type]  # it runs elsewhere
                await wire.create()
                for reply in PROVOKED[format]:
                    present[0] = reply
                    await provoke(wire, seen, reply)
                await look_around(wire, seen)
                async with aiohttp.ClientSession() as client, client.get(metrics) as response:
                    seen.add("the metrics", await response.read())
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait) == 0
        # They were sent, and to whom they belong.
        assert {call.key for call in first.calls} == set(IN_FILE)
        assert {call.key for call in second.calls} == {IN_ENVIRONMENT}
        assert {call.headers.get("x-tenant-key") for call in first.calls} == {HEADER}
        assert {call.headers.get("x-tenant-key") for call in second.calls} == {None}
    look_at_files(tmp_path, seen)
    seen.check()


def look_at_files(folder: Path, seen: Seen) -> None:
    """Read all that the server has written."""
    assert b"PROVIDER_STREAM_CUT" in (folder / "log").read_bytes()
    assert (folder / "sessions.db").stat().st_size
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "settings.toml":
            seen.add(file.name, file.read_bytes())


def test_no_secret_is_in_what_the_settings_show(tmp_path: Path) -> None:
    """Neither on the command line nor where a program prints them."""
    seen = Seen()
    file = tmp_path / "settings.toml"
    file.write_text(settings(tmp_path, "http://localhost/v1", "http://localhost/v1", "json"))
    checked = run(tmp_path, "check-config")
    assert checked.returncode == 0
    assert "api_keys" in checked.stdout
    assert "CONTEXTPROTOCOL_PROVIDERS__SECOND__API_KEY" in checked.stdout
    seen.add("check-config", checked.stdout + checked.stderr)
    loaded = read(file, environ(tmp_path))
    first = loaded.config.providers["first"]
    assert isinstance(first, OpenAISettings)
    keys = [key.reveal() for key in first.api_keys]
    assert keys == list(IN_FILE)
    provider = OpenAIProvider(first)
    for value in (loaded, loaded.config, first, first.api_keys, first.headers, provider):
        seen.add(type(value).__name__, f"{value!r} {value!s} {value}")
    seen.check()


BAD: Final = {
    "a key that is a number of texts": f'api_key = ["{MARK}"]',
    "keys that are no array": f'api_keys = "{MARK}"',
    "keys in a table": f'api_keys = {{ a = "{MARK}" }}',
    "a key with a line end": f'api_key = "{MARK}\\n"',
    "keys with one that is empty": f'api_keys = ["{MARK}", ""]',
    "a key that nobody knows": f'api_kye = "{MARK}"',
    "headers that are a text": f'headers = "{MARK}"',
    "a header with a bad name": f'headers = {{ "a b" = "{MARK}" }}',
    "a header with a bad value": f'headers = {{ X-Key = "{MARK}\\u0000" }}',
    "two ways at once": f'api_key = "{MARK}"\napi_keys = ["{MARK}"]',
    "a password in the address": f'base_url = "https://me:{MARK}@localhost/v1"',
    "a key in the address": f'base_url = "https://localhost/v1?key={MARK}"',
    "a proxy with TLS": f'proxy = "https://me:{MARK}@localhost:3128"',
    "a proxy without a port": f'proxy = "http://me:{MARK}@localhost"',
    "no TOML": f'api_key = "{MARK}',
}


@pytest.mark.parametrize("what", BAD)
def test_no_secret_is_in_a_report_of_bad_settings(tmp_path: Path, what: str) -> None:
    """What is wrong is named without its value."""
    seen = Seen()
    file = tmp_path / "settings.toml"
    file.write_text(f'[providers.first]\ntype = "openai"\n{BAD[what]}\n')
    with pytest.raises(ConfigError) as raised:
        read(file, {})
    seen.add("the problems", raised.value)
    seen.check()


class Careless:
    """A provider that says what it did not like."""

    def __init__(self, key: str) -> None:
        raise ValueError(f"this is no key: {key}")


def test_no_secret_is_in_what_a_plug_in_says_at_its_start(tmp_path: Path) -> None:
    """Whatever it puts into its error."""
    (tmp_path / "settings.toml").write_text(
        f'[providers.first]\ntype = "custom"\nclass = "tests.settings.test_secrets:Careless"\nsecrets.key = "{MARK}"\n'
        '[providers.second]\ntype = "openai"\n'
    )
    started = run(tmp_path, "serve")
    assert started.returncode == 2
    assert "this is no key: ***" in started.stderr
    seen = Seen()
    seen.add("the log", started.stderr + started.stdout)
    seen.check()
