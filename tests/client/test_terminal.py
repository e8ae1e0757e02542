"""A conversation in a terminal, as a person sees it."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mcp_client import ContextEntry, MCPClient
from mcp_client.cli.history import history
from mcp_server.errors import ProviderRejected
from mcp_server.interfaces import Finish
from mcp_server.testing import Gate, ScriptedProvider, running
from tests.faults.proxy import Proxy

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")

CONTROL_C, CONTROL_D, TAB, UP, ALT_ENTER = "\x03", "\x04", "\t", "\x1b[A", "\x1b\r"
PASTE = "\x1b[200~{}\x1b[201~"
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|[\001\002\r]")
"""What moves and colours."""
START = """
import fcntl, termios
from mcp_client.cli import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
main()
"""
"""The program, on a terminal that is made its own, so that Ctrl-C reaches it."""


class Screen:
    """The terminal of a person: what is typed into it, and what has come out of it."""

    def __init__(self, terminal: int, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._terminal = terminal
        self._shown = ""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(terminal, self._read)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._terminal, keys.encode())

    async def shows(self, text: str) -> str:
        """Wait for a text to come after all that was waited for before; return what came, to its end."""
        plain = ""
        try:
            async with asyncio.timeout(30):
                while text not in (plain := CODES.sub("", self._shown)):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            pytest.fail(f"{text!r} does not come after {plain[-2000:]!r}")
        before, _, after = plain.partition(text)
        self._shown = after
        return before + text

    async def receives(self, text: str) -> str:
        """Wait for a text, and return what the terminal has received until then, as it is."""
        async with asyncio.timeout(30):
            while text not in self._shown:
                self._more.clear()
                await self._more.wait()
        return self._shown

    async def ends(self) -> int:
        """The exit status of the program, once it has ended."""
        async with asyncio.timeout(30):
            return await self.process.wait()

    def close(self) -> None:
        """Switch it off."""
        asyncio.get_running_loop().remove_reader(self._terminal)
        os.close(self._terminal)

    def _read(self) -> None:
        try:
            self._shown += os.read(self._terminal, 65_536).decode(errors="replace")
        except OSError:  # the program has ended: this is how Linux says so
            asyncio.get_running_loop().remove_reader(self._terminal)
        self._more.set()


@asynccontextmanager
async def talking(
    address: str, *arguments: str, command: Sequence[str] = ("chat",), state: Path | None = None
) -> AsyncIterator[Screen]:
    """``mcp-client chat``, or another command, on a terminal of its own, which is also what Ctrl-C is for.

    ``state`` is the folder of what the program keeps; by default one that nobody else sees.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with _talking(address, *command, *arguments, state=state or Path(folder)) as screen:
            yield screen


@asynccontextmanager
async def _talking(address: str, *arguments: str, state: Path) -> AsyncIterator[Screen]:
    terminal, end = pty.openpty()
    variables = {"CONTEXTPROTOCOL_ADDRESS": address, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", "PYTHONUTF8": "1"}
    variables["XDG_STATE_HOME"] = str(state)
    variables["PROMPT_TOOLKIT_NO_CPR"] = "1"  # this terminal does not tell where its cursor is
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-c",
            START,
        ),
        *arguments,
        stdin=end,
        stdout=end,
        stderr=subprocess.STDOUT,
        env={**os.environ, **variables},
        start_new_session=True,
    )
    os.close(end)
    screen = Screen(terminal, process)
    try:
        yield screen
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        screen.close()


async def test_a_conversation_of_two_turns() -> None:
    """The second is asked with the first; /quit leaves in peace."""
    provider = ScriptedProvider.saying("Noted, **Ada**.", "You are Ada.")
    async with (
        running(providers={"scripted": provider}) as server,
        talking(server.address, "--session", "tour") as screen,
    ):
        assert "session tour · scripted/scripted" in await screen.shows("> ")
        screen.type("I am Ada.\n")
        assert "Noted, Ada." in await screen.shows("tokens")
        await screen.shows("> ")
        screen.type("Who am I?\n")
        await screen.shows("You are Ada.")
        await screen.shows("> ")
        screen.type("/quit\n")
        assert await screen.ends() == 0
    assert [message.text for message in provider.requests[1].messages] == ["I am Ada.", "Noted, **Ada**.", "Who am I?"]


