"""What is refused, and how errors look."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import openai
import pytest

from mcp_server.errors import InvalidArgument
from mcp_server.interfaces import Finish
from mcp_server.settings import testing_config as plain_config
from mcp_server.settings.tables import LimitSettings, TenantSettings
from mcp_server.testing import EchoProvider
from mcp_server.values import Usage, UsageSource
from mcp_server.web.body import decode
from mcp_server.web.openai.chat import ChatBody
from tests.auth.keys import config_with, new_key
from tests.web.openai.conftest import API, StartAPI
from tests.web.openai.test_chat import HELLO, MODEL, WEATHER, able

CHAT = "/chat/completions"
TEXT = {"type": "text", "text": "a"}
replace = msgspec.structs.replace


def user(*parts: Any) -> dict[str, Any]:
    """A request with one message of these parts."""
    return {"messages": [*HELLO, {"role": "user", "content": list(parts)}]}


def answer(**fields: Any) -> dict[str, Any]:
    """A request with an earlier answer."""
    return {"messages": [*HELLO, {"role": "assistant", **fields}, *HELLO]}


def call(**function: Any) -> dict[str, Any]:
    return {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}", **function}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    # What is not known.
    "a strange parameter": ({"foo": 1}, "foo"),
    "one within another": ({"stream": True, "stream_options": {"foo": 1}}, "stream_options.foo"),
    "one in a message": ({"messages": [{"role": "user", "content": "a", "foo": 1}]}, "messages[0].foo"),
    "one in a part": (user(TEXT, {**TEXT, "foo": 1}), "messages[1].content[1].foo"),
    "one in a tool": ({"tools": [WEATHER, {**WEATHER, "foo": 1}]}, "tools[1].foo"),
    # Of another type.
    "a text for a number": ({"temperature": "hot"}, "temperature"),
    "a number for a text": ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    "an unknown role": ({"messages": [{"role": "function", "content": "a"}]}, "messages[0].role"),
    "an unknown part": (user(TEXT, {"type": "video"}), "messages[1].content[1].type"),
    "an unknown tool": ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools[0].type"),
    # What is missing.
    "no model": ({"model": ...}, "model"),
    "no messages": ({"messages": ...}, "messages"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    # What is not supported.
    "several answers": ({"n": 2}, "n"),
    "stored answers": ({"store": True}, "store"),
    "other services": ({"service_tier": "flex"}, "service_tier"),
    "audio": ({"modalities": ["text", "audio"]}, "modalities"),
    "a voice": ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    "functions": ({"functions": [{"name": "f"}]}, "functions"),
    "a function": ({"function_call": "auto"}, "function_call"),
    "predictions": ({"prediction": {"type": "content", "content": "a"}}, "prediction"),
    "searches": ({"web_search_options": {}}, "web_search_options"),
    "a moderation": ({"moderation": {}}, "moderation"),
    "options of a cache": ({"prompt_cache_options": {}}, "prompt_cache_options"),
    "a longer cache": ({"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
    "details": (
        user({"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "high"}}),
        "messages[1].content[0].image_url.detail",
    ),
    # What is no address.
    "an image nowhere": (
        user({"type": "image_url", "image_url": {"url": "https://["}}),
        "messages[1].content[0].image_url.url",
    ),
    "stored files": (user({"type": "file", "file": {"file_id": "f"}}), "messages[1].content[0].file.file_id"),
    "obfuscation": (
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        "stream_options.include_obfuscation",
    ),
    # What is out of bounds, where the contract has other names.
    "temperature": ({"temperature": 2.5}, "temperature"),
    "top_p": ({"top_p": 0}, "top_p"),
    "max_tokens": ({"max_tokens": 0}, "max_tokens"),
    "max_completion_tokens": ({"max_completion_tokens": 0}, "max_completion_tokens"),
    "more tokens than fit": ({"max_tokens": 2**31}, "max_tokens"),
    "a seed of more than 64 bits": ({"seed": 2**63}, "seed"),
    "stop": ({"stop": ["a", ""]}, "stop[1]"),
    "top_logprobs": ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    "a schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": []}}},
        "response_format.json_schema.schema",
    ),
    "no schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        "response_format.json_schema.schema",
    ),
    "the name of a tool": (
        {"tools": [WEATHER, {"type": "function", "function": {"name": "a b"}}]},
        "tools[1].function.name",
    ),
    "parameters of a tool": (
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": 1}}]},
        "tools[0].function.parameters",
    ),
    "a choice without tools": ({"tool_choice": "required"}, "tool_choice"),
    "a choice of another tool": (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "a"}}},
        "tool_choice.function.name",
    ),
    "parallel calls without tools": ({"parallel_tool_calls": False}, "parallel_tool_calls"),
    "the key of a label": ({"metadata": {"A": "b"}}, "metadata['A']"),
    "the value of a label": ({"user": "u" * 129}, "metadata['user']"),
    "two values of a label": ({"metadata": {"user": "a"}, "user": "b"}, "user"),
    "no message": ({"messages": []}, "messages"),
    "no text": (user(TEXT, {"type": "text", "text": ""}), "messages[1].content[1].text"),
    "an empty content": ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    "no part": (user(), "messages[1]"),
    "an answer at the end": ({"messages": [*HELLO, {"role": "assistant", "content": "a"}]}, "messages[1].role"),
    "an empty answer": (answer(), "messages[1]"),
    "annotations": (answer(content="a", annotations=[{}]), "messages[1].annotations"),
    "a refusal of the user": (user({"type": "refusal", "refusal": "a"}), "messages[1].content[0].type"),
    "the id of a call": (answer(tool_calls=[{**call(), "id": "i" * 70_000}]), "messages[1].tool_calls[0].id"),
    "the name of a call": (
        answer(content="a", tool_calls=[call(name="i" * 70_000)]),
        "messages[1].tool_calls[0].function.name",
    ),
    "a result without a call": (
        {"messages": [*HELLO, {"role": "tool", "tool_call_id": "a", "content": "b"}]},
        "messages[1].tool_call_id",
    ),
    "a call without a result": (answer(tool_calls=[call()]), "messages"),
    "an address without encryption": (
        user(TEXT, {"type": "image_url", "image_url": {"url": "http://a/b.png"}}),
        "messages[1].content[1].image_url.url",
    ),
    "a long address": (
        user({"type": "image_url", "image_url": {"url": "https://a/" + "b" * 9000}}),
        "messages[1].content[0].image_url.url",
    ),
    "data that is none": (
        user({"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}),
        "messages[1].content[0].image_url.url",
    ),
    "data that is no image": (
        user({"type": "image_url", "image_url": {"url": "data:text/plain;base64,YQ=="}}),
        "messages[1].content[0].image_url.url",
    ),
    "data without a type": (
        user({"type": "file", "file": {"file_data": "YQ=="}}),
        "messages[1].content[0].file.file_data",
    ),
    "audio that is none": (
        user({"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}),
        "messages[1].content[0].input_audio.data",
    ),
    "combined limits": ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
    "alternatives without probabilities": ({"top_logprobs": 1}, "top_logprobs"),
    "options of a stream that is none": ({"stream_options": {"include_usage": True}}, "stream_options"),
}


@pytest.fixture
async def api(start_api: StartAPI) -> API:
    """A server whose provider can do everything."""
    return await start_api(p=able(["ok", Finish()]))


@pytest.mark.parametrize("case", REFUSED)
async def test_errors_name_the_parameter(api: API, case: str) -> None:
    """As its caller wrote it: nothing is accepted and ignored."""
    given, param = REFUSED[case]
    body = {"model": MODEL, "messages": HELLO, **given}
    status, headers, text = await api.send(CHAT, {key: body[key] for key in body if body[key] is not ...})
    error = msgspec.json.decode(text)["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param), text
    assert headers["x-should-retry"] == "false"


async def test_all_that_is_wrong_is_reported_at_once(api: API) -> None:
    """What the edge finds, and what the rules find."""
    _, _, text = await api.send(CHAT, {"model": MODEL, "messages": [], "temperature": 3, "n": 2})
    message = msgspec.json.decode(text)["error"]["message"]
    assert [part.partition(":")[0] for part in message.split("; ")] == ["n", "temperature", "messages"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"a":\xff}', b"[" * 100_000, b'{"audio":' + b"[" * 100_000]
)
async def test_what_is_no_json_object_is_refused(api: API, body: bytes) -> None:
    """Also what is nested without end."""
    status, _, text = await api.send(CHAT, body)
    assert (status, msgspec.json.decode(text)["error"]["param"]) == (400, None)


async def test_large_bodies_are_read(api: API) -> None:
    """In a thread, with the same result; so are their errors."""
    content = "a" * 100_000
    ok, _, text = await api.send(CHAT, {"model": MODEL, "messages": [{"role": "user", "content": content}]})
    assert ok == 200, text
    bad, _, text = await api.send(CHAT, {"model": MODEL, "messages": [{"role": "user", "content": content}], "n": 2})
    assert (bad, msgspec.json.decode(text)["error"]["param"]) == (400, "n")


async def test_a_million_small_values_are_refused_before_anything_is_built_of_them(api: API) -> None:
    """They would hold up all other calls; a long text that looks like them is read."""
    status, _, text = await api.send(CHAT, {"model": MODEL, "messages": HELLO, "stop": [0] * 200_001})
    assert status == 400
    assert "the request has more than 200000 JSON values" in msgspec.json.decode(text)["error"]["message"]
    looks_so = '{"a":[0,' * 70_000
    status, _, text = await api.send(CHAT, {"model": MODEL, "messages": [{"role": "user", "content": looks_so}]})
    assert msgspec.json.decode(text)["error"]["code"] == "context_length_exceeded"  # it was read


async def test_only_json_is_read(api: API) -> None:
    """A form of a foreign page is not."""
    status, _, text = await api.send(CHAT, b"{}", Content_Type="text/plain")
    assert status == 415
    assert "application/json" in msgspec.json.decode(text)["error"]["message"]


async def test_an_unknown_model_is_not_found(api: API) -> None:
    """By the code that clients look for."""
    with pytest.raises(openai.NotFoundError) as caught:
        await api.client.chat.completions.create(model="none", messages=HELLO)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_what_the_model_cannot_do_is_refused(start_api: StartAPI) -> None:
    """Nothing is left out silently."""
    api = await start_api(echo=EchoProvider())
    with pytest.raises(openai.BadRequestError) as caught:
        await api.client.chat.completions.create(model="echo/echo", messages=HELLO, tools=[WEATHER])
    assert caught.value.code == "unsupported_by_model"


async def test_a_conversation_that_is_too_long_is_refused(start_api: StartAPI) -> None:
    """It is not truncated: the caller decides what to leave out."""
    api = await start_api(echo=EchoProvider())
    messages: Any = [*HELLO, {"role": "assistant", "content": "a"}, {"role": "user", "content": "a " * 100_001}]
    with pytest.raises(openai.BadRequestError) as caught:
        await api.client.chat.completions.create(model="echo/echo", messages=messages)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


async def test_unknown_paths_are_not_found(api: API) -> None:
    """In the form of this API."""
    status, _, text = await api.send("/nothing", {})
    assert (status, msgspec.json.decode(text)["error"]["code"]) == (404, "not_found")


WHOLE: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": [TEXT], "name": "a"},
        {
            "role": "user",
            "content": [
                TEXT,
                {"type": "image_url", "image_url": {"url": "https://a/b", "detail": "auto"}},
                {"type": "input_audio", "input_audio": {"data": "YQ==", "format": "mp3"}},
                {"type": "file", "file": {"file_data": "YQ==", "filename": "a.pdf"}},
            ],
        },
        {"role": "assistant", "content": "a", "reasoning_content": "b", "tool_calls": [call()]},
        {"role": "tool", "tool_call_id": "a", "content": "b"},
    ],
    "tools": [WEATHER],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": True}},
    "logprobs": True,
    "top_logprobs": 1,
    "metadata": {"a": "b"},
    "stop": ["a"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "logit_bias": {"1": 1},
}
JUNK: tuple[Any, ...] = (None, True, -1, 1.5, 10**400, "", "x" * 200, "\x00\ud800\ue000", [], [None], {}, {"x": {}})


def changed(value: Any) -> Iterator[Any]:
    """A body with anything in it replaced by anything, or left out."""
    yield from JUNK
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        for other in (*changed(value[key]), ...):
            copy = value.copy()
            if other is ...:
                del copy[key]
            else:
                copy[key] = other
            yield copy


async def test_no_request_makes_the_server_fail(api: API) -> None:
    """Whatever is wrong with it, the caller learns what."""
    statuses = Counter[int]()
    for body in changed(WHOLE):
        status, _, text = await api.send(CHAT, json.dumps(body).encode())
        statuses[status] += 1
        assert status in (200, 400, 404), (body, text)
        assert 'data: {"error"' not in text, body
    assert statuses[200] > 50
    assert statuses[400] > 500


# -- access and limits ------------------------------------------------------------------------------------------------


async def test_callers_need_a_key_with_the_scope(start_api: StartAPI) -> None:
    """``chat`` to generate, ``models`` to list."""
    chats, lists = new_key(scopes=["chat"]), new_key(scopes=["models"])
    api = await start_api(config_with(chats, lists), echo=EchoProvider())
    with pytest.raises(openai.AuthenticationError) as caught:
        await api.client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert caught.value.response.headers["www-authenticate"] == "Bearer"
    chatting, listing = (api.client.with_options(api_key=key.secret) for key in (chats, lists))
    assert (await chatting.chat.completions.create(model="echo/echo", messages=HELLO)).choices
    assert (await chatting.completions.create(model="echo/echo", prompt="a")).choices
    assert (await chatting.embeddings.create(model="echo/echo", input="a")).data
    assert (await listing.models.list()).data
    assert (await listing.models.retrieve("echo/echo")).id
    with pytest.raises(openai.PermissionDeniedError):
        await chatting.models.retrieve("echo/echo")
    for refused in (
        listing.chat.completions.create(model="echo/echo", messages=HELLO),
        listing.completions.create(model="echo/echo", prompt="a"),
        listing.embeddings.create(model="echo/echo", input="a"),
    ):
        with pytest.raises(openai.PermissionDeniedError):
            await refused


async def test_responses_say_what_is_left_of_the_limits(start_api: StartAPI) -> None:
    """Requests and tokens per minute; and a caller who has used them up learns when to come back."""
    config = plain_config(default_model=MODEL)
    limits = {"l": LimitSettings(requests_per_minute=2, tokens_per_minute=10_000)}
    config = replace(config, limits=limits, tenants={"*": TenantSettings(limits="l")})
    usage = Usage(input_tokens=60, output_tokens=40, source=UsageSource.REPORTED)
    api = await start_api(config, p=able(["ok", Finish(usage=usage)]))
    body = {"model": MODEL, "messages": HELLO, "max_tokens": 100}
    _, headers, _ = await api.send(CHAT, body)
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert headers["x-ratelimit-limit-tokens"] == "10000"
    assert 9_900 <= int(headers["x-ratelimit-remaining-tokens"]) < 10_000
    assert int(headers["openai-processing-ms"]) >= 0
    _, headers, _ = await api.send(CHAT, {**body, "stream": True})
    assert headers["x-ratelimit-remaining-requests"] == "0"
    status, headers, text = await api.send(CHAT, body)
    assert (status, msgspec.json.decode(text)["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 0 < int(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert headers["x-should-retry"] == "true"


async def test_a_budget_that_is_used_up_is_not_retried(start_api: StartAPI) -> None:
    """It may take weeks until it is renewed."""
    config = plain_config(default_model=MODEL)
    config = replace(config, limits={"l": LimitSettings(tokens_per_month=1)}, tenants={"*": TenantSettings(limits="l")})
    api = await start_api(config, p=able(["ok", Finish()]))
    with pytest.raises(openai.RateLimitError) as caught:
        await api.client.chat.completions.create(model=MODEL, messages=HELLO)
    assert caught.value.code == "insufficient_quota"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "x-ratelimit-limit-requests" not in caught.value.response.headers


@pytest.mark.parametrize("body", ['{"model": "LONG", "messages": [{"role": "LONG"}]}', '{"LONG": 1}'])
def test_what_is_wrong_with_a_long_text_is_found_about_as_fast_as_it_is_read(body: str) -> None:
    """No other call runs meanwhile, in no thread."""
    decoder = msgspec.json.Decoder(ChatBody)
    data = body.replace("LONG", "x" * 4_000_000).encode()

    def seconds(read: Callable[[], Any]) -> float:
        took = []
        for _ in range(3):
            begin = time.thread_time()
            with pytest.raises((InvalidArgument, msgspec.ValidationError)):
                read()
            took.append(time.thread_time() - begin)
        return min(took)

    assert seconds(lambda: decode(decoder, data)) < 12 * seconds(lambda: decoder.decode(data))


def test_a_value_that_looks_like_a_path_is_none() -> None:
    """The path of the field comes last."""
    decoder = msgspec.json.Decoder(ChatBody)
    with pytest.raises(InvalidArgument) as caught:
        decode(decoder, b'{"model": "m", "messages": [{"role": "a - at `$.model`"}]}')
    assert [one.field for one in caught.value.violations] == ["messages[0].role"]
