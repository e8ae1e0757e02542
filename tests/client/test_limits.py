"""What is large, long, slow, or over, through the client."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mcp_client import InvalidArgument, MCPClient, Message, Role, SessionNotFound
from mcp_server.interfaces import Finish
from tests.client.beside import ScriptedProvider, running, sleep
from tests.client.conftest import Connect

SECOND = 1_000_000_000


async def texts(client: MCPClient, session: str) -> list[str]:
    return [message.text async for message in client.list_messages(session)]


async def test_large_messages_come_page_by_page(client: MCPClient) -> None:
    """A history far larger than what one response may hold is read without a word about it, from either end."""
    await client.create_session("tour")
    for number in range(6):
        await client.append_messages("tour", f"{number}" * 2_000_000)
    assert [text[0] for text in await texts(client, "tour")] == list("012345")
    newest = client.list_messages("tour", newest_first=True)
    assert [message.text[-1] async for message in newest] == list("543210")


async def test_a_list_may_be_left_early(client: MCPClient) -> None:
    """Whoever has found what they looked for leaves, and the client is as good as before."""
    for number in range(4):
        await client.create_session(f"s{number}")
    async for session in client.list_sessions(page_size=1):
        if session.id == "s1":
            break
    assert len([session async for session in client.list_sessions()]) == 4


async def test_all_or_none_of_the_messages_are_kept(client: MCPClient) -> None:
    """One bad message among good ones leaves the history as it was, and is named."""
    await client.create_session("tour")
    with pytest.raises(InvalidArgument) as caught:
        await client.append_messages("tour", ["good", Message(role=Role.USER, parts=())])
    assert [field for field in caught.value.violations if field.startswith("messages[1]")]
    assert await texts(client, "tour") == []


async def test_a_name_can_be_used_again_after_its_session(client: MCPClient) -> None:
    """What the old one held is not in the new one, and others are left alone."""
    for name in ("tour", "other"):
        await client.create_session(name)
        await client.chat("Hello", session=name)
    await client.delete_session("tour")
    assert await texts(client, "other") == ["Hello", "Hello"]
    await client.create_session("tour")
    assert await texts(client, "tour") == []


async def test_a_session_lives_from_use_to_use() -> None:
    """Each chat begins its time anew; reading does not; and what is over is not found."""
    now = 1_800_000_000 * SECOND
    provider = ScriptedProvider.saying("ok")
    async with (
        running(providers={"scripted": provider}, clock=lambda: now) as server,
        MCPClient(server.address) as client,
    ):
        session = await client.create_session("tour", ttl=10)
        now += 9 * SECOND
        await client.chat("Hi", session=session)
        now += 9 * SECOND
        assert (await client.get_session(session)).expire_time == datetime.fromtimestamp(1_800_000_019, UTC)
        now += 2 * SECOND
        for call in (lambda: client.get_session(session), lambda: client.chat("Hi", session=session)):
            with pytest.raises(SessionNotFound):
                await call()
        assert [session async for session in client.list_sessions()] == []


async def test_the_model_is_the_calls_then_the_sessions_then_the_servers() -> None:
    """The first of them that is named."""
    one, two = ScriptedProvider.saying("one"), ScriptedProvider.saying("two")
    async with running(providers={"one": one, "two": two}) as server, MCPClient(server.address) as client:
        await client.create_session("tour", default_model="two/scripted")
        assert (await client.chat("Hi")).text == "one"
        assert (await client.chat("Hi", session="tour")).text == "two"
        assert (await client.chat("Hi", session="tour", model="one/scripted")).text == "one"


async def test_a_long_answer_comes_whole_to_a_slow_reader(connect: Connect) -> None:
    """Far more pieces than any buffer holds, in order; the model does not wait for who reads."""
    pieces = [f"{number:05d} " for number in range(20_000)]
    client = await connect(ScriptedProvider([*pieces, Finish()]))
    read: list[str] = []
    async with client.stream_chat("Hi") as stream:
        async for token in stream:
            read.append(token)
            await sleep(0.001)
        assert stream.text == "".join(read) == "".join(pieces)
    assert len(read) < len(pieces)