HOSTILE = "\x1b]52;c;cHduZWQ=\x07 \x1b]0;title\x07 \x9b2J \rpaid <http://a/%1b%5d0;x%07> `\x1b[8m` &#27; \x7f end"
OBEYED = re.compile(r"\x1b\](?!8;)|\x07|\x9b|\x1b\[2J|\x1b\[8m|(?<!\x1b\[0m)\rpaid|\x7f")


async def test_control_characters_of_a_model_are_shown_in_a_conversation() -> None:
    """They neither set the clipboard nor the title, also where Markdown would decode them."""
    async with (
        running(providers={"scripted": ScriptedProvider([HOSTILE, Finish()])}) as server,
        talking(server.address) as screen,
    ):
        await screen.shows("> ")
        screen.type("Hi\n")
        raw = await screen.receives("tokens")
    assert "\\x1b]52;c;cHduZWQ=\\x07" in raw
    assert not OBEYED.search(raw)


@pytest.mark.parametrize(
    "command", [("chat", "Hi"), ("complete", "Hi"), ("sessions", "messages", "tour"), ("sessions", "show", "tour")]
)
async def test_control_characters_are_shown_by_every_command(command: tuple[str, ...]) -> None:
    """Of answers, histories and JSON."""
    async with running(providers={"scripted": ScriptedProvider([HOSTILE, Finish()])}) as server:
        async with MCPClient(server.address) as client:
            await client.create_session("tour", system_instruction=f"system {HOSTILE}")
            await client.chat("Hi", session="tour")
        async with talking(server.address, command=command) as screen:
            raw = await screen.receives("end")
            await screen.ends()
    assert "x1b]52;c;cHduZWQ=" in raw or "u001b]52;c;cHduZWQ=" in raw
    assert not OBEYED.search(raw)


async def test_control_characters_of_errors_are_shown() -> None:
    """A provider chooses the words of its errors."""
    provider = ScriptedProvider([ProviderRejected(HOSTILE)])
    async with (
        running(providers={"scripted": provider}) as server,
        talking(server.address, command=("complete", "Hi")) as screen,
    ):
        raw = await screen.receives(" end")
        await screen.ends()
    assert not OBEYED.search(raw)


async def test_control_c_stops_the_answer_and_not_the_program() -> None:
    """What was there of it stays on the screen, and the conversation goes on without it."""
    provider = ScriptedProvider(["It was a dark and", Gate(), " stormy night", Finish()], ["Hello.", Finish()])
    async with (
        running(providers={"scripted": provider}) as server,
        talking(server.address, "--session", "tour") as screen,
    ):
        await screen.shows("> ")
        screen.type("Tell me a story.\n")
        await screen.shows("It was a dark and")
        screen.type(CONTROL_C)
        await screen.shows("stopped")
        await asyncio.wait_for(provider.stopped.wait(), 10)
        await screen.shows("> ")
        screen.type("Hi\n")
        await screen.shows("Hello.")
        await screen.shows("> ")
        screen.type(CONTROL_D)
        assert await screen.ends() == 0
    assert [message.text for message in provider.requests[1].messages] == ["Hi"]


async def test_commands_and_what_goes_wrong_leave_the_conversation_as_it_is() -> None:
    """What is typed is never taken for markup, and an error is a line."""
    async with (
        running(providers={"scripted": ScriptedProvider.saying("Hello.")}) as server,
        talking(server.address, "--session", "tour") as screen,
    ):
        await screen.shows("> ")
        for typed, answered in {
            "/help": "/quit",
            "/[b]nosuch[/i]": "unknown command /[b]nosuch[/i]",
            "/model": "→ scripted/scripted (ready)",
            "/model nosuch/model": "nosuch/model",
            "/model scripted/scripted": "switched to scripted/scripted",
            "/session Bad Name": "is not a valid session name",
            "/session other": "session other · scripted/scripted",
            "/new": "session s",
            "/session tour": "session tour",
            "Hi": "Hello.",
        }.items():
            screen.type(f"{typed}\n")
            await screen.shows(typed)
            await screen.shows(answered)
            await screen.shows("> ")
        screen.type("/session\n")
        await screen.shows("session tour (2 messages so far)")
        await screen.shows("> ")
        screen.type("/quit\n")
        assert await screen.ends() == 0


