"""What Anthropic's API refuses, and how."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import msgspec
import pytest

from mcp_server.errors import Overloaded
from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent
from mcp_server.settings import WebPaths, WebSettings
from mcp_server.settings import testing_config as plain_config
from mcp_server.settings.tables import LimitSettings, TenantSettings
from mcp_server.testing import EchoProvider, running
from tests.auth.keys import config_with, new_key
from tests.web.anthropic.conftest import API, HELLO, MODEL, StartAPI, able
from tests.web.anthropic.test_messages import WEATHER
from tests.web.servers import get, web_config

replace = msgspec.structs.replace
MESSAGES = "/v1/messages"
ASKED: Any = {"model": MODEL, "max_tokens": 9, "messages": HELLO}


@pytest.fixture
async def api(start_api: StartAPI) -> API:
    """A server whose model can do everything."""
    return await start_api(p=able(["ok", Finish()]))


def user(*blocks: Any) -> dict[str, Any]:
    """A request with these blocks."""
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def assistant(*blocks: Any) -> dict[str, Any]:
    """A request with an earlier answer of these blocks."""
    return {"system": "s", "messages": [*HELLO, {"role": "assistant", "content": list(blocks)}, *HELLO]}


UNSUPPORTED = "is not supported by this server: leave it out"
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"colour": 1}, "colour: unknown parameter: 'colour'"),
    "unknown within": (user({"type": "text", "text": "a", "x": 1}), "messages[0].content[0].x: unknown parameter"),
    "type": (user({"type": "search_result"}), "messages[0].content[0].type: invalid value 'search_result'"),
    "file": (
        user({"type": "image", "source": {"type": "file", "file_id": "f"}}),
        "messages[0].content[0].source.type: invalid value 'file'",
    ),
    "no messages": ({"messages": []}, "messages: must not be empty"),
    "no messages but a system": ({"messages": [], "system": "s"}, "messages: must not be empty"),
    "no model": ({"model": ""}, "model: must not be empty"),
    "no content": (user(), "messages[0]: must have 1 to 1000 parts, not 0"),
    "prefill": (
        {"messages": [*HELLO, {"role": "assistant", "content": "I"}], "system": "s"},
        "messages[1].role: must be user in the last message: this server does not continue an answer that",
    ),
    "max_tokens": ({"max_tokens": 0}, "max_tokens: must be from 1 to 2147483647, not 0"),
    "temperature": ({"temperature": 3}, "temperature: must be from 0 to 2, not 3"),
    "stop": ({"stop_sequences": ["a", ""]}, "stop_sequences[1]: must not be empty"),
    "empty text": ({**user({"type": "text", "text": ""}), "system": "s"}, "messages[0].content[0].text: must not be"),
    "system": ({"system": [{"type": "text", "text": ""}]}, "system[0].text: must not be empty"),
    "system citations": (
        {"system": [{"type": "text", "text": "s", "citations": [{}]}]},
        f"system[0].citations: {UNSUPPORTED}",
    ),
    "citations": (
        {**user({"type": "text", "text": "s", "citations": [{}]}), "system": "s"},
        f"messages[0].content[0].citations: {UNSUPPORTED}",
    ),
    "document citations": (
        user({"type": "document", "source": {"type": "text", "data": "a"}, "citations": {"enabled": True}}),
        f"messages[0].content[0].citations: {UNSUPPORTED}",
    ),
    "base64": (
        user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}),
        "messages[0].content[0].source.data: must be valid Base64",
    ),
    "media type": (
        user({"type": "image", "source": {"type": "base64", "media_type": "text/html", "data": "YQ=="}}),
        "messages[0].content[0].source.media_type: must begin with image",
    ),
    "url": (
        user({"type": "image", "source": {"type": "url", "url": "http://a"}}),
        "messages[0].content[0].source.url: must begin with https://",
    ),
    "result without a call": (
        user({"type": "tool_result", "tool_use_id": "a"}),
        "messages[0].content[0].tool_use_id: 'a' is not the id of an open tool call",
    ),
    "text of a result": (
        user({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": ""}]}),
        "messages[0].content[0].content[0]: must not be empty",
    ),
    "input": (
        assistant({"type": "tool_use", "id": "a", "name": "b", "input": []}),
        "messages[1].content[0].input: must be an object",
    ),
    "call without a result": (
        assistant({"type": "tool_use", "id": "a", "name": "b", "input": {}}),
        "the model waits for the results of its tool calls a",
    ),
    "redacted": (
        assistant({"type": "redacted_thinking", "data": ""}),
        "messages[1].content[0].data: must not be empty",
    ),
    "server tool": (
        {"tools": [WEATHER, {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]},
        "tools[1].type: must be custom, not 'web_search_20250305': this server has no tools of its own",
    ),
    "tool field": ({"tools": [{**WEATHER, "x": 1}]}, "tools[0].x: unknown parameter: 'tools[0].x'"),
    "tool name": ({"tools": [{**WEATHER, "name": "a b"}]}, "tools[0].name: must match"),
    "schema": ({"tools": [{**WEATHER, "input_schema": 1}]}, "tools[0].input_schema: must be an object"),
    "deferred": ({"tools": [{**WEATHER, "defer_loading": True}]}, "tools[0].defer_loading: must be false"),
    "callers": ({"tools": [{**WEATHER, "allowed_callers": ["x"]}]}, 'tools[0].allowed_callers: must be ["direct"]'),
    "examples": ({"tools": [{**WEATHER, "input_examples": [{}]}]}, "tools[0].input_examples: must be []"),
    "choice": (
        {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}},
        "tool_choice.name: 'x' is not one of the tools",
    ),
    "choice without tools": ({"tool_choice": {"type": "any"}}, "tool_choice.type: must not be"),
    "output schema": (
        {"output_config": {"format": {"type": "json_schema", "schema": 1}}},
        "output_config.format.schema: must be",
    ),
    "tier": ({"service_tier": "priority"}, "service_tier: invalid enum value 'priority'"),
    "speed": ({"speed": "fast"}, 'speed: must be "standard": this server supports no other value'),
    "MCP servers": ({"mcp_servers": [{"type": "url"}]}, "mcp_servers: must be []"),
    "edits": ({"context_management": {"edits": [{"type": "x"}]}}, "context_management: must be"),
    "container": ({"container": "c"}, f"container: {UNSUPPORTED}"),
    "geography": ({"inference_geo": "us"}, f"inference_geo: {UNSUPPORTED}"),
    "diagnostics": ({"diagnostics": {}}, f"diagnostics: {UNSUPPORTED}"),
    "profile": ({"user_profile_id": "a"}, f"user_profile_id: {UNSUPPORTED}"),
    "workspace": ({"workspace_id": "a"}, f"workspace_id: {UNSUPPORTED}"),
}


@pytest.mark.parametrize("case", CASES)
async def test_errors_name_the_parameter(api: API, case: str) -> None:
    """As the caller wrote it."""
    given, message = CASES[case]
    status, headers, text = await api.send(MESSAGES, {**ASKED, **given})
    body = msgspec.json.decode(text)
    assert status == 400, text
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert body["error"]["message"].startswith(message)
    assert body["request_id"] == headers["request-id"]


async def test_all_that_is_wrong_is_reported_at_once(api: API) -> None:
    """Each under its own name, whatever comes before it."""
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "n", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}, {"type": "text", "text": ""}]},
    ]
    _, _, text = await api.send(MESSAGES, {**ASKED, "system": "s", "messages": messages, "container": "c"})
    assert msgspec.json.decode(text)["error"]["message"] == (
        f"container: {UNSUPPORTED}; messages[0].content[1].text: must not be empty; "
        "messages[2].content[1].text: must not be empty"
    )


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"messages":' + b"[" * 100_000])
async def test_what_is_no_json_object_is_refused(api: API, body: bytes) -> None:
    """As an error of the caller."""
    status, _, text = await api.send(MESSAGES, body)
    assert (status, msgspec.json.decode(text)["error"]["type"]) == (400, "invalid_request_error")


async def test_other_versions_of_the_api_are_refused(api: API) -> None:
    """Those before the present form of streams; later ones only refuse more than this server does."""
    for version, expected in (("2023-01-01", 400), ("new", 400), ("2026-10-21", 200), ("2031-01-01", 200), ("", 200)):
        status, _, text = await api.send(MESSAGES, ASKED, anthropic_version=version)
        assert status == expected, text


async def test_large_requests_and_other_media_types_are_refused(start_api: StartAPI) -> None:
    """By their own status."""
    config = web_config(max_body_bytes=1024)
    async with running(config, providers={"echo": EchoProvider()}) as server:
        client = anthropic.AsyncAnthropic(base_url=server.web_url, api_key="any", max_retries=0)
        with pytest.raises(anthropic.ContentTooLargeError) as caught:
            await client.messages.create(model="echo/echo", max_tokens=9, messages=HELLO, system="s" * 1024)
        await client.close()
    assert caught.value.body["error"]["type"] == "request_too_large"  # type: ignore[index]  # of any type
    api = await start_api(p=able())
    status, _, text = await api.send(MESSAGES, ASKED, Content_Type="text/plain")
    assert (status, msgspec.json.decode(text)["error"]["type"]) == (415, "invalid_request_error")


async def test_what_does_not_exist_is_not_found(api: API) -> None:
    """A model, and a path: the header tells whose form the error has under a shared path."""
    with pytest.raises(anthropic.NotFoundError) as caught:
        await api.client.messages.create(model="none", max_tokens=9, messages=HELLO)
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]  # of any type
    for path, version, ours in (
        ("/v1/nothing", "2023-06-01", True),
        ("/v1/nothing", "", False),
        ("/anthropic/v1/nothing", "", True),
    ):
        status, _, text = await api.send(path, {}, anthropic_version=version)
        assert (status, msgspec.json.decode(text).get("type")) == (404, "error" if ours else None)


async def test_an_overloaded_server_has_a_status_of_its_own(start_api: StartAPI) -> None:
    """529, which clients retry."""

    class Busy(EchoProvider):
        def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
            raise Overloaded("too many calls", retry_after=2)

    api = await start_api(echo=Busy())
    with pytest.raises(anthropic.OverloadedError) as caught:
        await api.client.messages.create(model="echo/echo", max_tokens=9, messages=HELLO)
    assert caught.value.status_code == 529
    assert caught.value.body["error"]["type"] == "overloaded_error"  # type: ignore[index]  # of any type
    assert caught.value.response.headers["retry-after"] == "2"
    assert caught.value.response.headers["x-should-retry"] == "true"


async def test_a_conversation_that_is_too_long_is_refused_in_the_words_that_clients_know(start_api: StartAPI) -> None:
    """Coding assistants then shorten it."""
    api = await start_api(echo=EchoProvider())
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 99991 maximum; "):
        await api.client.messages.create(
            model="echo/echo", max_tokens=9, messages=[{"role": "user", "content": "a " * 100_001}]
        )


# -- access and limits ------------------------------------------------------------------------------------------------


async def test_callers_need_a_key_with_the_scope(start_api: StartAPI) -> None:
    """In either header: ``chat`` to generate, ``models`` to list and to count."""
    chats, lists = new_key(scopes=["chat"]), new_key(scopes=["models"])
    api = await start_api(config_with(chats, lists), echo=EchoProvider())
    asked: Any = {"model": "echo/echo", "messages": HELLO}
    with pytest.raises(anthropic.AuthenticationError) as caught:
        await api.client.models.list()
    assert caught.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]  # of any type
    chatting, listing = (api.client.with_options(api_key=key.secret) for key in (chats, lists))
    assert (await chatting.messages.create(**asked, max_tokens=9)).content
    assert (await listing.models.list()).data
    assert (await listing.models.retrieve("echo/echo")).id
    assert (await listing.messages.count_tokens(**asked)).input_tokens
    for refused in (
        listing.messages.create(**asked, max_tokens=9),
        chatting.messages.count_tokens(**asked),
        chatting.models.retrieve("echo/echo"),
    ):
        with pytest.raises(anthropic.PermissionDeniedError):
            await refused
    for headers in ({"x-api-key": chats.secret}, {"authorization": f"Bearer {chats.secret}"}):
        status, _, text = await api.send(MESSAGES, {**asked, "max_tokens": 9}, **headers)
        assert status == 200, text


async def test_responses_say_what_is_left_of_the_limits(start_api: StartAPI) -> None:
    """Requests and tokens per minute; and a caller who has used them up learns when to come back."""
    config = plain_config(default_model=MODEL)
    limits = {"l": LimitSettings(requests_per_minute=2, tokens_per_minute=10_000)}
    config = replace(config, limits=limits, tenants={"*": TenantSettings(limits="l")})
    api = await start_api(config, p=able(["ok", Finish()]))
    _, headers, _ = await api.send(MESSAGES, ASKED)
    assert headers["anthropic-ratelimit-requests-limit"] == "2"
    assert headers["anthropic-ratelimit-requests-remaining"] == "1"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert headers["anthropic-ratelimit-tokens-limit"] == "10000"
    assert 9_900 <= int(headers["anthropic-ratelimit-tokens-remaining"]) < 10_000
    _, headers, _ = await api.send(MESSAGES, {**ASKED, "stream": True})
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    status, headers, text = await api.send(MESSAGES, ASKED)
    assert (status, msgspec.json.decode(text)["error"]["type"]) == (429, "rate_limit_error")
    assert 0 < int(headers["retry-after"]) <= 60
    assert headers["anthropic-ratelimit-requests-limit"] == "2"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert headers["x-should-retry"] == "true"


# -- paths ------------------------------------------------------------------------------------------------------------


async def test_the_api_is_served_where_the_settings_say() -> None:
    """Also where OpenAI's is not, and nowhere if it is switched off."""
    config = web_config(paths=WebPaths(openai=("/o",), anthropic=("/a",)))
    async with running(config, providers={"echo": EchoProvider()}) as server:
        assert '"has_more"' in (await get(server.web_url + "a/models"))[1]
        assert (await get(server.web_url + "v1/models"))[0] == 404
    async with running(web_config(paths=WebPaths(anthropic=())), providers={"echo": EchoProvider()}) as server:
        headers = {"anthropic-version": "2023-06-01"}
        assert '"object":"list"' in (await get(server.web_url + "v1/models", headers))[1]


def test_the_settings_name_both_paths() -> None:
    """By default clients need no path, or one of their own."""
    assert WebSettings().paths.anthropic == ("/v1", "/anthropic/v1")
