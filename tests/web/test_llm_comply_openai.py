"""The compliance tests of OpenAI's chat completions by others: llm-comply."""

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


async def test_its_tests_pass() -> None:
    """Eight of nine, without a warning. The other one sends a parameter of another API, and so only runs with models of
    certain names."""
    async with running(web_config(), providers={"p": Willing(model=MODEL)}) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llm_comply.cli",
            f"--base-url={server.web_url}v1",
            "--api-key=any",
            "--model=p/double",
            "--format=openai-chat",
            "--json",
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    results = msgspec.json.decode(output)["results"]
    found = {result["name"]: (result["status"], result.get("warnings") or []) for result in results}
    assert {name: result for name, result in found.items() if result != ("passed", [])} == {
        "Reasoning Summary": ("skipped", [])
    }
    assert len(results) == 9
