"""The programs in the README and the user guide run as they stand there."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import grpc
import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, chat_pb2_grpc, message_pb2
from mcp_client import MCPClient
from mcp_server.interfaces import Finish, GenerateRequest, Provider, ProviderEvent
from mcp_server.providers.demo.provider import DemoProvider
from mcp_server.providers.demo.settings import DemoSettings
from mcp_server.settings import AdmissionSettings, RoutingSettings, load
from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, running
from mcp_server.values import Capabilities, Model
from tests.pages import blocks

replace = msgspec.structs.replace

ROOT = Path(__file__).parent.parent
ADDRESS = "127.0.0.1:50051"


PAGES = sorted(page for folder in (".", "docs/**", "examples", "examples/*") for page in ROOT.glob(f"{folder}/*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """To a file of the project, and to a heading in it."""
    text = re.sub(r"^```.*?^```$|`[^`]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not heading or heading in headings(target), f"{page.name}: {link}"


def headings(page: Path) -> set[str]:
    """The anchors of a page, as they are made of its headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(("page", "sign"), [("README.md", "MCPSyncClient()"), ("docs/usage.md", "asyncio.run(")])
async def test_a_whole_program_runs(page: str, sign: str) -> None:
    """As a process of its own, against a real server."""
    (program,) = [block for block in blocks(ROOT / page) if sign in block]
    async with running() as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            "-c",
            program.replace(ADDRESS, server.address),
            env={**os.environ, "CONTEXTPROTOCOL_ADDRESS": server.address},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, errors = await process.communicate()
        assert (process.returncode, errors.decode()) == (0, "")
        assert printed


@pytest.mark.parametrize("page", ["docs/usage.md", "docs/clients/command-line.md"])
async def test_the_commands_of_the_guides_run_in_their_order(page: str, tmp_path: Path) -> None:
    """Each of them ends well. Where a turn is left out, it is the newest. What the double cannot do is left out."""
    commands = [
        line.partition("  #")[0].removeprefix("$ ").strip()
        for block in blocks(ROOT / page, "console")
        for line in block.splitlines()
        if "mcp-client" in line and line.startswith("$ ")
    ]
    lines = [line for line in commands if "--image" not in line and "--json-schema" not in line]
    assert len(lines) > 6
    programs = Path(sys.executable).parent
    async with running() as server, MCPClient(server.address) as client:
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "CONTEXTPROTOCOL_ADDRESS": server.address,
        }

        async def begun(command: str) -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                *("bash", "-euo", "pipefail", "-c", command),
                cwd=tmp_path,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )

        async def shell(command: str, typed: str = "") -> str:
            process = await begun(command)
            printed, _ = await process.communicate(typed.encode())
            assert process.returncode == 0, f"{command}\n{printed.decode()}"
            return printed.decode()

        await shell("git init --quiet && echo old >file && git add file && echo new >file && echo banana >log")
        await shell(lines[0], "Hello!")
        for line in lines[1:]:
            if "…" in line:
                turn = await anext(client.list_turns("tour"))
                line = line.replace("sessions/tour/turns/…", turn.name)
            if "sessions watch" in line:  # it has no end
                process = await begun(f"exec {line}")
                assert process.stdout is not None
                assert await process.stdout.readline() == b"sessions/tour: 2 messages\n"
                process.terminate()
                await process.communicate()
                continue
            await shell(line)


