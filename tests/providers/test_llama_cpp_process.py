"""The life of the processes that models run in: begun late and once, ended surely, and never missed when they die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from mcp_server.errors import ProviderError, ProviderStreamCut, ProviderUnavailable
from mcp_server.interfaces import EmbedRequest, GenerateRequest
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.providers.local import supervisor
from mcp_server.values import FinishReason, GenerationConfig, ModelState
from tests.providers.conftest import Workers

SHORT = GenerateRequest(model="m", prompt="The capital of France is", config=GenerationConfig(max_output_tokens=3))
ENDLESS = GenerateRequest(
    model="m",
    prompt="1, 2, 3,",
    config=GenerationConfig(max_output_tokens=2_000),
    provider_options={"ignore_eos": True},
)

Make = Callable[..., LlamaCppProvider]


@pytest.fixture
async def make(model_file: Path) -> AsyncIterator[Make]:
    """Make providers of the model ``m``, by default the embedded one and close them at the end."""
    async with AsyncExitStack() as stack:

        def made(
            path: Path = model_file,
            *,
            parallel: int = 1,
            context_window: int = 2304,
            memory_limit: float | None = None,
        ) -> LlamaCppProvider:
            model = LlamaCppModel(path=path, context_window=context_window, temperature=0.0)
            settings = LlamaCppSettings(models={"m": model}, parallel=parallel, memory_limit=memory_limit)
            provider = LlamaCppProvider(settings)
            stack.push_async_callback(provider.close)
            return provider

        yield made


async def text(provider: LlamaCppProvider, request: GenerateRequest = SHORT) -> str:
    """All the text of an answer."""
    return "".join([event async for event in provider.generate(request) if isinstance(event, str)])


async def state(provider: LlamaCppProvider) -> ModelState:
    """The state of its model."""
    (model,) = await provider.models()
    return model.state


async def test_it_loads_when_it_is_first_used_and_once(make: Make, workers: Workers) -> None:
    """Nothing runs before the first call; several first calls load the model once, which its state shows meanwhile."""
    provider = make(parallel=4)
    assert await state(provider) is ModelState.READY
    assert not workers()
    calls = [asyncio.create_task(text(provider)) for _ in range(5)]
    await asyncio.sleep(0.05)
    assert await state(provider) is ModelState.LOADING
    assert len({*await asyncio.gather(*calls)}) == 1
    assert await state(provider) is ModelState.READY
    assert len(workers()) == 1


async def test_a_caller_that_leaves_does_not_stop_the_loading(make: Make) -> None:
    """Whoever waits for the model with it still gets its answer."""
    provider = make()
    leaving, staying = asyncio.create_task(text(provider)), asyncio.create_task(text(provider))
    await asyncio.sleep(0.05)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert "Paris" in await staying


async def test_a_stop_really_stops(make: Make, workers: Workers) -> None:
    """When a reader leaves, the work ends: the next in line is served at once, and then nothing computes."""
    provider = make(parallel=1)
    async with aclosing(provider.generate(ENDLESS)) as events:  # type: ignore[type-var]  # a generator
        async for _ in events:
            break
    async with asyncio.timeout(8):  # all of it takes longer
        assert "Paris" in await text(provider)
    (worker,) = workers()
    before = sum(worker.cpu_times()[:2])
    await asyncio.sleep(0.5)
    assert sum(worker.cpu_times()[:2]) - before < 0.2


async def test_who_waits_for_a_place_can_leave_it(make: Make) -> None:
    """A call that waits while another is worked on is cancelled at once."""
    provider = make(parallel=1)
    async with aclosing(provider.generate(ENDLESS)) as events:  # type: ignore[type-var]  # a generator
        await anext(events)
        waiting = asyncio.create_task(text(provider))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_process_that_does_not_stop_is_replaced(
    make: Make, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who also wait for an answer hear of it at once, and the next call is answered."""
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.5)
    provider = make(parallel=2)
    async with aclosing(provider.generate(ENDLESS)) as leaving:  # type: ignore[type-var]  # a generator
        await anext(leaving)
        staying = asyncio.create_task(text(provider, ENDLESS))
        (worker,) = workers()
        worker.suspend()
    async with asyncio.timeout(5):
        with pytest.raises((ProviderStreamCut, ProviderUnavailable), match="it did not stop within") as raised:
            await staying
    assert raised.value.metadata["cause"] == "process"
    assert "Paris" in await text(provider)
    assert worker.pid not in [other.pid for other in workers()]


