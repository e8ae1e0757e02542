"""What Hugging Face models are loaded from, and what is said when they cannot be."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mcp_server.interfaces import Finish, GenerateRequest
from mcp_server.model_files import pull
from mcp_server.providers.huggingface.provider import HuggingFaceProvider
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
from mcp_server.values import (
    FinishReason,
    GenerationConfig,
    Message,
    Role,
    Text,
)
from tests.providers.test_huggingface_embedding import settings


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def smollm2(transformers: None) -> AsyncIterator[HuggingFaceProvider]:
    """SmolLM2-135M-Instruct, from the GGUF file that llama.cpp runs too."""
    provider = HuggingFaceProvider(
        HuggingFaceSettings(models={"smollm2": HuggingFaceModel(path=pull("smollm2-135m"), temperature=0.0)})
    )
    yield provider
    await provider.close()


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(300)  # the tensors of the file are unpacked first
async def test_a_real_model_answers_from_a_gguf_file(smollm2: HuggingFaceProvider) -> None:
    """Its capabilities are read from the file; it recalls what was said, by its own template, and ends by itself."""
    (model,) = await smollm2.models()
    assert (model.capabilities.chat, model.context_window) == (True, 8192)
    conversation = [
        (Role.SYSTEM, "You are a helpful assistant. Answer in one short English sentence."),
        (Role.USER, "The secret word is banana."),
        (Role.ASSISTANT, "Okay."),
        (Role.USER, "What is the secret word?"),
    ]
    messages = tuple([Message(role=role, parts=(Text(text=text),)) for role, text in conversation])
    request = GenerateRequest(model="smollm2", messages=messages, config=GenerationConfig(max_output_tokens=40))
    *texts, finish = [event async for event in smollm2.generate(request)]
    assert "banana" in "".join([text for text in texts if isinstance(text, str)])
    assert isinstance(finish, Finish)
    assert finish.reason is FinishReason.STOP
    assert finish.usage is not None
    assert await smollm2.count_tokens(request) == finish.usage.input_tokens


def test_a_device_that_is_not_there_is_named(tiny_model: Path) -> None:
    """Before anything is loaded."""
    from mcp_server.providers.huggingface.worker.failures import CannotLoad
    from mcp_server.providers.huggingface.worker.loading import load

    with pytest.raises(CannotLoad, match="no device cuda:7"):
        load(settings(tiny_model, device="cuda:7"))


def test_the_numbers_are_those_of_the_settings(tiny_model: Path) -> None:
    """By default 32 bits on a processor."""
    import torch

    from mcp_server.providers.huggingface.worker.loading import load

    assert load(settings(tiny_model)).model.dtype == torch.float32
    assert load(settings(tiny_model, dtype="bfloat16")).model.dtype == torch.bfloat16


def test_a_model_that_is_larger_than_the_memory_is_not_tried(tiny_model: Path, tmp_path: Path) -> None:
    """The error says how much it takes and how much there is."""
    from mcp_server.providers.huggingface.worker.failures import CannotLoad
    from mcp_server.providers.huggingface.worker.loading import load

    size = 2**40
    header = json.dumps({"weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    for known in tiny_model.iterdir():
        (tmp_path / known.name).symlink_to(known)
    weights = tmp_path / "model.safetensors"
    weights.unlink()
    with weights.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)  # a hole: it takes no room
    with pytest.raises(CannotLoad, match=r"take 1099\.5 GB of memory as float32, and [0-9.]+ GB are free"):
        load(settings(tmp_path))
    with pytest.raises(CannotLoad, match=r"take 549\.8 GB of memory as bfloat16"):
        load(settings(tmp_path, dtype="bfloat16"))


def test_files_in_several_parts_must_all_be_there(tiny_model: Path, tmp_path: Path) -> None:
    """A part that is missing is named, before anything is loaded; with all of them the model is whole."""
    from mcp_server.providers.huggingface.worker.failures import CannotLoad
    from mcp_server.providers.huggingface.worker.loading import load

    whole = load(settings(tiny_model)).model
    whole.save_pretrained(tmp_path, max_shard_size="100KB")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).symlink_to(tiny_model / name)
    parts = sorted(tmp_path.glob("*.safetensors"))
    assert len(parts) > 1
    assert load(settings(tmp_path)).facts.generates
    parts[1].unlink()
    with pytest.raises(CannotLoad, match=f"no {parts[1].name}"):
        load(settings(tmp_path))


@pytest.mark.parametrize("kind", ["cut", "no safetensors", "unknown", "no tokenizer"])
def test_what_cannot_be_loaded_is_reported(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    """Damaged weights, another kind of model, and what is missing beside them."""
    from mcp_server.providers.huggingface.worker.failures import CannotLoad
    from mcp_server.providers.huggingface.worker.loading import load

    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    if kind == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "no safetensors":
        weights.write_bytes(b"<!DOCTYPE html><title>404</title>" * 100)
    elif kind == "unknown":
        (tmp_path / "config.json").write_text(json.dumps({"architectures": ["OwnForCausalLM"], "model_type": "own"}))
    else:
        (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CannotLoad) as raised:
        load(settings(tmp_path))
    assert len(str(raised.value)) > 20
