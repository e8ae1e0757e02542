"""Signs of life: a model that loads, or reads a long prompt, is not taken for one that hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from contextprotocol.v1 import chat_pb2, embedding_pb2
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import EmbedRequest, Finish, GenerateRequest, Progress, ProviderEvent
from mcp_server.settings import Config, ModelSettings, RouteSettings, RoutingSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, ScriptedProvider
from mcp_server.values import Capabilities, Embeddings, Model, Usage, UsageSource
from tests.conftest import Serve
from tests.wire import Refused, Wire, text_of, user

replace = msgspec.structs.replace
LIMIT = 0.6
"""How long a provider may be silent, in seconds."""
READING = Progress(stage="reading")


class Loading(EchoProvider):
    """Loads for as long as its signs say, or fails to."""

    def __init__(self, *signs: float | Exception) -> None:
        self.signs = signs
        self.loads = 0

    async def load(self, _: GenerateRequest | EmbedRequest, /) -> AsyncIterator[Progress]:
        """Yield a sign of life after each of the pauses."""
        self.loads += 1
        for sign in self.signs:
            if isinstance(sign, Exception):
                raise sign
            await asyncio.sleep(sign)
            yield Progress(stage="loading")


class Slow(EchoProvider):
    """Makes vectors of one text at a time, and fails at some of its calls.

    Attributes:
        asked: the texts of each call.
    """

    def __init__(self, *, pause: float = 0.0, fails_at: Sequence[int] = ()) -> None:
        self.asked: list[tuple[str, ...]] = []
        self._pause = pause
        self._fails_at = fails_at

    async def models(self) -> Sequence[Model]:
        """One, for batches of a few tokens."""
        return [Model(name="echo", capabilities=Capabilities(embedding=True), batch_tokens=4)]

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """A vector of the length of each text."""
        self.asked.append(request.inputs)
        if len(self.asked) in self._fails_at:
            raise ProviderUnavailable("it is down")
        await asyncio.sleep(self._pause)
        vectors = tuple([[float(len(text))] for text in request.inputs])
        return Embeddings(vectors=vectors, usage=Usage(input_tokens=len(vectors), source=UsageSource.REPORTED))


def config(*targets: str, **routing: float) -> Config:
    """The default model is a route over those targets, and nothing is waited for for long."""
    limits = {"first_token_timeout": LIMIT, "silence_timeout": LIMIT, "backoff": 0.0, "circuit_failures": 1}
    return replace(
        settings(default_model="route"),
        models=ModelSettings(
            default="route", default_embedding="route", routes={"route": RouteSettings(targets=targets)}
        ),
        routing=RoutingSettings(**{**limits, **routing}),  # type: ignore[arg-type]  # numbers all
    )


async def answer(wire: Wire, text: str = "Hello") -> str:
    """What the default model answers."""
    chat = await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user(text)]))
    return text_of(chat.completed.message)


async def test_a_model_that_loads_is_waited_for(serve: Serve) -> None:
    """Longer than anything may be silent, if there is nobody else to ask."""
    loading = Loading(*[LIMIT / 3] * 4)
    wire = await serve(config("slow/echo"), providers={"slow": loading})
    assert await answer(wire) == "Hello"
    await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["Hello"]))
    assert loading.loads == 2


async def test_a_load_that_hangs_is_a_timeout(serve: Serve) -> None:
    """It shows no sign of life."""
    wire = await serve(config("slow/echo"), providers={"slow": Loading(3600)})
    with Refused() as refused:
        await answer(wire)
    assert refused.reason == "PROVIDER_TIMEOUT"


async def test_another_model_answers_while_one_loads(serve: Serve) -> None:
    """And the circuit breaker of the one that loads stays closed."""
    loading = Loading(*[LIMIT / 2] * 1000)
    providers = {"slow": loading, "fast": EchoProvider()}
    wire = await serve(
        config("slow/echo", "fast/echo", first_token_timeout=60, fallback_timeout=LIMIT), providers=providers
    )
    for calls in (1, 2):
        chat = await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("Hello")]))
        assert chat.completed.message.model == "fast/echo"
        assert loading.loads == calls


async def test_a_model_that_cannot_be_loaded_is_not_asked_twice(serve: Serve) -> None:
    """By one turn; the circuit breaker stays closed, so that the next turn hears the reason too."""
    broken = Loading(ProviderUnavailable("its file is missing", metadata={"cause": "load"}))
    wire = await serve(config("slow/echo"), providers={"slow": broken})
    for loads in (1, 2):
        with Refused() as refused:
            await answer(wire)
        assert (refused.reason, broken.loads) == ("PROVIDER_UNAVAILABLE", loads)
        assert "its file is missing" in refused.details


async def test_what_held_up_the_server_is_no_silence_of_the_provider(serve: Serve) -> None:
    """What has come meanwhile is read before the call is given up."""

    class Prompt(EchoProvider):
        async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
            time.sleep(2 * LIMIT)  # noqa: ASYNC251  # somebody else's computation
            await asyncio.sleep(0.001)
            async for event in super().generate(request):
                yield event

    prompt = Prompt()
    wire = await serve(config("prompt/echo", "other/echo"), providers={"prompt": prompt, "other": EchoProvider()})
    chat = await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("Hello")]))
    assert chat.completed.message.model == "prompt/echo"


async def test_reading_a_long_prompt_is_no_silence(serve: Serve) -> None:
    """Not even where another model could answer; it is not begun anew."""
    steps = [step for _ in range(4) for step in (READING, LIMIT / 3)]
    reader = ScriptedProvider([*steps, "Read.", Finish()])
    providers = {"slow": reader, "fast": EchoProvider()}
    wire = await serve(config("slow/scripted", "fast/echo"), providers=providers)
    assert await answer(wire) == "Read."
    assert len(reader.requests) == 1


async def test_vectors_are_made_in_batches(serve: Serve) -> None:
    """Each is a sign of life: all together may take longer than anything may be silent."""
    texts = [f"text {number} of sixteen" for number in range(5)]
    slow = Slow(pause=LIMIT / 3)
    wire = await serve(config("slow/echo"), providers={"slow": slow})
    response = await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=texts))
    assert slow.asked == [(text,) for text in texts]
    assert [list(one.values) for one in response.embeddings] == [[len(text)] for text in texts]
    assert response.usage.input_tokens == len(texts)
    assert len(response.attempts) == 1


async def test_no_vector_is_made_twice(serve: Serve) -> None:
    """A call that fails is followed by one for the rest, and the usage is that of both."""
    texts = [f"text {number} of sixteen" for number in range(4)]
    slow = Slow(fails_at=(3,))
    wire = await serve(config("slow/echo", circuit_failures=10), providers={"slow": slow})
    response = await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=texts))
    assert slow.asked == [(text,) for text in (*texts[:3], *texts[2:])]
    assert [list(one.values) for one in response.embeddings] == [[len(text)] for text in texts]
    assert response.usage.input_tokens == len(texts)
    assert [row.usage.input_tokens for row in response.attempts] == [2, 2]


async def test_a_vector_with_a_number_that_is_none_is_an_error(serve: Serve) -> None:
    """Whichever provider made it; another one is asked."""

    class Odd(Slow):
        async def embed(self, request: EmbedRequest, /) -> Embeddings:
            await super().embed(request)
            return Embeddings(vectors=([1.0, float("nan")],))

    wire = await serve(config("odd/echo", "good/echo"), providers={"odd": Odd(), "good": Slow()})
    response = await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["Hello"]))
    assert response.model == "good/echo"


async def test_what_would_not_fit_a_response_is_refused_before_it_is_made(serve: Serve) -> None:
    """Although the dimensions of the vectors are not known; fewer ones may be asked for."""
    slow = Slow()
    wire = await serve(config("slow/echo"), providers={"slow": slow})
    request = embedding_pb2.EmbedRequest(inputs=["a"] * 300)
    with Refused() as refused:
        await wire.embedding.Embed(request)
    assert "213" in refused.violations["inputs"]
    assert slow.asked == []
    request.dimensions = 8
    assert len((await wire.embedding.Embed(request)).embeddings) == 300


async def test_vectors_of_two_models_are_never_mixed(serve: Serve) -> None:
    """The next model makes all of them."""
    texts = [f"text {number} of sixteen" for number in range(4)]
    first, second = Slow(fails_at=range(3, 100)), Slow()
    wire = await serve(config("first/echo", "second/echo"), providers={"first": first, "second": second})
    response = await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=texts))
    assert response.model == "second/echo"
    assert second.asked == [(text,) for text in texts]
    assert response.usage.input_tokens == 2 + len(texts)
