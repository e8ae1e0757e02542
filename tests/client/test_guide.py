"""The page about the Python clients: its programs run, its tree is the real one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from mcp_client import MCPSyncClient, errors
from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent, ToolArgumentsDelta, ToolCallStart
from mcp_server.testing import EchoProvider
from mcp_server.values import Capabilities, FinishReason, Model, Role
from tests.client.blocking.beside import LOOP, running

PAGE = (Path(__file__).parent.parent.parent / "docs" / "clients" / "python.md").read_text()
ADDRESS = "127.0.0.1:50051"


class Caller(EchoProvider):
    """Asks for its first tool, then echoes what that has answered; and makes vectors."""

    async def models(self) -> Sequence[Model]:
        """The model ``caller``."""
        able = Capabilities(chat=True, tools=True, embedding=True)
        return [Model(name="caller", capabilities=able, max_batch=2000)]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """A call of a tool, or an answer."""
        if not request.tools or request.messages[-1].role is Role.TOOL:
            yield "It is done."
            yield Finish()
        else:
            yield ToolCallStart(id="c1", name=request.tools[0].name)
            yield ToolArgumentsDelta(id="c1", text='{"city": "Rome"}')
            yield Finish(reason=FinishReason.TOOL_CALLS)


def test_the_programs_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a reader would collect them, against a model that asks for tools."""
    for name in ("ca.pem", "client.pem", "client.key", "token"):
        (tmp_path / name).write_text("-----BEGIN SOMETHING-----")
    monkeypatch.chdir(tmp_path)
    whole, *pieces = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(pieces) > 6
    with LOOP, running(providers={"caller": Caller()}) as server:
        assert ADDRESS in whole
        exec(compile(whole.replace(ADDRESS, server.address), "python.md", "exec"), {})  # noqa: S102  # our own page
        with MCPSyncClient(server.address) as client:
            names = {"client": client, "session": client.create_session()}
            exec(compile("\n".join(pieces), "python.md", "exec"), names)  # noqa: S102  # our own page
    printed = capsys.readouterr().out
    assert 'temperature {"city": "Rome"} False' in printed
    assert "SESSION_NOT_FOUND" in printed


def test_the_tree_of_errors_is_the_one_of_the_code() -> None:
    """Line for line."""
    tree = re.search(r"^```\n(MCPError\n.*?)```$", PAGE, re.MULTILINE | re.DOTALL)
    assert tree is not None
    drawn = re.sub("^    ", "", errors.__doc__ or "", flags=re.MULTILINE)
    assert tree[1] in drawn
