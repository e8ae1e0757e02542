"""The compliance tests of Anthropic's API by others: llm-comply."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import msgspec

from mcp_server.interfaces import (
    Finish,
    GenerateRequest,
    ProviderEvent,
    ReasoningDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.testing import ScriptedProvider, running
from mcp_server.values import Capabilities, FinishReason, Model
from tests.web.servers import web_config

# Tests of thinking only run with models of such a name.
MODEL = Model(
    name="claude-sonnet-4-double",
    capabilities=Capabilities(chat=True, tools=True, images=True),
    context_window=100_000,
)


class Willing(ScriptedProvider):
    """Calls a tool if there is one, thinks if it is asked to, and greets."""

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """One of three answers."""
        if request.provider_options:
            yield ReasoningDelta(text="15 times 37 …")
        if request.tools:
            yield ToolCallStart(id="call_1", name=request.tools[0].name)
            yield ToolArgumentsDelta(id="call_1", text='{"location": "San Francisco"}')
            yield Finish(reason=FinishReason.TOOL_CALLS)
            return
        yield "Hello there, friend"
        yield Finish()


async def test_all_of_its_tests_pass() -> None:
    """Nine, none of them skipped."""
    options = [
        "--format=anthropic",
        "--json",
        "--api-key=any",
        f"--model=double/{MODEL.name}",
        "--auth-header=x-api-key",
    ]
    async with running(web_config(), providers={"double": Willing(model=MODEL)}) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llm_comply.cli",
            f"--base-url={server.web_url}v1",
            "--header=anthropic-version:2023-06-01",
            "--api-key=any",
            "--auth-header=x-api-key",
            "--no-bearer",
            *options,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    results = msgspec.json.decode(output)["results"]
    assert {result["name"]: result["status"] for result in results if result["status"] != "passed"} == {}
    assert len(results) == 9
