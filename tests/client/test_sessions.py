"""Sessions and their messages, from Python."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_client import (
    Blob,
    ContextEntry,
    EtagMismatch,
    InvalidArgument,
    MCPClient,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    SessionExists,
    SessionNotFound,
    Text,
    ToolCall,
    ToolResult,
)


async def collected(items: AsyncIterator[Any]) -> list[Any]:
    """All items."""
    return [item async for item in items]


async def test_a_new_session_has_what_it_was_given(client: MCPClient) -> None:
    """Every setting comes back as the value that was sent."""
    context: dict[str, ContextEntry | str] = {
        "note": "remember",
        "order": ContextEntry(type="json", json={"id": 7, "items": ["tea", None, 1.5, True]}),
        "page": ContextEntry(type="document", data=b"# Title", mime_type="text/markdown", stored_only=True),
    }
    before = datetime.now(UTC) - timedelta(seconds=1)
    session = await client.create_session(
        "tour",
        labels={"team": "blue"},
        metadata={"plan": {"days": [1, 2]}, "paid": False},
        system_instruction="Be brief.",
        default_model="echo/echo",
        context=context,
        ttl=timedelta(hours=1),
    )
    assert (session.name, session.id) == ("sessions/tour", "tour")
    assert session.uid and session.etag
    assert session.labels == {"team": "blue"}
    assert session.metadata == {"plan": {"days": [1, 2]}, "paid": False}
    assert (session.system_instruction, session.default_model) == ("Be brief.", "echo/echo")
    assert session.context == {**context, "note": ContextEntry(type="text", text="remember")}
    assert session.ttl == 3600.0
    assert session.expire_time is not None
    assert before < session.create_time < session.expire_time <= datetime.now(UTC) + timedelta(hours=1)
    assert (session.message_count, session.active_turn, session.parent) == (0, "", "")
    assert await client.get_session("tour") == session


async def test_the_server_names_a_session_that_has_no_name(client: MCPClient) -> None:
    """Two of them differ."""
    first, second = await client.create_session(), await client.create_session()
    assert first.id and first.id != second.id


async def test_a_taken_name_is_an_error_of_its_own(client: MCPClient) -> None:
    """So that a caller can get the session instead."""
    await client.create_session("tour")
    with pytest.raises(SessionExists):
        await client.create_session("tour")


async def test_a_session_is_given_by_id_name_or_object(client: MCPClient) -> None:
    """All three mean the same."""
    session = await client.create_session("tour")
    assert await client.get_session("tour") == await client.get_session("sessions/tour") == session
    assert await client.get_session(session) == session


async def test_lists_go_over_all_pages(client: MCPClient) -> None:
    """A page of two is no end."""
    for number in range(5):
        await client.create_session(f"s{number}", labels={"even": str(number % 2 == 0)})
    assert [s.id for s in await collected(client.list_sessions(page_size=2))] == ["s0", "s1", "s2", "s3", "s4"]
    newest = await collected(client.list_sessions(page_size=2, newest_first=True))
    assert [s.id for s in newest] == ["s4", "s3", "s2", "s1", "s0"]
    even = await collected(client.list_sessions(labels={"even": "True"}, page_size=1))
    assert [s.id for s in even] == ["s0", "s2", "s4"]


async def test_an_update_changes_only_what_it_names(client: MCPClient) -> None:
    """Everything else stays."""
    session = await client.create_session(
        "tour", labels={"a": "1"}, metadata={"b": 2}, system_instruction="Be brief.", ttl=60, context={"c": "3"}
    )
    changed = await client.update_session(session, labels={"a": "2"})
    assert changed.labels == {"a": "2"}
    assert (changed.metadata, changed.system_instruction, changed.ttl) == ({"b": 2}, "Be brief.", 60)
    assert changed.context == session.context
    assert changed.etag != session.etag

    changed = await client.update_session(
        session, system_instruction="", metadata={}, default_model="echo/echo", ttl=120.5
    )
    assert (changed.system_instruction, changed.metadata, changed.default_model) == ("", {}, "echo/echo")
    assert changed.ttl == 120.5
    assert changed.labels == {"a": "2"}


async def test_a_ttl_of_none_is_the_servers_own(client: MCPClient) -> None:
    """It is not the same as leaving it out."""
    session = await client.create_session("tour", ttl=60)
    default = (await client.create_session()).ttl
    assert (await client.update_session(session, labels={})).ttl == 60
    assert (await client.update_session(session, ttl=None)).ttl == default != 60


async def test_context_is_set_and_removed_entry_by_entry_or_replaced(client: MCPClient) -> None:
    """Each in one step."""
    session = await client.create_session("tour", context={"a": "1", "b": "2"})
    changed = await client.update_session(session, set_context={"c": "3"}, remove_context=["a", "no-such"])
    assert {name: entry.text for name, entry in changed.context.items()} == {"b": "2", "c": "3"}
    changed = await client.update_session(session, remove_context="b")
    assert changed.context.keys() == {"c"}
    changed = await client.update_session(session, context={"d": "4"})
    assert changed.context.keys() == {"d"}


async def test_an_old_etag_is_refused(client: MCPClient) -> None:
    """By everything that takes one, and nothing is changed."""
    old = await client.create_session("tour")
    new = await client.update_session(old, labels={"a": "1"}, etag=old.etag)
    for refused in (
        lambda: client.update_session(old, labels={}, etag=old.etag),
        lambda: client.append_messages(old, "Hi", etag=old.etag),
        lambda: client.delete_session(old, etag=old.etag),
    ):
        with pytest.raises(EtagMismatch):
            await refused()
    assert await client.get_session("tour") == new


async def test_a_deleted_session_is_gone(client: MCPClient) -> None:
    """Reading it is the same error as reading one that never was."""
    session = await client.create_session("tour")
    await client.delete_session(session, etag=session.etag)
    for missing in (
        lambda: client.get_session(session),
        lambda: client.delete_session(session),
        lambda: client.chat("Hi", session=session),
    ):
        with pytest.raises(SessionNotFound) as caught:
            await missing()
        assert caught.value.metadata["session"] == "sessions/tour"
    with pytest.raises(SessionNotFound):
        await collected(client.list_messages(session))


async def test_every_kind_of_part_comes_back_as_it_was_sent(client: MCPClient) -> None:
    """Texts, thoughts, refusals, files, tool calls and their results."""
    session = await client.create_session("tour")
    call = ToolCall(id="c1", name="weather", arguments_json='{"city": "Rome", "big": 9007199254740993}')
    sent: list[tuple[Part, ...]] = [
        (Text(text="What is it?"), Blob(mime_type="image/png", data=b"\x89PNG\x00")),
        (Reasoning(text="Hm."), Text(text="Let me see."), call),
        (ToolResult(tool_call_id="c1", parts=(Text(text="sunny"),), is_error=True),),
        (Refusal(text="I will not."),),
        (Blob(mime_type="text/plain", uri="https://example.com/a.txt"),),
    ]
    roles = [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT, Role.USER]
    messages = [Message(role=role, parts=parts) for role, parts in zip(roles, sent, strict=True)]
    session = await client.append_messages(session, messages)
    assert session.message_count == 5

    history = await collected(client.list_messages(session, page_size=2))
    assert [message.parts for message in history] == sent
    assert [message.role for message in history] == roles
    assert [message.index for message in history] == [0, 1, 2, 3, 4]
    assert all(message.id and message.create_time for message in history)


async def test_texts_are_messages_of_the_user(client: MCPClient) -> None:
    """One or several, mixed with whole messages."""
    session = await client.create_session("tour")
    await client.append_messages(session, "one")
    await client.append_messages(session, ["two", Message.assistant("three")])
    await client.append_messages(session, Message(role=Role.USER, parts=(Text(text="four"),), name="Ada"))
    newest = await collected(client.list_messages(session, newest_first=True, page_size=3))
    assert [(m.role, m.text, m.name) for m in newest] == [
        ("user", "four", "Ada"),
        ("assistant", "three", ""),
        ("user", "two", ""),
        ("user", "one", ""),
    ]


async def test_all_bad_fields_are_named_at_once(client: MCPClient) -> None:
    """By their paths."""
    with pytest.raises(InvalidArgument) as caught:
        await client.create_session("No Such Name!", labels={"": "x"}, ttl=-1)
    assert {"session_id", "session.ttl"} <= caught.value.violations.keys()
    assert len(caught.value.violations) == 3
    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")


async def test_a_fork_goes_its_own_way(client: MCPClient) -> None:
    """With the history up to where it branched off, and what was set; and it outlives its parent."""
    parent = await client.create_session("tour", labels={"team": "blue"}, system_instruction="Be brief.")
    await client.chat("one", session=parent)
    await client.chat("two", session=parent)
    fork = await client.fork_session(parent, "detour", message_count=2)
    assert (fork.id, fork.parent, fork.message_count) == ("detour", "sessions/tour", 2)
    assert (fork.labels, fork.system_instruction) == (parent.labels, "Be brief.")
    whole = await client.fork_session("tour")
    await client.chat("three", session=fork)
    await client.delete_session(parent)
    assert [message.text for message in await collected(client.list_messages(fork))] == ["one"] * 2 + ["three"] * 2
    assert [message.text for message in await collected(client.list_messages(whole))] == ["one"] * 2 + ["two"] * 2
    with pytest.raises(SessionExists):
        await client.fork_session(whole, "detour")
    with pytest.raises(SessionNotFound):
        await client.fork_session("tour")
    with pytest.raises(InvalidArgument) as caught:
        await client.fork_session(whole, message_count=5)
    assert "message_count" in caught.value.violations


async def test_what_a_response_leaves_out_raises_when_it_is_read(client: MCPClient) -> None:
    """So that nobody writes it back, which would delete what is stored."""
    session = await client.create_session("tour", metadata={"plan": "free"}, context={"note": "remember"})
    listed = await anext(client.list_sessions())
    appended = await client.append_messages(session, [Message.user("Hi")])
    for partial in (listed, appended):
        for read in (
            lambda partial=partial: partial.metadata,
            lambda partial=partial: partial.context,
            lambda partial=partial: client.update_session(partial, metadata={**partial.metadata, "paid": True}),
            lambda partial=partial: dataclasses.replace(partial, labels={}),
        ):
            with pytest.raises(RuntimeError, match="get_session"):
                read()
        assert not partial.labels
    for complete in (session, await client.get_session(listed), await client.update_session(listed, labels={"a": "b"})):
        assert (complete.metadata, complete.context["note"].text) == ({"plan": "free"}, "remember")
    forked = await client.fork_session(session, "other")
    assert (forked.metadata, forked.context["note"].text) == ({"plan": "free"}, "remember")


async def test_a_session_that_was_listed_is_a_value_all_the_same(client: MCPClient) -> None:
    """It can be printed, compared, copied and sent to another process."""
    session = await client.create_session("tour", metadata={"plan": "free"})
    (listed,) = [session async for session in client.list_sessions()]
    assert "metadata=<left out>" in repr(listed)
    assert "metadata={'plan': 'free'}" in repr(session)
    assert listed == await anext(client.list_sessions())
    assert listed != session
    assert session == await client.get_session(listed)
    for again in (copy.copy(listed), copy.deepcopy(listed), pickle.loads(pickle.dumps(listed))):  # noqa: S301  # its own
        assert again == listed
        with pytest.raises(RuntimeError, match="the metadata of sessions/tour was left out"):
            _ = again.metadata
    assert pickle.loads(pickle.dumps(session)) == session  # noqa: S301  # its own


async def test_lists_are_read_page_by_page(client: MCPClient) -> None:
    """From the token of the page before, also with another iterator; or item by item."""
    session = await client.create_session()
    await client.append_messages(session, [str(number) for number in range(5)])
    first = await client.list_messages(session, page_size=2).page()
    assert [message.text for message in first.items] == ["0", "1"]
    rest = client.list_messages(session, page_size=2, page_token=first.next_page_token)
    assert (await anext(rest)).text == "2"
    page = await rest.page()
    assert ([message.text for message in page.items], bool(page.next_page_token)) == (["3"], True)
    page = await rest.page()
    assert ([message.text for message in page.items], page.next_page_token) == (["4"], "")
    assert (await rest.page()).items == ()
    assert [message.text async for message in rest] == []
    sessions = await client.list_sessions(page_size=1).page()
    assert [each.name for each in sessions.items] == [session.name]


async def test_a_page_token_of_another_list_is_refused(client: MCPClient) -> None:
    """By the server, which knows it."""
    with pytest.raises(InvalidArgument) as caught:
        await client.list_sessions(page_token="x").page()
    assert "page_token" in caught.value.violations
