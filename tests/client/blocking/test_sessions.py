# Generated from tests/client/test_sessions.py by scripts/generate: edit that file.

"""Sessions and their messages, from Python."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_client import (
    Blob,
    ContextEntry,
    EtagMismatch,
    InvalidArgument,
    MCPSyncClient,
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


def collected(items: Iterator[Any]) -> list[Any]:
    """All items."""
    return list(items)


def test_a_new_session_has_what_it_was_given(client: MCPSyncClient) -> None:
    """Every setting comes back as the value that was sent."""
    context: dict[str, ContextEntry | str] = {
        "note": "remember",
        "order": ContextEntry(type="json", json={"id": 7, "items": ["tea", None, 1.5, True]}),
        "page": ContextEntry(type="document", data=b"# Title", mime_type="text/markdown", stored_only=True),
    }
    before = datetime.now(UTC) - timedelta(seconds=1)
    session = client.create_session(
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
    assert client.get_session("tour") == session


def test_the_server_names_a_session_that_has_no_name(client: MCPSyncClient) -> None:
    """Two of them differ."""
    first, second = client.create_session(), client.create_session()
    assert first.id and first.id != second.id


def test_a_taken_name_is_an_error_of_its_own(client: MCPSyncClient) -> None:
    """So that a caller can get the session instead."""
    client.create_session("tour")
    with pytest.raises(SessionExists):
        client.create_session("tour")


def test_a_session_is_given_by_id_name_or_object(client: MCPSyncClient) -> None:
    """All three mean the same."""
    session = client.create_session("tour")
    assert client.get_session("tour") == client.get_session("sessions/tour") == session
    assert client.get_session(session) == session


def test_lists_go_over_all_pages(client: MCPSyncClient) -> None:
    """A page of two is no end."""
    for number in range(5):
        client.create_session(f"s{number}", labels={"even": str(number % 2 == 0)})
    assert [s.id for s in collected(client.list_sessions(page_size=2))] == ["s0", "s1", "s2", "s3", "s4"]
    newest = collected(client.list_sessions(page_size=2, newest_first=True))
    assert [s.id for s in newest] == ["s4", "s3", "s2", "s1", "s0"]
    even = collected(client.list_sessions(labels={"even": "True"}, page_size=1))
    assert [s.id for s in even] == ["s0", "s2", "s4"]


def test_an_update_changes_only_what_it_names(client: MCPSyncClient) -> None:
    """Everything else stays."""
    session = client.create_session(
        "tour", labels={"a": "1"}, metadata={"b": 2}, system_instruction="Be brief.", ttl=60, context={"c": "3"}
    )
    changed = client.update_session(session, labels={"a": "2"})
    assert changed.labels == {"a": "2"}
    assert (changed.metadata, changed.system_instruction, changed.ttl) == ({"b": 2}, "Be brief.", 60)
    assert changed.context == session.context
    assert changed.etag != session.etag

    changed = client.update_session(session, system_instruction="", metadata={}, default_model="echo/echo", ttl=120.5)
    assert (changed.system_instruction, changed.metadata, changed.default_model) == ("", {}, "echo/echo")
    assert changed.ttl == 120.5
    assert changed.labels == {"a": "2"}


def test_a_ttl_of_none_is_the_servers_own(client: MCPSyncClient) -> None:
    """It is not the same as leaving it out."""
    session = client.create_session("tour", ttl=60)
    default = (client.create_session()).ttl
    assert (client.update_session(session, labels={})).ttl == 60
    assert (client.update_session(session, ttl=None)).ttl == default != 60


def test_context_is_set_and_removed_entry_by_entry_or_replaced(client: MCPSyncClient) -> None:
    """Each in one step."""
    session = client.create_session("tour", context={"a": "1", "b": "2"})
    changed = client.update_session(session, set_context={"c": "3"}, remove_context=["a", "no-such"])
    assert {name: entry.text for name, entry in changed.context.items()} == {"b": "2", "c": "3"}
    changed = client.update_session(session, remove_context="b")
    assert changed.context.keys() == {"c"}
    changed = client.update_session(session, context={"d": "4"})
    assert changed.context.keys() == {"d"}


def test_an_old_etag_is_refused(client: MCPSyncClient) -> None:
    """By everything that takes one, and nothing is changed."""
    old = client.create_session("tour")
    new = client.update_session(old, labels={"a": "1"}, etag=old.etag)
    for refused in (
        lambda: client.update_session(old, labels={}, etag=old.etag),
        lambda: client.append_messages(old, "Hi", etag=old.etag),
        lambda: client.delete_session(old, etag=old.etag),
    ):
        with pytest.raises(EtagMismatch):
            refused()
    assert client.get_session("tour") == new


def test_a_deleted_session_is_gone(client: MCPSyncClient) -> None:
    """Reading it is the same error as reading one that never was."""
    session = client.create_session("tour")
    client.delete_session(session, etag=session.etag)
    for missing in (
        lambda: client.get_session(session),
        lambda: client.delete_session(session),
        lambda: client.chat("Hi", session=session),
    ):
        with pytest.raises(SessionNotFound) as caught:
            missing()
        assert caught.value.metadata["session"] == "sessions/tour"
    with pytest.raises(SessionNotFound):
        collected(client.list_messages(session))


def test_every_kind_of_part_comes_back_as_it_was_sent(client: MCPSyncClient) -> None:
    """Texts, thoughts, refusals, files, tool calls and their results."""
    session = client.create_session("tour")
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
    session = client.append_messages(session, messages)
    assert session.message_count == 5

    history = collected(client.list_messages(session, page_size=2))
    assert [message.parts for message in history] == sent
    assert [message.role for message in history] == roles
    assert [message.index for message in history] == [0, 1, 2, 3, 4]
    assert all(message.id and message.create_time for message in history)


def test_texts_are_messages_of_the_user(client: MCPSyncClient) -> None:
    """One or several, mixed with whole messages."""
    session = client.create_session("tour")
    client.append_messages(session, "one")
    client.append_messages(session, ["two", Message.assistant("three")])
    client.append_messages(session, Message(role=Role.USER, parts=(Text(text="four"),), name="Ada"))
    newest = collected(client.list_messages(session, newest_first=True, page_size=3))
    assert [(m.role, m.text, m.name) for m in newest] == [
        ("user", "four", "Ada"),
        ("assistant", "three", ""),
        ("user", "two", ""),
        ("user", "one", ""),
    ]


def test_all_bad_fields_are_named_at_once(client: MCPSyncClient) -> None:
    """By their paths."""
    with pytest.raises(InvalidArgument) as caught:
        client.create_session("No Such Name!", labels={"": "x"}, ttl=-1)
    assert {"session_id", "session.ttl"} <= caught.value.violations.keys()
    assert len(caught.value.violations) == 3
    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")


def test_a_fork_goes_its_own_way(client: MCPSyncClient) -> None:
    """With the history up to where it branched off, and what was set; and it outlives its parent."""
    parent = client.create_session("tour", labels={"team": "blue"}, system_instruction="Be brief.")
    client.chat("one", session=parent)
    client.chat("two", session=parent)
    fork = client.fork_session(parent, "detour", message_count=2)
    assert (fork.id, fork.parent, fork.message_count) == ("detour", "sessions/tour", 2)
    assert (fork.labels, fork.system_instruction) == (parent.labels, "Be brief.")
    whole = client.fork_session("tour")
    client.chat("three", session=fork)
    client.delete_session(parent)
    assert [message.text for message in collected(client.list_messages(fork))] == ["one"] * 2 + ["three"] * 2
    assert [message.text for message in collected(client.list_messages(whole))] == ["one"] * 2 + ["two"] * 2
    with pytest.raises(SessionExists):
        client.fork_session(whole, "detour")
    with pytest.raises(SessionNotFound):
        client.fork_session("tour")
    with pytest.raises(InvalidArgument) as caught:
        client.fork_session(whole, message_count=5)
    assert "message_count" in caught.value.violations


def test_what_a_response_leaves_out_raises_when_it_is_read(client: MCPSyncClient) -> None:
    """So that nobody writes it back, which would delete what is stored."""
    session = client.create_session("tour", metadata={"plan": "free"}, context={"note": "remember"})
    listed = next(client.list_sessions())
    appended = client.append_messages(session, [Message.user("Hi")])
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
    for complete in (session, client.get_session(listed), client.update_session(listed, labels={"a": "b"})):
        assert (complete.metadata, complete.context["note"].text) == ({"plan": "free"}, "remember")
    forked = client.fork_session(session, "other")
    assert (forked.metadata, forked.context["note"].text) == ({"plan": "free"}, "remember")


def test_a_session_that_was_listed_is_a_value_all_the_same(client: MCPSyncClient) -> None:
    """It can be printed, compared, copied and sent to another process."""
    session = client.create_session("tour", metadata={"plan": "free"})
    (listed,) = list(client.list_sessions())
    assert "metadata=<left out>" in repr(listed)
    assert "metadata={'plan': 'free'}" in repr(session)
    assert listed == next(client.list_sessions())
    assert listed != session
    assert session == client.get_session(listed)
    for again in (copy.copy(listed), copy.deepcopy(listed), pickle.loads(pickle.dumps(listed))):  # noqa: S301  # its own
        assert again == listed
        with pytest.raises(RuntimeError, match="the metadata of sessions/tour was left out"):
            _ = again.metadata
    assert pickle.loads(pickle.dumps(session)) == session  # noqa: S301  # its own


def test_lists_are_read_page_by_page(client: MCPSyncClient) -> None:
    """From the token of the page before, also with another iterator; or item by item."""
    session = client.create_session()
    client.append_messages(session, [str(number) for number in range(5)])
    first = client.list_messages(session, page_size=2).page()
    assert [message.text for message in first.items] == ["0", "1"]
    rest = client.list_messages(session, page_size=2, page_token=first.next_page_token)
    assert (next(rest)).text == "2"
    page = rest.page()
    assert ([message.text for message in page.items], bool(page.next_page_token)) == (["3"], True)
    page = rest.page()
    assert ([message.text for message in page.items], page.next_page_token) == (["4"], "")
    assert (rest.page()).items == ()
    assert [message.text for message in rest] == []
    sessions = client.list_sessions(page_size=1).page()
    assert [each.name for each in sessions.items] == [session.name]


def test_a_page_token_of_another_list_is_refused(client: MCPSyncClient) -> None:
    """By the server, which knows it."""
    with pytest.raises(InvalidArgument) as caught:
        client.list_sessions(page_token="x").page()
    assert "page_token" in caught.value.violations