async def test_a_second_control_c_at_the_prompt_leaves() -> None:
    """The first clears the line and says how to leave; what is said in between starts anew."""
    provider = ScriptedProvider.saying("Hello.")
    async with (
        running(providers={"scripted": provider}) as server,
        talking(server.address, "--session", "tour") as screen,
    ):
        await screen.shows("> ")
        screen.type(f"Never mind{CONTROL_C}")
        await screen.shows("Ctrl-C again, or Ctrl-D, leaves")
        await screen.shows("> ")
        screen.type("  \n Hi \n")
        await screen.shows("Hello.")
        await screen.shows("> ")
        screen.type(CONTROL_C)
        await screen.shows("Ctrl-C again, or Ctrl-D, leaves")
        await screen.shows("> ")
        screen.type(CONTROL_C)
        assert await screen.ends() == 0
    assert [message.text for message in provider.requests[0].messages] == ["Hi"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (PASTE.format("def f():\r    return 1\r\r# end") + "\r", "def f():\n    return 1\n\n# end"),
        (f"one{ALT_ENTER}two\r", "one\ntwo"),
        ('"""one\rtwo\r"""\r', "one\ntwo"),
        ('"""/help"""\r', "/help"),
        (PASTE.format("/etc/hosts is\ra file") + "\r", "/etc/hosts is\na file"),
    ],
)
async def test_a_message_can_have_several_lines(keys: str, message: str) -> None:
    """Pasted, with Alt-Enter, or between quotes, it is one message."""
    provider = ScriptedProvider.saying("Noted.")
    async with (
        running(providers={"scripted": provider}) as server,
        talking(server.address, "--session", "tour") as screen,
    ):
        await screen.shows("> ")
        screen.type(keys)
        await screen.shows("Noted.")
        await screen.shows("> ")
        screen.type(CONTROL_D)
        assert await screen.ends() == 0
    assert [each.text for each in provider.requests[0].messages] == [message]


async def test_what_was_typed_is_there_in_the_next_run(tmp_path: Path) -> None:
    """In a file that only its owner can read."""
    provider = ScriptedProvider.saying("One.", "Two.")
    async with running(providers={"scripted": provider}) as server:
        async with talking(server.address, "--session", "tour", state=tmp_path) as screen:
            await screen.shows("> ")
            screen.type(f"First{ALT_ENTER}line\r")
            await screen.shows("One.")
            await screen.shows("> ")
            screen.type(CONTROL_D)
            assert await screen.ends() == 0
        file = tmp_path / "contextprotocol" / "chat_history"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        async with talking(server.address, "--session", "tour", state=tmp_path) as screen:
            await screen.shows("> ")
            screen.type(f"{UP}\r")
            await screen.shows("Two.")
    assert [request.messages[-1].text for request in provider.requests] == ["First\nline"] * 2


async def test_the_file_of_what_was_typed_does_not_grow_without_bound(tmp_path: Path) -> None:
    """The newest entries stay, and what is typed in two terminals at once."""
    file = tmp_path / "contextprotocol" / "chat_history"
    file.parent.mkdir(mode=0o700)
    file.write_text("".join([f"\n# 2026-01-01\n+entry {number}\n+{'x' * 10_000}\n" for number in range(100)]))
    provider = ScriptedProvider.saying("One.", "One.")
    async with (
        running(providers={"scripted": provider}) as server,
        talking(server.address, state=tmp_path) as one,
        talking(server.address, state=tmp_path) as other,
    ):
        for screen, typed in ((one, "First"), (other, "Second")):
            await screen.shows("> ")
            screen.type(f"{typed}\r")
        for screen in (one, other):
            await screen.shows("One.")
            await screen.shows("> ")
            screen.type(CONTROL_D)
            assert await screen.ends() == 0
    kept = file.read_text()
    assert file.stat().st_size < 600_000
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {"+First", "+Second", "+entry 99"} <= set(kept.splitlines())
    assert kept.startswith("\n# ")
    assert "+entry 40\n" not in kept


