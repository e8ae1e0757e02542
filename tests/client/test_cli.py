"""The command line ``mcp-client`` against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from typer.testing import CliRunner

from contextprotocol.v1 import key_pb2, message_pb2, turn_pb2, usage_pb2
from mcp_client import MCPClient
from mcp_client.cli.commands import app
from mcp_server.app import UnifiedMCPServer
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish, PartState
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, Step, running
from mcp_server.values import Model, ModelState
from tests.client.command_line import PROGRAM, environment, mcp_client, mcp_client_process
from tests.client.stand_in import OK, StandIn

pytestmark = pytest.mark.usefixtures("log_apart")

SESSION_COMMANDS = (
    "list",
    "create",
    "show",
    "messages",
    "delete",
    "fork",
    "rewind",
    "watch",
    "update",
    "export",
    "import",
)
COMMANDS = (
    [],
    ["chat"],
    ["complete"],
    ["embed"],
    ["count"],
    ["models"],
    ["health"],
    ["usage"],
    ["logs"],
    ["whoami"],
    ["sessions"],
    *[["sessions", name] for name in SESSION_COMMANDS],
    ["turns"],
    *[["turns", name] for name in ("list", "show", "watch", "cancel")],
)


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of what the program keeps for its user is the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
async def server() -> AsyncIterator[UnifiedMCPServer]:
    """A server with the provider ``echo``."""
    async with running() as server:
        yield server


async def test_chat_prints_the_answer_and_nothing_else(server: UnifiedMCPServer) -> None:
    """The name of the new session goes to standard error at the end, and leads back to it."""
    ran = await mcp_client_process(server, "chat", "**Hello**,  wörld")
    assert (ran.status, ran.out) == (0, "**Hello**,  wörld\n")
    (name,) = re.findall(r"\Asession (\S+)\n\Z", ran.err)
    shown = await mcp_client_process(server, "sessions", "messages", name)
    assert shown.out == "user: **Hello**,  wörld\nassistant: **Hello**,  wörld\n"


async def test_what_follows_an_answer_gets_a_line_of_its_own(server: UnifiedMCPServer) -> None:
    """Also where both streams go to the same place, as with ``2>&1``."""
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "chat", "Hello."),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(server.address),
    )
    out, _ = await process.communicate()
    assert re.fullmatch(rb"Hello\.\nsession \S+\n", out), out


async def test_chat_begins_a_session_and_goes_on_with_it() -> None:
    """The model is asked with what was said in the run before."""
    provider = ScriptedProvider.saying("Noted.", "Banana.")
    async with running(providers={"scripted": provider}) as server:
        first = await mcp_client(server, "chat", "--session", "tour", "--system", "Be brief.", "It is banana.")
        assert (first.status, first.out, first.err) == (0, "Noted.\n", "new session tour\n")
        second = await mcp_client(server, "chat", "--session", "tour", "What is it?")
        assert (second.status, second.out, second.err) == (0, "Banana.\n", "")
    asked = [message.text for message in provider.requests[1].messages]
    assert asked == ["Be brief.", "It is banana.", "Noted.", "What is it?"]


async def test_the_options_of_a_chat_reach_the_model() -> None:
    """Each under its name."""
    provider = ScriptedProvider.saying("ok")
    async with running(providers={"scripted": provider}) as server:
        options = ["--temperature", "0", "--max-tokens", "7", "--model", "scripted/scripted"]
        assert (await mcp_client(server, "chat", *options, "Hi")).status == 0
        assert (await mcp_client(server, "complete", *options, "--stop", "a", "--stop", "b", "Hi")).status == 0
    for request in provider.requests:
        assert (request.config.temperature, request.config.max_output_tokens) == (0, 7)
    assert provider.requests[1].config.stop == ("a", "b")
    assert provider.requests[1].prompt == "Hi"


async def test_a_prompt_comes_from_a_pipe(server: UnifiedMCPServer) -> None:
    """With all its lines; the end of the last belongs to the pipe."""
    text = "one\n\ntwo €\n"
    assert (await mcp_client(server, "chat", stdin=text.encode())).out == text
    assert (await mcp_client(server, "complete", stdin=text.encode())).out == text


async def test_a_prompt_and_a_pipe_go_together(server: UnifiedMCPServer, tmp_path: Path) -> None:
    """The prompt first. A pipe without a text, and what is no pipe or file, add nothing."""
    for command in ("chat", "complete"):
        assert (await mcp_client_process(server, command, "Review:", stdin=b"a\n\nb\n")).out == "Review:\n\na\n\nb\n"
        assert (await mcp_client_process(server, command, "Review:", stdin=b" \n")).out == "Review:\n"
        ran = await mcp_client_process(server, command, "Review:", stdin=b"caf\xe9")
        assert (ran.status, ran.out) == (2, "")
    file = tmp_path / "diff"
    file.write_text("from a file\n")
    for where, added in ((file, "\n\nfrom a file"), (Path(os.devnull), "")):
        with where.open() as stdin:
            process = await asyncio.create_subprocess_exec(
                *(*PROGRAM, "complete", "Review:"),
                stdin=stdin,
                stdout=subprocess.PIPE,
                env=environment(server.address),
            )
            assert (await process.communicate())[0].decode() == f"Review:{added}\n"


async def test_each_line_of_a_pipe_has_an_embedding(server: UnifiedMCPServer) -> None:
    """Only line feeds end a line; texts of the command line go first."""
    ran = await mcp_client_process(server, "embed", stdin="ab\r\nb\fa\n\u2028\x85\x0b\x1c\nlast".encode())
    assert len(ran.out.splitlines()) == 4
    assert json.loads(ran.out.splitlines()[0]) == json.loads((await mcp_client_process(server, "embed", "ab")).out)
    ran = await mcp_client_process(server, "embed", "ab", stdin=b"b\n")
    assert [json.loads(line)[:2] for line in ran.out.splitlines()] == [[1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"one\n\nthree\n", "line 2 is empty"),
        (b"\r\n", "line 1 is empty"),
        (b"one\n\n", "line 2 is empty"),
        (b"", "standard input is empty"),
    ],
)
async def test_no_line_is_left_out(server: UnifiedMCPServer, stdin: bytes, message: str) -> None:
    """Which would shift the vectors of all lines behind it."""
    ran = await mcp_client(server, "embed", stdin=stdin)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err


async def test_characters_that_an_encoding_lacks_are_replaced() -> None:
    """The rest of the answer is printed."""
    provider = ScriptedProvider(["caf\u00e9 \U0001f600 ", "\u65e5!", Finish()])
    async with running(providers={"scripted": provider}) as server:
        for encoding, expected in (
            ("cp1252", "caf\u00e9 ? ?!"),
            ("ascii", "caf? ? ?!"),
            ("ascii:backslashreplace", None),
        ):
            process = await asyncio.create_subprocess_exec(
                *(*PROGRAM, "complete", "Hi"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=environment(server.address) | {"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding},
            )
            out = (await process.communicate())[0].decode("cp1252")
            assert process.returncode == 0
            assert out == f"{expected}\n" if expected else "\\U0001f600" in out


async def test_a_pipe_gets_an_answer_unchanged() -> None:
    """Its control characters too; but JSON stays text."""
    hostile = "\x1b]52;c;cHduZWQ=\x07\x9b31m\x7f\x00\r\n"
    provider = ScriptedProvider([hostile, Finish()])
    async with running(providers={"scripted": provider}) as server:
        process = await asyncio.create_subprocess_exec(
            *(*PROGRAM, "chat", "--session", "tour", "Hi"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment(server.address),
        )
        assert (await process.communicate())[0].decode() == hostile + "\n"
        ran = await mcp_client(server, "sessions", "messages", "--json", "tour")
        assert json.loads(ran.out)[1]["parts"][0]["text"] == hostile
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", ran.out)


async def test_an_empty_prompt_begins_nothing(server: UnifiedMCPServer) -> None:
    """No session is left behind, whether the prompt was typed or came from a pipe."""
    for ran in (await mcp_client(server, "chat", " "), await mcp_client(server, "chat", stdin=b"\n")):
        assert (ran.status, ran.out, ran.err) == (2, "", "mcp-client: the message is empty\n")
    assert (await mcp_client(server, "sessions", "list", "--json")).out == "[]\n"


async def test_input_that_is_no_text_is_refused(server: UnifiedMCPServer) -> None:
    """From a pipe and as an argument, before anything is sent."""
    for ran in (
        await mcp_client_process(server, "chat", stdin=b"caf\xe9"),
        await mcp_client_process(server, "complete", b"caf\xe9"),
        await mcp_client_process(server, "embed", b"caf\xe9"),
    ):
        assert (ran.status, ran.out) == (2, "")
        assert re.fullmatch(r"mcp-client: .+\n", ran.err)


async def test_tokens_are_printed_as_they_come() -> None:
    """Each before the next is made; Ctrl-C then stops the model and the program."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()])
    async with running(providers={"scripted": provider}) as server:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *("chat", "Hi"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(server.address),
        )
        assert process.stdout is not None
        assert await process.stdout.readexactly(3) == b"Hel"
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        await asyncio.wait_for(provider.stopped.wait(), 10)
        async with MCPClient(server.address) as client:
            assert [session async for session in client.list_sessions()] == []  # nothing was said in it
    assert (process.returncode, out, err) == (130, b"\n", b"")


