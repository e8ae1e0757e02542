"""Completions, embeddings and models through OpenAI's own client."""

from __future__ import annotations

import base64
from array import array
from typing import Any

import msgspec
import openai
import pytest

from mcp_server.errors import ContextTooLong
from mcp_server.interfaces import Finish, TextDelta
from mcp_server.testing import EchoProvider
from mcp_server.values import FinishReason, GenerationConfig, Logprob
from tests.web.openai.conftest import API, StartAPI
from tests.web.openai.test_chat import MODEL, USAGE, able


@pytest.fixture
async def echo(start_api: StartAPI) -> API:
    """A server with the provider ``echo``."""
    return await start_api(echo=EchoProvider())


# -- completions ------------------------------------------------------------------------------------------------------


async def test_a_text_is_continued(start_api: StartAPI) -> None:
    """The provider gets the prompt and the parameters, the caller the whole object."""
    provider = able(["c d", Finish(reason=FinishReason.LENGTH, usage=USAGE)])
    api = await start_api(p=provider)
    answer = await api.client.completions.create(
        model=MODEL,
        prompt=["a b"],
        suffix="e",
        max_tokens=2,
        temperature=0,
        top_p=0.5,
        stop="x",
        seed=1,
        frequency_penalty=1,
        presence_penalty=1,
        logit_bias={"1": 1},
        n=1,
        best_of=1,
        echo=False,
        user="ann",
    )
    assert answer.id.startswith("cmpl-t")
    assert (answer.object, answer.model) == ("text_completion", MODEL)
    assert [(choice.text, choice.finish_reason) for choice in answer.choices] == [("c d", "length")]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 18
    (request,) = provider.requests
    assert (request.prompt, request.suffix) == ("a b", "e")
    assert request.config == GenerationConfig(
        temperature=0, top_p=0.5, max_output_tokens=2, stop=("x",), seed=1, frequency_penalty=1, presence_penalty=1
    )
    assert request.provider_options == {"logit_bias": {"1": 1}}


async def test_a_text_is_continued_in_pieces(start_api: StartAPI) -> None:
    """The last chunk has the usage, if it is asked for."""
    api = await start_api(p=able(["c ", "d", Finish(usage=USAGE)]))
    stream = await api.client.completions.create(
        model=MODEL, prompt="a", stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "c d"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 18


@pytest.mark.parametrize("streams", [False, True])
async def test_completions_have_log_probabilities(start_api: StartAPI, streams: bool) -> None:
    """Their offsets count the prompt."""
    pieces = [
        TextDelta(text="cd", logprobs=(Logprob(token="cd", logprob=-1.0, top=(Logprob(token="x", logprob=-2.0),)),)),
        TextDelta(text="e", logprobs=(Logprob(token="e", logprob=-3.0),)),
    ]
    api = await start_api(p=able([*pieces, Finish()]))
    asked: Any = {"model": MODEL, "prompt": "ab", "logprobs": 1}
    if streams:
        chunks = [chunk async for chunk in await api.client.completions.create(stream=True, **asked)]
        found = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    else:
        found = [(await api.client.completions.create(**asked)).choices[0].logprobs]
    assert [token for one in found for token in one.tokens] == ["cd", "e"]
    assert [number for one in found for number in one.token_logprobs] == [-1.0, -3.0]
    assert [top for one in found for top in one.top_logprobs] == [{"x": -2.0}, {}]
    assert [offset for one in found for offset in one.text_offset] == [2, 4]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1]]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"n": 2}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True}, "echo"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"messages": []}, "messages"),
        ({"stream_options": {}}, "stream_options"),
    ],
)
async def test_completions_refuse_what_they_do_not_support(echo: API, given: dict[str, Any], param: str) -> None:
    """By name."""
    status, _, text = await echo.send("/completions", {"model": "echo/echo", "prompt": "a", **given})
    assert (status, msgspec.json.decode(text)["error"]["param"]) == (400, param), text


async def test_an_error_names_the_text_that_is_too_long(start_api: StartAPI) -> None:
    """By its own parameter, which is not that of a chat."""
    api = await start_api(p=able([ContextTooLong("the prompt has 9 tokens, 8 fit")]))
    status, _, text = await api.send("/completions", {"model": MODEL, "prompt": "a"})
    error = msgspec.json.decode(text)["error"]
    assert (status, error["code"], error["param"]) == (400, "context_length_exceeded", "prompt")