async def test_a_stop_waits_for_a_text_that_is_embedded(
    make: Make, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is one step of the process: a chat which is cancelled meanwhile does not cost the others theirs."""
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.1)
    provider = make(parallel=3)
    await text(provider)
    (worker,) = workers()
    worker.suspend()  # as if the step took long
    embedding = asyncio.create_task(provider.embed(EmbedRequest(model="m", inputs=("Paris",))))
    staying, leaving = asyncio.create_task(text(provider)), asyncio.create_task(text(provider, ENDLESS))
    await asyncio.wait([embedding, staying, leaving], timeout=0.2)
    leaving.cancel()
    await asyncio.wait([embedding, staying], timeout=4 * supervisor.POLL_SECONDS)
    worker.resume()
    assert (await embedding).vectors
    assert "Paris" in await staying
    assert [other.pid for other in workers()] == [worker.pid]


async def test_work_that_was_cancelled_is_no_reason_to_end_a_process(
    make: Make, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it has stopped, and goes on with other work."""
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.5)
    provider = make(parallel=2)
    async with aclosing(provider.generate(ENDLESS)) as events:  # type: ignore[type-var]  # a generator
        await anext(events)
    (worker,) = workers()
    with pytest.raises(psutil.TimeoutExpired):
        await asyncio.to_thread(worker.wait, 1.0)
    assert "Paris" in await text(provider)


async def test_memory_has_a_limit_also_for_loading(make: Make, workers: Workers) -> None:
    """The error names both sizes and when the next attempt is; until then no process is started."""
    provider = make(memory_limit=0.01)
    with pytest.raises(ProviderUnavailable, match=r"it took .* GiB of memory, and the limit is 0\.0 GiB") as raised:
        await text(provider)
    assert raised.value.retry_after == 10
    assert await state(provider) is ModelState.UNAVAILABLE
    call = asyncio.create_task(text(provider))
    with pytest.raises(ProviderUnavailable, match="next attempt in 10 s"):
        await call
    assert not workers()


async def test_closing_ends_answers_and_processes(make: Make, workers: Workers) -> None:
    """Readers of a provider that is closed hear of it; afterwards it loads nothing more."""
    provider = make(parallel=1)
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in provider.generate(ENDLESS):
            begun.set()

    reading = asyncio.create_task(read())
    await begun.wait()
    waiting = asyncio.create_task(text(provider, ENDLESS))
    embedding = asyncio.create_task(provider.embed(EmbedRequest(model="m", inputs=("x",))))
    await asyncio.sleep(0.05)
    await provider.close()
    for call in (reading, waiting, embedding):
        with pytest.raises(ProviderUnavailable, match="stopping"):
            await call
    with pytest.raises(ProviderUnavailable, match="stopping"):
        await text(provider)
    assert not workers()


async def test_a_process_that_dies_is_replaced(make: Make, workers: Workers) -> None:
    """The answer that was being made ends as cut, and the next call loads the model again."""
    provider = make()
    with pytest.raises(ProviderStreamCut):
        async for event in provider.generate(ENDLESS):
            for worker in workers() if isinstance(event, str) else []:
                worker.send_signal(signal.SIGKILL)
    assert "Paris" in await text(provider)
    for worker in workers():
        worker.send_signal(signal.SIGKILL)
        worker.wait(5)
    with suppress(ProviderUnavailable):  # the first to come may be the one to notice
        await text(provider)
    assert "Paris" in await text(provider)


async def test_a_missing_file_of_the_catalogue_comes_with_the_command_that_pulls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of the model says what to run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (model,) = await LlamaCppProvider(LlamaCppSettings(models={"qwen2.5-1.5b": LlamaCppModel()})).models()
    assert model.state is ModelState.UNAVAILABLE
    assert model.state_reason.endswith("run `mcp-server models pull qwen2.5-1.5b`")