async def test_embeddings_are_arrays_of_numbers(server: UnifiedMCPServer) -> None:
    """One line for each text, in order."""
    ran = await mcp_client(server, "embed", "ab", "bb")
    assert ran.status == 0
    assert [json.loads(line)[:2] for line in ran.out.splitlines()] == [[1, 1], [0, 2]]
    whole = json.loads((await mcp_client(server, "embed", "--json", "ba")).out)["vectors"]
    assert whole == [json.loads(line) for line in (await mcp_client(server, "embed", "ba")).out.splitlines()]


async def test_sessions_from_their_beginning_to_their_end(server: UnifiedMCPServer) -> None:
    """Created, listed, shown, read and deleted, for people and for programs."""
    options = ["--label", "team=blue", "--system", "Be brief.", "--model", "echo", "--ttl", "60"]
    assert (await mcp_client(server, "sessions", "create", "tour", *options)).out == "tour\n"
    created = (await mcp_client(server, "sessions", "create")).out.strip()
    assert re.fullmatch(r"[a-z0-9-]+", created)
    assert (await mcp_client(server, "chat", "--session", "tour", "Hi")).status == 0

    listed = (await mcp_client(server, "sessions", "list")).out.splitlines()
    assert listed[0].split("\t") == ["SESSION", "MESSAGES", "CREATED", "EXPIRES", "LABELS"]
    assert [line.split("\t")[0] for line in listed[1:]] == [created, "tour"]
    assert listed[2].split("\t")[1] == "2"
    assert listed[2].split("\t")[4] == "team=blue"
    assert (await mcp_client(server, "sessions", "list", "--limit", "1")).out.splitlines() == listed[:2]
    blue = json.loads((await mcp_client(server, "sessions", "list", "--json", "--label", "team=blue")).out)
    assert [session["name"] for session in blue] == ["sessions/tour"]

    shown = json.loads((await mcp_client(server, "sessions", "show", "tour")).out)
    assert (shown["name"], shown["ttl"], shown["labels"]) == ("sessions/tour", 60.0, {"team": "blue"})
    assert shown["system_instruction"] == "Be brief."
    messages = json.loads((await mcp_client(server, "sessions", "messages", "tour", "--json")).out)
    greeting = [{"type": "text", "text": "Hi"}]
    assert [(m["role"], m["parts"]) for m in messages] == [("user", greeting), ("assistant", greeting)]
    last = await mcp_client(server, "sessions", "messages", "tour", "--limit", "1")
    assert last.out == "assistant: Hi\n"

    deleted = await mcp_client(server, "sessions", "delete", "tour", created)
    assert (deleted.status, deleted.out) == (0, "")
    assert json.loads((await mcp_client(server, "sessions", "list", "--json")).out) == []
    gone = await mcp_client(server, "sessions", "show", "tour")
    assert (gone.status, gone.out) == (1, "")
    assert re.fullmatch(r"mcp-client: .*tour.*\n", gone.err)


