# Generated from tests/client/test_limits.py by scripts/generate: edit that file.

"""What is large, long, slow, or over, through the client."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mcp_client import InvalidArgument, MCPSyncClient, Message, Role, SessionNotFound
from mcp_server.interfaces import Finish
from tests.client.blocking.beside import ScriptedProvider, running, sleep
from tests.client.blocking.conftest import Connect

SECOND = 1_000_000_000


def texts(client: MCPSyncClient, session: str) -> list[str]:
    return [message.text for message in client.list_messages(session)]


def test_large_messages_come_page_by_page(client: MCPSyncClient) -> None:
    """A history far larger than what one response may hold is read without a word about it, from either end."""
    client.create_session("tour")
    for number in range(6):
        client.append_messages("tour", f"{number}" * 2_000_000)
    assert [text[0] for text in texts(client, "tour")] == list("012345")
    newest = client.list_messages("tour", newest_first=True)
    assert [message.text[-1] for message in newest] == list("543210")


def test_a_list_may_be_left_early(client: MCPSyncClient) -> None:
    """Whoever has found what they looked for leaves, and the client is as good as before."""
    for number in range(4):
        client.create_session(f"s{number}")
    for session in client.list_sessions(page_size=1):
        if session.id == "s1":
            break
    assert len(list(client.list_sessions())) == 4


def test_all_or_none_of_the_messages_are_kept(client: MCPSyncClient) -> None:
    """One bad message among good ones leaves the history as it was, and is named."""
    client.create_session("tour")
    with pytest.raises(InvalidArgument) as caught:
        client.append_messages("tour", ["good", Message(role=Role.USER, parts=())])
    assert [field for field in caught.value.violations if field.startswith("messages[1]")]
    assert texts(client, "tour") == []


def test_a_name_can_be_used_again_after_its_session(client: MCPSyncClient) -> None:
    """What the old one held is not in the new one, and others are left alone."""
    for name in ("tour", "other"):
        client.create_session(name)
        client.chat("Hello", session=name)
    client.delete_session("tour")
    assert texts(client, "other") == ["Hello", "Hello"]
    client.create_session("tour")
    assert texts(client, "tour") == []


def test_a_session_lives_from_use_to_use() -> None:
    """Each chat begins its time anew; reading does not; and what is over is not found."""
    now = 1_800_000_000 * SECOND
    provider = ScriptedProvider.saying("ok")
    with (
        running(providers={"scripted": provider}, clock=lambda: now) as server,
        MCPSyncClient(server.address) as client,
    ):
        session = client.create_session("tour", ttl=10)
        now += 9 * SECOND
        client.chat("Hi", session=session)
        now += 9 * SECOND
        assert (client.get_session(session)).expire_time == datetime.fromtimestamp(1_800_000_019, UTC)
        now += 2 * SECOND
        for call in (lambda: client.get_session(session), lambda: client.chat("Hi", session=session)):
            with pytest.raises(SessionNotFound):
                call()
        assert list(client.list_sessions()) == []


def test_the_model_is_the_calls_then_the_sessions_then_the_servers() -> None:
    """The first of them that is named."""
    one, two = ScriptedProvider.saying("one"), ScriptedProvider.saying("two")
    with running(providers={"one": one, "two": two}) as server, MCPSyncClient(server.address) as client:
        client.create_session("tour", default_model="two/scripted")
        assert (client.chat("Hi")).text == "one"
        assert (client.chat("Hi", session="tour")).text == "two"
        assert (client.chat("Hi", session="tour", model="one/scripted")).text == "one"


def test_a_long_answer_comes_whole_to_a_slow_reader(connect: Connect) -> None:
    """Far more pieces than any buffer holds, in order; the model does not wait for who reads."""
    pieces = [f"{number:05d} " for number in range(20_000)]
    client = connect(ScriptedProvider([*pieces, Finish()]))
    read: list[str] = []
    with client.stream_chat("Hi") as stream:
        for token in stream:
            read.append(token)
            sleep(0.001)
        assert stream.text == "".join(read) == "".join(pieces)
    assert len(read) < len(pieces)
