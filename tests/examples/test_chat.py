"""A chat in the terminal: ``examples/chat``."""

from __future__ import annotations

import signal

from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish
from mcp_server.testing import Gate, ScriptedProvider, running
from tests.examples.programs import started

PROGRAM = "chat/chat.py"


async def test_a_conversation_is_there_again_next_time() -> None:
    """It is shown, and continued."""
    provider = ScriptedProvider.saying("Hello!", "Still here.")
    async with running(providers={"scripted": provider}) as server:
        for question, output in (
            ("Hi", "> Hello!\n> "),
            ("Are you there?", "user: Hi\nassistant: Hello!\n> Still here.\n> "),
        ):
            async with started(PROGRAM, "tour", address=server.address) as program:
                await program.until("> ")
                await program.type(question)
                ended = await program.ended()
            assert (ended.status, ended.output, ended.errors) == (0, output, "")
    assert [message.text for message in provider.requests[1].messages][-3:] == ["Hi", "Hello!", "Are you there?"]


async def test_control_c_stops_the_answer_and_not_the_program() -> None:
    """The model stops, and the conversation goes on without that exchange. So it does after a failure."""
    provider = ScriptedProvider(
        ["one ", Gate()], ["two", ProviderUnavailable("the model is away")], ["three", Finish()]
    )
    async with (
        running(providers={"scripted": provider}) as server,
        started(PROGRAM, address=server.address) as program,
    ):
        await program.until("> ")
        await program.type("Count")
        await program.until("one ")
        program.process.send_signal(signal.SIGINT)
        await program.until("stopped")
        assert provider.cancelled == 1
        await program.type("Fail")
        await program.until("two")
        await program.type("Go on")
        ended = await program.ended()
    assert ended.status == 0
    assert ended.output.endswith("> three\n> ")
    assert "the model is away" in ended.errors
    assert "Traceback" not in ended.errors
    assert [message.text for message in provider.requests[-1].messages if message.role == "user"] == ["Go on"]
