"""A conversation in a terminal, as a person sees it."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from rich.console import Console

from mcp_client import MCPClient, TurnOptions
from mcp_client.cli.conversation import Conversation
from mcp_server.errors import ProviderRejected
from mcp_server.interfaces import Finish
from mcp_server.testing import Gate, ScriptedProvider, running
from tests.faults.proxy import Proxy

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")

CONTROL_C, CONTROL_D = "\x03", "\x04"
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
        async with asyncio.timeout(30):
            while text not in (plain := CODES.sub("", self._shown)):
                self._more.clear()
                await self._more.wait()
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
async def talking(address: str, *arguments: str, command: Sequence[str] = ("chat",)) -> AsyncIterator[Screen]:
    """``mcp-client chat``, or another command, on a terminal of its own, which is also what Ctrl-C is for."""
    terminal, end = pty.openpty()
    variables = {"CONTEXTPROTOCOL_ADDRESS": address, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", "PYTHONUTF8": "1"}
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-c",
            START,
        ),
        *(*command, *arguments),
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


def test_a_second_control_c_at_the_prompt_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first clears the line and says how to leave; what is said in between starts anew."""
    pressed: list[str | type[BaseException]] = [KeyboardInterrupt, "  ", " Hi ", KeyboardInterrupt, KeyboardInterrupt]

    def read(prompt: str) -> str:
        key = pressed.pop(0)
        if isinstance(key, str):
            return key
        raise key

    monkeypatch.setattr("builtins.input", read)
    console = Console(file=io.StringIO())
    conversation = Conversation(MCPClient(), console, TurnOptions())
    with console.capture() as printed:
        assert conversation.ask() == "Hi"
        assert conversation.ask() is None
    assert pressed == []
    assert printed.get().count("Ctrl-C again, or Ctrl-D, leaves") == 2


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
            await screen.shows("> ")
            screen.type("Tell me a story.\n")
            await screen.shows("It was a dark and")
            proxy.cut_all()
            await screen.shows("no connection to the server, retrying")
            gate.open()
            await screen.shows("It was a dark and stormy night")
            await screen.shows("> ")
            screen.type("/new\n")
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
