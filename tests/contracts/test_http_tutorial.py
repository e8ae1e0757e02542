"""The provider for an HTTP API of docs/write-a-provider.md, step by step, against a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from mcp_client import Image, MCPClient, MCPError, Message, Reasoning, Text, Tool, ToolChoice, ToolResult
from mcp_server.settings import load
from mcp_server.testing import running
from tests.contracts.parrot import KEY, Parrot, served
from tests.contracts.tutorial import PAGE, parrot
from tests.contracts.tutorial import names as names_of
from tests.packages import install
from tests.pages import blocks

TEXT = "Text, as it comes"
TOOLS = "Tool calls"
REASONING = "Reasoning, and what has to come back"
LIMITS = "What it cannot do"
ERRORS = "Errors"
VECTORS = "Embeddings, and counting tokens"
STEPS = (TEXT, TOOLS, REASONING, LIMITS, ERRORS, VECTORS)

WEATHER = Tool(name="weather", description="The weather.", parameters={"type": "object"})


@asynccontextmanager
async def serving(step: str, *, key: str = KEY) -> AsyncIterator[tuple[Parrot, MCPClient]]:
    """The service, and a client of a server with the provider as it is after that step."""
    async with served() as service:
        provider = names_of(parrot(step))["Parrot"](service.url, key)
        async with (
            running(providers={"parrot": provider}) as server,
            MCPClient(server.address, retry=None) as client,
        ):
            yield service, client


@pytest.mark.parametrize("step", STEPS)
async def test_every_step_answers_chats(step: str) -> None:
    """In pieces, with the usage of the service."""
    async with serving(step) as (service, client):
        async with client.stream_chat("Hello there, you", max_output_tokens=2) as stream:
            pieces = [text async for text in stream]
        reply = await client.chat("Hello there")
    assert "".join(pieces) == "Hello there,"
    assert reply.text == "Hello there"
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (2, 2)
    assert service.last["model"] == "polly"


async def test_the_service_notices_that_the_caller_has_left() -> None:
    """In the middle of an answer."""
    async with serving(TEXT) as (service, client):
        service.silent = True
        async with client.stream_chat("Hello there", on_disconnect="cancel") as stream:
            assert await anext(aiter(stream)) == "Hello"
        async with asyncio.timeout(10):
            await service.left.wait()


async def test_tools_are_called_and_their_results_are_sent() -> None:
    """With the arguments as the model wrote them."""
    async with serving(LIMITS) as (service, client):
        session = await client.create_session()
        reply = await client.chat("Weather?", session=session, tools=[WEATHER], tool_choice="required")
        (call,) = reply.message.tool_calls
        assert (call.name, call.arguments_json) == ("weather", '{"city": "Paris"}')
        answered = await client.chat(
            Message.tool(ToolResult(tool_call_id=call.id, parts=(Text(text="sunny"),))),
            session=session,
            tools=[WEATHER],
        )
        assert answered.text == "sunny"
        _, called, result = service.last["messages"]
        assert called["calls"] == [{"id": "c1", "name": "weather", "arguments": '{"city": "Paris"}'}]
        assert result["results"] == [{"id": "c1", "text": "sunny", "failed": False}]


async def test_reasoning_comes_back_with_its_seal() -> None:
    """In the next turn, as it was; the service refuses any other."""
    async with serving(REASONING) as (service, client):
        session = await client.create_session()
        reply = await client.chat("Hello there", session=session)
        assert [part.text for part in reply.message.parts if isinstance(part, Reasoning)] == ["They said 2 words."]
        assert (await client.chat("Bye", session=session)).text == "Bye"
        assert service.last["messages"][1]["thought"] == "They said 2 words."


async def test_what_it_cannot_do_is_refused() -> None:
    """Before the service is asked."""
    async with serving(LIMITS) as (service, client):
        for arguments in (
            {"messages": Message.user("What is this?", Image.from_bytes(b"\x89PNG\r\n\x1a\n", mime_type="image/png"))},
            {"messages": "Hello", "seed": 1},
            {"messages": "Hello", "temperature": 0.5},
            {"messages": "Hello", "tools": [WEATHER], "tool_choice": ToolChoice(mode="required", name="weather")},
        ):
            with pytest.raises(MCPError) as refused:
                await client.chat(**arguments)
            assert refused.value.reason == "UNSUPPORTED_BY_MODEL", arguments
        assert not service.requests


@pytest.mark.parametrize(
    ("status", "headers", "reason", "retry_after"),
    [
        (429, {"retry-after": "7"}, "PROVIDER_RATE_LIMITED", 7.0),
        (503, {"retry-after": "2"}, "PROVIDER_UNAVAILABLE", 2.0),
        (500, {}, "PROVIDER_UNAVAILABLE", None),
        (503, {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, "PROVIDER_UNAVAILABLE", None),
        (413, {}, "CONTEXT_TOO_LONG", None),
        (404, {}, "MODEL_NOT_FOUND", None),
        (422, {}, "PROVIDER_REJECTED", None),
    ],
)
async def test_failures_have_their_class(
    status: int, headers: dict[str, str], reason: str, retry_after: float | None
) -> None:
    """And the time after which the service may be asked again."""
    async with serving(ERRORS) as (service, client):
        service.refusals = [(status, headers, "no")]
        with pytest.raises(MCPError) as failed:
            await client.chat("Hello")
    assert (failed.value.reason, failed.value.retry_after) == (reason, retry_after)
    assert KEY not in str(failed.value)


async def test_a_wrong_key_a_cut_and_an_absent_service_are_told_apart() -> None:
    """Each has a class of its own."""
    async with serving(ERRORS, key="wrong") as (_, client):
        with pytest.raises(MCPError) as failed:
            await client.chat("Hello")
        assert (failed.value.reason, failed.value.metadata["cause"]) == ("PROVIDER_REJECTED", "credentials")
    async with serving(ERRORS) as (service, client):
        service.cut = True
        with pytest.raises(MCPError) as failed:
            await client.chat("Hello there")
        assert failed.value.reason == "PROVIDER_STREAM_CUT"
    provider = names_of(parrot(ERRORS))["Parrot"]("http://127.0.0.1:1/", KEY)
    async with running(providers={"parrot": provider}) as server, MCPClient(server.address, retry=None) as client:
        with pytest.raises(MCPError) as failed:
            await client.chat("Hello")
        assert failed.value.reason == "PROVIDER_UNAVAILABLE"


async def test_it_makes_vectors_and_counts_tokens() -> None:
    """As the service does."""
    async with serving(VECTORS) as (_, client):
        made = await client.embed(["a tree", "be"], model="parrot/feathers")
        assert [list(vector) for vector in made.vectors] == [[6, 2, 1], [2, 1, 0]]
        assert made.usage.input_tokens == 3
        assert (await client.count_tokens("one two three")).input_tokens == 3


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the page is installed."""
    package = next(block for block in blocks(PAGE, "toml") if "contextprotocol-parrot" in block)
    install(tmp_path, "parrot", parrot(), package)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "parrot", raising=False)
    return tmp_path


