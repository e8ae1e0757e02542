"""The provider ``demo`` through OpenAI's and Anthropic's API, with their own clients and a tool."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import msgspec
import openai
import pytest

from mcp_server.providers.demo.settings import DemoSettings
from mcp_server.settings import WebSettings
from mcp_server.settings import testing_config as plain_config
from mcp_server.testing import running

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
QUESTION: Any = {"role": "user", "content": "How is the weather in Rome?"}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The address of a server with the demo."""
    config = msgspec.structs.replace(
        plain_config(),
        web=WebSettings(address="127.0.0.1:0"),
        providers={"demo": DemoSettings(tokens_per_second=0)},
    )
    async with running(config) as server:
        yield f"http://{server.web_address}"


async def test_openais_client_streams_a_call_and_gets_its_result_repeated(url: str) -> None:
    """The arguments come in pieces."""
    weather: Any = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        chats = client.chat.completions
        async with chats.stream(model="demo/demo", messages=[QUESTION], tools=[weather]) as stream:
            completion = await stream.get_final_completion()
        (choice,) = completion.choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls is not None
        (call,) = choice.message.tool_calls
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments) == {"city": "Rome"}
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sun"}
        called: Any = {"id": call.id, "type": "function", "function": call.function.to_dict(mode="json")}
        called["function"].pop("parsed_arguments", None)
        asked: Any = [QUESTION, {"role": "assistant", "tool_calls": [called]}, result]
        answer = await chats.create(model="demo/demo", messages=asked, tools=[weather])
        assert answer.choices[0].message.content
        assert answer.choices[0].message.content.startswith("The tool weather returned: “sun”.")
        assert answer.choices[0].finish_reason == "stop"


async def test_anthropics_client_gets_thoughts_a_call_and_its_result_repeated(url: str) -> None:
    """Thinking is asked for by the call."""
    weather: Any = {"name": "weather", "input_schema": PARAMETERS}
    options: Any = {
        "model": "demo/demo",
        "max_tokens": 2000,
        "tools": [weather],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    async with anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as client:
        async with client.messages.stream(messages=[QUESTION], **options) as stream:
            message = await stream.get_final_message()
        assert message.stop_reason == "tool_use"
        thoughts, call = message.content
        assert thoughts.type == "thinking"
        assert "weather" in thoughts.thinking
        assert call.type == "tool_use"
        assert (call.name, call.input) == ("weather", {"city": "Rome"})
        result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "sun"}
        asked: Any = [
            QUESTION,
            {"role": "assistant", "content": [block.to_dict() for block in message.content]},
            {"role": "user", "content": [result]},
        ]
        answer = await client.messages.create(messages=asked, **options)
        assert answer.stop_reason == "end_turn"
        assert [block.text[:34] for block in answer.content if block.type == "text"] == [
            "The tool weather returned: “sun”. "
        ]
