"""The program of the page about OpenAI's API runs as it stands there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mcp_server.testing import EchoProvider
from tests.pages import blocks
from tests.web.openai.conftest import StartAPI

RESPONSES = Path(__file__).parents[3] / "docs" / "openai_responses.md"
PAGE = Path(__file__).parents[3] / "docs" / "openai_api.md"


async def test_the_program_of_the_page_runs(start_api: StartAPI, capsys: pytest.CaptureFixture[str]) -> None:
    """With the address of the server of the test."""
    api = await start_api(echo=EchoProvider())
    program = blocks(PAGE)[0].replace("http://127.0.0.1:8080/v1", api.url)
    await asyncio.to_thread(exec, program + "\nclient.close()", {})
    assert "Hello" in capsys.readouterr().out.splitlines()


async def test_the_programs_about_responses_run(start_api: StartAPI, capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other: the story of the second comes whole, although the connection is lost."""
    api = await start_api(echo=EchoProvider())
    programs = [block for block in blocks(RESPONSES) if "client." in block]
    program = "\n".join([f"from openai import OpenAI\nclient = OpenAI(base_url={api.url!r}, api_key='any')", *programs])
    await asyncio.to_thread(exec, program + "\nclient.close()", {})
    printed = capsys.readouterr().out
    assert "What is my name?\n" in printed
    assert "Tell me a story." in printed
