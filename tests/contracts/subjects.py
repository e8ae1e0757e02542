"""The providers that the contract runs on."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from mcp_server.interfaces import Finish, GenerateRequest
from mcp_server.model_files import pull
from mcp_server.providers.huggingface.provider import HuggingFaceProvider
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
from mcp_server.testing import EchoProvider, ScriptedProvider
from mcp_server.testing.contracts.providers import QUESTION, Subject
from mcp_server.values import (
    Capabilities,
    FinishReason,
    GenerationConfig,
    Message,
    Model,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
    UsageSource,
)
from tests.models.llama_server import LlamaServer

Shared = Callable[[str], Any]
"""Gets what the tests share: the value of the fixture with that name."""


async def _echo(_shared: Shared) -> Subject:
    return Subject(provider=EchoProvider(), model="echo")


async def _scripted(_shared: Shared) -> Subject:
    words = QUESTION.split(" ")
    usage = Usage(input_tokens=3, output_tokens=len(words), source=UsageSource.REPORTED)
    can = Capabilities(chat=True, completion=True)
    provider = ScriptedProvider(
        [*words, Finish(reason=FinishReason.STOP, usage=usage)], model=Model(name="scripted", capabilities=can)
    )
    return Subject(provider=provider, model="scripted")


async def _llama_cpp(_shared: Shared) -> Subject:
    return Subject(
        provider=LlamaCppProvider(LlamaCppSettings(models={"smollm2-135m": LlamaCppModel()})), model="smollm2-135m"
    )


class _Served(OpenAIProvider):
    """Asks a server that ends with it."""

    def __init__(self, server: LlamaServer) -> None:
        model = OpenAIModel(capabilities=("chat", "completion", "embedding"), embedding_dimensions=576)
        models = {"smollm2-135m": model}
        super().__init__(OpenAISettings(base_url=server.url, keep_alive=False, models=models))
        self._server = server

    async def close(self) -> None:
        await super().close()
        await self._server.stop()


async def _openai(_shared: Shared) -> Subject:
    server = await LlamaServer.start(pull("smollm2-135m"))
    return Subject(
        provider=_Served(server), model="smollm2-135m", tool_request=_weather("smollm2-135m", "Rome", "Oslo")
    )


async def _huggingface(shared: Shared) -> Subject:
    models = {name: HuggingFaceModel(path=shared(f"{name}_model")) for name in ("tiny", "minilm")}
    provider = HuggingFaceProvider(HuggingFaceSettings(models=models, parallel=3))
    return Subject(provider=provider, model="tiny", embedding_model="minilm", tool_request=_weather("tiny"))


def _weather(model: str, *before: str) -> GenerateRequest:
    """Asks for the weather; the calls for the cities ``before`` show a very small model how."""
    history: list[Message] = []
    for city in before:
        call = ToolCall(id=city, name="weather", arguments_json=json.dumps({"city": city}))
        history += [_asked(f"Weather in {city}?"), Message(role=Role.ASSISTANT, parts=(call,))]
    last = _asked("Weather in Paris?" if before else "Rain?")
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = Tool(name="weather", description="The weather in a city.", parameters_json=json.dumps(parameters))
    return GenerateRequest(
        model=model,
        messages=(*history, last),
        config=GenerationConfig(temperature=0, max_output_tokens=60),
        tools=(tool,),
        tool_choice=ToolChoice(mode="required"),
    )


def _asked(text: str) -> Message:
    return Message(role=Role.USER, parts=(Text(text=text),))


SUBJECTS: dict[str, Callable[[Shared], Awaitable[Subject]]] = {
    "echo": _echo,
    "huggingface": _huggingface,
    "llama_cpp": _llama_cpp,
    "openai": _openai,
    "scripted": _scripted,
}
"""How to make each provider."""
