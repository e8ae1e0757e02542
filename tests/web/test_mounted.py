"""The applications of examples/web that have the server in them, each in a process of its own."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Final

import anthropic
import openai
import pytest

from tests.client.integrations.examples import FOLDER, started_file
from tests.web.servers import get

SETTINGS: Final = """
[server]
address = "127.0.0.1:0"

[models]
default = "echo/echo"

[store]
type = "memory"

[metrics]
address = ""

[providers.echo]
type = "custom"
class = "mcp_server.testing:EchoProvider"
"""


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
async def test_an_application_with_the_server_in_it(framework: str, tmp_path: Path) -> None:
    """Its own page, and the APIs under its path; they end together when it is stopped."""
    file = tmp_path / "server.toml"
    file.write_text(SETTINGS)
    environment = {"CONTEXTPROTOCOL_CONFIG": str(file)}
    async with started_file(FOLDER / f"{framework}_models.py", environment) as application:
        status, text = await get(application.url)
        assert (status, text.strip('"')) == (200, "Welcome to the museum.")
        async with openai.AsyncOpenAI(base_url=f"{application.url}/ai/v1", api_key="any", max_retries=0) as client:
            messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
            stream = await client.chat.completions.create(model="echo/echo", messages=messages, stream=True)
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Hello"
        async with anthropic.AsyncAnthropic(base_url=f"{application.url}/ai", api_key="any", max_retries=0) as other:
            answer = await other.messages.create(
                model="echo/echo", max_tokens=100, messages=[{"role": "user", "content": "Hello"}]
            )
            assert answer.content[0].type == "text"
            assert answer.content[0].text == "Hello"
        async with asyncio.timeout(10):
            assert await application.stop() in (0, -signal.SIGTERM)  # uvicorn ends by the signal in the end
    assert "Traceback" not in "".join(application.output)