async def test_completions_can_be_sent_again(start_api: StartAPI) -> None:
    """As chats can."""
    provider = able(["b", Finish()])
    api = await start_api(p=provider)
    key: Any = {"Idempotency-Key": "one"}
    answers = [await api.client.completions.create(model=MODEL, prompt="a", extra_headers=key) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(provider.requests) == 1


# -- embeddings -------------------------------------------------------------------------------------------------------


async def test_texts_become_vectors(echo: API) -> None:
    """In their order; OpenAI's client asks for Base64 and decodes it."""
    answer = await echo.client.embeddings.create(model="echo/echo", input=["abba", "z"], user="ann")
    assert [(one.index, one.embedding[:2], one.embedding[25]) for one in answer.data] == [
        (0, [2, 2], 0),
        (1, [0, 0], 1),
    ]
    assert (answer.object, answer.model) == ("list", "echo/echo")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (2, 2)


async def test_vectors_are_numbers_or_base64(echo: API) -> None:
    """Numbers unless asked otherwise."""
    body = {"model": "echo/echo", "input": "abba"}
    numbers = [2.0, 2.0, *[0.0] * 24]
    for wanted in ({}, {"encoding_format": "float"}, {"encoding_format": None}, {"dimensions": 26}):
        _, _, text = await echo.send("/embeddings", {**body, **wanted})
        assert msgspec.json.decode(text)["data"] == [{"object": "embedding", "index": 0, "embedding": numbers}]
    _, _, text = await echo.send("/embeddings", {**body, "encoding_format": "base64"})
    encoded = msgspec.json.decode(text)["data"][0]["embedding"]
    assert list(array("f", base64.b64decode(encoded))) == numbers


async def test_many_texts_become_vectors(echo: API) -> None:
    """The answer is written off the event loop, and is the same."""
    answer = await echo.client.embeddings.create(model="echo/echo", input=["ab"] * 1000, encoding_format="float")
    assert [one.embedding[:3] for one in answer.data] == [[1, 1, 0]] * 1000


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"input": [1, 2]}, "input"),
        ({"input": [[1], [2]]}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ""}, "input[0]"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"task": "query"}, "task"),
    ],
)
async def test_embeddings_refuse_what_they_do_not_support(echo: API, given: dict[str, Any], param: str) -> None:
    """By name."""
    status, _, text = await echo.send("/embeddings", {"model": "echo/echo", "input": "a", **given})
    assert (status, msgspec.json.decode(text)["error"]["param"]) == (400, param), text


async def test_embeddings_refuse_dimensions_that_the_model_cannot_make(echo: API) -> None:
    """As the provider says."""
    with pytest.raises(openai.BadRequestError, match="26 numbers"):
        await echo.client.embeddings.create(model="echo/echo", input="a", dimensions=9)


async def test_embeddings_have_no_key_for_retries(echo: API) -> None:
    """A caller that sends one must not believe that it has an effect."""
    with pytest.raises(openai.BadRequestError) as caught:
        await echo.client.embeddings.create(model="echo/echo", input="a", extra_headers={"Idempotency-Key": "a"})
    assert caught.value.param == "Idempotency-Key"


# -- models -----------------------------------------------------------------------------------------------------------


async def test_a_model_is_found_by_its_name_and_by_an_alias(echo: API) -> None:
    """Its name has a slash, encoded or not."""
    for name in ("echo/echo", "echo"):
        model = await echo.client.models.retrieve(name)
        assert (model.id, model.owned_by, model.object) == (name, "echo", "model")
    status, _, text = await echo.send("/models/echo%2Fecho", b"", "GET")
    assert (status, msgspec.json.decode(text)["id"]) == (200, "echo/echo")


async def test_a_model_that_does_not_exist_is_not_found(echo: API) -> None:
    """As OpenAI's client expects."""
    with pytest.raises(openai.NotFoundError) as caught:
        await echo.client.models.retrieve("none/such")
    assert caught.value.code == "model_not_found"