async def test_turns_are_listed_shown_watched_and_stopped() -> None:
    """By their full names; a chat can wait for one, and a history branches off."""
    gate = Gate()
    provider = ScriptedProvider(
        ["Hel", gate, "lo", Finish()], ["second", Finish()], ["third", Gate(), Finish()], ["no", Finish()]
    )
    async with running(providers={"scripted": provider}) as server, MCPClient(server.address) as client:
        await client.create_session("tour")
        async with client.stream_chat("Hi", session="tour") as stream:
            await anext(stream)
            busy = await mcp_client(server, "chat", "--session", "tour", "And?")
            assert (busy.status, busy.out) == (1, "")
            assert stream.turn in busy.err
            queued = asyncio.create_task(
                mcp_client_process(server, "chat", "--session", "tour", "--if-busy", "queue", "And?")
            )
            watched = asyncio.create_task(mcp_client_process(server, "turns", "watch", stream.turn))
            while len([turn async for turn in client.list_turns("tour")]) < 2:  # noqa: ASYNC110  # nobody tells of it
                await asyncio.sleep(0.01)
            gate.open()
            assert ((await watched).out, (await watched).status) == ("Hello\n", 0)
            assert (await queued).out == "second\n"
        async with client.stream_chat("More", session="tour") as stream:
            await anext(stream)
            assert (await mcp_client(server, "turns", "cancel", stream.turn)).out == "cancelled\n"
        header, *lines = (await mcp_client(server, "turns", "list", "tour")).out.splitlines()
        assert header.split("\t") == ["TURN", "STATE", "CREATED", "MODEL", "ATTEMPTS", "TOKENS"]
        rows = [line.split("\t") for line in lines]
        assert rows[0][:2] == [stream.turn, "cancelled: TURN_CANCELLED"]
        assert [row[1] for row in rows[1:]] == ["succeeded", "succeeded"]
        assert [row[3:5] for row in rows] == [["scripted/scripted", "1"]] * 3
        listed = json.loads((await mcp_client(server, "turns", "list", "tour", "--json", "--limit", "1")).out)
        assert [turn["name"] for turn in listed] == [stream.turn]
        shown = json.loads((await mcp_client(server, "turns", "show", stream.turn)).out)
        assert (shown["state"], shown["error"]["reason"]) == ("cancelled", "TURN_CANCELLED")
        assert shown["message"]["parts"] == [{"type": "text", "text": "third"}]
        stopped = await mcp_client(server, "turns", "watch", stream.turn)
        assert (stopped.status, stopped.out) == (1, "third\n")
        assert (await mcp_client(server, "turns", "show", "turns/nosuch")).status == 1

        assert (await mcp_client(server, "sessions", "fork", "tour", "detour", "--at", "2")).out == "detour\n"
        assert (await mcp_client(server, "sessions", "messages", "detour")).out == "user: Hi\nassistant: Hello\n"
        assert (await mcp_client(server, "sessions", "rewind", "detour", "1")).status == 0
        assert (await mcp_client(server, "sessions", "messages", "detour")).out == "user: Hi\n"
        assert (await mcp_client(server, "sessions", "rewind", "detour", "9")).status == 2
        whole = (await mcp_client(server, "sessions", "fork", "tour")).out.strip()
        assert (await client.get_session(whole)).message_count == 4


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_session_is_watched_until_it_is_deleted(server: UnifiedMCPServer, *, as_json: bool) -> None:
    """A line for each event, as it happens."""
    async with MCPClient(server.address) as client:
        await client.create_session("tour")
        program = (*PROGRAM, "sessions", "watch", "tour", *(["--json"] if as_json else []))
        process = await asyncio.create_subprocess_exec(
            *program, stdout=subprocess.PIPE, env=environment(server.address)
        )
        assert process.stdout is not None
        lines = [await process.stdout.readline()]
        reply = await client.chat("Hi", session="tour")
        await client.rewind_session("tour", 1)
        await client.update_session("tour", labels={"a": "b"})
        await client.delete_session("tour")
        lines += (await process.stdout.read()).splitlines()
        assert await process.wait() == 0
    if as_json:
        kinds = [json.loads(line)["event"] for line in lines]
        changed = ["MessagesAppended", "TurnChanged", "SessionRewound", "SessionUpdated", "SessionDeleted"]
        assert kinds == ["SessionCurrent", "TurnChanged", *changed]
        return
    assert [line.decode().strip() for line in lines] == [
        "sessions/tour: 0 messages",
        f"{reply.turn} running",
        "messages 0 to 1 appended",
        f"{reply.turn} succeeded",
        "rewound to 1 messages",
        "updated",
        "deleted",
    ]


