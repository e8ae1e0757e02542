"""Tools, reasoning and images of a model on this machine, through the whole server."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mcp_client import Blob, FinishReason, MCPClient, Message, Tool, UnsupportedByModel
from mcp_server.settings.load import load
from mcp_server.testing import running
from tests.providers.conftest import MODEL
from tests.small_models.llama_server import TEMPLATE
from tests.small_models.projector import make_projector, png

SETTINGS = """
[server]
address = "127.0.0.1:0"
[store]
type = "memory"
[metrics]
address = ""
[models]
default = "local/able"
[providers.local]
type = "llama_cpp"
[providers.local.models.able]
path = {path}
chat_template = "tools.jinja"
temperature = 0.0
[providers.local.models.seeing]
path = {path}
projector = "colours.gguf"
temperature = 0.0
[providers.local.models."{other}"]
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MCPClient]:
    """A client of a server whose models call tools or see colours, as a file of settings says."""
    folder = tmp_path_factory.mktemp("settings")
    make_projector(folder / "colours.gguf", model_file)
    shutil.copy(TEMPLATE, folder / "tools.jinja")
    (folder / "settings.toml").write_text(SETTINGS.format(path=json.dumps(str(model_file)), other=MODEL))
    async with running(load(folder / "settings.toml", {})) as server, MCPClient(server.address) as client:
        yield client


def weather(city: str) -> str:
    """The weather in a city."""
    return f"The weather in {city} is sunny, 31 degrees."


def shown(city: str) -> list[dict[str, Any]]:
    """A model that small has to be shown how to call a tool."""
    function = {"name": "weather", "arguments": json.dumps({"city": city})}
    return [
        {"role": "user", "content": f"Weather in {city}?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": city, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": city, "content": weather(city)},
        {"role": "assistant", "content": f"It is sunny in {city}, 31 degrees."},
    ]


async def test_a_model_whose_file_is_still_read_can_be_asked_for_all(
    client: MCPClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call after a start waits for what the file says; it is not refused."""
    monkeypatch.setattr("mcp_server.providers.llama_cpp.local_model.LIST_SECONDS", 0)
    able, *_ = await client.list_models()
    assert "were not read within 0 s" in able.state_reason
    reply = await client.chat("Hi", model="local/able", tools=[Tool(name="weather")], tool_choice="none")
    assert reply.text


async def test_a_tool_is_called_and_its_result_is_told(client: MCPClient) -> None:
    """The client runs the function that the model asks for, and the model tells what it returned."""
    session = await client.create_session()
    await client.append_messages(session, [*shown("Rome"), *shown("Oslo")])
    reply = await client.chat_with_tools("Weather in Paris?", tools=[weather], session=session)
    assert "31" in reply.text
    assert "Paris" in reply.text
    assert len(reply.earlier) == 1


async def test_an_image_is_seen(client: MCPClient) -> None:
    """Its colour decides the answer."""
    for colour in ("red", "blue"):
        message = Message.user("Repeat this word: ", Blob(mime_type="image/png", data=png(colour)))
        reply = await client.chat([message], model="local/seeing", max_output_tokens=12)
        assert colour in reply.text
        assert reply.finish_reason in (FinishReason.STOP, FinishReason.LENGTH)


async def test_another_model_that_cannot_is_named(client: MCPClient) -> None:
    """The embedded model as it is calls no tools and sees nothing."""
    able, seeing, embedded = await client.list_models()
    assert "tools" in able.capabilities
    assert "images" in seeing.capabilities
    assert not {"tools", "images"} & embedded.capabilities
    with pytest.raises(UnsupportedByModel):
        await client.chat_with_tools("Weather in Paris?", tools=[weather], model=f"local/{MODEL}")
