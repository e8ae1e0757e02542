"""Restarts, kills and sweeps, on the store that people run."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf import duration_pb2

from contextprotocol.v1 import chat_pb2, session_pb2
from mcp_server.errors import ConfigError
from mcp_server.settings import Config, SessionSettings
from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import ScriptedProvider, running
from tests.conftest import Serve
from tests.killable import Killable
from tests.wire import Refused, Wire, user

KILLS = 20


def on_disk(path: Path, **tables: Any) -> Config:
    return msgspec.structs.replace(
        settings(default_model="echo/echo"), store=SQLiteSettings(path=path / "sessions.db"), **tables
    )


async def test_a_conversation_outlives_its_server(serve: Serve, tmp_path: Path) -> None:
    """Stop, start, and go on."""
    first = await serve(on_disk(tmp_path), providers={"echo": ScriptedProvider.saying("hello")})
    created = await first.create(labels={"a": "b"}, system_instruction="Be brief.")
    await first.say("My name is Ada.", model="echo/scripted")
    await first.server.stop(grace=0)
    provider = ScriptedProvider.saying("Ada")
    second = await serve(on_disk(tmp_path), providers={"echo": provider})
    await second.say("Who am I?", model="echo/scripted")
    assert [message.text for message in provider.requests[0].messages] == [
        "Be brief.",
        "My name is Ada.",
        "hello",
        "Who am I?",
    ]
    got = await second.sessions.GetSession(session_pb2.GetSessionRequest(name=created.name))
    assert (got.uid, got.labels, got.message_count) == (created.uid, {"a": "b"}, 4)


async def test_a_second_server_on_the_same_file_does_not_start(tmp_path: Path) -> None:
    """It says which file, and the first goes on."""
    async with running(on_disk(tmp_path), providers={"echo": ScriptedProvider.saying("x")}):
        with pytest.raises(ConfigError, match=r"sessions\.db"):
            async with running(on_disk(tmp_path)):
                pass


async def test_a_second_server_on_the_same_port_does_not_start() -> None:
    """It names the setting and the address."""
    async with running() as server:
        config = msgspec.structs.replace(
            settings(), server=msgspec.structs.replace(settings().server, address=server.address)
        )
        with pytest.raises(ConfigError, match=rf"server\.address.*{server.address}"):
            async with running(config):
                pass


async def test_the_sweep_deletes_what_has_expired_and_says_how_many(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the background, without being asked; what lives on is not touched."""
    config = on_disk(tmp_path, sessions=SessionSettings(sweep_interval=1))
    wire = await serve(config, providers={"echo": ScriptedProvider.saying("x")})
    for number in range(3):
        await wire.create(f"brief-{number}", ttl=duration_pb2.Duration(seconds=1))
    await wire.create("lasting")
    deleted = 0
    async with asyncio.timeout(10):
        while deleted < 3:
            await asyncio.sleep(0.05)
            deleted += sum(map(int, re.findall(r"expired sessions deleted +sessions=(\d+)", capsys.readouterr().out)))
    assert deleted == 3
    listed = await wire.sessions.ListSessions(session_pb2.ListSessionsRequest())
    assert [session.name for session in listed.sessions] == ["sessions/lasting"]


async def test_a_turn_that_died_with_its_server_leaves_the_session_free(serve: Serve, tmp_path: Path) -> None:
    """The history is as it was before the turn."""
    async with Killable(tmp_path) as server:
        wire = server.wire
        await wire.create()
        stream = wire.chat.StreamChat(
            chat_pb2.ChatRequest(session="sessions/tour", messages=[user("x")], model="slow/scripted")
        )
        await stream.read()
        server.kill()
        with Refused() as refused:
            while await stream.read() is not grpc.aio.EOF:
                pass  # what had been sent before the end
        assert refused.code is grpc.StatusCode.UNAVAILABLE
    async with Killable(tmp_path) as server:
        got = await server.wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
        assert (got.message_count, got.active_turn) == (0, "")
        await server.wire.say("again")
        assert await server.wire.history() == [("USER", "again"), ("ASSISTANT", "again")]


@pytest.mark.timeout(300)
async def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    """Under load, at a random moment, many times: what was answered is there, whole, and in order."""
    generator = random.Random(5)  # noqa: S311  # no secret
    answered: dict[str, list[str]] = {}
    sent: dict[str, set[str]] = {}
    callers = [f"caller-{number}" for number in range(8)]

    async def call(wire: Wire, name: str, life: int) -> None:
        number = 0
        try:
            if name not in answered:
                await wire.create(name)
                answered[name], sent[name] = [], set()
            while True:
                text = f"{life}.{number}"
                sent[name].add(text)
                await wire.say(text, f"sessions/{name}")
                answered[name].append(text)
                number += 1
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.ALREADY_EXISTS:  # created, and killed before the answer
                answered[name], sent[name] = [], set()
            elif error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise

    for life in range(KILLS):
        async with Killable(tmp_path) as server:
            for name in answered:
                history = [text for _, text in await whole_history(server.wire, name)]
                questions, answers = history[::2], history[1::2]
                assert questions == answers, "half an exchange"
                assert len(set(questions)) == len(questions), "an exchange twice"
                assert set(questions) <= sent[name]
                assert [text for text in questions if text in set(answered[name])] == answered[name], "lost or moved"
                session = await server.wire.sessions.GetSession(session_pb2.GetSessionRequest(name=f"sessions/{name}"))
                assert (session.message_count, session.active_turn) == (len(history), "")
            tasks = [asyncio.create_task(call(server.wire, name, life)) for name in callers]
            await asyncio.sleep(0.05 + 0.15 * generator.random())
            server.kill()
            await asyncio.gather(*tasks)
    assert sum(map(len, answered.values())) > 10 * KILLS


async def whole_history(wire: Wire, name: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    token = ""
    while True:
        page = await wire.sessions.ListMessages(
            session_pb2.ListMessagesRequest(parent=f"sessions/{name}", page_size=1000, page_token=token)
        )
        found += [(str(message.role), "".join(part.text for part in message.parts)) for message in page.messages]
        token = page.next_page_token
        if not token:
            return found
