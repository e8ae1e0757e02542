"""How ``mcp-client`` selects, changes, saves and restores sessions, and what it sends with a message."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mcp_client import Blob, ContextEntry, MCPClient, Message, Role, Text, ToolCall, ToolResult
from mcp_server import values
from mcp_server.interfaces import Finish
from mcp_server.testing import ScriptedProvider, running
from mcp_server.values import Capabilities, Model
from tests.client.command_line import mcp_client

pytestmark = pytest.mark.usefixtures("log_apart")

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
ABLE = Model(name="scripted", capabilities=Capabilities(chat=True, completion=True, images=True, json_schema=True))
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what the program keeps for its user."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "contextprotocol"


async def test_sessions_are_selected_by_their_beginning_and_as_the_last_one(state: Path) -> None:
    """Where exactly one session begins so, and where one was used from here."""
    async with running() as server, MCPClient(server.address) as client:
        assert "sessions list" in (await mcp_client(server, "sessions", "show", "--last")).err
        for name in ("tour", "tour-two", "museum"):
            await client.create_session(name)
        assert json.loads((await mcp_client(server, "sessions", "show", "mus")).out)["name"] == "sessions/museum"
        assert json.loads((await mcp_client(server, "sessions", "show", "tour")).out)["name"] == "sessions/tour"
        several = await mcp_client(server, "sessions", "show", "to")
        assert (several.status, several.err) == (2, "mcp-client: to is the beginning of 2 names: tour, tour-two\n")
        assert (await mcp_client(server, "sessions", "show", "x")).status == 1
        assert (await mcp_client(server, "sessions", "show")).status == 2

        assert (await mcp_client(server, "chat", "--session", "museum", "Hi")).status == 0
        assert (await mcp_client(server, "chat", "--last", "More")).out == "More\n"
        assert (await mcp_client(server, "sessions", "messages", "@last", "--limit", "1")).out == "assistant: More\n"
        assert (await mcp_client(server, "turns", "list", "--last")).out.count("sessions/museum") == 2
        assert (await mcp_client(server, "chat", "--session", "@last", "Less")).out == "Less\n"
        both = await mcp_client(server, "chat", "--last", "--session", "tour", "Hi")
        assert (both.status, "--last and --session" in both.err) == (2, True)
        assert (state / "last_sessions.json").stat().st_mode & 0o777 == 0o600


async def test_a_deletion_goes_on_after_a_miss() -> None:
    """The others are deleted, and the status tells of the miss."""
    async with running() as server, MCPClient(server.address) as client:
        for name in ("one", "two", "three"):
            await client.create_session(name)
        ran = await mcp_client(server, "sessions", "delete", "one", "nosuch", "two")
        assert (ran.status, ran.out) == (1, "")
        assert re.fullmatch(r"mcp-client: .*nosuch.*\n", ran.err)
        ran = await mcp_client(server, "sessions", "delete", "--json", "nosuch", "three")
        assert [(each["name"], each["deleted"]) for each in json.loads(ran.out)] == [
            ("nosuch", False),
            ("sessions/three", True),
        ]
        assert [session async for session in client.list_sessions()] == []


async def test_a_session_is_updated() -> None:
    """Only what is given; labels one by one."""
    async with running() as server, MCPClient(server.address) as client:
        await client.create_session("tour", labels={"a": "1", "b": "2"}, system_instruction="Be brief.")
        options = ["--label", "c=3", "--remove-label", "a", "--ttl", "60", "--model", "echo"]
        assert (await mcp_client(server, "sessions", "update", "tour", *options)).status == 0
        session = await client.get_session("tour")
        assert (session.labels, session.ttl, session.default_model) == ({"b": "2", "c": "3"}, 60, "echo")
        assert session.system_instruction == "Be brief."
        ran = await mcp_client(server, "sessions", "update", "tour", "--no-ttl", "--system", "", "--json")
        assert json.loads(ran.out)["system_instruction"] == ""
        assert (await client.get_session("tour")).ttl is None
        for wrong in ([], ["--ttl", "1", "--no-ttl"], ["--label", "x"]):
            assert (await mcp_client(server, "sessions", "update", "tour", *wrong)).status == 2


async def test_the_settings_of_chat_belong_to_a_new_session() -> None:
    """An existing one keeps its own, and says how to change it."""
    async with running() as server:
        first = await mcp_client(server, "chat", "--session", "tour", "--system", "Be brief.", "Hi")
        assert (first.status, first.err) == (0, "new session tour\n")
        again = await mcp_client(server, "chat", "--session", "tour", "--system", "Be brief.", "Hi")
        assert (again.status, again.err) == (0, "")
        other = await mcp_client(server, "chat", "--session", "tour", "--system", "Be long.", "Hi")
        assert (other.status, other.out) == (2, "")
        assert "mcp-client sessions update tour --system TEXT" in other.err
        other = await mcp_client(server, "chat", "--last", "--ttl", "60", "Hi")
        assert (other.status, other.out) == (2, "")
        assert "mcp-client sessions update tour --ttl SECONDS" in other.err


async def test_the_session_of_a_pipe_does_not_stay() -> None:
    """Unless it has a name, or a ttl of its own."""
    async with running() as server, MCPClient(server.address) as client:
        for options, ttl in (([], 24 * 3600), (["--ttl", "60"], 60), (["--session", "tour"], None)):
            ran = await mcp_client(server, "chat", *options, stdin=b"Hi")
            session = await client.get_session(re.findall(r"session (\S+)", ran.err)[0])
            assert session.ttl == ttl or (ttl is None and session.ttl != 24 * 3600), session


async def test_a_session_is_exported_and_imported() -> None:
    """With all its parts, its context and its settings; also as a text for people."""
    history = [
        Message(role=Role.USER, name="ada", parts=[Text(text="What is this?"), Blob(mime_type="image/png", data=PNG)]),
        Message(role=Role.ASSISTANT, parts=[ToolCall(id="1", name="look", arguments_json='{"x":1}')]),
        Message.tool(ToolResult(tool_call_id="1", parts=[Text(text="a cat")], is_error=True)),
        Message.assistant("A cat."),
    ]
    async with running() as server, MCPClient(server.address) as client:
        await client.create_session(
            "tour",
            system_instruction="Be brief.",
            labels={"a": "b"},
            metadata={"n": [1]},
            context={"place": ContextEntry(text="Rome"), "raw": ContextEntry(type="json", json={"a": None})},
            ttl=60,
        )
        await client.append_messages("tour", history)
        exported = await mcp_client(server, "sessions", "export", "tour")
        assert (await mcp_client(server, "sessions", "import", "-", stdin=exported.out.encode())).status == 1  # exists
        ran = await mcp_client(server, "sessions", "import", "-", "copy", stdin=exported.out.encode())
        assert (ran.status, ran.out) == (0, "copy\n")
        before, after = await client.get_session("tour"), await client.get_session("copy")
        for name in ("system_instruction", "labels", "metadata", "context", "ttl", "message_count"):
            assert getattr(after, name) == getattr(before, name), name
        messages = [message async for message in client.list_messages("copy")]
        assert [(each.role, each.name) for each in messages] == [(each.role, each.name) for each in history]
        assert [list(each.parts) for each in messages] == [
            list(each.parts) async for each in client.list_messages("tour")
        ]
        markdown = (await mcp_client(server, "sessions", "export", "tour", "--markdown")).out
        assert "## system\n\nBe brief.\n\n## user\n\nWhat is this?\n\n[image/png]\n" in markdown
        for wrong in (
            b"{",
            b"[]",
            b'{"format": "contextprotocol-session/1"}',
            exported.out.replace("text", "x").encode(),
        ):
            ran = await mcp_client(server, "sessions", "import", "-", "other", stdin=wrong)
            assert (ran.status, ran.err.count("\n")) == (2, 1), ran
        assert [session.id async for session in client.list_sessions()] == ["tour", "copy"]


async def test_files_and_images_go_with_a_message(tmp_path: Path) -> None:
    """Texts behind the prompt, others as parts; what cannot be sent is refused before a session is created."""
    (tmp_path / "notes.txt").write_text("one\ntwo\n")
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "photo").write_bytes(PNG)
    (tmp_path / "a.xyzzy").write_bytes(b"\xff")
    provider = ScriptedProvider(["ok", Finish()], model=ABLE)
    async with running(providers={"scripted": provider}) as server:
        files = ["--file", str(tmp_path / "notes.txt"), "--image", str(tmp_path / "a.png")]
        files += ["--image", str(tmp_path / "photo")]
        assert (await mcp_client(server, "chat", "Look:", *files)).status == 0
        for wrong in (
            ["--image", str(tmp_path / "notes.txt")],
            ["--file", str(tmp_path / "a.xyzzy")],
            ["--file", str(tmp_path / "missing")],
        ):
            ran = await mcp_client(server, "chat", "Look:", *wrong)
            assert (ran.status, ran.err.count("\n")) == (2, 1), ran
        async with MCPClient(server.address) as client:
            assert len([session async for session in client.list_sessions()]) == 1
    assert list(provider.requests[0].messages[0].parts) == [
        values.Text(text="Look:\n\none\ntwo"),
        values.Blob(mime_type="image/png", data=PNG),
        values.Blob(mime_type="image/png", data=PNG),
    ]


async def test_a_json_schema_is_a_text_or_a_file(tmp_path: Path) -> None:
    """It is sent as it is; the answer comes as JSON with its session if that is asked for."""
    text = json.dumps(SCHEMA)
    (tmp_path / "schema.json").write_text(text)
    provider = ScriptedProvider.saying('{"a": 1}', '{"a": 2}', model=ABLE)
    async with running(providers={"scripted": provider}) as server:
        ran = await mcp_client(server, "chat", "Hi", "--json-schema", text, "--json", "--session", "tour")
        reply = json.loads(ran.out)
        parts = [{"type": "text", "text": '{"a": 1}'}]
        assert (reply["session"], reply["message"]["parts"]) == ("sessions/tour", parts)
        ran = await mcp_client(server, "complete", "Hi", "--json-schema", str(tmp_path / "schema.json"))
        assert ran.out == '{"a": 2}\n'
        for wrong in ("{", str(tmp_path / "missing.json"), "{]"):
            assert (await mcp_client(server, "chat", "Hi", "--json-schema", wrong)).status == 2
    assert [request.config.json_schema for request in provider.requests] == [text, text]


async def test_every_command_prints_json() -> None:
    """In place of what it prints for people."""
    async with running() as server:
        created = json.loads((await mcp_client(server, "sessions", "create", "tour", "--json")).out)
        assert created["name"] == "sessions/tour"
        turn = json.loads((await mcp_client(server, "chat", "--last", "Hi", "--json")).out)["turn"]
        assert json.loads((await mcp_client(server, "complete", "Hi", "--json")).out)["message"]["role"] == "assistant"
        assert len(json.loads((await mcp_client(server, "embed", "Hi", "--json")).out)["vectors"]) == 1
        assert json.loads((await mcp_client(server, "health", "--json")).out) == {
            "service": "(server)",
            "status": "serving",
        }
        assert {"service": "(server)", "status": "serving"} in json.loads(
            (await mcp_client(server, "health", "--all", "--json")).out
        )
        forked = json.loads((await mcp_client(server, "sessions", "fork", "tour", "detour", "--json")).out)
        assert forked["parent"] == "sessions/tour"
        rewound = json.loads((await mcp_client(server, "sessions", "rewind", "tour", "1", "--json")).out)
        assert rewound["message_count"] == 1
        events = [
            json.loads(line) for line in (await mcp_client(server, "turns", "watch", turn, "--json")).out.splitlines()
        ]
        assert (events[0]["event"], events[-1]["event"]) == ("TurnStarted", "TurnCompleted")
        assert json.loads((await mcp_client(server, "turns", "show", turn, "--json")).out)["name"] == turn


async def test_messages_of_all_sessions_are_searched() -> None:
    """The newest first, in any case of letters."""
    async with running() as server, MCPClient(server.address) as client:
        for name, text in (("old", "a BANANA"), ("new", "a pear"), ("newest", "banana split")):
            await client.create_session(name)
            await client.append_messages(name, text)
        found = json.loads((await mcp_client(server, "logs", "-q", "Banana", "--json")).out)
        assert [each["session"] for each in found] == ["sessions/newest", "sessions/old"]
        ran = await mcp_client(server, "logs", "-n", "1")
        assert re.fullmatch(r"newest · 0 · user · [\d: -]+\nbanana split\n\n", ran.out)
        assert (await mcp_client(server, "logs", "-q", "banana", "--session", "ne")).status == 2
        assert (await mcp_client(server, "logs", "-q", "banana", "--session", "ol")).out.startswith("old · 0")
