"""What precedes a response: other responses, conversations, and what happens to both meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import openai
import pytest

from mcp_client import MCPClient
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent
from mcp_server.settings import TurnSettings
from mcp_server.settings import testing_config as plain_config
from mcp_server.testing import Gate, ScriptedProvider
from mcp_server.web.openai.identifiers import TurnId, conversation_id, parse_response_id, response_id
from tests.auth.keys import config_with, new_key
from tests.web.openai.conftest import API, StartAPI
from tests.web.openai.test_chat import ALL, MODEL, able
from tests.web.openai.test_responses import create, responses


class Story:
    """Answers with all that it was told, so that its answer shows its history."""

    async def models(self) -> Any:
        return [ALL]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        yield "/".join([message.text for message in request.messages if message.role == "user"])
        yield Finish()

    async def close(self) -> None: ...


async def test_a_response_continues_another(start_api: StartAPI) -> None:
    """With its history, and without its instructions."""
    provider = able(["One.", Finish()], ["Two.", Finish()])
    api = await start_api(p=provider)
    first = await create(api, "a", instructions="Be kind.")
    second = await create(api, "b", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert [message.text for message in provider.requests[1].messages] == ["a", "One.", "b"]


async def test_instructions_in_the_input_stay(start_api: StartAPI) -> None:
    """Those of the first response; later ones are for one response."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    first = await create(api, [{"role": "system", "content": "S."}, {"role": "user", "content": "a"}])
    later = [{"role": "developer", "content": "D."}, {"role": "user", "content": "b"}]
    second = await create(api, later, previous_response_id=first.id, instructions="I.")
    await create(api, "c", previous_response_id=second.id)
    assert [request.messages[0].text for request in provider.requests] == ["S.", "S.\n\nI.\n\nD.", "S."]


async def test_responses_branch(start_api: StartAPI) -> None:
    """A branch, a branch of the branch, and the trunk, each with the history of its own."""
    api = await start_api(p=Story())
    root = await create(api, "a")
    trunk = await create(api, "b", previous_response_id=root.id)
    branch = await create(api, "c", previous_response_id=root.id)
    twig = await create(api, "d", previous_response_id=branch.id)
    other = await create(api, "e", previous_response_id=branch.id)
    deep = await create(api, "f", previous_response_id=other.id)
    trunk2 = await create(api, "g", previous_response_id=trunk.id)
    texts = [one.output_text for one in (trunk, branch, twig, other, deep, trunk2)]
    assert texts == ["a/b", "a/c", "a/c/d", "a/c/e", "a/c/e/f", "a/b/g"]
    again = await create(api, "h", previous_response_id=root.id)
    assert again.output_text == "a/h"


async def test_two_responses_at_once_after_one(start_api: StartAPI) -> None:
    """The second becomes a branch."""
    gate = Gate()
    provider = able(["A", Finish()], [gate, "B", Finish()], ["C", Finish()])
    api = await start_api(p=provider)
    first = await create(api, "a")
    slow = asyncio.create_task(create(api, "b", previous_response_id=first.id))
    await gate.reached.wait()
    third = await create(api, "c", previous_response_id=first.id)
    gate.open()
    assert (third.output_text, (await slow).output_text) == ("C", "B")
    assert [message.text for message in provider.requests[2].messages] == ["a", "A", "c"]


async def test_a_response_that_is_not_stored(start_api: StartAPI) -> None:
    """It reads the history, wherever that ends, and leaves it as it is; nothing can follow it."""
    api = await start_api(p=Story())
    first = await create(api, "a")
    second = await create(api, "b", previous_response_id=first.id)
    for previous, wanted in ((second, "a/b/x"), (first, "a/x")):
        brief = await create(api, "x", previous_response_id=previous.id, store=False)
        assert (brief.output_text, brief.store) == (wanted, False)
        with pytest.raises(openai.BadRequestError, match="was not stored") as caught:
            await create(api, "y", previous_response_id=brief.id)
        assert caught.value.code == "previous_response_not_found"
    third = await create(api, "c", previous_response_id=second.id)
    assert third.output_text == "a/b/c"
    async with MCPClient(api.server.address) as client:
        sessions = [session async for session in client.list_sessions()]
    # The copy that was read in the middle does not stay.
    assert min(session.ttl for session in sessions if session.ttl) == 600
    assert len(sessions) == 2