@pytest.mark.parametrize(
    "page", ["docs/setup.md", "docs/providers/demo.md", "docs/operations/tls.md", "docs/operations/admin.md"]
)
def test_the_settings_of_the_guides_are_valid(page: str, tmp_path: Path) -> None:
    """Each file alone."""
    for number, block in enumerate(blocks(ROOT / page, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(block)
        config = load(file, {})
        assert config.models.default.partition("/")[0] in config.providers


async def run_pieces(page: str, client: MCPClient) -> None:
    """The pieces of a page that are no whole programs or functions, in one program, as a reader would collect them."""
    pieces = [block for block in blocks(ROOT / page) if "asyncio.run(" not in block and "def " not in block]
    assert pieces
    body = "\n".join(pieces)
    source = "async def guide(client):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    names: dict[str, object] = {}
    exec(compile(source, page, "exec"), names)  # noqa: S102  # it is our own page
    await names["guide"](client)  # type: ignore[operator]  # defined a line above


@pytest.mark.parametrize("page", ["docs/usage.md", "docs/sessions.md"])
@pytest.mark.parametrize("kind", ["echo", "demo"])
async def test_the_pieces_of_the_guides_run_in_their_order(page: str, kind: str) -> None:
    """Against a server with the echo, and with the demo, with which readers try them."""
    provider: Provider = EchoProvider() if kind == "echo" else DemoProvider(DemoSettings(tokens_per_second=0))
    async with running(providers={"echo": provider}) as server, MCPClient(server.address) as client:
        await run_pieces(page, client)


class Storyteller:
    """A model that takes its time. Asked to count, it does not end."""

    async def models(self) -> Sequence[Model]:
        """The model ``story``."""
        return [Model(name="story", capabilities=Capabilities(chat=True))]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Some words, or words without end."""
        words = (
            itertools.repeat("and ")
            if "Count" in request.messages[-1].text
            else iter(["Once ", "upon ", "a ", "time."])
        )
        for word in words:
            await asyncio.sleep(0.01)
            yield word
        yield Finish()

    async def close(self) -> None:
        """Nothing to do."""


async def test_the_pieces_about_streaming_run_in_their_order() -> None:
    """Against a model that still speaks when they resume, cancel and meet."""
    async with running(providers={"slow": Storyteller()}) as server, MCPClient(server.address) as client:
        await run_pieces("docs/streaming.md", client)


def in_plain_stubs() -> Any:
    """The function ``answer`` of the page about streaming."""
    (block,) = [block for block in blocks(ROOT / "docs/streaming.md") if "def answer" in block]
    names: dict[str, Any] = {}
    exec(compile(block, "docs/streaming.md", "exec"), names)  # noqa: S102  # it is our own page
    return names["answer"]


async def test_the_client_in_plain_stubs_survives_a_restart(tmp_path: Path) -> None:
    """The server is replaced in the middle of an answer: the text is that of the turn's last attempt."""
    gate = Gate()
    provider = ScriptedProvider(["Once ", gate], ["Once ", "upon ", "a time.", Finish()])
    config = replace(
        settings(default_model="scripted/scripted"),
        store=SQLiteSettings(path=tmp_path / "sessions.db"),
    )
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="Tell me a story.")])
    request = chat_pb2.ChatRequest(messages=[message], request_id="a story")
    async with running(config, providers={"scripted": provider}) as server:
        config = replace(config, server=replace(config.server, address=server.address))
        channel = grpc.aio.insecure_channel(server.address, options=[("grpc.initial_reconnect_backoff_ms", 100)])
        answer = asyncio.create_task(in_plain_stubs()(chat_pb2_grpc.ChatServiceStub(channel), request))
        await gate.reached.wait()
    async with running(config, providers={"scripted": provider}), channel:
        assert await answer == "Once upon a time."
    assert len(provider.requests) == 2


async def test_the_client_in_plain_stubs_loses_no_call_of_an_overloaded_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are ended without a reason, or refused with OVERLOADED: all have their answers in the end."""
    monkeypatch.setattr("mcp_server.admission.RETRY_SECONDS", 0.05)
    config = settings(default_model="scripted/scripted")
    config = replace(
        config,
        server=replace(config.server, max_pending=1),
        admission=AdmissionSettings(max_turns=2, max_waiting=2, queue_timeout=0.1),
    )
    gate = Gate()
    provider = ScriptedProvider(["ok", gate, Finish()])
    ended: list[tuple[str, bool]] = []
    answer = in_plain_stubs()
    wait_after = answer.__globals__["wait_after"]

    def note(error: grpc.aio.AioRpcError) -> Any:
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        ended.append((error.code().name, b"OVERLOADED" in cast(bytes, details)))
        if ended[-1][1]:
            gate.open()
        return wait_after(error)

    answer.__globals__["wait_after"] = note
    async with (
        running(config, providers={"scripted": provider}) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = chat_pb2_grpc.ChatServiceStub(channel)

        def request(number: int) -> chat_pb2.ChatRequest:
            message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="Hello")])
            return chat_pb2.ChatRequest(messages=[message], request_id=f"r{number}")

        answers = await asyncio.gather(*[answer(stub, request(number)) for number in range(50)])
    assert answers == ["ok"] * 50
    assert len(provider.requests) == 50
    assert {("CANCELLED", False), ("RESOURCE_EXHAUSTED", True)} <= set(ended)


async def test_the_test_of_the_guide_passes() -> None:
    """The example of the chapter on tests."""
    (block,) = [block for block in blocks(ROOT / "docs/usage.md") if "def test_" in block]
    names: dict[str, object] = {}
    exec(compile(block, "docs/usage.md", "exec"), names)  # noqa: S102  # it is our own page
    await names["test_a_busy_session_is_refused"]()  # type: ignore[operator]  # defined a line above


async def test_the_provider_of_the_setup_guide_answers() -> None:
    """Ten lines are enough."""
    (block,) = blocks(ROOT / "docs/setup.md")
    names: dict[str, object] = {}
    exec(compile(block, "docs/setup.md", "exec"), names)  # noqa: S102  # it is our own page
    provider = names["Shouting"]()  # type: ignore[operator]  # defined a line above
    async with running(providers={"shouting": provider}) as server, MCPClient(server.address) as client:
        assert (await client.chat("hello there")).text == "HELLO THERE "


def test_the_settings_about_routing_are_valid(tmp_path: Path) -> None:
    """All of them together are one file."""
    file = tmp_path / "contextprotocol.toml"
    file.write_text("\n".join(blocks(ROOT / "docs/routing.md", "toml")))
    config = load(file, {})
    assert list(config.models.routes["spread"].weights) == [3, 1]
    assert config.models.settings["openai/gpt-5*"].price is not None
    assert config.routing == RoutingSettings(silence_timeout=60, backoff=0.25)  # the page shows the defaults
