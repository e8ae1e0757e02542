"""The life of the processes that Hugging Face models run in: begun late and once, ended surely, replaced when dead."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from contextprotocol.v1 import chat_pb2, model_pb2
from mcp_server.errors import (
    ConfigError,
    ProviderRateLimited,
    ProviderStreamCut,
    ProviderUnavailable,
    UnsupportedByModel,
)
from mcp_server.interfaces import GenerateRequest
from mcp_server.plugins import build
from mcp_server.providers.huggingface import engine, files
from mcp_server.providers.huggingface.protocol import Facts
from mcp_server.providers.huggingface.provider import HuggingFaceProvider
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
from mcp_server.providers.local import lazy, supervisor
from mcp_server.settings import RoutingSettings
from mcp_server.settings import testing_config as settings
from mcp_server.values import GenerationConfig, ModelState
from tests.conftest import Serve
from tests.providers.conftest import Workers
from tests.small_models.tiny import ANSWERS, WINDOW
from tests.wire import Refused, text_of, user

SHORT = GenerateRequest(model="m", prompt="1, 2, 3,", config=GenerationConfig(max_output_tokens=3))
ENDLESS = GenerateRequest(model="m", prompt="1, 2, 3,", provider_options={"ignore_eos": True})

Make = Callable[..., HuggingFaceProvider]


@pytest.fixture
async def make(tiny_model: Path) -> AsyncIterator[Make]:
    """Make providers of the model ``m``, by default the tiny one, and close them at the end."""
    async with AsyncExitStack() as stack:

        def made(path: Path = tiny_model, *, source: str = "", **arguments: Any) -> HuggingFaceProvider:
            model = HuggingFaceModel(path=None if source else path, source=source or None)
            provider = HuggingFaceProvider(HuggingFaceSettings(models={"m": model}, **arguments))
            stack.push_async_callback(provider.close)
            return provider

        yield made


async def text(provider: HuggingFaceProvider, request: GenerateRequest = SHORT) -> str:
    """All the text of an answer."""
    return "".join([event async for event in provider.generate(request) if isinstance(event, str)])


async def state(provider: HuggingFaceProvider) -> ModelState:
    """The state of its model."""
    (model,) = await provider.models()
    return model.state


async def test_it_loads_when_it_is_first_used_and_once(make: Make, workers: Workers) -> None:
    """Nothing runs before the first call; the first calls load it once, for all who stay; one too many is told."""
    provider = make(parallel=1, max_queued=2)
    assert await state(provider) is ModelState.READY
    assert not workers()
    calls = [asyncio.create_task(text(provider)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ProviderRateLimited, match="takes no more"):
        await text(provider)
    assert await state(provider) is ModelState.LOADING
    leaving, *staying = calls
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    staying.append(asyncio.create_task(text(provider)))
    (answer,) = {*await asyncio.gather(*staying)}
    assert answer
    assert await state(provider) is ModelState.READY
    assert len(workers()) == 1


async def test_work_stops_when_its_reader_leaves_and_dead_processes_are_replaced(make: Make, workers: Workers) -> None:
    """Who waits can leave, the next in line is served at once, then nothing computes; who was killed is replaced."""
    provider = make(parallel=1)
    async with aclosing(provider.generate(ENDLESS)) as events:  # type: ignore[type-var]  # a generator
        async for event in events:
            if isinstance(event, str):
                break
        waiting = asyncio.create_task(text(provider))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(2):  # all of it takes longer
        assert await text(provider)
    (worker,) = workers()
    before = sum(worker.cpu_times()[:2])
    await asyncio.sleep(0.3)
    assert sum(worker.cpu_times()[:2]) - before < 0.1
    with pytest.raises(ProviderStreamCut):
        async for _ in provider.generate(ENDLESS):
            worker.send_signal(signal.SIGKILL)
    assert await text(provider)


async def test_a_process_that_does_not_stop_is_replaced(
    make: Make, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who also wait for an answer hear of it at once, and the next call is answered, by one that does stop."""
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.5)
    provider = make(parallel=2)
    async with aclosing(provider.generate(ENDLESS)) as leaving:  # type: ignore[type-var]  # a generator
        await anext(leaving)
        (worker,) = workers()
        worker.suspend()
        staying = asyncio.create_task(text(provider, ENDLESS))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        with pytest.raises((ProviderStreamCut, ProviderUnavailable), match="it did not stop within") as raised:
            await staying
    assert raised.value.metadata["cause"] == "process"
    async with aclosing(provider.generate(ENDLESS)) as events:  # type: ignore[type-var]  # a generator
        await anext(events)
    (worker,) = workers()
    with pytest.raises(psutil.TimeoutExpired):
        await asyncio.to_thread(worker.wait, 1.0)
    assert await text(provider)


