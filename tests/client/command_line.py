"""Runs the command line ``mcp-client`` in tests."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from dataclasses import dataclass

from typer.testing import CliRunner

from mcp_client.cli.commands import app
from mcp_server.app import UnifiedMCPServer
from tests.client.stand_in import StandIn

_in_use = threading.Lock()
PROGRAM = (sys.executable, "-m", "mcp_client.cli")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a program left behind."""

    status: int
    out: str
    err: str


def environment(address: str = "127.0.0.1:1") -> dict[str, str]:
    """As in a plain shell: no variable that makes a pipe look like a terminal, or sets its width."""
    unset = {"FORCE_COLOR", "COLUMNS", "LINES", "GITHUB_ACTIONS", "PY_COLORS", "TERMINAL_WIDTH", "PYTHONUNBUFFERED"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "CONTEXTPROTOCOL_ADDRESS": address, "PYTHONUTF8": "1"}


async def mcp_client(server: UnifiedMCPServer | StandIn | None, *arguments: str, stdin: bytes = b"") -> Ran:
    """Run the command line to its end against a server; ``None``: against none.

    In a thread of the test's own process, one at a time: the imports of a new one would take more time than all else.
    """
    assert not _in_use.locked(), "the standard streams belong to another command: use mcp_client_process"
    variables = environment(server.address) if server is not None else environment()
    runner = CliRunner(env={**dict.fromkeys(os.environ.keys() - variables.keys()), **variables})
    with _in_use:
        result = await asyncio.to_thread(runner.invoke, app, arguments, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return _checked(Ran(status=result.exit_code, out=result.stdout, err=result.stderr))


async def mcp_client_process(server: UnifiedMCPServer | None, *arguments: str | bytes, stdin: bytes = b"") -> Ran:
    """The same as a program, with pipes."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(server.address) if server is not None else environment(),
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return _checked(Ran(status=process.returncode, out=out.decode(), err=err.decode()))


def _checked(ran: Ran) -> Ran:
    assert "Traceback" not in ran.err, ran.err
    assert "\x1b" not in ran.out + ran.err, "colours in a pipe"
    return ran
