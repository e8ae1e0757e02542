"""Requests that are sent again with the same ``Idempotency-Key``."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from mcp_server.errors import MCPError, ProviderUnavailable, StoreUnavailable
from mcp_server.interfaces import Finish
from mcp_server.testing import Gate
from tests.web.openai.conftest import StartAPI
from tests.web.openai.test_chat import HELLO, MODEL, USAGE, able

KEY: Any = {"Idempotency-Key": "order-1"}


async def test_two_requests_at_a_time_are_one(start_api: StartAPI) -> None:
    """The provider is called once, and both get the same answer."""
    gate = Gate()
    provider = able(["Good ", gate, "day", Finish(usage=USAGE)])
    api = await start_api(p=provider)

    async def ask() -> Any:
        return await api.client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=KEY)

    first = asyncio.create_task(ask())
    await gate.reached.wait()
    second = asyncio.create_task(ask())
    gate.open()
    answers = [await first, await second]
    assert answers[0] == answers[1]
    assert answers[0].choices[0].message.content == "Good day"
    assert len(provider.requests) == 1


async def test_a_request_after_the_end_gets_the_same_answer(start_api: StartAPI) -> None:
    """From the record: nothing is billed twice."""
    provider = able(["Good day", Finish(usage=USAGE)])
    api = await start_api(p=provider)
    answers = [
        await api.client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=KEY) for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert len(provider.requests) == 1


async def test_a_stream_is_read_again_from_its_beginning(start_api: StartAPI) -> None:
    """After a lost connection the same request gets the whole answer, and the turn goes on meanwhile."""
    gate = Gate()
    provider = able(["Good ", gate, "day", Finish(usage=USAGE)])
    api = await start_api(p=provider)
    stream = await api.client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, extra_headers=KEY)
    async for chunk in stream:
        if chunk.choices[0].delta.content == "Good ":
            break
    await stream.close()
    await gate.reached.wait()
    gate.open()
    again = await api.client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, extra_headers=KEY)
    chunks = [chunk async for chunk in again]
    assert {item.id for item in chunks} == {chunk.id}
    assert "".join(item.choices[0].delta.content or "" for item in chunks) == "Good day"
    assert len(provider.requests) == 1


@pytest.mark.parametrize("error", [ProviderUnavailable("the provider is down"), StoreUnavailable("the disk is full")])
async def test_a_failure_is_recorded(start_api: StartAPI, error: MCPError) -> None:
    """The same request gets it again, so the client is told not to retry, whatever it could do otherwise."""
    provider = able([error], ["ok", Finish()])
    api = await start_api(p=provider)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError) as caught:
            await api.client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=KEY)
        assert caught.value.status_code == 503
        assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(provider.requests) == 1
    other: Any = {"Idempotency-Key": "order-2"}
    answer = await api.client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=other)
    assert answer.choices[0].message.content == "ok"


async def test_without_a_key_the_client_retries(start_api: StartAPI) -> None:
    """The failure binds no other request."""
    provider = able([ProviderUnavailable("the provider is down", retry_after=0.01)], ["ok", Finish()])
    api = await start_api(p=provider)
    client = api.client.with_options(max_retries=1)
    answer = await client.chat.completions.create(model=MODEL, messages=HELLO)
    assert answer.choices[0].message.content == "ok"
    assert len(provider.requests) == 2


async def test_a_key_belongs_to_one_request(start_api: StartAPI) -> None:
    """Another request with it is a conflict."""
    api = await start_api(p=able(["ok", Finish()]))
    await api.client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=KEY)
    with pytest.raises(openai.ConflictError) as caught:
        await api.client.chat.completions.create(model=MODEL, messages=HELLO, seed=1, extra_headers=KEY)
    assert caught.value.code == "request_id_reused"


async def test_a_key_must_be_short(start_api: StartAPI) -> None:
    """The error names the header."""
    api = await start_api(p=able(["ok", Finish()]))
    with pytest.raises(openai.BadRequestError) as caught:
        await api.client.chat.completions.create(
            model=MODEL, messages=HELLO, extra_headers={"Idempotency-Key": "k" * 129}
        )
    assert caught.value.param == "Idempotency-Key"
