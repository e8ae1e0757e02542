"""The compliance tests of OpenAI's API by others: llm-comply."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import msgspec

from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent, ToolArgumentsDelta, ToolCallStart
from mcp_server.testing import ScriptedProvider, running
from mcp_server.values import Capabilities, FinishReason, Model
from tests.web.servers import web_config

MODEL = Model(name="double", capabilities=Capabilities(chat=True, tools=True, images=True), context_window=100_000)


class Willing(ScriptedProvider):
    """Calls a tool if there is one, and greets otherwise."""

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """One of two answers."""
        if request.tools:
            yield ToolCallStart(id="call_1", name=request.tools[0].name)
            yield ToolArgumentsDelta(id="call_1", text='{"location": "San Francisco"}')
            yield Finish(reason=FinishReason.TOOL_CALLS)
            return
        yield "Hello Alice"
        yield Finish()


async def test_its_tests_of_chats_pass() -> None:
    """Eight of nine, without a warning. The other one sends a parameter of another API, and so only runs with models of
    certain names."""
    found = await judged("openai-chat")
    assert {name: result for name, result in found.items() if result != ("passed", [])} == {
        "Reasoning Summary": ("skipped", [])
    }
    assert len(found) == 9


async def test_its_tests_of_responses_pass() -> None:
    """All thirteen; it warns that responses are not compacted."""
    found = await judged("open-responses", "gpt-5")
    assert {name for name, (status, _) in found.items() if status != "passed"} == set()
    assert {name for name, (_, warnings) in found.items() if warnings} == {"Compaction Endpoint"}
    assert len(found) == 13


async def judged(form: str, name: str = "double") -> dict[str, tuple[str, list[str]]]:
    """The result of each test with a model of that name, and its warnings."""
    model = msgspec.structs.replace(MODEL, name=name)
    async with running(web_config(), providers={"p": Willing(model=model)}) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llm_comply.cli",
            f"--base-url={server.web_url}v1",
            "--api-key=any",
            f"--model=p/{name}",
            f"--format={form}",
            "--json",
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    results = msgspec.json.decode(output)["results"]
    return {result["name"]: (result["status"], result.get("warnings") or []) for result in results}
