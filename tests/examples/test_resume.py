"""An answer that survives whatever is killed: ``examples/resume``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from mcp_server.interfaces import Finish
from mcp_server.settings import TurnSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import Gate, ScriptedProvider, running
from tests.examples.conftest import serving
from tests.examples.programs import Program, printed, started
from tests.faults.proxy import Proxy
from tests.killable import calls_in, words

replace = msgspec.structs.replace

PROGRAM = "resume/resume.py"
QUESTION = "300 words"
ANSWER = "".join(words(QUESTION))


@asynccontextmanager
async def asking(folder: Path, proxy: Proxy) -> AsyncIterator[Program]:
    async with started(PROGRAM, folder / "answer.json", QUESTION, address=proxy.address) as program:
        yield program


async def test_a_cut_connection_is_a_pause(tmp_path: Path, proxy: Proxy) -> None:
    """No token is lost or repeated, and the model is asked once."""
    async with serving(tmp_path, proxy), asking(tmp_path, proxy) as program:
        for n in (3, 100, 200):
            await program.until(f"/{n}]")
            proxy.cut_all()
        ended = await program.ended()
    assert (ended.status, ended.output) == (0, f"{ANSWER}\n")
    assert calls_in(tmp_path) == {QUESTION: 1}


async def test_a_killed_server_is_asked_again(tmp_path: Path, proxy: Proxy) -> None:
    """By the same program: the next server begins the answer anew, and the file holds that one alone."""
    async with AsyncExitStack() as stack:
        async with serving(tmp_path, proxy):
            program = await stack.enter_async_context(asking(tmp_path, proxy))
            await program.until("/20]")
        async with serving(tmp_path, proxy):
            ended = await program.ended()
    assert ended.status == 0
    assert ended.output.endswith(f"{ANSWER}\n")
    assert ended.output != f"{ANSWER}\n"
    assert "the answer begins anew" in ended.errors
    assert json.loads((tmp_path / "answer.json").read_text())["text"] == ANSWER
    assert calls_in(tmp_path) == {QUESTION: 2}


async def test_a_killed_program_goes_on_when_it_is_run_again(tmp_path: Path, proxy: Proxy) -> None:
    """As often as it is killed: it prints what it has, and then the rest. After the end it asks nobody."""
    async with serving(tmp_path, proxy):
        for n in (0, 100, 200):
            async with asking(tmp_path, proxy) as program:
                await program.until(f"/{n}]")
        for _ in range(2):
            assert await printed(PROGRAM, tmp_path / "answer.json", QUESTION, address=proxy.address) == f"{ANSWER}\n"
    assert await printed(PROGRAM, tmp_path / "answer.json", QUESTION, address="127.0.0.1:1") == f"{ANSWER}\n"
    assert calls_in(tmp_path) == {QUESTION: 1}


async def test_the_program_and_the_server_may_be_killed_together(tmp_path: Path, proxy: Proxy) -> None:
    """Then the turn runs again, because its caller has come back."""
    async with serving(tmp_path, proxy), asking(tmp_path, proxy) as program:
        await program.until("/20]")
    async with serving(tmp_path, proxy), asking(tmp_path, proxy) as program:
        ended = await program.ended()
    assert (ended.status, ended.output.endswith(f"{ANSWER}\n")) == (0, True)
    assert calls_in(tmp_path) == {QUESTION: 2}


async def test_two_at_once_have_one_answer(tmp_path: Path, proxy: Proxy) -> None:
    """Started at the same time with one file, they send one question."""
    async with serving(tmp_path, proxy):
        both = [printed(PROGRAM, tmp_path / "answer.json", QUESTION, address=proxy.address) for _ in range(2)]
        assert await asyncio.gather(*both) == [f"{ANSWER}\n"] * 2
    assert calls_in(tmp_path) == {QUESTION: 1}
    assert kept(tmp_path) == ["answer.json"]


def kept(folder: Path) -> list[str]:
    """What the program leaves behind."""
    return [path.name for path in folder.glob("answer*")]


async def test_the_answer_does_not_wait_for_the_program(tmp_path: Path) -> None:
    """It is generated to its end without a reader. Whoever comes back goes on behind what the file has."""
    gates = [Gate(), Gate()]
    provider = ScriptedProvider(["one ", gates[0], "two ", gates[1], "three", Finish()])
    config = replace(settings(default_model="scripted/scripted"), turns=TurnSettings(disconnect_grace=0.01))
    file = tmp_path / "answer.json"
    async with running(config, providers={"scripted": provider}) as server:
        async with started(PROGRAM, file, "Count", address=server.address) as program:
            await program.until("one ")
            gates[0].open()
            await program.until("two ")  # so the first piece has been saved
        assert json.loads(file.read_text())["text"] in ("one ", "one two ")
        async with started(PROGRAM, file, "Count", address=server.address) as program:
            await program.until("one two ")
            gates[1].open()
            assert (await program.ended()).output == "one two three\n"
    assert (len(provider.requests), provider.cancelled) == (1, 0)


async def test_another_question_needs_another_file(tmp_path: Path, proxy: Proxy) -> None:
    """The file says which one it holds."""
    async with serving(tmp_path, proxy):
        await printed(PROGRAM, tmp_path / "answer.json", "2 words", address=proxy.address)
        async with asking(tmp_path, proxy) as program:
            ended = await program.ended()
    assert (ended.status, ended.errors.strip().rpartition(": ")[2]) == (1, "2 words")
