"""What every provider promises, whichever it is: the tests of ``test_providers.py`` see no more than this.

A provider joins by a line in :data:`SUBJECTS`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp_server.interfaces import Finish, GenerateRequest, Provider, ProviderEvent, TextDelta
from mcp_server.model_files import pull
from mcp_server.providers.huggingface.provider import HuggingFaceProvider
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
from mcp_server.testing import EchoProvider, ScriptedProvider
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
from tests.contracts import tutorial
from tests.models.llama_server import LlamaServer

QUESTION = "What is the capital of France?"
BEGINNING = "Once upon a time there was a fox who lived in a"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A provider under test, and its model."""

    provider: Provider
    model: str
    embedding_model: str = ""
    """The model that makes embeddings, if it is another one."""
    calling: GenerateRequest | None = None
    """What makes the model call a tool, if it can."""

    def chat(self, text: str = QUESTION, **config: Any) -> GenerateRequest:
        """A chat of one message."""
        return GenerateRequest(model=self.model, messages=(_asked(text),), config=GenerationConfig(**config))

    def completion(self, prompt: str = BEGINNING, **config: Any) -> GenerateRequest:
        """A prompt to go on from."""
        return GenerateRequest(model=self.model, prompt=prompt, config=GenerationConfig(**config))

    async def answer(self, request: GenerateRequest) -> Answer:
        """Everything that the provider yields."""
        return Answer([event async for event in self.provider.generate(request)])


class Answer:
    """What a provider yielded."""

    def __init__(self, events: list[ProviderEvent]) -> None:
        self.events = events

    @property
    def finish(self) -> Finish:
        """Its end."""
        (finish,) = [event for event in self.events if isinstance(event, Finish)]
        assert finish is self.events[-1]
        return finish

    @property
    def pieces(self) -> list[str]:
        """Its text as it came."""
        found = [
            event if isinstance(event, str) else event.text
            for event in self.events
            if isinstance(event, str | TextDelta)
        ]
        assert all(found), "a delta is never empty"
        return found

    @property
    def text(self) -> str:
        """All its text."""
        return "".join(self.pieces)


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
    return Subject(provider=_Served(server), model="smollm2-135m", calling=_weather("smollm2-135m", "Rome", "Oslo"))


async def _huggingface(shared: Shared) -> Subject:
    models = {name: HuggingFaceModel(path=shared(f"{name}_model")) for name in ("tiny", "minilm")}
    provider = HuggingFaceProvider(HuggingFaceSettings(models=models, parallel=3))
    return Subject(provider=provider, model="tiny", embedding_model="minilm", calling=_weather("tiny"))


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


async def _tutorial(_shared: Shared) -> Subject:
    """The provider that docs/write-a-provider.md builds."""
    return Subject(provider=tutorial.provider_class()(), model="loud")


SUBJECTS: dict[str, Callable[[Shared], Awaitable[Subject]]] = {
    "echo": _echo,
    "huggingface": _huggingface,
    "llama_cpp": _llama_cpp,
    "openai": _openai,
    "scripted": _scripted,
    "tutorial": _tutorial,
}
"""How to make each provider."""
HONOURING = ("echo", "huggingface", "llama_cpp", "openai")
"""Those that honour the knobs of a generation; a script is played as it is written."""
EMBEDDING = ("echo", "huggingface", "llama_cpp", "openai")
"""Those that make embeddings."""
COUNTING = ("echo", "huggingface", "llama_cpp")
"""Those that count tokens."""
CALLING = ("huggingface", "openai")
"""Those whose models can call tools."""
LIMITED = ("huggingface", "llama_cpp", "openai")
"""Those whose models read so much and no more."""
LOADING = ("huggingface", "llama_cpp")
"""Those that load models, when they are first used."""