async def test_a_process_whose_device_is_dead_is_replaced(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls hear why; a request that it always ends with is refused the third time."""
    monkeypatch.setattr(engine, "WORKER", "tests.providers.dying_worker")
    provider = make()
    for _ in range(2):
        with pytest.raises(
            ProviderUnavailable, match=r"was ended because cuda:0 does not compute any more: CUDA error"
        ):
            await text(provider)
    with pytest.raises(UnsupportedByModel, match="its process ended 2 times while it did"):
        await text(provider)


async def test_a_model_that_failed_to_load_is_loaded_again_when_its_files_change(
    make: Make, tiny_model: Path, tmp_path: Path
) -> None:
    """Until then calls hear the same at once, and when the next attempt is."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1000])
    provider = make(folder)
    with pytest.raises(ProviderUnavailable, match=r"model\.safetensors is cut short: it has") as raised:
        await text(provider)
    assert raised.value.retry_after == lazy.PAUSE_SECONDS
    async with asyncio.timeout(0.5):  # PyTorch alone takes longer to load
        with pytest.raises(ProviderUnavailable, match=r"safetensors.*next attempt in \d+ s"):
            await text(provider)
    assert await state(provider) is ModelState.UNAVAILABLE
    (folder / "model.safetensors").write_bytes(whole)
    assert await text(provider)


async def test_a_drive_that_hangs_holds_up_no_other_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of models waits half a second for it, and says so."""
    hangs = threading.Event()
    read = files.read

    def slow(path: Path) -> Facts:
        if path == tmp_path:
            hangs.wait(30)
        return read(path)

    monkeypatch.setattr(files, "read", slow)
    models = {"good": HuggingFaceModel(path=tiny_model), "odd": HuggingFaceModel(path=tmp_path)}
    provider = HuggingFaceProvider(HuggingFaceSettings(models=models))
    try:
        async with asyncio.timeout(1.0):
            good, odd = await provider.models()
    finally:
        hangs.set()
        await provider.close()
    assert good.state is ModelState.READY
    assert (odd.state, odd.state_reason.partition(":")[0]) == (
        ModelState.UNAVAILABLE,
        "its files were not read within 0.5 s",
    )


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors.index.json"])
def test_whatever_is_in_its_files_a_model_is_read_or_refused(tiny_model: Path, tmp_path: Path, name: str) -> None:
    """Any value in the place of any other ends in the one error that is declared, and no length is out of bounds."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    file = folder / name
    if "index" in name:
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        file.write_text(json.dumps({"metadata": {}, "weight_map": {"a": "part.safetensors", "b": "part.safetensors"}}))
    whole: dict[str, Any] = json.loads(file.read_text())
    odd: list[Any] = [
        None,
        [],
        {},
        0,
        -1,
        True,
        2**63,
        -(2**70),
        1e300,
        "",
        "\0",
        "x",
        [None],
        {"a": 1},
        [{"name": {}}],
    ]
    read = 0
    for key in [*whole, "text_config", "architectures", "chat_template", "is_encoder_decoder"]:
        for value in odd:
            file.write_text(json.dumps({**whole, key: value}))
            try:
                facts = files.read(folder)
            except files.BadFiles:
                continue
            read += 1
            assert 0 <= facts.context_window < 2**31
            assert 0 <= facts.dimensions < 2**31
            assert isinstance(facts.chat_template, str)
    assert read


def test_a_device_that_does_not_compute_ends_the_process() -> None:
    """A machine without the device stands for one whose device is dead."""
    program = (
        "import torch; from mcp_server.providers.huggingface.worker.device import end_if_dead; "
        "end_if_dead(torch.device('cpu'), print); end_if_dead(torch.device('cuda:7'), print); print('goes on')"
    )
    ran = subprocess.run([sys.executable, "-uc", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1, ran.stderr
    assert "cuda:7 does not compute any more" in ran.stdout
    assert "goes on" not in ran.stdout


async def test_closing_ends_answers_and_processes(
    make: Make, workers: Workers, capfd: pytest.CaptureFixture[str]
) -> None:
    """Readers of a provider that is closed hear of it, it loads nothing more, and nothing was written on our output."""
    provider = make(parallel=1)
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in provider.generate(ENDLESS):
            begun.set()

    reading = asyncio.create_task(read())
    with capture_logs():
        await begun.wait()
    waiting = asyncio.create_task(text(provider, ENDLESS))
    await asyncio.sleep(0.05)
    await provider.close()
    for call in (reading, waiting):
        with pytest.raises(ProviderUnavailable, match="stopping"):
            await call
    with pytest.raises(ProviderUnavailable, match="stopping"):
        await text(provider)
    assert not workers()
    assert capfd.readouterr() == ("", "")


async def test_closing_does_not_wait_for_the_loading(make: Make, workers: Workers) -> None:
    """A process that still loads ends as fast as one that has loaded."""
    provider = make()
    call = asyncio.create_task(text(provider))
    while not workers():  # noqa: ASYNC110  # a process announces itself to nobody
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    async with asyncio.timeout(3):
        await provider.close()
    with pytest.raises(ProviderUnavailable, match="stopping"):
        await call
    assert not workers()


def test_no_process_outlives_a_server_that_was_killed(tiny_model: Path) -> None:
    """Killed without a warning, the server takes its models with it; and it has not loaded PyTorch itself."""
    program = f"""
        import asyncio, os, pathlib, signal, sys
        from mcp_server.interfaces import GenerateRequest
        from mcp_server.providers.huggingface.provider import HuggingFaceProvider
        from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
        async def main():
            model = HuggingFaceModel(path=pathlib.Path({str(tiny_model)!r}))
            provider = HuggingFaceProvider(HuggingFaceSettings(models={{"m": model}}))
            async for _ in provider.generate(GenerateRequest(model="m", prompt="x")):
                assert not sys.modules.keys() & {{"torch", "transformers", "numpy"}}
                import psutil
                print(*[child.pid for child in psutil.Process().children()], flush=True)
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


def damage(folder: Path, kind: str) -> None:
    """Make something wrong with the model in the folder."""
    config, weights = folder / "config.json", folder / "model.safetensors"
    if kind == "missing":
        shutil.rmtree(folder)
    elif kind == "no config":
        config.unlink()
    elif kind == "bad config":
        config.write_text("{")
    elif kind == "no weights":
        weights.unlink()
    elif kind == "pipe":
        config.unlink()
        os.mkfifo(config)
    elif kind == "device":
        weights.unlink()
        weights.symlink_to("/dev/zero")
    elif kind == "loop":
        shutil.rmtree(folder)
        folder.symlink_to(folder)
    elif kind == "template in another encoding":
        (folder / "chat_template.jinja").write_bytes("{# café #}{{ messages[0].content }}".encode("cp1252"))
    elif kind == "deep config":
        config.write_text('{"text_config":' * 100_000)
    elif kind == "list of weights":
        weights.unlink()
        (folder / "model.safetensors.index.json").write_text('{"weight_map": ["model.safetensors"]}')
    elif kind == "weights elsewhere":
        weights.unlink()
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../model.safetensors"}}')
    else:
        odd: dict[str, dict[str, Any]] = {
            "encoder and decoder": {"is_encoder_decoder": True},
            "architecture": {"architectures": "Llama"},
        }
        odd |= {"text": {"text_config": [1]}, "null": {"hidden_size": None, "num_hidden_layers": None}}
        config.write_text(json.dumps({**json.loads(config.read_text()), **odd[kind]}))


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("missing", "no model"),
        ("no config", "config.json"),
        ("bad config", "config.json"),
        ("no weights", "model.safetensors"),
        ("encoder and decoder", "encoder and a decoder"),
        ("pipe", "config.json"),
        ("device", "model.safetensors"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
        ("template in another encoding", "chat_template.jinja is not UTF-8"),
        ("deep config", "config.json is damaged"),
        ("list of weights", "weight_map"),
        ("weights elsewhere", "not the name of a file in its folder"),
        ("architecture", "architectures"),
        ("text", "text_config"),
        ("null", "NoneType"),
    ],
)
async def test_bad_files_are_a_clear_error(make: Make, tiny_model: Path, tmp_path: Path, kind: str, word: str) -> None:
    """Each caller hears what is wrong, and so does who lists the models; a call still reaches it, to hear."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    damage(folder, kind)
    provider = make(folder)
    errors = await asyncio.gather(*[text(provider) for _ in range(2)], return_exceptions=True)
    assert len({id(error) for error in errors}) == 2
    for error in errors:
        assert isinstance(error, ProviderUnavailable)
        assert error.metadata == {"model": "m", "cause": "load"}
        assert re.search(word, error.message)
    (model,) = await provider.models()
    assert model.state is ModelState.UNAVAILABLE
    assert re.search(word, model.state_reason)
    assert model.capabilities.chat


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is not built, so that the server does not start with models of which none can answer."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"providers.hf: .*pip install 'contextprotocol\[huggingface\]'"):
        build(HuggingFaceSettings(models={"m": HuggingFaceModel(source="some/model")}), "hf", "providers.hf")


async def test_a_model_of_the_hub_is_taken_from_its_cache_or_missed(
    make: Make, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Out of reach and not there, the error says so and what to do; when it is there, it is loaded."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(lazy, "PAUSE_SECONDS", 0.0)
    provider = make(source="some/model")
    assert await state(provider) is ModelState.READY, "it may come"
    with pytest.raises(ProviderUnavailable, match="some/model is not in the cache of the model hub"):
        await text(provider)
    assert await state(provider) is ModelState.UNAVAILABLE
    cached = tmp_path / "hub" / "models--some--model"
    shutil.copytree(tiny_model, cached / "snapshots" / ("0" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    assert await text(provider)
    (model,) = await provider.models()
    assert (model.state, model.context_window, model.capabilities.embedding) == (ModelState.READY, WINDOW, False)


async def test_a_server_says_what_its_model_is_doing(serve: Serve, tiny_model: Path, tmp_path: Path) -> None:
    """Built from its settings: it is told what is missing; mended, it is LOADING and NOT_SERVING, until it answers."""
    folder = tmp_path / "model"
    provider = HuggingFaceSettings(models={"m": HuggingFaceModel(path=folder)})
    config = msgspec.structs.replace(settings(default_model="hf/m"), providers={"hf": provider})
    wire = await serve(msgspec.structs.replace(config, routing=RoutingSettings(max_attempts=1)))

    async def health() -> int:
        response: Any = await wire.health.Check(health_pb2.HealthCheckRequest(service="providers/hf"))
        return int(response.status)

    async def state() -> int:
        (model,) = (await wire.models.ListModels(model_pb2.ListModelsRequest())).models
        return int(model.state)

    question, answer = next(iter(ANSWERS.items()))
    request = chat_pb2.ChatRequest(messages=[user(question)])
    with Refused() as refused:
        await wire.chat.Chat(request)
    assert refused.reason == "PROVIDER_UNAVAILABLE"
    assert str(folder) in refused.details
    assert await health() == health_pb2.HealthCheckResponse.NOT_SERVING
    folder.symlink_to(tiny_model)
    assert await health() == health_pb2.HealthCheckResponse.SERVING
    chat = wire.chat.Chat(request)
    while await state() != model_pb2.Model.STATE_LOADING:  # noqa: ASYNC110  # what is listed can be a second old
        await asyncio.sleep(0.05)
    assert await health() == health_pb2.HealthCheckResponse.NOT_SERVING
    assert text_of((await chat).completed.message) == answer
    assert await health() == health_pb2.HealthCheckResponse.SERVING


async def test_an_odd_model_leaves_the_others_alone(serve: Serve, tiny_model: Path, tmp_path: Path) -> None:
    """The list of models, health and calls to other models of the same provider are as if it were not there."""
    shutil.copytree(tiny_model, tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_text('{"text_config": null, "architectures": ["LlamaForCausalLM"]}')
    (tmp_path / "odd" / "chat_template.jinja").write_bytes(b"\xe9")
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    models = {name: HuggingFaceModel(path=tmp_path / name) for name in ("odd", "pipe.gguf", "loop", "missing")}
    provider = HuggingFaceSettings(models={**models, "good": HuggingFaceModel(path=tiny_model)})
    wire = await serve(msgspec.structs.replace(settings(default_model="hf/good"), providers={"hf": provider}))
    listed = (await wire.models.ListModels(model_pb2.ListModelsRequest())).models
    states = {model.name: (model.state, model.state_reason) for model in listed}
    assert states.pop("models/hf/good") == (model_pb2.Model.STATE_READY, "")
    assert len(states) == len(models)
    for name, (state, reason) in states.items():
        assert state == model_pb2.Model.STATE_UNAVAILABLE
        assert name.removeprefix("models/hf/") in reason
    response: Any = await wire.health.Check(health_pb2.HealthCheckRequest(service="providers/hf"))
    assert response.status == health_pb2.HealthCheckResponse.SERVING
    question, answer = next(iter(ANSWERS.items()))
    request = chat_pb2.ChatRequest(messages=[user(question)])
    assert text_of((await wire.chat.Chat(request)).completed.message) == answer
    for name in models:
        with Refused() as refused:
            await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user(question)], model=f"hf/{name}"))
        assert refused.reason == "PROVIDER_UNAVAILABLE"
        assert name in refused.details
