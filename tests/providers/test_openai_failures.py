"""What the provider ``openai`` makes of refusals and failures, as each vendor words them."""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from mcp_server.errors import (
    ContextTooLong,
    InvalidArgument,
    MCPError,
    ModelNotFound,
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStreamCut,
    ProviderTimeout,
    ProviderUnavailable,
    UnsupportedByModel,
)
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAISettings
from tests.providers.asking import asking, chat, lines, pieces
from tests.upstream.faults import SILENT
from tests.upstream.replies import Body, Close, End, Head, Raw, Reply, Steps, in_turn, sse
from tests.upstream.server import Upstream


def refusal(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Steps:
    """An answer with a status and this JSON."""
    return Steps((Head(status, "application/json", headers or {}), Body(json.dumps(body).encode()), End()))


def page(status: int) -> Steps:
    """An answer of some proxy before the server."""
    head = f"HTTP/1.1 {status} Sorry\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n"
    return Steps((Raw(head.encode() + b"<html>"), Close()))


def worded(message: Any, code: Any = None, type: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
    """An error as OpenAI words it."""
    return {"error": {"message": message, "type": type, "param": None, "code": code, **more}}


async def error_of(reply: Reply, **options: Any) -> MCPError:
    """What a caller hears of it."""
    async with asking(reply, **options) as (provider, upstream):
        with pytest.raises(MCPError) as raised:
            async for _ in provider.generate(chat()):
                pass
        assert len(upstream.calls) == 1
    return raised.value


@pytest.mark.parametrize(
    ("reply", "error", "cause"),
    [
        pytest.param(
            refusal(400, worded("too long", "context_length_exceeded")), ContextTooLong, "", id="OpenAI: context"
        ),
        pytest.param(
            refusal(400, {"error": {"code": 400, "type": "exceed_context_size_error", "n_ctx": 2048}}),
            ContextTooLong,
            "",
            id="llama.cpp: context",
        ),
        pytest.param(
            refusal(
                400,
                {
                    "object": "error",
                    "message": "This model's maximum context length is 4096 tokens. However, you requested 5000.",
                    "type": "BadRequestError",
                    "code": 400,
                },
            ),
            ContextTooLong,
            "",
            id="vLLM: context",
        ),
        pytest.param(
            refusal(
                422,
                {"object": "error", "message": {"detail": "Prompt contains 9 tokens, too large for model with 8"}},
            ),
            ContextTooLong,
            "",
            id="Mistral: context",
        ),
        pytest.param(
            refusal(
                400,
                [{"error": {"code": 400, "message": "The input exceeds the maximum number of tokens allowed (9)."}}],
            ),
            ContextTooLong,
            "",
            id="Gemini: context",
        ),
        pytest.param(refusal(413, worded("too large")), ContextTooLong, "", id="413"),
        pytest.param(
            refusal(413, worded("tokens per minute", "rate_limit_exceeded", "tokens")),
            ProviderRateLimited,
            "",
            id="Groq: too many tokens a minute",
        ),
        pytest.param(
            refusal(
                422,
                {
                    "object": "error",
                    "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]},
                    "type": "invalid_request_error",
                },
            ),
            InvalidArgument,
            "",
            id="Mistral: a field too many",
        ),
        pytest.param(refusal(422, {"detail": [{"msg": "field required"}]}), InvalidArgument, "", id="FastAPI"),
        pytest.param(
            refusal(
                400,
                worded(
                    "filtered", "content_filter", innererror={"code": "ResponsibleAIPolicyViolation", "details": {}}
                ),
            ),
            ProviderRejected,
            "content",
            id="Azure: content",
        ),
        pytest.param(
            refusal(400, worded("no", None, innererror={"code": "ResponsibleAIPolicyViolation"})),
            ProviderRejected,
            "content",
            id="Azure: content, inside",
        ),
        pytest.param(
            refusal(403, {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"]}}}),
            ProviderRejected,
            "content",
            id="OpenRouter: content",
        ),
        pytest.param(
            refusal(403, {"error": {"code": 403, "message": "no", "metadata": None}}),
            ProviderRejected,
            "credentials",
            id="OpenRouter: key",
        ),
        pytest.param(
            refusal(401, worded("Incorrect API key provided: sk-te**st", "invalid_api_key")),
            ProviderRejected,
            "credentials",
            id="OpenAI: key",
        ),
        pytest.param(
            refusal(401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key"}}),
            ProviderRejected,
            "credentials",
            id="Azure: key",
        ),
        pytest.param(
            refusal(402, worded("Insufficient Balance", None, "unknown_error")),
            ProviderRejected,
            "credentials",
            id="DeepSeek: balance",
        ),
        pytest.param(
            refusal(404, {"error": {"code": "DeploymentNotFound", "message": "no deployment"}}),
            ModelNotFound,
            "",
            id="Azure: deployment",
        ),
        pytest.param(
            refusal(404, {"error": 'model "m" not found, try pulling it first'}), ModelNotFound, "", id="Ollama: model"
        ),
        pytest.param(refusal(404, {"detail": "Not Found"}), ModelNotFound, "", id="a wrong address"),
        pytest.param(
            refusal(400, worded("Unsupported parameter: temperature", "unsupported_parameter")),
            UnsupportedByModel,
            "",
            id="OpenAI: parameter",
        ),
        pytest.param(refusal(501, worded("no")), UnsupportedByModel, "", id="501"),
        pytest.param(refusal(409, worded("conflict")), ProviderUnavailable, "", id="409"),
        pytest.param(refusal(408, worded("slow")), ProviderUnavailable, "", id="408"),
        pytest.param(refusal(425, worded("early")), ProviderUnavailable, "", id="425"),
        pytest.param(page(530), ProviderUnavailable, "", id="a page of a proxy"),
        pytest.param(page(524), ProviderTimeout, "", id="Cloudflare: timeout"),
        pytest.param(refusal(204, {}), ProviderUnavailable, "", id="no content"),
    ],
)
async def test_each_vendor_is_understood(reply: Reply, error: type[MCPError], cause: str) -> None:
    """By its code first, then by the status, and by its words where it has nothing else."""
    raised = await error_of(reply)
    assert type(raised) is error
    assert raised.metadata.get("cause", "") == cause
    assert raised.retry_after is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "boom", "type": "server_error", "code": 500}, ProviderStreamCut),
        ("boom", ProviderStreamCut),
        ({"message": "slow down", "code": "rate_limit_exceeded"}, ProviderStreamCut),
        ({"message": "too long", "code": "context_length_exceeded"}, ContextTooLong),
        ({"message": "no", "code": "content_filter"}, ProviderRejected),
    ],
)
async def test_an_error_in_the_stream_cuts_it(error: Any, expected: type[MCPError]) -> None:
    """Unless it is about the content or its length, which no other try would change."""
    stream = Steps((Head(), Body(sse({"choices": [{"delta": {"content": "x"}}]})), Body(sse({"error": error})), End()))
    assert type(await error_of(stream)) is expected


async def test_an_error_in_one_piece_is_one() -> None:
    """Also with a status that says that all is well."""
    assert type(await error_of(refusal(200, worded("boom", "server_error")))) is ProviderStreamCut


@pytest.mark.parametrize("finish", ["error", "insufficient_system_resource", "unheard_of"])
async def test_an_unknown_end_is_none(finish: str) -> None:
    """An answer that ends for no known reason is not whole."""
    error = await error_of(pieces({"content": "x"}, finish=finish))
    assert type(error) is ProviderStreamCut
    assert finish in error.message


async def test_a_call_of_no_tool_is_no_answer() -> None:
    """A name is the least that a call must have."""
    call = {"index": 0, "id": "a", "function": {"arguments": "{}"}}
    assert type(await error_of(lines({"delta": {"tool_calls": [call]}, "finish_reason": "stop"}))) is ProviderStreamCut


# -- how long to wait -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After-Ms": "250", "Retry-After": "7"}, 0.25),
        ({"Retry-After": "in an hour"}, pytest.approx(3600, abs=30)),
        ({"Retry-After": "1e9"}, 86_400),
        ({"Retry-After": "0"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": email.utils.formatdate(0, usegmt=True)}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_the_server_says_how_long_to_wait(headers: dict[str, str], seconds: Any, status: int) -> None:
    """In seconds, in milliseconds, or as a date; at most a day."""
    if headers.get("Retry-After") == "in an hour":  # from now on, and not from when the tests were collected
        headers = {"Retry-After": email.utils.formatdate(time.time() + 3600, usegmt=True)}
    assert (await error_of(refusal(status, worded("slow down"), headers))).retry_after == seconds


# -- what is not done -------------------------------------------------------------------------------------------------


async def test_a_redirect_is_not_followed() -> None:
    """It would take the key elsewhere."""
    error = await error_of(refusal(307, {}, {"Location": "/v1/elsewhere"}))
    assert type(error) is ProviderUnavailable
    assert error.metadata["status"] == "307"


async def test_cookies_are_not_kept_and_nothing_is_compressed() -> None:
    """Callers have nothing in common, and pieces are not to wait for each other."""
    reply = Steps((Head(headers={"Set-Cookie": "who=me; Path=/"}), *pieces({"content": "x"}).sequence[1:]))
    async with Upstream(in_turn(reply)) as upstream:
        # A host with a name: cookies of others are left alone anyway.
        provider = OpenAIProvider(OpenAISettings(base_url=upstream.url.replace("127.0.0.1", "localhost")))
        for _ in range(2):
            _ = [event async for event in provider.generate(chat())]
        await provider.close()
    for call in upstream.calls:
        assert "cookie" not in call.headers
        assert call.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("name", SILENT)
async def test_closing_wakes_who_waits(name: str) -> None:
    """Whatever the server is silent about."""
    async with asking(SILENT[name]) as (provider, upstream):

        async def read() -> None:
            async for _ in provider.generate(chat()):
                pass

        reading = asyncio.create_task(read())
        await upstream.called()
        await asyncio.sleep(0.05)  # until it waits for more: of that nobody can be told
        await provider.close()
        with pytest.raises(ProviderError):
            await asyncio.wait_for(reading, timeout=5)
