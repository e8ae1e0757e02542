"""The processes of local models are watched: one that harms others is killed. Small programs stand for models."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import psutil
import pytest

from mcp_server.errors import UnsupportedByModel
from mcp_server.providers.local import process, supervisor
from mcp_server.providers.local.lazy import LoadFailed
from mcp_server.providers.local.process import ModelProcess
from mcp_server.providers.local.supervisor import Supervisor
from mcp_server.providers.local.suspects import Suspects

WAITS = "import sys; print('up', flush=True); sys.stdin.read()"
COMPUTES = "print('up', flush=True)\nwhile True: pass"
LARGE = "import sys; taken = bytearray(b'x' * (200 << 20)); print('up', flush=True); sys.stdin.read()"
GROWS = "import sys; print('up', flush=True); sys.stdin.readline(); taken = b'x' * (200 << 20); sys.stdin.read()"
DEAF = "import time; print('up', flush=True); time.sleep(600)"

Watch = Callable[..., Awaitable[tuple[ModelProcess, Supervisor, Suspects]]]


@pytest.fixture
async def watch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watch]:
    """Start a program as the process of the model ``m``, and watch it, as a rule as if its model were loaded."""
    monkeypatch.setattr(process, "END_SECONDS", 0.5)  # some of the programs do not end by themselves
    async with contextlib.AsyncExitStack() as stack:

        async def started(
            program: str, *, memory_limit: int | None = None, stall_seconds: float = 60.0, loaded: bool = True
        ) -> tuple[ModelProcess, Supervisor, Suspects]:
            running = await ModelProcess.start(["-c", program], model="m")
            suspects = Suspects("m")
            watching = Supervisor(running, suspects, memory_limit=memory_limit, stall_seconds=stall_seconds)
            stack.push_async_callback(watching.close)
            stack.push_async_callback(running.close)
            assert await running.stdout.readline() == b"up\n"
            if loaded:
                watching.loaded()
            return running, watching, suspects

        yield started


async def refused(suspects: Suspects, request: bytes) -> str:
    """Why a request is refused; empty if it is not."""
    try:
        async with suspects.admit(request):
            return ""
    except UnsupportedByModel as error:
        return error.message


async def test_a_process_beyond_its_memory_limit_is_killed(watch: Watch) -> None:
    """The reason names both sizes; nobody waits for its answers any more."""
    killed = asyncio.Event()
    running, _, _ = await watch(GROWS, memory_limit=100 << 20)
    running.when_killed = killed.set
    running.stdin.write(b"grow\n")
    async with asyncio.timeout(5):
        await killed.wait()
        await running.ending
    assert not running.alive
    assert await running.outcome() == (f"was ended because {running.kill_reason}")
    reason = r"it took 0\.[12] GiB of memory, and the limit is 0\.1 GiB \(memory_limit\)"
    assert re.fullmatch(reason, running.kill_reason)


async def test_without_a_setting_a_loaded_model_has_room(watch: Watch) -> None:
    """What it took for loading does not count against it."""
    running, watching, _ = await watch(LARGE)
    await asyncio.wait([running.ending], timeout=3 * supervisor.POLL_SECONDS)
    assert running.alive
    assert watching.time > 0


async def test_work_that_does_not_stop_is_ended_with_its_process(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request that did not stop is the suspect, and none of the others."""
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.3)
    running, watching, suspects = await watch(COMPUTES)
    for _ in range(2):
        watching.begin(b"good")
    bad = watching.begin(b"bad")
    bad.stop()
    async with asyncio.timeout(5):
        await running.ending
    assert "did not stop" in running.kill_reason
    suspects.accuse([b"bad"], "again")
    assert "its process ended 2 times" in await refused(suspects, b"bad")
    assert not await refused(suspects, b"good")