async def test_the_settings_of_the_page_plug_it_in(installed: Path) -> None:
    """The key is in a variable."""
    file = installed / "contextprotocol.toml"
    (settings,) = [block for block in blocks(PAGE, "toml") if "[providers.parrot]" in block]
    async with served() as service:
        own = 'server.address = "127.0.0.1:0"\nstore.type = "memory"\nadmin.address = ""\nmetrics.address = ""\n'
        key = 'api_key = { env = "PARROT_API_KEY" }\n'
        file.write_text(own + settings.replace(key, f'{key}base_url = "{service.url}"\n'))
        async with running(load(file, {"PARROT_API_KEY": KEY})) as server, MCPClient(server.address) as client:
            assert (await client.chat("Hello there")).text == "Hello there"
            assert len((await client.embed(["x"])).vectors) == 1


async def test_the_finished_provider_passes_the_contract_suite(installed: Path) -> None:
    """As the page says, by the command; what it cannot do is skipped."""
    (settings,) = [block for block in blocks(PAGE, "toml") if "http://127.0.0.1:8700/" in block]
    file = installed / "parrot.toml"
    async with served() as service:
        file.write_text(settings.replace("http://127.0.0.1:8700/", service.url))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mcp_server", "plugins", "check", "parrot", "--settings", str(file), "--json"),
            cwd=installed,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")]),
                "PARROT_API_KEY": KEY,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, errors = await process.communicate()
    assert process.returncode == 0, printed.decode() + errors.decode()
    ends: list[Any] = json.loads(printed)
    for test in (
        "tokens are counted as they are used",
        "a tool is called",
        "embeddings keep the order of their inputs",
        "an answer with its states can be continued",
    ):
        assert {"test": test, "outcome": "passed"} in ends
    outcomes = [end["outcome"] for end in ends]
    line = f"providers parrot: {outcomes.count('passed')} passed, {outcomes.count('skipped')} skipped"
    assert line in PAGE.read_text(), line


def test_the_package_of_the_page_allows_this_version() -> None:
    """Its limit must be raised with the next minor version."""
    (package,) = [tomllib.loads(block) for block in blocks(PAGE, "toml") if "contextprotocol-parrot" in block]
    (needed,) = [
        each for each in map(Requirement, package["project"]["dependencies"]) if each.name == "contextprotocol"
    ]
    assert version("contextprotocol") in needed.specifier
