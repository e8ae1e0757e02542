"""Conversations and their items through OpenAI's own client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from mcp_client import MCPClient
from mcp_server.interfaces import Finish, ToolCallStart
from mcp_server.values import FinishReason
from mcp_server.web.openai.identifiers import conversation_id
from tests.web.openai.conftest import API, StartAPI
from tests.web.openai.test_chat import able
from tests.web.openai.test_responses import WEATHER, create


@pytest.fixture
async def api(start_api: StartAPI) -> API:
    """A server whose model answers ``ok``."""
    return await start_api(p=able(["ok", Finish()]))


def conversations(api: API) -> Any:
    """The part of the client for conversations; its types are unions of more than the server sends."""
    return api.client.conversations


def said(text: str, role: str = "user") -> dict[str, Any]:
    """A message."""
    return {"type": "message", "role": role, "content": text}


async def texts(api: API, id: str, **fields: Any) -> list[str]:
    """The texts of all items."""
    return [item.content[0].text async for item in conversations(api).items.list(id, **fields)]


async def test_a_conversation_is_a_session(api: API) -> None:
    """Created, read, changed and deleted."""
    made = await conversations(api).create(metadata={"topic": "weather"})
    assert made.id.startswith("conv_")
    assert (made.object, made.metadata) == ("conversation", {"topic": "weather"})
    assert await conversations(api).retrieve(made.id) == made
    changed = await conversations(api).update(made.id, metadata={"topic": "tea"})
    assert changed == await conversations(api).retrieve(made.id)
    assert changed.metadata == {"topic": "tea"}
    deleted = await conversations(api).delete(made.id)
    assert (deleted.id, deleted.deleted) == (made.id, True)
    for call in (
        conversations(api).retrieve(made.id),
        conversations(api).delete(made.id),
        conversations(api).update(made.id, metadata={}),
        conversations(api).items.list(made.id),
        conversations(api).items.create(made.id, items=[said("a")]),
        conversations(api).retrieve("conv_x"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await call
        assert caught.value.code == "conversation_not_found"


async def test_items_are_listed_in_pages(api: API) -> None:
    """The newest first, or the oldest, after any of them; those of one message too."""
    made = await conversations(api).create(items=[said(str(number)) for number in range(5)])
    assert await texts(api, made.id, limit=2) == ["4", "3", "2", "1", "0"]
    assert await texts(api, made.id, limit=2, order="asc") == ["0", "1", "2", "3", "4"]
    page = await conversations(api).items.list(made.id, limit=2)
    assert page.has_more
    assert (page.first_id, page.last_id) == (page.data[0].id, page.data[1].id)
    assert not (await conversations(api).items.list(made.id, limit=5)).has_more
    empty = await conversations(api).create()
    assert await texts(api, empty.id) == []
    with pytest.raises(openai.BadRequestError) as caught:
        await conversations(api).items.list(made.id, after="msg_1_2_3")
    assert caught.value.param == "after"


async def test_an_item_keeps_its_id(start_api: StartAPI) -> None:
    """In the response, in its stream, in the list, by itself, and in a branch."""
    call = [
        "Let me see.",
        ToolCallStart(id="c1", name="weather"),
        ToolCallStart(id="c2", name="weather"),
        Finish(reason=FinishReason.TOOL_CALLS),
    ]
    api = await start_api(p=able(call))
    made = await conversations(api).create()
    response = await create(api, "a", conversation=made.id, tools=[WEATHER])
    listed = [item async for item in conversations(api).items.list(made.id, limit=1)]
    assert [item.id for item in listed[2::-1]] == [item.id for item in response.output]
    assert len({item.id for item in listed}) == 4
    for item in listed:
        found = await conversations(api).items.retrieve(item.id, conversation_id=made.id)
        assert found.id == item.id
        assert found.type == item.type
    with pytest.raises(openai.NotFoundError) as caught:
        await conversations(api).items.retrieve(response.output[0].id + "9", conversation_id=made.id)
    assert caught.value.code == "item_not_found"


async def test_created_items_are_returned(api: API) -> None:
    """With their ids."""
    made = await conversations(api).create()
    added = await conversations(api).items.create(made.id, items=[said("a"), said("b", "assistant")])
    assert [(item.role, item.content[0].type) for item in added.data] == [
        ("user", "input_text"),
        ("assistant", "output_text"),
    ]
    listed = [item.id async for item in conversations(api).items.list(made.id, order="asc")]
    assert [item.id for item in added.data] == listed
    for items, param in (([], "items"), ([said("a", "system")], "items"), ([{"type": "mcp_call"}], "items[0].type")):
        with pytest.raises(openai.BadRequestError) as caught:
            await conversations(api).items.create(made.id, items=items)
        assert caught.value.param == param


async def test_the_last_item_can_be_deleted(api: API) -> None:
    """And then the one before it; no other."""
    made = await conversations(api).create(items=[said("a"), said("b"), said("c")])
    ids = [item.id async for item in conversations(api).items.list(made.id, order="asc")]
    with pytest.raises(openai.BadRequestError) as caught:
        await conversations(api).items.delete(ids[1], conversation_id=made.id)
    assert caught.value.code == "item_not_last"
    for id in reversed(ids[1:]):
        assert (await conversations(api).items.delete(id, conversation_id=made.id)).id == made.id
    assert await texts(api, made.id) == ["a"]
    assert (await create(api, "d", conversation=made.id)).output_text == "ok"
    assert await texts(api, made.id, order="asc") == ["a", "d", "ok"]


async def test_part_of_an_answer_cannot_be_deleted(start_api: StartAPI) -> None:
    """Its items belong together."""
    call = ["Let me see.", ToolCallStart(id="c1", name="weather"), Finish(reason=FinishReason.TOOL_CALLS)]
    api = await start_api(p=able(call))
    made = await conversations(api).create()
    response = await create(api, "a", conversation=made.id, tools=[WEATHER])
    with pytest.raises(openai.BadRequestError, match="one by one"):
        await conversations(api).items.delete(response.output[1].id, conversation_id=made.id)


async def test_instructions_of_a_conversation(start_api: StartAPI) -> None:
    """Its first items may be instructions; they stay."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    made = await conversations(api).create(items=[said("Be kind.", "developer"), said("a")])
    await create(api, "b", conversation=made.id)
    assert [message.text for message in provider.requests[0].messages] == ["Be kind.", "a", "b"]
    assert await texts(api, made.id, order="asc") == ["a", "b", "ok"]


async def test_metadata_of_other_edges_is_shown_as_text(api: API) -> None:
    """A session may have any JSON there."""
    async with MCPClient(api.server.address) as client:
        session = await client.create_session(session_id="tour", metadata={"topic": "tea", "n": 1})
    found = await conversations(api).retrieve(conversation_id(session.id))
    assert found.metadata == {"topic": "tea", "n": "1"}


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?limit=x", "limit"),
        ("?order=up", "order"),
        ("?include[]=message.output_text.logprobs", "include[0]"),
        ("?before=msg", "before"),
    ],
)
async def test_parameters_of_lists_are_checked(api: API, path: str, param: str) -> None:
    """What is not known is refused."""
    made = await conversations(api).create()
    status, _, text = await api.send(f"/conversations/{made.id}/items{path}", b"", "GET")
    assert status == 400
    assert f'"param":"{param}"' in text