async def test_what_is_not_stored_is_forgotten(start_api: StartAPI) -> None:
    """It can be read for the grace, and then it is not there."""
    config = msgspec.structs.replace(plain_config(default_model="p/able"), turns=TurnSettings(disconnect_grace=0.2))
    api = await start_api(config, p=able(["ok", Finish()]))
    brief = await create(api, "a", store=False)
    assert (await responses(api).retrieve(brief.id)).output_text == "ok"
    async with asyncio.timeout(5):
        while True:
            try:
                await responses(api).retrieve(brief.id)
            except openai.NotFoundError as error:
                assert error.code == "response_not_found"
                return


async def test_a_deleted_response_is_not_found(start_api: StartAPI) -> None:
    """Nor continued; what continues it already keeps its history."""
    api = await start_api(p=Story())
    first = await create(api, "a")
    second = await create(api, "b", previous_response_id=first.id)
    await responses(api).delete(first.id)
    for call in (responses(api).retrieve, responses(api).delete, responses(api).cancel):
        with pytest.raises(openai.NotFoundError):
            await call(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        await create(api, "c", previous_response_id=first.id)
    assert caught.value.param == "previous_response_id"
    third = await create(api, "d", previous_response_id=second.id)
    assert third.output_text == "a/b/d"


@pytest.mark.parametrize(
    "id",
    [
        "resp_",
        "resp_x",
        "resp_....",
        "msg_1",
        "resp_" + "A" * 200,
        response_id(TurnId("s0", "t0")),
        response_id(TurnId("", "t0")),
        response_id(TurnId("../x", "t0")),
        "resp_dDA\u00e9",
    ],
)
async def test_ids_of_nothing_are_refused(start_api: StartAPI, id: str) -> None:
    """Whatever they look like."""
    api = await start_api(p=able())
    with pytest.raises(openai.BadRequestError) as caught:
        await create(api, "a", previous_response_id=id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
    status, _, text = await api.send(f"/responses/{id}", b"", "GET")
    assert status == 404, text
    with pytest.raises(openai.NotFoundError):
        await create(api, "a", conversation=conversation_id("none"))


async def test_a_response_of_another_tenant_is_not_found(start_api: StartAPI) -> None:
    """Nor its conversation."""
    red, blue = new_key("red"), new_key("blue")
    api = await start_api(msgspec.structs.replace(config_with(red, blue), models=_models()), p=able(["ok", Finish()]))
    owner = openai.AsyncOpenAI(base_url=api.url, api_key=red.secret, max_retries=0)
    stranger = openai.AsyncOpenAI(base_url=api.url, api_key=blue.secret, max_retries=0)
    async with owner, stranger:
        conversation = await owner.conversations.create()
        response = await owner.responses.create(model=MODEL, input="a", conversation=conversation.id)
        with pytest.raises(openai.BadRequestError):
            await stranger.responses.create(model=MODEL, input="b", previous_response_id=response.id)
        for call in (
            stranger.responses.retrieve(response.id),
            stranger.responses.cancel(response.id),
            stranger.responses.delete(response.id),
            stranger.responses.create(model=MODEL, input="b", conversation=conversation.id),
            stranger.conversations.retrieve(conversation.id),
            stranger.conversations.delete(conversation.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await call
        assert (await owner.responses.retrieve(response.id)).output_text == "ok"


async def test_what_is_another_tenants_is_answered_as_what_is_not_there(start_api: StartAPI) -> None:
    """Byte for byte but for the id, by every call that takes one."""
    red, blue = new_key("red"), new_key("blue")
    api = await start_api(msgspec.structs.replace(config_with(red, blue), models=_models()), p=able(["ok", Finish()]))

    async def send(path: str, body: Any = b"", method: str = "POST", key: Any = red) -> tuple[int, str]:
        status, _, text = await api.send(path, body, method, authorization=f"Bearer {key.secret}")
        return status, text

    conversation = msgspec.json.decode((await send("/conversations", {}))[1])["id"]
    given = {"model": MODEL, "input": "a"}
    response = msgspec.json.decode((await send("/responses", {**given, "conversation": conversation}))[1])["id"]
    free = msgspec.json.decode((await send("/responses", {**given, "store": False}))[1])["id"]
    items = msgspec.json.decode((await send(f"/conversations/{conversation}/items", method="GET"))[1])["data"]
    turn, nobodys = parse_response_id(response), "s" + "0" * 24
    assert turn is not None
    unknown = {
        conversation: conversation_id(nobodys),
        response: response_id(TurnId(nobodys, turn.turn)),
        free: response_id(TurnId("", "t" + "0" * 24)),
    }
    calls: list[tuple[str, str, Any, str]] = []
    for id in (response, free):
        calls += [(method, path, b"", id) for method, path in RESPONSE_CALLS]
        calls += [("POST", path, {**given, "previous_response_id": id}, id) for path in CREATE_CALLS]
    calls += [(method, path, body, conversation) for method, path, body in CONVERSATION_CALLS]
    calls += [(method, f"/conversations/ID/items/{items[0]['id']}", b"", conversation) for method in ("GET", "DELETE")]
    calls += [("POST", path, {**given, "conversation": conversation}, conversation) for path in CREATE_CALLS]
    for method, path, body, id in calls:
        other = unknown[id]
        foreign = await send(path.replace("ID", id), body, method, blue)
        named = msgspec.json.decode(msgspec.json.encode(body).replace(id.encode(), other.encode())) if body else body
        missing = await send(path.replace("ID", other), named, method, blue)
        assert foreign[0] in (400, 404), (method, path, foreign)
        assert (foreign[0], foreign[1].replace(id, other)) == missing, (method, path)
    assert msgspec.json.decode((await send(f"/responses/{response}", method="GET"))[1])["status"] == "completed"


RESPONSE_CALLS = [
    ("GET", "/responses/ID"),
    ("GET", "/responses/ID?stream=true"),
    ("GET", "/responses/ID/input_items"),
    ("POST", "/responses/ID/cancel"),
    ("DELETE", "/responses/ID"),
]
CONVERSATION_CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/conversations/ID", b""),
    ("POST", "/conversations/ID", {"metadata": {"a": "b"}}),
    ("GET", "/conversations/ID/items", b""),
    ("POST", "/conversations/ID/items", {"items": [{"role": "user", "content": "a"}]}),
    ("DELETE", "/conversations/ID", b""),
]
CREATE_CALLS = ["/responses", "/responses/input_tokens"]


def _models() -> Any:
    return plain_config(default_model=MODEL).models


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (("chat",), {"create", "stream", "cancel"}),
        (("sessions.read",), {"retrieve", "stream", "list", "read"}),
        (("sessions.write",), {"begin", "delete"}),
        ((), set()),
    ],
)
async def test_scopes_say_who_may_do_what(start_api: StartAPI, scopes: Any, allowed: set[str]) -> None:
    """As for the calls of gRPC that do the same."""
    full, limited = new_key("red"), new_key("red", scopes)
    config = msgspec.structs.replace(config_with(full, limited), models=_models())
    api = await start_api(config, p=able(["ok", Finish()]))
    owner: Any = openai.AsyncOpenAI(base_url=api.url, api_key=full.secret, max_retries=0)
    caller: Any = openai.AsyncOpenAI(base_url=api.url, api_key=limited.secret, max_retries=0)
    async with owner, caller:
        conversation = await owner.conversations.create()
        response = await owner.responses.create(model=MODEL, input="a", conversation=conversation.id)
        calls: dict[str, Any] = {
            "create": lambda: caller.responses.create(model=MODEL, input="a"),
            "retrieve": lambda: caller.responses.retrieve(response.id),
            "stream": lambda: caller.responses.retrieve(response.id, stream=True),
            "cancel": lambda: caller.responses.cancel(response.id),
            "list": lambda: caller.responses.input_items.list(response.id),
            "begin": lambda: caller.conversations.create(),
            "read": lambda: caller.conversations.retrieve(conversation.id),
            "delete": lambda: caller.responses.delete(response.id),
        }
        done = set()
        for name, call in calls.items():
            try:
                await call()
            except openai.PermissionDeniedError:
                continue
            done.add(name)
    assert done == allowed


async def test_what_did_not_succeed_cannot_be_continued(start_api: StartAPI) -> None:
    """A cancelled response, a failed one, and one that runs: the error says which."""
    gate = Gate()
    provider = able(["A", gate], ["B", gate, Finish()], [ProviderUnavailable("down")])
    api = await start_api(p=provider)
    cancelled = await create(api, "a", background=True)
    await responses(api).cancel(cancelled.id)
    running = await create(api, "b", background=True)
    failed = [e async for e in await responses(api).create(model=MODEL, input="c", stream=True)][-1].response
    assert failed.status == "failed"
    for response, reason in ((cancelled, "did not succeed"), (failed, "did not succeed"), (running, "not ended")):
        with pytest.raises(openai.BadRequestError, match=reason):
            await create(api, "d", previous_response_id=response.id)
    gate.open()


# -- conversations ----------------------------------------------------------------------------------------------------


async def test_responses_of_a_conversation(start_api: StartAPI) -> None:
    """Each sees what was said before, and what others have added."""
    api = await start_api(p=Story())
    conversation = await api.client.conversations.create(items=[{"role": "user", "content": "a"}])
    first = await create(api, "b", conversation=conversation.id)
    await api.client.conversations.items.create(conversation.id, items=[{"role": "user", "content": "c"}])
    second = await create(api, "d", conversation={"id": conversation.id})
    assert (first.output_text, second.output_text) == ("a/b", "a/b/c/d")
    assert second.conversation.id == conversation.id
    assert (await responses(api).retrieve(second.id)).conversation.id == conversation.id
    brief = await create(api, "x", conversation=conversation.id, store=False)
    assert brief.output_text == "a/b/c/d/x"
    branch = await create(api, "e", previous_response_id=first.id)
    assert (branch.output_text, branch.conversation) == ("a/b/e", None)


async def test_a_conversation_has_one_response_at_a_time(start_api: StartAPI) -> None:
    """The second is refused, and so are items, and told which is running."""
    gate = Gate()
    api = await start_api(p=able(["A", gate, Finish()]))
    conversation = await api.client.conversations.create()
    running = await create(api, "a", conversation=conversation.id, background=True)
    item: Any = {"role": "user", "content": "c"}
    for call in (
        create(api, "b", conversation=conversation.id),
        api.client.conversations.items.create(conversation.id, items=[item]),
    ):
        with pytest.raises(openai.BadRequestError, match=running.id) as caught:
            await call
        assert caught.value.code == "conversation_locked"
    beside = await create(api, "b", conversation=conversation.id, store=False, background=False, stream=True)
    gate.open()
    assert [event async for event in beside][-1].type == "response.completed"


async def test_a_response_ends_with_its_conversation(start_api: StartAPI) -> None:
    """Its readers learn it, and it is not found any more."""
    gate = Gate()
    provider: ScriptedProvider = able(["A", gate, Finish()])
    api = await start_api(p=provider)
    conversation = await api.client.conversations.create()
    stream = await responses(api).create(model=MODEL, input="a", conversation=conversation.id, stream=True)
    created = await anext(stream)
    await gate.reached.wait()
    await api.client.conversations.delete(conversation.id)
    assert [event async for event in stream][-1].response.error.code == "session_not_found"
    with pytest.raises(openai.NotFoundError):
        await responses(api).retrieve(created.response.id)


async def test_a_response_outlives_the_record_of_its_turn(start_api: StartAPI) -> None:
    """What the history has of it remains, and can be continued."""
    config = msgspec.structs.replace(
        plain_config(default_model="p/able"),
        turns=TurnSettings(retention=0.05),
        sessions=msgspec.structs.replace(plain_config().sessions, sweep_interval=0.05),
    )
    api = await start_api(config, p=Story())
    response = await create(api, "a", metadata={"a": "b"})
    async with asyncio.timeout(10):
        while (kept := await responses(api).retrieve(response.id)).metadata:
            pass
    assert kept.output == response.output
    assert (kept.status, kept.usage, kept.model) == ("completed", response.usage, response.model)
    with pytest.raises(openai.BadRequestError, match="no longer kept"):
        await responses(api).retrieve(response.id, stream=True)
    assert (await create(api, "b", previous_response_id=response.id)).output_text == "a/b"
    await responses(api).delete(response.id)
    await _gone(api, response.id)


async def _gone(api: API, id: str) -> None:
    with pytest.raises(openai.NotFoundError):
        await responses(api).retrieve(id)