async def test_models_are_listed(server: UnifiedMCPServer) -> None:
    """For people and for programs."""
    header, line = (await mcp_client(server, "models")).out.splitlines()
    assert header.split("\t") == ["MODEL", "STATE", "CAPABILITIES", "CONTEXT", "DEFAULT"]
    assert line.split("\t") == ["echo/echo", "ready", "chat, completion, embedding", "100000", "yes"]
    (model,) = json.loads((await mcp_client(server, "models", "--json")).out)
    assert (model["name"], model["capabilities"]) == ("echo/echo", ["chat", "completion", "embedding"])


async def test_tokens_are_counted(server: UnifiedMCPServer) -> None:
    """As a number, which ``~`` marks as an estimate; for programs as JSON."""
    assert (await mcp_client(server, "count", "one two three")).out == "3\n"
    assert (await mcp_client(server, "count", stdin=b"one two")).out == "2\n"
    await mcp_client(server, "chat", "one two", "--session", "tour")
    counted = await mcp_client(server, "count", "three", "--session", "tour", "--model", "echo", "--json")
    assert json.loads(counted.out) == {"input_tokens": 5, "exact": True, "model": "echo/echo"}
    async with running(providers={"scripted": ScriptedProvider.saying("yes")}) as other:
        assert re.fullmatch(r"~\d+\n", (await mcp_client(other, "count", "Hi")).out)


