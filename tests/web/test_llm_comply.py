"""The compliance tests of all three APIs by others: llm-comply."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import pytest

from mcp_server.interfaces import (
    Finish,
    GenerateRequest,
    ProviderEvent,
    ReasoningDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.model_files import pull
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.testing import ScriptedProvider, running
from mcp_server.values import Capabilities, FinishReason, Model
from tests.web.servers import web_config

MODEL = Model(name="double", capabilities=Capabilities(chat=True, tools=True, images=True), context_window=100_000)
EMBEDDED = "smollm2-135m"
FORMS: Final[dict[str, Sequence[str]]] = {
    "open-responses": (),
    "openai-chat": (),
    "anthropic": ("--header=anthropic-version:2023-06-01", "--auth-header=x-api-key", "--no-bearer"),
}
"""The APIs, and how each is called."""


class Willing(ScriptedProvider):
    """Calls a tool if there is one, thinks if it is asked to, and greets."""

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """One of three answers."""
        if "thinking" in request.provider_options:
            yield ReasoningDelta(text="15 times 37 …")
        if request.tools:
            yield ToolCallStart(id="call_1", name=request.tools[0].name)
            yield ToolArgumentsDelta(id="call_1", text='{"location": "San Francisco"}')
            yield Finish(reason=FinishReason.TOOL_CALLS)
            return
        yield "Hello Alice, friend"
        yield Finish()


async def test_its_tests_of_chats_pass() -> None:
    """Eight of nine, without a warning. The other one sends a parameter of another API, and so only runs with models of
    certain names."""
    found = await judged_double("openai-chat", "double")
    assert {name: result for name, result in found.items() if result != ("passed", [])} == {
        "Reasoning Summary": ("skipped", [])
    }
    assert len(found) == 9


async def test_its_tests_of_responses_pass() -> None:
    """All thirteen; it warns that responses are not compacted."""
    found = await judged_double("open-responses", "gpt-5")
    assert {name for name, (status, _) in found.items() if status != "passed"} == set()
    assert {name for name, (_, warnings) in found.items() if warnings} == {"Compaction Endpoint"}
    assert len(found) == 13


async def test_its_tests_of_messages_pass() -> None:
    """Nine, none of them skipped: those of thinking only run with models of such a name."""
    found = await judged_double("anthropic", "claude-sonnet-4-double")
    assert {name for name, (status, _) in found.items() if status != "passed"} == set()
    assert len(found) == 9


@pytest.mark.parametrize("form", FORMS)
async def test_the_embedded_model_fails_what_it_cannot_do(form: str) -> None:
    """It has no tools and sees no images: those are refused. All else passes, whatever it answers."""
    pull(EMBEDDED)
    provider = LlamaCppProvider(LlamaCppSettings(models={EMBEDDED: LlamaCppModel()}))
    async with running(web_config(), providers={"local": provider}) as server:
        found = await judged(server.web_url, form, f"local/{EMBEDDED}")
    assert {name for name, (status, _) in found.items() if status == "failed"} == {"Tool Calling", "Image Input"}


async def judged_double(form: str, name: str) -> dict[str, tuple[str, list[str]]]:
    """The result of each test with a willing model of that name, and its warnings."""
    model = msgspec.structs.replace(MODEL, name=name)
    async with running(web_config(), providers={"p": Willing(model=model)}) as server:
        return await judged(server.web_url, form, f"p/{name}")


async def judged(url: str, form: str, model: str) -> dict[str, tuple[str, list[str]]]:
    """The same with any model of a server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llm_comply.cli",
        f"--base-url={url}v1",
        "--api-key=any",
        f"--model={model}",
        f"--format={form}",
        "--json",
        *FORMS[form],
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    results = msgspec.json.decode(output)["results"]
    return {result["name"]: (result["status"], result.get("warnings") or []) for result in results}