@pytest.mark.parametrize("after", [0.0, 0.1, 60.0])
def test_no_process_outlives_a_server_that_was_killed(model_file: Path, tmp_path: Path, after: float) -> None:
    """Killed without a warning, so many seconds after the model began to load or when it answers, the server takes its
    models with it, and the folders of those that were loaded."""
    program = f"""
        import asyncio, os, pathlib, psutil, signal, tempfile
        tempfile.tempdir = {str(tmp_path)!r}
        from mcp_server.interfaces import GenerateRequest
        from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
        from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
        async def main():
            model = LlamaCppModel(path=pathlib.Path({str(model_file)!r}), context_window=512)
            provider = LlamaCppProvider(LlamaCppSettings(models={{"m": model}}))
            answer = provider.generate(GenerateRequest(model="m", prompt="x"))
            first = asyncio.ensure_future(anext(answer))
            while not (children := psutil.Process().children()):
                await asyncio.sleep(0.001)
            await asyncio.wait([first], timeout={after})
            print(*[child.pid for child in children], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (pid,) = map(int, killed.stdout.splitlines()[-1].split())
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(5)
    assert after < 1 or not list(tmp_path.iterdir())


async def test_it_writes_nothing_on_the_servers_own_output(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither loading, nor answering, nor failing shows on standard output or standard error."""
    provider = make()
    with capture_logs():
        await text(provider)
        with pytest.raises(ProviderError):
            await text(make(Path("nowhere.gguf")))
        await provider.close()
    assert capfd.readouterr() == ("", "")


def damaged(kind: str, model_file: Path) -> bytes:
    """The content of the model file, damaged."""
    content = model_file.read_bytes()
    if kind == "empty":
        return b""
    if kind == "text":
        return b"<!DOCTYPE html><title>404</title>" * 100
    if kind == "header cut":
        return content[:500_000]
    if kind == "cut":
        return content[: len(content) // 2]
    if kind == "one byte short":
        return content[:-1]
    if kind == "version":
        return content[:4] + b"\x63" + content[5:]
    if kind == "counts":
        return content[:8] + b"\xff" * 16 + content[24:]
    # Whole, but of no kind that llama.cpp knows.
    assert kind == "architecture"
    changed = content.replace(b"\x05\x00\x00\x00\x00\x00\x00\x00llama", b"\x05\x00\x00\x00\x00\x00\x00\x00lxmxx", 1)
    assert changed != content
    return changed


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "folder",
        "pipe",
        "device",
        "loop",
        "empty",
        "text",
        "header cut",
        "cut",
        "one byte short",
        "version",
        "counts",
        "architecture",
    ],
)
async def test_a_bad_file_is_a_clear_error_and_can_be_mended(
    make: Make, model_file: Path, tmp_path: Path, kind: str
) -> None:
    """Each caller hears what is wrong with which file; once that is mended, the next call loads it."""
    path = tmp_path / "model.gguf"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind != "missing":
        path.write_bytes(damaged(kind, model_file))
    provider = make(path)
    errors = await asyncio.gather(*[text(provider) for _ in range(3)], return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, ProviderUnavailable)
        assert error.metadata == {"model": "m", "cause": "load"}
        assert str(path) in error.message
        assert (error.retry_after is None) == (kind != "architecture"), "only llama.cpp itself is not asked at once"
        assert kind != "architecture" or "unknown model architecture: 'lxmxx'" in error.message
    (model,) = await provider.models()
    assert model.state is ModelState.UNAVAILABLE
    assert model.state_reason
    assert model.capabilities.chat, "so that a call hears the reason"
    if kind == "folder":
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(model_file)
    assert await state(provider) is ModelState.READY
    assert "Paris" in await text(provider)
    assert await state(provider) is ModelState.READY


async def test_an_answer_ends_where_its_context_window_does(make: Make) -> None:
    """Without a limit of its own an answer fills the context window and ends with LENGTH."""
    provider = make(context_window=256)
    (model,) = await provider.models()
    assert model.context_window == 256
    request = GenerateRequest(model="m", prompt="1, 2, 3,", provider_options={"ignore_eos": True})
    (*_, finish) = [event async for event in provider.generate(request)]
    assert not isinstance(finish, str)
    assert getattr(finish, "reason", None) is FinishReason.LENGTH
    usage = getattr(finish, "usage", None)
    assert usage is not None
    assert usage.input_tokens + usage.output_tokens == 256
