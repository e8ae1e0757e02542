"""What surrounds every call over HTTP, seen from a real socket."""

from __future__ import annotations

import aiohttp
import msgspec
import pytest

from mcp_server.settings import Config, WebSettings
from mcp_server.settings import testing_config as plain_config
from mcp_server.testing import EchoProvider, running

replace = msgspec.structs.replace


def web_config(**web: object) -> Config:
    """Settings with an HTTP edge on any free port."""
    return replace(plain_config(default_model="echo/echo"), web=WebSettings(address="127.0.0.1:0", **web))  # type: ignore[arg-type]


async def get(address: str, path: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as client, client.get(f"http://{address}{path}", headers=headers) as response:
        return response.status, await response.text()


async def test_models_are_listed_over_http() -> None:
    """The same models as over gRPC, in OpenAI's form."""
    async with running(web_config(), providers={"echo": EchoProvider()}) as server:
        status, text = await get(server.web_address, "/v1/models")
    assert status == 200, text
    assert [model["id"] for model in msgspec.json.decode(text)["data"]] == ["echo/echo"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "attacker.example"}, 403),
        ({"Origin": "https://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:1"}, 200),
    ],
)
async def test_pages_of_others_cannot_use_the_server(headers: dict[str, str], status: int) -> None:
    """Neither by a name of their own for its address, nor from their own origin."""
    async with running(web_config(), providers={"echo": EchoProvider()}) as server:
        assert (await get(server.web_address, "/v1/models", **headers))[0] == status
