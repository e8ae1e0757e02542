"""``mcp-server plugins check``: the contract suite against an installed plug-in, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mcp_server.commands.reporting import FAILED, MISUSED, fail, reported

if TYPE_CHECKING:
    from mcp_server.testing.checks.request import CheckEvent, CheckRequest

_MARKS: Final = {"passed": "✓", "failed": "✗", "skipped": "–"}
_BETWEEN: Final = "each test is followed by the next"
_TAIL: Final = 2**16
"""How much of what the process prints is kept, in bytes."""
_LAST_WORDS: Final = 1.0
"""How long what it has printed may take to arrive when it has ended, in seconds."""


def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plug-in, as `mcp-server plugins` lists it.")],
    kind: Annotated[
        str | None,
        typer.Option(help="Its kind, if plug-ins of several kinds have that name.", show_default=False),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file with the keys of its settings table.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A key of its settings table.", show_default=False),
    ] = None,
    model: Annotated[
        str, typer.Option(help="The model of a provider to ask; by default the first that chats.", show_default=False)
    ] = "",
    credential: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Metadata that an authenticator accepts.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long each test may take.", min=0.1)] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the contract suite against an installed plug-in. Exit with 1 if it fails, and with 2 if there is no such
    plug-in."""
    if missing := [each for each in ("pytest", "pytest_asyncio") if importlib.util.find_spec(each) is None]:
        fail(f"the contract suites need {' and '.join(missing)}: pip install 'contextprotocol[testing]'", MISUSED)
    with reported():
        import msgspec

        from mcp_server.testing.checks.request import CheckRequest

        kind = _kind(name, kind)
        ends: list[CheckEvent] = []

        def report(event: CheckEvent) -> None:
            ends.append(event)
            if not as_json:
                _print(event)

        with tempfile.TemporaryDirectory(prefix="mcp-server-check-", ignore_cleanup_errors=True) as folder:
            request = CheckRequest(
                kind=kind,
                name=name,
                folder=folder,
                file=str(settings.absolute()) if settings is not None else "",
                values=_pairs(set_, "--set"),
                model=model,
                credentials=_pairs(credential, "--credential"),
            )
            asyncio.run(_run(request, timeout, report))
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(ends)).decode())
    else:
        counts = [f"{number} {word}" for word in _MARKS if (number := sum(end.outcome == word for end in ends))]
        print(f"{kind} {name}: {', '.join(counts)}")
    if any(end.outcome == "failed" for end in ends):
        raise typer.Exit(FAILED)


def _kind(name: str, kind: str | None) -> str:
    """The kind of the plug-in of that name; ends the program if there is none, or more than one."""
    from mcp_server.plugins import KINDS, Registry

    if kind is not None and kind not in KINDS:
        fail(f"--kind: found {kind!r}, expected {' or '.join(KINDS)}", MISUSED)
    registry = Registry()
    known = {each: registry.names(each) for each in (KINDS if kind is None else (kind,))}
    found = [each for each, names in known.items() if name in names]
    if not found:
        near = get_close_matches(name, [each for names in known.values() for each in names], n=1)
        hint = f"did you mean {near[0]}?" if near else "`mcp-server plugins` lists those that are"
        fail(f"no plug-in {name!r} is installed; {hint}", MISUSED)
    if len(found) > 1:
        fail(f"{name} is the name of several plug-ins: pass --kind {' or --kind '.join(found)}", MISUSED)
    return found[0]


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not key or not equals:
            fail(f"{option}: found {text!r}, expected NAME=VALUE", MISUSED)
        found[key] = value
    return found


async def _run(request: CheckRequest, timeout: float, report: Callable[[CheckEvent], None]) -> None:
    """Report how each test ended. One that hangs, or ends the process, fails, and the others run in a new process."""
    from msgspec.structs import replace

    from mcp_server.testing.checks.request import STEPS

    done: list[str] = []

    def note(event: CheckEvent) -> None:
        done.append(event.test)
        report(event)

    while (ended := await _process(replace(request, done=tuple(done)), timeout, note)) and ended not in (
        *STEPS,
        _BETWEEN,
    ):
        pass


async def _process(request: CheckRequest, timeout: float, report: Callable[[CheckEvent], None]) -> str:
    """Run the tests in a process; return the one during which it ended or had to be ended, or the empty text."""
    import msgspec

    from mcp_server.testing.checks.request import LOADED, CheckEvent

    # -P: what lies in the current folder must not hide a module.
    command = (sys.executable, "-P", "-m", "mcp_server.testing.checks")
    # A pipe of our own: with one of its, asyncio would take the process for ended only when all that have inherited the
    # pipe are, also those that the plug-in has started.
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=write, limit=2**24, start_new_session=True
    )
    os.close(write)
    assert process.stdin is not None
    assert process.stdout is not None
    tail = bytearray()
    errors = asyncio.create_task(_keep_tail(read, tail))
    running, problem = LOADED, ""
    try:
        process.stdin.write(msgspec.json.encode(request))
        process.stdin.close()
        while line := await asyncio.wait_for(process.stdout.readline(), timeout):
            event = msgspec.json.decode(line, type=CheckEvent)
            if event.outcome:
                report(event)
                running = _BETWEEN
            else:
                running = event.test
        await asyncio.wait_for(process.wait(), timeout)
    except TimeoutError:
        problem = f"it did not end within {timeout:g} s"
    finally:
        # With the processes that the plug-in has started: they would outlive the check.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        status = await process.wait()
        await asyncio.wait([errors], timeout=_LAST_WORDS)  # one that has left the group may hold standard error open
        errors.cancel()
    if not running:
        return ""
    printed = tail.decode(errors="replace").strip()
    last = f": {printed.splitlines()[-1]}" if printed else ""
    problem = problem or f"the process ended with status {status}{last}"
    report(CheckEvent(test=running, outcome="failed", reason=problem))
    return running


async def _keep_tail(read: int, tail: bytearray) -> None:
    """Read a pipe, however much comes, and keep the end."""
    stream = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(stream)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(read, "rb"))
    with contextlib.closing(transport):
        while chunk := await stream.read(_TAIL):
            tail += chunk
            del tail[:-_TAIL]


def _print(event: CheckEvent) -> None:
    reason = "\n".join(f"    {line}" for line in event.reason.splitlines())
    print(f"{_MARKS[event.outcome]} {event.test}" + (f"\n{reason}" if reason else ""), flush=True)
