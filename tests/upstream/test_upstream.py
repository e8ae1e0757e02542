"""The upstream of the tests does what its replies say, and its books are true."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.upstream.faults import AFTER_OUTPUT, CUT_AFTER, FAULTS, SILENT, STALLED, SUCCESSES, WORDS
from tests.upstream.replies import Answer, Refusal, Vectors, by_key, in_turn
from tests.upstream.server import Upstream
from tests.upstream.tls import Authority

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "how are you"}]}
STREAM = {**QUESTION, "stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture
async def client() -> Any:
    async with aiohttp.ClientSession() as session:
        yield session


async def events(response: aiohttp.ClientResponse) -> list[Any]:
    """The events of a stream up to ``[DONE]``."""
    lines = (await response.read()).decode().split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line and "[DONE]" not in line]


async def test_it_answers_as_asked(client: aiohttp.ClientSession) -> None:
    """A stream and a whole answer have the same text and the same usage, which the books have too."""
    async with Upstream() as upstream:
        async with client.post(f"{upstream.url}/chat/completions", json=QUESTION) as response:
            whole = await response.json()
        async with client.post(f"{upstream.url}/chat/completions", json=STREAM) as response:
            streamed = await events(response)
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in streamed if event["choices"])
        assert text == whole["choices"][0]["message"]["content"] == Answer().text
        assert streamed[-1]["usage"] == whole["usage"] == upstream.calls[0].reported == upstream.calls[1].reported
        assert whole["usage"]["prompt_tokens"] == 3
        assert upstream.calls[1].tokens == list(Answer().tokens)
        assert upstream.calls[1].left is None
        assert upstream.connections == 1


async def test_it_makes_vectors(client: aiohttp.ClientSession) -> None:
    """One for each input."""
    async with Upstream() as upstream:
        async with client.post(f"{upstream.url}/embeddings", json={"model": "m", "input": ["aab", "b"]}) as response:
            data = (await response.json())["data"]
        assert [each["embedding"] for each in data] == [Vectors().vector("aab"), Vectors().vector("b")]


async def test_it_goes_on_from_a_prefill(client: aiohttp.ClientSession) -> None:
    """With what is left to say, even from the middle of a token."""
    messages = [*QUESTION["messages"], {"role": "assistant", "content": "The qui"}]
    async with (
        Upstream(in_turn(Answer(tokens=WORDS, prefill=True))) as upstream,
        client.post(f"{upstream.url}/chat/completions", json={**QUESTION, "messages": messages}) as response,
    ):
        answer = await response.json()
    assert answer["choices"][0]["message"]["content"] == "".join(WORDS).removeprefix("The qui")


async def test_it_replies_by_key(client: aiohttp.ClientSession) -> None:
    """And the books say which key came."""
    plan = by_key({"bad": Refusal(status=401)}, Answer())
    async with Upstream(plan) as upstream:
        for key, status in {"bad": 401, "good": 200}.items():
            headers = {"Authorization": f"Bearer {key}"}
            async with client.post(f"{upstream.url}/chat/completions", json=QUESTION, headers=headers) as response:
                assert response.status == status
        assert [call.key for call in upstream.calls] == ["bad", "good"]


async def test_it_notes_who_leaves(client: aiohttp.ClientSession) -> None:
    """And stops what it was doing."""
    async with Upstream(in_turn(SILENT["no answer at all"])) as upstream:
        asking = asyncio.create_task(client.post(f"{upstream.url}/chat/completions", json=STREAM).__aenter__())
        call = await upstream.called()
        asking.cancel()
        await call.ended.wait()
        assert call.left is not None
        await upstream.deserted()


@pytest.mark.parametrize("name", FAULTS)
async def test_no_fault_looks_like_an_answer(client: aiohttp.ClientSession, name: str) -> None:
    """What a client gets of it is an error of its own, or a status, or a stream without an end."""
    async with Upstream(in_turn(FAULTS[name])) as upstream:
        got = b""
        limit = aiohttp.ClientTimeout(total=0.3 if name in SILENT or name in STALLED else 10)
        try:
            async with client.post(f"{upstream.url}/chat/completions", json=STREAM, timeout=limit) as response:
                async for piece in response.content.iter_any():
                    got += piece
                    if len(got) > 1 << 20:
                        break
                assert response.status != 200 or b'finish_reason": "stop"' not in got
        except (aiohttp.ClientError, TimeoutError):
            pass
        assert b'finish_reason": "stop"' not in got
        if name in AFTER_OUTPUT:
            sent = len(WORDS) if name == "no finish reason" else CUT_AFTER
            assert upstream.calls[0].tokens == list(WORDS[:sent])
        await upstream.idle()


@pytest.mark.parametrize("name", SUCCESSES)
async def test_odd_answers_are_whole(client: aiohttp.ClientSession, name: str) -> None:
    """They have a finish reason."""
    async with Upstream(in_turn(SUCCESSES[name])) as upstream:
        async with client.post(f"{upstream.url}/chat/completions", json=STREAM) as response:
            assert 'finish_reason": "stop"' in await response.text()
        assert upstream.calls[0].text == "".join(WORDS)


@pytest.mark.parametrize("expired", [True, False])
async def test_its_tls_is_to_be_distrusted(client: aiohttp.ClientSession, expired: bool) -> None:
    """An unknown authority, or an old certificate."""
    async with Upstream(tls=Authority().port(expired=expired)) as upstream:
        with pytest.raises(aiohttp.ClientSSLError):
            await client.post(f"{upstream.url}/chat/completions", json=STREAM)
        assert not upstream.calls


async def test_plain_http_says_no_to_tls(client: aiohttp.ClientSession) -> None:
    """A client that tries TLS on it does not wait."""
    async with Upstream() as upstream:
        url = upstream.url.replace("http", "https")
        with pytest.raises(aiohttp.ClientSSLError):
            await client.post(f"{url}/chat/completions", json=STREAM)