def test_terminals_that_store_at_once_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the file is shortened again and again: each entry is whole, and of each terminal the newest are there."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    terminals = [history() for _ in range(3)]

    def type_much(number: int) -> None:
        for count in range(300):
            terminals[number].store_string(f"{number} {count} {'x' * 5_000}")

    threads = [threading.Thread(target=type_much, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = [entry.split(" ") for entry in reversed(list(history().load_history_strings()))]
    assert len(entries) > 90
    assert all(text == "x" * 5_000 for *_, text in entries)
    for number in range(3):
        counts = [int(count) for typed, count, _ in entries if typed == str(number)]
        assert counts == list(range(300 - len(counts), 300))


async def test_the_tabulator_completes_commands_and_models() -> None:
    """As in a shell."""
    async with (
        running(providers={"scripted": ScriptedProvider.saying("Hello.")}) as server,
        talking(server.address, "--session", "tour") as screen,
    ):
        await screen.shows("> ")
        for typed, answered in {f"/mod{TAB}": "→ scripted/scripted", f"/model s{TAB}": "switched to scripted"}.items():
            screen.type(typed)
            await screen.shows(typed.strip(TAB))
            screen.type("\r")
            await screen.shows(answered)
            await screen.shows("> ")


async def test_commands_change_the_session(tmp_path: Path) -> None:
    """Its instruction, its context, its last answer; a fork is where the conversation goes on."""
    provider = ScriptedProvider.saying("One.", "Two.", "Three.")
    file = tmp_path / "tour.md"
    async with (
        running(providers={"scripted": provider}) as server,
        MCPClient(server.address) as client,
        talking(server.address, "--session", "tour") as screen,
    ):
        await screen.shows("> ")
        await client.update_session("tour", set_context={"raw": ContextEntry(type="json", json={"a": 1})})
        for typed, answered in (
            ("/retry", "no message to answer again"),
            ("/system", "no system instruction"),
            ("/system Be brief.", "system instruction set"),
            ("/context place Rome is old", "context place set"),
            ("/context", 'place: Rome is old\nraw: {"a": 1}'),
            ("/context nosuch", "no entry nosuch"),
            ("/forget raw", "context raw removed"),
            ("/forget raw ", "no entry 'raw'"),
            ("Hi", "One."),
            ("/retry", "Two."),
            ("/history", "assistant\nTwo."),
            ("/history x", "expected a number"),
            (f"/save {file}", "saved as"),
            (f"/save {file} ", "cannot write"),
            ("/fork detour", "session detour (2 messages so far)"),
            ("More", "Three."),
        ):
            screen.type(f"{typed}\r")
            await screen.shows(answered)
            await screen.shows("> ")
        screen.type(CONTROL_D)
        assert await screen.ends() == 0
        tour = await client.get_session("tour")
        assert (tour.system_instruction, sorted(tour.context), tour.message_count) == ("Be brief.", ["place"], 2)
        assert (await client.get_session("detour")).message_count == 4
    assert (
        file.read_text()
        == "# tour\n\n## system\n\nBe brief.\n\n## user\n\nHi\n\n## assistant (scripted/scripted)\n\nTwo.\n"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_message_that_failed_can_be_sent_again() -> None:
    """Although it is not part of the history."""
    provider = ScriptedProvider([ProviderRejected("no")], ["Yes.", Finish()])
    async with (
        running(providers={"scripted": provider}) as server,
        talking(server.address, "--session", "tour") as screen,
    ):
        await screen.shows("> ")
        screen.type("Hi\r")
        await screen.shows("no")
        await screen.shows("> ")
        screen.type("/retry\r")
        await screen.shows("Yes.")
    assert [request.messages[-1].text for request in provider.requests] == ["Hi", "Hi"]


async def test_a_lost_connection_is_a_line_and_a_session_without_a_word_does_not_stay() -> None:
    """The answer goes on, and is told apart from nothing but by the line."""
    gate = Gate()
    provider = ScriptedProvider(["It was a dark and", gate, " stormy night", Finish()])
    async with (
        running(providers={"scripted": provider}) as server,
        Proxy(server.address, lambda _: ()) as proxy,
        MCPClient(server.address) as client,
    ):
        async with talking(proxy.address) as screen:
            await screen.shows("> ")
            screen.type("/new\n")
            await screen.shows("· /help")
            await screen.shows("> ")
            screen.type("Tell me a story.\n")
            await screen.shows("It was a dark and")
            proxy.cut_all()
            await screen.shows("no connection to the server, retrying")
            gate.open()
            await screen.shows("It was a dark and stormy night")
            await screen.shows("> ")
            screen.type("/new\n")
            await screen.shows("· /help")
            await screen.shows("> ")
            screen.type(CONTROL_D)
            assert await screen.ends() == 0
        assert [session.message_count async for session in client.list_sessions()] == [2]
    assert len(provider.requests) == 1


async def test_one_answer_tells_of_a_lost_connection_on_a_terminal() -> None:
    """On a line of its own, once, and not in the answer."""
    gate = Gate()
    provider = ScriptedProvider(["It was a dark and", gate, " stormy night", Finish()])
    async with (
        running(providers={"scripted": provider}) as server,
        Proxy(server.address, lambda _: ()) as proxy,
        talking(proxy.address, "--session", "tour", "Tell me a story.") as screen,
    ):
        await screen.shows("It was a dark and")
        proxy.cut_all()
        await screen.shows("\nno connection to the server, retrying …\n")
        gate.open()
        await screen.shows(" stormy night\n")
        assert await screen.ends() == 0


async def test_an_answer_longer_than_the_screen_is_followed_and_kept() -> None:
    """Its end is seen while it comes, and all of it stands there at the end."""
    gate = Gate()
    lines = [f"line {number}\n\n" for number in range(40)]
    provider = ScriptedProvider([*lines[:30], gate, *lines[30:], Finish()])
    async with (
        running(providers={"scripted": provider}) as server,
        talking(server.address, "--session", "tour") as screen,
    ):
        await screen.shows("> ")
        screen.type("Count.\n")
        await screen.shows("line 29")
        gate.open()
        whole = await screen.shows("tokens")
        *_, last = re.split(r"line 0\b", whole)
        assert [int(number) for number in re.findall(r"line (\d+)", last)] == list(range(1, 40))


async def test_an_answer_is_shown_as_markdown_with_its_lines_kept() -> None:
    """Marks become what they mean, and a poem stays a poem."""
    provider = ScriptedProvider.saying("# Roses\n\n**red**\nviolets\n\n- one\n- two\n")
    async with (
        running(providers={"scripted": provider}) as server,
        talking(server.address, "--session", "tour") as screen,
    ):
        await screen.shows("> ")
        screen.type("A poem, please.\n")
        await screen.shows("A poem, please.\n")
        shown = await screen.shows("tokens")
        assert re.search(r"Roses.*\n\s*red *\nviolets *\n\s*• one *\n\s*• two *\n", shown), shown
        assert not {"#", "*", "-"} & set(shown)
        screen.type("/quit\n")
        assert await screen.ends() == 0


async def test_no_server_is_one_line_in_a_terminal_too() -> None:
    """And no conversation with nobody."""
    async with talking("127.0.0.1:1") as screen:
        assert "mcp-client: " in await screen.shows("mcp-server serve")
        assert await screen.ends() == 1


async def test_names_of_tables_are_never_cut() -> None:
    """They are copied from there: the other columns give way."""
    name = "n" * 60
    async with running() as server, MCPClient(server.address) as client:
        await client.create_session(name, labels={"team": "a-label-that-is-rather-long", "other": "another-long-label"})
        await client.chat("Hi", session=name)
        async with talking(server.address, command=("sessions", "list")) as screen:
            await screen.shows(name)
        (turn,) = [each async for each in client.list_turns(name)]
        async with talking(server.address, command=("turns", "list", name)) as screen:
            await screen.shows(turn.name)
