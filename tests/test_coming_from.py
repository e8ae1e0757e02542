"""The page for users of other systems: what it shows after the change runs against a real server."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent, ToolArgumentsDelta, ToolCallStart
from mcp_server.settings import load
from mcp_server.testing import EchoProvider, running
from mcp_server.values import Capabilities, FinishReason, Model, Role
from tests.pages import blocks
from tests.web.servers import web_config

replace = msgspec.structs.replace

PAGE = Path(__file__).parent.parent / "docs" / "coming-from.md"
PRINTED = {
    "LiteLLM": "Name a fruit.",
    "OpenAI's Assistants": "What is a prime number?",
    "OpenAI's Responses": "What is my name?",
    "LangGraph": "What is my name?\nDo you know my name?",
    "Letta": "I live in Oslo.\nThe user is Ada. Lives in Oslo.",
    "TensorZero": "Write to Ada. by echo/echo",
}
"""What each program prints. The model of the test repeats the last message of the user."""


def programs() -> dict[str, str]:
    """The program of each section that a reader ends up with."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: program
        for section in sections
        for program in re.findall(r"^```python\n(# after.*?)^```$", section, re.MULTILINE | re.DOTALL)
    }


class Attentive(EchoProvider):
    """An echo that calls the tool that it is offered, once."""

    async def models(self) -> Sequence[Model]:
        """The model ``echo``, which can also call tools."""
        can = Capabilities(chat=True, completion=True, tools=True)
        return [Model(name="echo", capabilities=can, context_window=100_000)]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """A tool call, or what the user said last."""
        if request.tools and request.messages[-1].role is Role.USER:
            yield ToolCallStart(id="call_1", name=request.tools[0].name)
            yield ToolArgumentsDelta(id="call_1", text='{"fact": "Lives in Oslo."}')
            yield Finish(reason=FinishReason.TOOL_CALLS)
            return
        yield next(message.text for message in reversed(request.messages) if message.role is Role.USER)
        yield Finish()


@pytest.mark.parametrize("system", PRINTED)
async def test_the_program_after_the_change_runs(system: str) -> None:
    """As a process of its own: with the addresses of the server, and otherwise as it stands there."""
    config = web_config()
    models = replace(config.models, aliases={"smart": "echo/echo", "draft-email": "echo/echo"})
    async with running(replace(config, models=models), providers={"echo": Attentive()}) as server:
        program = programs()[system]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c"),
            program.replace("127.0.0.1:50051", server.address).replace("127.0.0.1:8080", server.web_address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert printed.decode().strip() == PRINTED[system]


def test_every_section_shows_both_programs() -> None:
    """So that a reader can compare them; those before the change are Python too."""
    before = [block for block in blocks(PAGE) if block.startswith("# before")]
    assert len(before) == len(programs()) == len(PRINTED) == PAGE.read_text().count("**What you will miss:**")
    for block in before:
        compile(block, "before", "exec")


def test_the_settings_after_the_change_are_valid(tmp_path: Path) -> None:
    """Each file alone, with the keys in the environment that it names."""
    files = [block for block in blocks(PAGE, "toml") if block.startswith("# after")]
    keys = {"OPENAI_API_KEY": "sk-1", "GROQ_API_KEY": "gsk-1"}
    loaded = []
    for number, text in enumerate(files):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        loaded.append(load(file, keys))
    assert [config.models.default for config in loaded] == ["smart", "draft-email"]
    assert list(loaded[1].models.routes["draft-email"].weights) == [9, 1]