async def test_the_states_of_a_provider_are_not_printed() -> None:
    """Neither with an answer nor in a history."""
    script: list[Step] = ["yes", PartState(data=b"text"), PartState(data=b"hidden", own_part=True), Finish()]
    async with running(providers={"scripted": ScriptedProvider(script)}) as server:
        assert (await mcp_client(server, "chat", "Hi", "--session", "tour")).out == "yes\n"
        listed = await mcp_client(server, "sessions", "messages", "tour", "--json")
        kinds = [[part["type"] for part in message["parts"]] for message in json.loads(listed.out)]
        assert kinds == [["text"], ["text", "provider_state"]]
        assert '"provider_state":' not in listed.out


class Broken(EchoProvider):
    """A provider whose one model cannot answer."""

    async def models(self) -> list[Model]:
        (model,) = await super().models()
        return [Model(name="echo", capabilities=model.capabilities, state=ModelState.UNAVAILABLE)]


async def test_health_is_told_by_the_exit_status() -> None:
    """0 if it serves, 3 if it does not, 1 if nothing answers or there is nothing of that name."""
    async with running(providers={"echo": EchoProvider(), "broken": Broken()}) as server:
        ran = await mcp_client(server, "health")
        assert (ran.status, ran.out, ran.err) == (0, "serving\n", "")
        ran = await mcp_client(server, "health", "--wait", "10")
        assert (ran.status, ran.out) == (0, "serving\n")
        ran = await mcp_client(server, "health", "providers/broken")
        assert (ran.status, ran.out) == (3, "not_serving\n")
        assert (await mcp_client(server, "health", "no.such.Service")).status == 1
        every = dict(line.split("\t") for line in (await mcp_client(server, "health", "--all")).out.splitlines())
        assert every["(server)"] == every["contextprotocol.v1.ChatService"] == every["providers/echo"] == "serving"
        assert every["providers/broken"] == "not_serving"
    assert (await mcp_client(None, "health")).status == 1
    ran = await mcp_client(None, "health", "--wait", "0.2")
    assert (ran.status, ran.out) == (1, "")
    assert "not ready within 0.2 s" in ran.err


@pytest.mark.parametrize("command", [["chat", "Hi"], ["models"], ["health"]])
async def test_no_server_is_one_line(command: list[str]) -> None:
    """It says where none was found and what to do."""
    ran = await mcp_client(None, *command)
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch(r"mcp-client: .*127\.0\.0\.1:1.*mcp-server serve.*\n", ran.err)


async def test_an_error_in_the_middle_comes_after_what_there_was() -> None:
    """The tokens stay on standard output, the reason is a line on standard error."""
    provider = ScriptedProvider(["Hel", ProviderUnavailable("the model fell over")])
    async with running(providers={"scripted": provider}) as server:
        ran = await mcp_client_process(server, "chat", "--session", "tour", "Hi")
        assert (ran.status, ran.out) == (1, "Hel\n")
        assert re.fullmatch(r"new session tour\nmcp-client: .*the model fell over.*\n", ran.err)
        assert (await mcp_client_process(server, "chat", "Hi")).status == 1
        listed = json.loads((await mcp_client_process(server, "sessions", "list", "--json")).out)
        assert [session["name"] for session in listed] == ["sessions/tour"]  # no other was left behind


