"""Which files of Hugging Face models are fetched and read, and which are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import EmbedRequest, GenerateRequest
from mcp_server.providers.huggingface import own_code, windows
from mcp_server.providers.huggingface.provider import HuggingFaceProvider
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
from mcp_server.values import GenerationConfig, ModelState
from tests.providers.test_huggingface_embedding import MEAN, bert, say, settings
from tests.small_models.hub import Hub, serving

SHORT = GenerateRequest(model="owner/m", prompt="1, 2,", config=GenerationConfig(max_output_tokens=2))
COPIES = (
    "checkpoint-500/model.safetensors",
    "consolidated.safetensors",
    "flax_model.msgpack",
    "fp16/model.safetensors",
    "model.fp16.safetensors",
    "onnx/model.onnx",
    "onnx/weights.safetensors",
    "original/consolidated.00.pth",
    "original/params.json",
    "pytorch_model.bin",
    "tf_model.h5",
    "unet/config.json",
)
"""What repositories carry besides one set of weights."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub, which the processes of models use, and an empty cache."""
    with serving() as (hub, address):
        for name, value in {
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "*",
        }.items():
            monkeypatch.setenv(name, value)
        yield hub


async def ask(request: GenerateRequest | EmbedRequest) -> None:
    """Fetch a repository by a first call."""
    provider = HuggingFaceProvider(HuggingFaceSettings(models={"owner/m": HuggingFaceModel()}))
    try:
        if isinstance(request, EmbedRequest):
            await provider.embed(request)
        else:
            async for _ in provider.generate(request):
                pass
    finally:
        await provider.close()


@pytest.mark.parametrize("parts", [1, 3])
async def test_one_set_of_weights_is_fetched(
    hub: Hub, tiny_model: Path, tmp_path: Path, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else a repository carries; then the model is loaded from the cache, without a network."""
    from mcp_server.providers.huggingface.worker.loading import load

    folder = hub.repositories["owner/m"] = tmp_path / "repository"
    shutil.copytree(tiny_model, folder)
    if parts > 1:
        (folder / "model.safetensors").unlink()
        load(settings(tiny_model)).model.save_pretrained(folder, max_shard_size="150KB")
    weights = {file.name for file in folder.glob("*.safetensors")}
    for name in COPIES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"{}")
    await ask(SHORT)
    assert {name for name in hub.fetched if "safetensors" in name and not name.endswith(".json")} == weights
    assert not hub.fetched & set(COPIES)
    if parts == 1:
        return
    hub.fetched.clear()
    hub.repositories.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    await ask(SHORT)
    assert not hub.fetched


async def test_the_files_of_an_embedding_model_are_fetched(hub: Hub, tmp_path: Path) -> None:
    """Those of its modules too."""
    folder = hub.repositories["owner/m"] = tmp_path / "repository"
    bert(folder)
    say(folder, MEAN, "Normalize")
    await ask(EmbedRequest(model="owner/m", inputs=("the fox",)))
    assert {"1_Pooling/config.json", "model.safetensors", "modules.json"} <= hub.fetched


@pytest.mark.parametrize(("spoiled", "word"), [("no safetensors", "safetensors"), ("own code", "auto_map")])
async def test_what_cannot_be_loaded_is_not_fetched(
    hub: Hub, tiny_model: Path, tmp_path: Path, spoiled: str, word: str
) -> None:
    """The error says why."""
    folder = hub.repositories["owner/m"] = tmp_path / "repository"
    shutil.copytree(tiny_model, folder)
    if spoiled == "own code":
        name_own_code(folder / "config.json")
    else:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ProviderUnavailable, match=word) as raised:
        await ask(SHORT)
    assert raised.value.metadata["cause"] == "load"
    assert not hub.fetched & {"model.safetensors", "pytorch_model.bin"}


def name_own_code(file: Path) -> None:
    """Have a file of a model name classes of its own."""
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(content | {"auto_map": {"AutoModel": "their_own.Model"}}))
    (file.parent / "their_own.py").write_text("raise SystemExit('this code must not run')\n")


@pytest.mark.parametrize("name", own_code.NAMING)
async def test_code_of_a_models_own_is_refused_at_once(tiny_model: Path, tmp_path: Path, name: str) -> None:
    """The reason names the file and the code, without a process that would run it."""
    shutil.copytree(tiny_model, tmp_path / "model")
    name_own_code(tmp_path / "model" / name)
    provider = HuggingFaceProvider(HuggingFaceSettings(models={"owner/m": HuggingFaceModel(path=tmp_path / "model")}))
    (model,) = await provider.models()
    assert model.state is ModelState.UNAVAILABLE
    assert all(word in model.state_reason for word in (name, "auto_map", "their_own.Model"))
    with pytest.raises(ProviderUnavailable, match=r"their_own\.Model"):
        async for _ in provider.generate(SHORT):
            pass
    await provider.close()


def test_a_missing_tokenizer_library_is_named(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what installs it; transformers itself asks for another one."""
    from mcp_server.providers.huggingface.worker import loading
    from mcp_server.providers.huggingface.worker.failures import CannotLoad

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>")
    monkeypatch.setattr(loading, "_lacks", lambda library: library == "sentencepiece")
    with pytest.raises(CannotLoad, match=r"sentencepiece.*pip install 'contextprotocol\[huggingface\]'"):
        loading.load(settings(folder))


@pytest.mark.parametrize(
    ("rope", "largest"),
    [
        (None, 4096),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}, 16384),
        ({"type": "linear", "factor": 2}, 8192),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 512}, 4096),
        ({"rope_type": "yarn", "factor": "four"}, 4096),
    ],
)
def test_positions_that_are_stretched_allow_a_larger_window(rope: object, largest: int) -> None:
    """By the factor that the files state, unless their window contains it."""
    assert windows.largest({"rope_scaling": rope}, 4096) == largest