async def test_work_that_stops_late_but_slowly_is_waited_for(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose steps take long is no model that hangs."""
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.1)
    running, watching, _ = await watch(WAITS)
    work = watching.begin(b"slow")
    await asyncio.wait([running.ending], timeout=3 * supervisor.POLL_SECONDS)
    work.progress()
    work.stop()
    await asyncio.wait([running.ending], timeout=2 * supervisor.POLL_SECONDS)
    assert running.alive
    work.end()


async def test_work_without_any_progress_ends(watch: Watch) -> None:
    """Progress of any request is progress."""
    running, watching, _ = await watch(COMPUTES, stall_seconds=0.6)
    first = watching.begin(b"a")
    watching.begin(b"b")
    for _ in range(3):
        await asyncio.wait([running.ending], timeout=0.4)
        assert running.alive
        first.progress()
    async with asyncio.timeout(5):
        await running.ending
    assert running.kill_reason == "it worked for 1 s without any progress"


async def test_a_process_that_computes_unasked_ends(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits goes on, also with work that takes its time."""
    monkeypatch.setattr(supervisor, "IDLE_SECONDS", 0.5)
    waiting, _, _ = await watch(WAITS)
    working, watching, _ = await watch(COMPUTES)
    work = watching.begin(b"x")
    await asyncio.wait([working.ending], timeout=1.2)
    assert working.alive
    work.end()
    async with asyncio.timeout(10):
        await working.ending
    assert "nothing was asked" in working.kill_reason
    assert waiting.alive


async def test_loading_that_hangs_ends(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading that computes may take long."""
    monkeypatch.setattr(supervisor, "LOAD_STALL_SECONDS", 0.6)
    busy, _, _ = await watch(COMPUTES, loaded=False)
    hangs, _, _ = await watch(DEAF, loaded=False)
    async with asyncio.timeout(10):
        await hangs.ending
    assert hangs.kill_reason == "its model made no progress in loading for 1 s"
    assert busy.alive


@pytest.mark.parametrize(("ended_by", "refusals"), [("abort", 1), ("kill", 0)])
async def test_a_crash_makes_suspects_and_a_kill_from_outside_does_not(
    watch: Watch, ended_by: str, refusals: int
) -> None:
    """Who kills a process from outside has another reason than a request."""
    running, watching, suspects = await watch(WAITS)
    work = watching.begin(b"request")
    os.kill(running.pid, signal.SIGABRT if ended_by == "abort" else signal.SIGKILL)
    work.break_off()
    async with asyncio.timeout(5):
        await watching.watching
    assert "signal" in await running.outcome()
    suspects.accuse([b"request"], "it crashed again")
    assert len([why for why in [await refused(suspects, b"request")] if why]) == refusals


async def test_a_process_that_does_not_listen_is_killed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closes it waits for so long and no longer."""
    monkeypatch.setattr(process, "END_SECONDS", 0.3)
    running = await ModelProcess.start(["-c", DEAF], model="m")
    assert await running.stdout.readline() == b"up\n"
    async with asyncio.timeout(5):
        await running.close()
    assert not psutil.pid_exists(running.pid)


async def test_a_process_that_cannot_be_started_is_a_model_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says why."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(LoadFailed, match="No such file"):
        await ModelProcess.start(["-c", "pass"], model="m")


async def test_suspects_run_one_at_a_time_until_the_cause_is_found() -> None:
    """Those that ran beside it by chance succeed and are suspect no longer; the cause is refused."""
    suspects = Suspects("m")
    requests = [b"a", b"b", b"bad"]
    suspects.accuse(requests, "it grew")
    together = 0

    async def run(request: bytes) -> str:
        nonlocal together
        try:
            async with suspects.admit(request):
                together += 1
                assert together == 1 or request == b"other"
                await asyncio.sleep(0)
                together -= 1
                if request == b"bad":
                    # What ran beside it that was never suspect is not the cause.
                    suspects.accuse([b"bad", b"other"], "it grew")
                    raise ConnectionError
        except ConnectionError:
            return "lost"
        except UnsupportedByModel:
            return "refused"
        return "fine"

    assert await asyncio.gather(*[run(request) for request in requests]) == ["fine", "fine", "lost"]
    assert [await run(request) for request in [*requests, b"other"]] == ["fine", "fine", "refused", "fine"]


def test_libraries_of_a_model_neither_read_nor_write_what_is_for_the_server() -> None:
    """What they print goes to standard error, from Python and from below; what they ask for has no answer."""
    program = """
        import os
        from mcp_server.providers.local.isolation import isolate
        questions, answers = isolate()
        print("from Python", flush=True)
        os.write(1, b"from below")
        try:
            input("trust this code? [y/N] ")
        except EOFError:
            answers.write(b"asked in vain, " + questions.read())
            answers.flush()
    """
    lines = "\n".join(line.removeprefix(" " * 8) for line in program.splitlines())
    ran = subprocess.run(
        [sys.executable, "-c", lines], input=b"a question", capture_output=True, timeout=30, check=True
    )
    assert ran.stdout == b"asked in vain, a question"
    assert b"from Python" in ran.stderr
    assert b"from below" in ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process notices it when its standard input ends")
def test_a_process_that_never_listens_ends_with_its_server() -> None:
    """Also where the server was killed, and whatever the process does."""
    deaf = (
        "import sys; from mcp_server.providers.local.isolation import end_with_server\n"
        "end_with_server(sys.stdin.buffer, at_once=True)\nprint('up', flush=True)\nwhile True: pass"
    )
    server = (
        "import os, signal, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {deaf!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nprint(child.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", server], capture_output=True, timeout=30, check=False)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(killed.stdout)).wait(5)


async def test_keys_of_the_environment_do_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its libraries need does."""
    for name in ("OPENAI_API_KEY", "CONTEXTPROTOCOL_PROVIDERS__UP__BASE", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL"):
        monkeypatch.setenv(name, "hidden")
    for name in ("HF_TOKEN", "TOKENIZERS_PARALLELISM", "CUDA_VISIBLE_DEVICES", "HF_HOME"):
        monkeypatch.setenv(name, "shown")
    running = await ModelProcess.start(["-c", "import json, os; print(json.dumps(dict(os.environ)))"], model="m")
    environment = json.loads(await running.stdout.readline())
    await running.close()
    assert "hidden" not in environment.values()
    assert list(environment.values()).count("shown") == 4
    assert environment["PATH"] == os.environ["PATH"]
