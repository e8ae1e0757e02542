"""Responses that are asked for again with the same ``Idempotency-Key``, also after the server was killed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish
from mcp_server.testing import Gate
from tests.killable import Killable, calls_in, words
from tests.web.openai.conftest import StartAPI
from tests.web.openai.test_chat import MODEL, able
from tests.web.openai.test_response_streams import kinds, text_of
from tests.web.openai.test_responses import create, responses

KEY: Any = {"Idempotency-Key": "order-1"}
QUESTION = "200 words"


async def test_a_retry_is_the_same_response(start_api: StartAPI) -> None:
    """In one new session, not in two; whole or streamed."""
    provider = able(["Good day", Finish()])
    api = await start_api(p=provider)
    first = await create(api, "Hello", extra_headers=KEY)
    again = await create(api, "Hello", extra_headers=KEY)
    streamed = await responses(api).create(model=MODEL, input="Hello", stream=True, extra_headers=KEY)
    assert again == first
    assert [event async for event in streamed][-1].response == first
    assert len(provider.requests) == 1


async def test_a_retry_of_a_continuation(start_api: StartAPI) -> None:
    """It stays where it went the first time: at the end of the history, or in a branch."""
    provider = able(["A", Finish()], ["B", Finish()], ["C", Finish()])
    api = await start_api(p=provider)
    root = await create(api, "a")
    fields = {"previous_response_id": root.id, "extra_headers": KEY}
    trunk = await create(api, "b", **fields)
    assert await create(api, "b", **fields) == trunk
    other: Any = {"Idempotency-Key": "order-2"}
    branch = await create(api, "c", previous_response_id=root.id, extra_headers=other)
    assert await create(api, "c", previous_response_id=root.id, extra_headers=other) == branch
    assert len(provider.requests) == 3
    with pytest.raises(openai.ConflictError) as caught:
        await create(api, "d", **fields)
    assert caught.value.code == "request_id_reused"


async def test_a_retry_stays_in_its_branch(start_api: StartAPI) -> None:
    """Also if what was in its way is gone."""
    gate = Gate()
    provider = able(["A", Finish()], [gate, Finish()], ["C", Finish()])
    api = await start_api(p=provider)
    root = await create(api, "a")
    running = await create(api, "b", previous_response_id=root.id, background=True)
    branch = await create(api, "c", previous_response_id=root.id, extra_headers=KEY)
    await responses(api).cancel(running.id)
    assert await create(api, "c", previous_response_id=root.id, extra_headers=KEY) == branch
    assert len(provider.requests) == 3


async def test_two_requests_at_a_time_are_one(start_api: StartAPI) -> None:
    """The first response of a conversation of their own, and one after it."""
    gate = Gate()
    provider = able(["A", Finish()], [gate, "B", Finish()], [gate, "C", Finish()])
    api = await start_api(p=provider)
    root = await create(api, "a")
    for fields in ({"previous_response_id": root.id}, {}):
        both = [asyncio.create_task(create(api, "b", extra_headers=KEY, **fields)) for _ in range(2)]
        await gate.reached.wait()
        gate.open()
        first, second = await asyncio.gather(*both)
        assert first == second
    assert len(provider.requests) == 3


async def test_a_failure_is_recorded(start_api: StartAPI) -> None:
    """The same request receives it again, and is told not to try."""
    provider = able([ProviderUnavailable("down")], ["ok", Finish()])
    api = await start_api(p=provider)
    for _ in range(2):
        with pytest.raises(openai.APIStatusError) as caught:
            await create(api, "a", extra_headers=KEY)
        assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(provider.requests) == 1
    assert (await create(api, "a")).output_text == "ok"


async def test_a_conversation_is_created_once(start_api: StartAPI) -> None:
    """And its items are added once."""
    api = await start_api(p=able(["ok", Finish()]))
    item: Any = {"role": "user", "content": "a"}
    made = [await api.client.conversations.create(items=[item], extra_headers=KEY) for _ in range(2)]
    assert made[0] == made[1]
    for _ in range(2):
        await api.client.conversations.items.create(made[0].id, items=[item], extra_headers=KEY)
    listed: Any = await api.client.conversations.items.list(made[0].id)
    assert len(listed.data) == 2


async def test_a_killed_server(tmp_path: Path) -> None:
    """What was written down before is read again, then the response has failed; its request runs it again, once."""
    body: Any = {"model": "words/words", "input": QUESTION, "stream": True, "extra_headers": KEY}
    seen: list[Any] = []
    async with Killable(tmp_path) as server, _client(server) as client:
        try:
            async for event in await client.responses.create(**body):
                seen.append(event)
                if len(text_of(seen)) > 1000:
                    server.kill()
        except openai.APIConnectionError:
            pass
        except Exception as error:  # noqa: BLE001  # the client passes on errors of its library
            assert type(error).__module__.startswith("http")
    id = seen[0].response.id
    async with Killable(tmp_path) as server, _client(server) as client:
        interrupted = await client.responses.retrieve(id)
        assert (interrupted.status, interrupted.error.code) == ("failed", "turn_interrupted")
        replayed = [event async for event in await client.responses.retrieve(id, stream=True)]
        assert kinds(replayed)[:2] == kinds(seen)[:2]
        assert replayed[-1].type == "response.failed"
        assert text_of(replayed)
        assert "".join(words(QUESTION)).startswith(text_of(replayed))
        middle = replayed[len(replayed) // 2].sequence_number
        rest = [e async for e in await client.responses.retrieve(id, stream=True, starting_after=middle)]
        assert rest[-1] == replayed[-1]
        with pytest.raises(openai.BadRequestError, match="did not succeed"):
            await client.responses.create(model="words/words", input="1 b", previous_response_id=id)
        again = [event async for event in await client.responses.create(**body)]
        assert again[0].response.id == id
        assert text_of(again) == "".join(words(QUESTION))
        assert kinds(again)[-1] == "response.completed"
        once_more = [event async for event in await client.responses.create(**body)]
        assert once_more[-1] == again[-1]
        assert (await client.responses.retrieve(id)).output_text == "".join(words(QUESTION))
    assert calls_in(tmp_path)[QUESTION] == 2


def _client(server: Killable) -> Any:
    return openai.AsyncOpenAI(base_url=f"http://{server.web_address}/v1", api_key="any", max_retries=0)