async def test_an_answer_that_begins_anew_says_so() -> None:
    """What was printed before cannot be taken back: it ends with its line."""
    restarted = turn_pb2.AttemptSwitched(mode=turn_pb2.AttemptSwitched.MODE_RESTARTED)
    script = [
        turn_pb2.TurnEvent(sequence=1, delta=turn_pb2.Delta(text="Hel")),
        turn_pb2.TurnEvent(sequence=2, switched=restarted),
        turn_pb2.TurnEvent(sequence=3, delta=turn_pb2.Delta(text="Hello")),
        OK,
    ]
    async with StandIn(script) as server:
        ran = await mcp_client(server, "turns", "watch", "turns/t")
    assert (ran.status, ran.out) == (0, "Hel\nHello\n")
    assert ran.err == "mcp-client: the answer was interrupted and starts over\n"


async def test_bad_values_are_a_status_of_their_own(server: UnifiedMCPServer) -> None:
    """Whether the client sees it or the server, 2; what is wrong is named."""
    for arguments, named in {
        ("chat", "Hi", "--temperature", "9"): "temperature",
        ("chat", "Hi", "--session", "No Such Name"): "name",
        ("chat", "Hi", "--session", "tour", "--if-busy", "wait"): "if_busy",
        ("chat", " "): "message is empty",
        ("complete", ""): "prompt",
        ("sessions", "list", "--label", "blue"): "--label",
        ("sessions", "create", "--ttl", "nan"): "ttl",
        ("models", "--server", ""): "address",
    }.items():
        ran = await mcp_client(server, *arguments)
        assert (ran.status, ran.out) == (2, ""), arguments
        assert re.fullmatch(rf"(new session tour\n)?mcp-client: .*{named}.*\n", ran.err)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("chat Hi --temperature warm", "--temperature"),
        ("chat Hi --no-such-option", "--no-such-option"),
        ("chat Hi there", "there"),
        ("sessions list --limit 0", "--limit"),
        ("sessions show", "NAME"),
        ("sessions nosuch", "nosuch"),
        ("nosuch", "nosuch"),
    ],
)
def test_bad_usage_is_reported_before_anything_is_done(arguments: str, named: str) -> None:
    """By its name, with the status 2."""
    result = CliRunner().invoke(app, arguments.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert named in result.stderr


@pytest.mark.parametrize("arguments", [["chat", "Hi"], ["models"]])
async def test_a_reader_that_leaves_is_no_fault(server: UnifiedMCPServer, arguments: list[str]) -> None:
    """As with ``| head``: the program ends, and says nothing."""
    read, write = os.pipe()
    os.close(read)
    try:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, *arguments, stdout=write, stderr=subprocess.PIPE, env=environment(server.address)
        )
    finally:
        os.close(write)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert re.fullmatch(rb"(session \S+\n)?", err), err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    """Without a server, on standard output."""
    result = CliRunner().invoke(app, [*command, "--help"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Usage:" in result.stdout


async def test_the_program_knows_its_version_and_completes_commands() -> None:
    """As other command lines do."""
    assert re.fullmatch(r"mcp-client \d\S*\n", (await mcp_client(None, "--version")).out)
    process = await asyncio.create_subprocess_exec(
        *PROGRAM[:1],
        *("-c", "from mcp_client.cli.commands import app; app(prog_name='mcp-client')"),
        stdout=subprocess.PIPE,
        env=environment()
        | {"_MCP_CLIENT_COMPLETE": "complete_bash", "COMP_WORDS": "mcp-client sessions re", "COMP_CWORD": "2"},
    )
    assert (await process.communicate())[0].split() == [b"rewind"]


async def test_the_program_explains_itself() -> None:
    """To a pipe too."""
    ran = await mcp_client(None, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert "sessions" in ran.out


def account(**answers: Sequence[Any]) -> StandIn:
    """A server that answers questions about keys and usage."""
    return StandIn(answers=answers)


async def test_who_a_caller_is_and_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API key comes from the environment; without it, the error names the variable."""
    state = key_pb2.LimitState
    answer = key_pb2.WhoAmIResponse(
        tenant="blue",
        key="keys/abcdefghijkl",
        scopes=["chat", "usage"],
        limits=[
            state(subject="tenants/blue", limit="tokens_per_day", allowed=1000, used=250, remaining=750),
            state(subject="keys/abcdefghijkl", limit="cost_nanos_per_day", allowed=2 * 10**9, used=1, remaining=1),
        ],
    )
    server = account(WhoAmI=[answer, answer])
    server.token = "ctx_secret"
    async with server:
        refused = await mcp_client(server, "whoami")
        monkeypatch.setenv("CONTEXTPROTOCOL_KEY_FILE", str(tmp_path / "key"))
        missing = await mcp_client(server, "whoami")
        (tmp_path / "key").write_text("\n")
        empty = await mcp_client(server, "whoami")
        (tmp_path / "key").write_text("ctx_secret\n")
        shown = await mcp_client(server, "whoami")
        monkeypatch.setenv("CONTEXTPROTOCOL_API_KEY", "ctx_secret")
        as_json = await mcp_client(server, "whoami", "--json")
        monkeypatch.setenv("CONTEXTPROTOCOL_API_KEY", "ctx secret")
        bad = await mcp_client(server, "whoami")
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "CONTEXTPROTOCOL_API_KEY" in refused.err
    for one in (missing, empty):
        assert (one.status, "CONTEXTPROTOCOL_KEY_FILE" in one.err) == (2, True)
    assert shown.out.splitlines() == [
        "tenant: blue",
        "key: keys/abcdefghijkl",
        "scopes: chat, usage",
        "models: all",
        "LIMIT\tOF\tALLOWED\tUSED\tREMAINING\tRESET",
        "tokens_per_day\ttenants/blue\t1000\t250\t750\t",
        "cost_per_day\tkeys/abcdefghijkl\t2\t0.000000001\t0.000000001\t",
    ]
    assert json.loads(as_json.out)["limits"][0]["remaining"] == 750
    assert bad.status == 2
    assert "ctx secret" not in bad.err


async def test_usage_is_a_table_or_csv_or_json() -> None:
    """Grouped as asked, in the period that was asked for."""
    rows = [
        usage_pb2.UsageRow(
            group={"model": "m,1", "label:team": "search"},
            turns=2,
            attempts=3,
            usage=message_pb2.Usage(input_tokens=10, cached_input_tokens=4, output_tokens=5, reasoning_tokens=1),
            cost_nanos=1_250_000_000,
            currency="USD",
        ),
        usage_pb2.UsageRow(group={"model": "m", "label:team": ""}, turns=1, attempts=1),
    ]
    answer = usage_pb2.QueryUsageResponse(rows=rows)
    period = ["--since", "2026-11-01T00:00Z", "--until", "2026-11-02T00:00+01:00"]
    filters = ["--tenant", "*", "--key", "k", "--provider", "p", "--model", "m", "--session", "s", "--label", "a=b"]
    arguments = ["usage", "--by", "model", "--by", "label:team", *period, *filters]
    async with account(QueryUsage=[answer] * 4) as server:
        table = await mcp_client(server, *arguments)
        as_csv = await mcp_client(server, *arguments, "--csv")
        as_json = await mcp_client(server, *arguments, "--json")
        plain = await mcp_client(server, "usage")
        both = await mcp_client(server, "usage", "--csv", "--json")
        never = await mcp_client(server, "usage", "--since", "yesterday")
    assert table.out.splitlines() == [
        "MODEL\tLABEL:TEAM\tTURNS\tATTEMPTS\tINPUT\tOUTPUT\tCOST",
        "m,1\tsearch\t2\t3\t10\t5\t1.25 USD",
        "m\t\t1\t1\t0\t0\t",
    ]
    counts = [f"{name}_tokens" for name in ("input", "cached_input", "cache_write", "output", "reasoning")]
    assert as_csv.out.splitlines() == [
        f"model,label:team,turns,attempts,{','.join(counts)},cost,currency",
        '"m,1",search,2,3,10,4,0,5,1,1.25,USD',
        "m,,1,1,0,0,0,0,0,0,",
    ]
    assert json.loads(as_json.out)[0]["cost"] == "1.250000000"
    request, *_, default = server.requests
    assert request.start_time.ToJsonString() == "2026-11-01T00:00:00Z"
    assert request.end_time.ToJsonString() == "2026-11-01T23:00:00Z"
    assert list(request.group_by) == ["model", "label:team"]
    assert request.filter == usage_pb2.UsageFilter(
        tenant="*", key="keys/k", provider="p", model="m", session="sessions/s", labels={"a": "b"}
    )
    assert (list(default.group_by), default.HasField("start_time"), plain.status) == (["provider", "model"], False, 0)
    assert (both.status, never.status) == (2, 2)
    assert "--since" in never.err


async def test_labels_are_those_of_the_turn(server: UnifiedMCPServer) -> None:
    """Of chats and completions; what is not a label is refused."""
    for command in ("chat", "complete"):
        ran = await mcp_client(server, command, "--label", "team=search", "--label", "empty=", "Hi")
        assert (ran.status, ran.out) == (0, "Hi\n")
    assert (await mcp_client(server, "embed", "--label", "team", "Hi")).status == 2
    async with MCPClient(server.address) as client:
        (session,) = [session async for session in client.list_sessions()]
        (turn,) = [turn async for turn in client.list_turns(session)]
    assert turn.labels == {"team": "search", "empty": ""}


async def test_an_address_can_ask_for_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the authority, and the certificate of the caller, that the environment names."""
    authority = trustme.CA()
    certificate, client = authority.issue_cert("localhost"), authority.issue_cert("client@example.test")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client.private_key_pem.write_to_path(tmp_path / "client.key")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_server_credentials(
        [pair], root_certificates=(tmp_path / "ca.pem").read_bytes(), require_client_auth=True
    )
    async with StandIn(credentials=credentials) as server:
        address = f"https://localhost:{server.address.rpartition(':')[2]}"
        for name, file in (("CA", "ca.pem"), ("CERTIFICATE", "client.pem"), ("CERTIFICATE_KEY", "client.key")):
            monkeypatch.setenv(f"CONTEXTPROTOCOL_{name}", str(tmp_path / file))
        assert (await mcp_client(server, "health", "--server", address)).out == "serving\n"
        plain = await mcp_client(server, "health")
        host = address.removeprefix("https://")
        assert (await mcp_client(server, "health", "--server", host, "--tls")).out == "serving\n"
        for name in ("CA", "CERTIFICATE", "CERTIFICATE_KEY"):
            monkeypatch.delenv(f"CONTEXTPROTOCOL_{name}")
        paths = {"--ca": "ca.pem", "--cert": "client.pem", "--key": "client.key"}
        options = [part for name, file in paths.items() for part in (name, str(tmp_path / file))]
        assert (await mcp_client(server, "health", "--server", host, *options)).out == "serving\n"
        assert (await mcp_client(server, "health", "--server", host, *options[:4])).status == 2
        monkeypatch.setenv("CONTEXTPROTOCOL_CERTIFICATE", str(tmp_path / "client.pem"))
        monkeypatch.setenv("CONTEXTPROTOCOL_CERTIFICATE_KEY", str(tmp_path / "client.key"))
        monkeypatch.setenv("CONTEXTPROTOCOL_CA", str(tmp_path / "missing.pem"))
        missing = await mcp_client(server, "health", "--server", address)
        monkeypatch.delenv("CONTEXTPROTOCOL_CERTIFICATE_KEY")
        half = await mcp_client(server, "health", "--server", address)
    assert (plain.status, missing.status, half.status) == (2, 2, 2)
    assert "CONTEXTPROTOCOL_CA" in missing.err
    assert "CONTEXTPROTOCOL_CERTIFICATE_KEY" in half.err
    assert "https://" in plain.err
    assert "ca: No such file" in missing.err


async def test_a_token_and_headers_go_with_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option goes before the variable."""
    monkeypatch.setenv("CONTEXTPROTOCOL_API_KEY", "ctx_other")
    async with StandIn() as server:
        options = ["--token", "ctx_mine", "--header", "x-team=blue", "--header", "x-empty="]
        assert (await mcp_client(server, "health", *options)).status == 0
        (sent,) = server.metadata
        assert (sent["authorization"], sent["x-team"], sent["x-empty"]) == ("Bearer ctx_mine", "blue", "")
        for wrong in (["--header", "x-team"], ["--header", "authorization=x"], ["--header", "bad name=x"]):
            ran = await mcp_client(server, "health", *wrong)
            assert (ran.status, ran.err.count("\n")) == (2, 1)
