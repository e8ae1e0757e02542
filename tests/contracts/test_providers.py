"""The contract of providers, on every provider of the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from mcp_server.interfaces import Finish, GenerateRequest, PartState
from mcp_server.model_files import pull
from mcp_server.providers.demo.provider import DemoProvider
from mcp_server.providers.demo.settings import DemoSettings
from mcp_server.providers.huggingface.provider import HuggingFaceProvider
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
from mcp_server.testing import EchoProvider, ScriptedProvider
from mcp_server.testing.contracts.providers import (
    QUESTION,
    ContextWindowContract,
    EmbeddingContract,
    LoadingContract,
    ProviderContract,
    ProviderStateContract,
    SamplingContract,
    Subject,
    TokenCounterContract,
    ToolContract,
)
from mcp_server.values import (
    Capabilities,
    FinishReason,
    GenerationConfig,
    Message,
    Model,
    ProviderState,
    ProviderStatePart,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
    UsageSource,
)
from tests.small_models.llama_server import TEMPLATE, LlamaServer


class NoStateContract:
    """What every provider of the project does, since none of them has states."""

    async def test_states_are_ignored(self, subject: Subject) -> None:
        """A caller may send what this provider never made."""
        state = ProviderState(provider="subject", model=subject.model, data=b"\x00")
        hidden = Message(role=Role.ASSISTANT, parts=(ProviderStatePart(provider_state=state),))
        signed = Message(role=Role.ASSISTANT, parts=(Text(text="Yes.", provider_state=state), *hidden.parts))
        request = subject.chat(max_output_tokens=4)
        (asked,) = request.messages
        request = msgspec.structs.replace(request, messages=(asked, hidden, asked, signed, asked))
        assert isinstance((await subject.answer(request)).finish, Finish)


class TestEcho(ProviderContract, SamplingContract, EmbeddingContract, TokenCounterContract, NoStateContract):
    """A double that honours what it can."""

    @classmethod
    async def make(cls) -> Subject:
        """Costs nothing."""
        return Subject(provider=EchoProvider(), model="echo")


class TestDemo(
    ProviderContract,
    SamplingContract,
    EmbeddingContract,
    TokenCounterContract,
    ToolContract,
    ContextWindowContract,
    NoStateContract,
):
    """The one without a model."""

    @classmethod
    async def make(cls) -> Subject:
        """At a pace at which the suite is quick, and an answer is still not over at once."""
        provider = DemoProvider(DemoSettings(tokens_per_second=2000))
        return Subject(provider=provider, model="demo", tool_request=_weather("demo"))


class TestScripted(ProviderContract, ProviderStateContract):
    """A double that plays a script as it is written."""

    @classmethod
    async def make(cls) -> Subject:
        """With one script for all calls."""
        words = QUESTION.split(" ")
        usage = Usage(input_tokens=3, output_tokens=len(words), source=UsageSource.REPORTED)
        can = Capabilities(chat=True, completion=True)
        provider = ScriptedProvider(
            [
                *words,
                PartState(data=b"a"),
                PartState(data=b"b", own_part=True),
                Finish(reason=FinishReason.STOP, usage=usage),
            ],
            model=Model(name="scripted", capabilities=can),
        )
        return Subject(provider=provider, model="scripted")


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


class TestOpenAI(
    ProviderContract, SamplingContract, EmbeddingContract, ToolContract, ContextWindowContract, NoStateContract
):
    """A server of llama.cpp, over HTTP."""

    @classmethod
    async def make(cls) -> Subject:
        """With a server of its own."""
        server = await LlamaServer.start(pull("smollm2-135m"))
        request = _weather("smollm2-135m", "Rome", "Oslo")
        return Subject(provider=_Served(server), model="smollm2-135m", tool_request=request)


class TestLlamaCpp(
    ProviderContract,
    SamplingContract,
    EmbeddingContract,
    TokenCounterContract,
    ToolContract,
    ContextWindowContract,
    LoadingContract,
    NoStateContract,
):
    """The embedded model, and once more with a chat template for tools."""

    @classmethod
    async def make(cls) -> Subject:
        """Not yet loaded."""
        tooled = LlamaCppModel(path=pull("smollm2-135m"), chat_template=TEMPLATE)
        settings = LlamaCppSettings(models={"smollm2-135m": LlamaCppModel(), "tooled": tooled})
        request = _weather("tooled", "Rome", "Oslo")
        return Subject(provider=LlamaCppProvider(settings), model="smollm2-135m", tool_request=request)


class TestHuggingFace(
    ProviderContract,
    SamplingContract,
    EmbeddingContract,
    TokenCounterContract,
    ToolContract,
    ContextWindowContract,
    LoadingContract,
    NoStateContract,
):
    """Two small models, one for each purpose."""

    models: ClassVar[dict[str, HuggingFaceModel]]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def folders(cls, tiny_model: Path, minilm_model: Path) -> None:
        """Where the models are."""
        paths = {"tiny": tiny_model, "minilm": minilm_model}
        cls.models = {name: HuggingFaceModel(path=path) for name, path in paths.items()}

    @classmethod
    async def make(cls) -> Subject:
        """Not yet loaded."""
        provider = HuggingFaceProvider(HuggingFaceSettings(models=cls.models, parallel=3))
        return Subject(provider=provider, model="tiny", embedding_model="minilm", tool_request=_weather("tiny"))


def _weather(model: str, *before: str) -> GenerateRequest:
    """Asks for the weather; the calls for the cities ``before`` show a very small model how."""
    history: list[Message] = []
    for city in before:
        call = ToolCall(id=city, name="weather", arguments_json=json.dumps({"city": city}))
        history += [_user(f"Weather in {city}?"), Message(role=Role.ASSISTANT, parts=(call,))]
    last = _user("Weather in Paris?" if before else "Rain?")
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = Tool(name="weather", description="The weather in a city.", parameters_json=json.dumps(parameters))
    return GenerateRequest(
        model=model,
        messages=(*history, last),
        config=GenerationConfig(temperature=0, max_output_tokens=60),
        tools=(tool,),
        tool_choice=ToolChoice(mode="required"),
    )


def _user(text: str) -> Message:
    return Message(role=Role.USER, parts=(Text(text=text),))
