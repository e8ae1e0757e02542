"""SessionService over the wire."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2, field_mask_pb2, struct_pb2

from contextprotocol.v1 import chat_pb2, context_pb2, message_pb2, session_pb2
from mcp_server.api.paging import PageTokens
from mcp_server.interfaces import Finish
from mcp_server.rules import Violations
from mcp_server.testing import Gate, ScriptedProvider
from tests.conftest import Serve
from tests.wire import Refused, Wire, text_of, user

SECOND = 1_000_000_000


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


def struct(**fields: Any) -> struct_pb2.Struct:
    result = struct_pb2.Struct()
    result.update(fields)
    return result


def text_entry(text: str, **fields: object) -> context_pb2.ContextEntry:
    return context_pb2.ContextEntry(type="text", text=text, **fields)  # type: ignore[arg-type]  # passed through


async def test_a_session_comes_back_as_it_was_created(wire: Wire) -> None:
    """Every field that a caller sets is kept."""
    fields: dict[str, Any] = {
        "labels": {"team": "blue"},
        "metadata": struct(n=1, half=0.5, ok=True, none=None, list=[1, "two"], nested={"a": "b"}),
        "system_instruction": "Answer in French.",
        "default_model": "echo",
        "ttl": duration_pb2.Duration(seconds=60),
        "context": {
            "name": text_entry("Ada"),
            "facts": context_pb2.ContextEntry(type="json", json=struct_pb2.Value(string_value="x")),
            "kept": text_entry("secret", visibility=context_pb2.ContextEntry.VISIBILITY_STORED),
        },
    }
    created = await wire.create(**fields)
    got = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    assert got == created
    assert got.name == "sessions/tour"
    assert got.uid and got.etag
    assert got.labels == {"team": "blue"}
    assert got.metadata == fields["metadata"]
    assert got.system_instruction == "Answer in French."
    assert got.ttl.seconds == 60
    assert got.expire_time.ToNanoseconds() - got.create_time.ToNanoseconds() == 60 * SECOND
    assert got.context["name"].text == "Ada"
    assert got.context["name"].visibility == context_pb2.ContextEntry.VISIBILITY_PROMPT
    assert got.context["facts"].json.string_value == "x"
    assert got.context["kept"].visibility == context_pb2.ContextEntry.VISIBILITY_STORED


async def test_the_server_chooses_an_id_when_the_caller_does_not(wire: Wire) -> None:
    """Two sessions without an id get two names."""
    first, second = await wire.create(""), await wire.create("")
    assert first.name != second.name
    assert first.name.startswith("sessions/s")


async def test_an_id_can_be_taken_once(wire: Wire) -> None:
    """A second session of the same id is refused, and the first stays."""
    await wire.create(system_instruction="first")
    with Refused() as refused:
        await wire.create(system_instruction="second")
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SESSION_EXISTS")
    got = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    assert got.system_instruction == "first"


async def test_lists_are_paged_filtered_and_ordered(wire: Wire) -> None:
    """Pages follow one another without gap or repetition, in both directions."""
    names = [(await wire.create(f"s{index}", labels={"even": str(index % 2 == 0)})).name for index in range(7)]

    async def listed(**fields: object) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            page = await wire.sessions.ListSessions(
                session_pb2.ListSessionsRequest(page_size=2, page_token=token, **fields)  # type: ignore[arg-type]  # passed through
            )
            assert len(page.sessions) <= 2
            found += [session.name for session in page.sessions]
            token = page.next_page_token
            if not token:
                return found

    assert await listed() == names
    assert await listed(newest_first=True) == names[::-1]
    assert await listed(labels={"even": "True"}) == names[::2]
    assert await listed(labels={"even": "True", "odd": "x"}) == []


async def test_a_page_token_belongs_to_its_list(wire: Wire) -> None:
    """A token that was changed, or that is sent with another query, is refused."""
    for index in range(3):
        await wire.create(f"s{index}")
    page = await wire.sessions.ListSessions(session_pb2.ListSessionsRequest(page_size=1))
    token = page.next_page_token
    for bad in (token[:-2] + "zz", "x", "é", "A" * 5000):
        with Refused() as refused:
            await wire.sessions.ListSessions(session_pb2.ListSessionsRequest(page_size=1, page_token=bad))
        assert "page_token" in refused.violations
    with Refused() as refused:
        await wire.sessions.ListSessions(session_pb2.ListSessionsRequest(page_token=token, newest_first=True))
    assert "page_token" in refused.violations


async def test_a_page_token_cannot_be_made_without_the_key() -> None:
    """Not by who knows how tokens are made; those of a server that is restarted with its key stay valid."""
    key = bytes(range(32))
    token = PageTokens(key).token((5, "u"), "sessions", "ann")
    found = Violations()
    assert PageTokens(key).position(found, token, tuple[int, str], "sessions", "ann") == (5, "u")
    assert not found
    for tokens, query in (
        (PageTokens(key[::-1]), ("sessions", "ann")),
        (PageTokens(key), ("sessions", "bob")),
        (PageTokens(), ("sessions", "ann")),
    ):
        assert tokens.position(found := Violations(), token, tuple[int, str], *query) is None
        assert [violation.field for violation in found] == ["page_token"]


async def test_tokens_that_end_with_the_server_say_so() -> None:
    """The caller lists from the first page again."""
    for tokens, said in ((PageTokens(), True), (PageTokens(bytes(32)), False)):
        tokens.position(found := Violations(), "AAAA", int, "messages")
        (violation,) = found
        assert ("if the server was restarted" in violation.description) is said


async def test_an_update_changes_what_its_mask_names(wire: Wire) -> None:
    """Fields that the mask does not name stay; the etag changes."""
    old = await wire.create(labels={"a": "1"}, system_instruction="old", context={"x": text_entry("1")})
    request = session_pb2.UpdateSessionRequest(
        session=session_pb2.Session(name=old.name, system_instruction="new", labels={"b": "2"}, etag=old.etag),
        update_mask=field_mask_pb2.FieldMask(paths=["system_instruction"]),
        set_context={"y": text_entry("2")},
        remove_context=["x", "never"],
    )
    new = await wire.sessions.UpdateSession(request)
    assert new.system_instruction == "new"
    assert new.labels == {"a": "1"}
    assert set(new.context) == {"y"}
    assert new.etag != old.etag
    with Refused() as refused:
        await wire.sessions.UpdateSession(request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_an_update_clears_what_is_named_and_unset(wire: Wire) -> None:
    """A mask without a value empties the field."""
    await wire.create(labels={"a": "1"}, ttl=duration_pb2.Duration(seconds=5), metadata=struct(a=1))
    new = await wire.sessions.UpdateSession(
        session_pb2.UpdateSessionRequest(
            session=session_pb2.Session(name="sessions/tour"),
            update_mask=field_mask_pb2.FieldMask(paths=["labels", "ttl", "metadata"]),
        )
    )
    assert not new.labels
    assert not new.HasField("ttl")
    assert not new.HasField("expire_time")
    assert not new.HasField("metadata")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"update_mask": field_mask_pb2.FieldMask(paths=["uid"])}, "update_mask"),
        ({}, "update_mask"),
        (
            {
                "update_mask": field_mask_pb2.FieldMask(paths=["context"]),
                "set_context": {"a": text_entry("x")},
            },
            "update_mask",
        ),
        ({"set_context": {"bad name": text_entry("x")}}, "set_context['bad name']"),
        ({"set_context": {"a": context_pb2.ContextEntry(type="video", text="x")}}, "set_context['a'].type"),
        ({"set_context": {"a": context_pb2.ContextEntry(type="json", text="x")}}, "set_context['a']"),
    ],
)
async def test_a_bad_update_is_refused(wire: Wire, fields: dict[str, object], where: str) -> None:
    """The violation names the field, and nothing has changed."""
    old = await wire.create()
    with Refused() as refused:
        await wire.sessions.UpdateSession(
            session_pb2.UpdateSessionRequest(session=session_pb2.Session(name=old.name), **fields)  # type: ignore[arg-type]  # passed through
        )
    assert where in refused.violations
    assert await wire.sessions.GetSession(session_pb2.GetSessionRequest(name=old.name)) == old


async def test_an_unknown_context_type_is_answered_with_the_known_ones(wire: Wire) -> None:
    """The caller learns what would have been right."""
    with Refused() as refused:
        await wire.create(context={"a": context_pb2.ContextEntry(type="video", text="x")})
    assert "document, json, text" in refused.violations["session.context['a'].type"]


async def test_the_context_has_limits_as_a_whole(wire: Wire) -> None:
    """1 MiB and 256 entries hold also for what is added piece by piece."""
    await wire.create(context={"a": text_entry("x" * 600_000)})
    with Refused() as refused:
        await wire.sessions.UpdateSession(
            session_pb2.UpdateSessionRequest(
                session=session_pb2.Session(name="sessions/tour"), set_context={"b": text_entry("x" * 600_000)}
            )
        )
    assert "set_context" in refused.violations
    with Refused() as refused:
        await wire.create("other", context={f"c{index}": text_entry("") for index in range(257)})
    assert "session.context" in refused.violations


async def test_a_context_of_json_still_fits_a_response(wire: Wire) -> None:
    """The limit goes by the size on the wire, where a small number takes a dozen bytes."""
    await wire.create()
    numbers = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[struct_pb2.Value(number_value=1)] * 60_000))
    for index in range(4):
        request = session_pb2.UpdateSessionRequest(
            session=session_pb2.Session(name="sessions/tour"),
            set_context={f"n{index}": context_pb2.ContextEntry(type="json", json=numbers)},
        )
        if index == 0:
            await wire.sessions.UpdateSession(request)
            continue
        with Refused() as refused:
            await wire.sessions.UpdateSession(request)
        assert "set_context" in refused.violations
    got = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    assert got.ByteSize() < 3_500_000


async def test_a_deleted_session_is_gone(wire: Wire) -> None:
    """Its history goes with it, and its name is free."""
    await wire.create()
    await wire.say("hello")
    await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour"))
    for call in (
        wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour")),
        wire.sessions.ListMessages(session_pb2.ListMessagesRequest(parent="sessions/tour")),
        wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour")),
        wire.say("hello"),
    ):
        with Refused() as refused:
            await call
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
        assert refused.metadata["session"] == "sessions/tour"
    await wire.create()
    assert await wire.history() == []


async def test_a_delete_with_an_old_etag_is_refused(wire: Wire) -> None:
    """The session stays."""
    old = await wire.create()
    await wire.say("hello")
    with Refused() as refused:
        await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=old.name, etag=old.etag))
    assert refused.reason == "ETAG_MISMATCH"
    assert len(await wire.history()) == 2


async def test_a_session_deleted_in_mid_turn_ends_the_turn(serve: Serve) -> None:
    """The reader ends NOT_FOUND, and the provider is stopped."""
    gate = Gate()
    provider = ScriptedProvider(["one", gate, "two"])
    wire = await serve(providers={"scripted": provider})
    await wire.create()
    stream = wire.chat.StreamChat(session_chat("hello"))
    await gate.reached.wait()
    await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour"))
    with Refused() as refused:
        async for _ in stream:
            pass
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    assert provider.cancelled == 1


async def test_appended_messages_become_history(serve: Serve) -> None:
    """An imported conversation reaches the model in order."""
    provider = ScriptedProvider.saying("fine")
    wire = await serve(providers={"scripted": provider})
    old = await wire.create()
    answer = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=[message_pb2.Part(text="hi")])
    response = await wire.sessions.AppendMessages(
        session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user("hello"), answer], etag=old.etag)
    )
    assert response.first_index == 0
    assert response.session.message_count == 2
    assert response.session.etag != old.etag
    await wire.say("how are you?")
    assert [m.text for m in provider.requests[0].messages] == ["hello", "hi", "how are you?"]
    assert [text for _, text in await wire.history()] == ["hello", "hi", "how are you?", "fine"]


async def test_appending_to_a_busy_session_is_refused(serve: Serve) -> None:
    """The error names the turn that runs, and the session shows it."""
    gate = Gate()
    wire = await serve(providers={"scripted": ScriptedProvider(["one", gate])})
    await wire.create()
    stream = wire.chat.StreamChat(session_chat("hello"))
    started = (await stream.read()).started
    await gate.reached.wait()
    with Refused() as refused:
        await wire.sessions.AppendMessages(
            session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user("x")])
        )
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "SESSION_BUSY")
    assert refused.metadata["turn"] == started.turn
    got = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    assert got.active_turn == started.turn
    stream.cancel()


async def test_messages_are_listed_in_pages_from_either_end(wire: Wire) -> None:
    """Pages follow one another without gap or repetition."""
    await wire.create()
    await wire.sessions.AppendMessages(
        session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user(str(n)) for n in range(45)])
    )
    for newest_first in (False, True):
        texts: list[str] = []
        token = ""
        while True:
            page = await wire.sessions.ListMessages(
                session_pb2.ListMessagesRequest(
                    parent="sessions/tour", page_size=20, page_token=token, newest_first=newest_first
                )
            )
            texts += [text_of(message) for message in page.messages]
            token = page.next_page_token
            if not token:
                break
        expected = [str(n) for n in range(45)]
        assert texts == (expected[::-1] if newest_first else expected)


async def test_a_page_of_messages_is_cut_by_bytes(wire: Wire) -> None:
    """A response stays under what every client takes."""
    await wire.create()
    for _ in range(3):
        await wire.sessions.AppendMessages(
            session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user("x" * 1_500_000)] * 2)
        )
    sizes, token = [], ""
    while True:
        page = await wire.sessions.ListMessages(
            session_pb2.ListMessagesRequest(parent="sessions/tour", page_token=token)
        )
        assert page.ByteSize() <= 3_500_000
        sizes.append(len(page.messages))
        token = page.next_page_token
        if not token:
            break
    assert sizes == [2, 2, 2]


async def test_a_session_expires_to_the_nanosecond(serve: Serve) -> None:
    """It is found until its time, and not at its time, whether it was swept or not."""
    clock = Clock()
    wire = await serve(clock=clock)
    await wire.create(ttl=duration_pb2.Duration(seconds=10))
    clock.now += 10 * SECOND - 1
    await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    clock.now += 1
    with Refused() as refused:
        await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    assert refused.reason == "SESSION_NOT_FOUND"
    assert not (await wire.sessions.ListSessions(session_pb2.ListSessionsRequest())).sessions
    await wire.create()


async def test_use_renews_the_ttl_and_reading_does_not(serve: Serve) -> None:
    """Turns, updates, appends and embeddings count as use."""
    clock = Clock()
    wire = await serve(clock=clock)
    session = await wire.create(ttl=duration_pb2.Duration(seconds=10))

    async def expires() -> float:
        got = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
        return float(got.expire_time.ToNanoseconds() - clock.now) / SECOND

    clock.advance(4)
    assert await expires() == 6
    await wire.say("hello")
    assert await expires() == 10
    clock.advance(4)
    await wire.sessions.AppendMessages(session_pb2.AppendMessagesRequest(parent=session.name, messages=[user("x")]))
    assert await expires() == 10
    clock.advance(4)
    await wire.sessions.UpdateSession(
        session_pb2.UpdateSessionRequest(
            session=session_pb2.Session(name=session.name), set_context={"a": text_entry("x")}
        )
    )
    assert await expires() == 10


async def test_a_running_turn_prevents_expiry(serve: Serve) -> None:
    """The session lives until the turn has ended, which renews it."""
    clock, gate = Clock(), Gate()
    provider = ScriptedProvider(["one", gate, "two", Finish()])
    wire = await serve(providers={"scripted": provider}, clock=clock)
    await wire.create(ttl=duration_pb2.Duration(seconds=10))
    stream = wire.chat.StreamChat(session_chat("hello"))
    await gate.reached.wait()
    clock.advance(60)
    await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    gate.open()
    assert [event async for event in stream][-1].HasField("completed")
    clock.advance(9)
    assert len(await wire.history()) == 2


def session_chat(text: str) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(session="sessions/tour", messages=[user(text)])
