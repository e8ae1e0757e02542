"""A model that calls functions: ``examples/tools``."""

from __future__ import annotations

from pathlib import Path

from mcp_server.interfaces import Finish, ToolArgumentsDelta, ToolCallStart
from mcp_server.testing import ScriptedProvider, Step, running
from mcp_server.values import Capabilities, FinishReason, Model, Text, ToolResult
from tests.examples.programs import started

MODEL = Model(name="caller", capabilities=Capabilities(chat=True, tools=True))


def calls(*named: tuple[str, str]) -> list[Step]:
    """An answer that calls these functions with these arguments."""
    events: list[Step] = []
    for number, (name, arguments) in enumerate(named):
        events += [ToolCallStart(id=f"{number}", name=name), ToolArgumentsDelta(id=f"{number}", text=arguments)]
    return [*events, Finish(reason=FinishReason.TOOL_CALLS)]


async def test_the_model_has_the_results_of_both_functions(tmp_path: Path) -> None:
    """Also of the one that fails: it is told why, and calls again."""
    (tmp_path / "large.bin").write_bytes(b"x" * 1000)
    folder = f'{{"folder": "{tmp_path}"}}'
    missing = f'{{"folder": "{tmp_path}/missing"}}'
    provider = ScriptedProvider(
        calls(("free_space", folder), ("largest_files", missing)),
        calls(("largest_files", folder)),
        ["There is ", "space.", Finish()],
        model=MODEL,
    )
    async with (
        running(providers={"scripted": provider}) as server,
        started("tools/tools.py", "How much space is there?", address=server.address) as program,
    ):
        ended = await program.ended()
    assert ended.status == 0
    *lines, answer, summary = ended.output.splitlines()
    assert lines == [
        f"called free_space({folder})",
        f"called largest_files({missing})",
        f"called largest_files({folder})",
    ]
    assert answer == "There is space."
    assert summary.startswith("3 turns, ")
    assert "FileNotFoundError" in ended.errors, "the log says what failed"

    space, failed = results(provider, 1)
    assert (space.is_error, text_of(space).endswith(" GB")) == (False, True)
    assert (failed.is_error, "there is no folder" in text_of(failed)) == (True, True)
    assert text_of(results(provider, 2)[-1]) == '[["large.bin", 1000]]'
    assert {tool.name for tool in provider.requests[0].tools} == {"free_space", "largest_files"}


def results(provider: ScriptedProvider, number: int) -> list[ToolResult]:
    """The results in a request."""
    parts = [part for message in provider.requests[number].messages for part in message.parts]
    return [part for part in parts if isinstance(part, ToolResult)]


def text_of(result: ToolResult) -> str:
    return "".join([part.text for part in result.parts if isinstance(part, Text)])
