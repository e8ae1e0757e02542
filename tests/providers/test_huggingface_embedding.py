"""Embeddings by Hugging Face models: pooled and normalised as their files say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mcp_server.errors import ContextTooLong, UnsupportedByModel
from mcp_server.interfaces import EmbedRequest, GenerateRequest
from mcp_server.providers.huggingface.protocol import Embed, Loading
from mcp_server.providers.huggingface.provider import HuggingFaceProvider
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def minilm(minilm_model: Path) -> AsyncIterator[HuggingFaceProvider]:
    """One provider with all-MiniLM-L6-v2."""
    provider = HuggingFaceProvider(HuggingFaceSettings(models={"minilm": HuggingFaceModel(path=minilm_model)}))
    yield provider
    await provider.close()


def request(*texts: str, **fields: Any) -> EmbedRequest:
    """Texts to embed."""
    return EmbedRequest(model="minilm", inputs=texts, **fields)


def near(one: Sequence[float], other: Sequence[float]) -> float:
    """The inner product."""
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_near_meanings_have_near_vectors(minilm: HuggingFaceProvider) -> None:
    """Vectors have length 1, and texts on one matter lie much nearer than others."""
    texts = ("The cat sleeps on the sofa.", "A kitten is napping on the couch.", "Shares fell on Wall Street today.")
    made = await minilm.embed(request(*texts))
    cat, kitten, shares = made.vectors
    assert near(cat, cat) == pytest.approx(1, abs=1e-3)
    assert near(cat, kitten) > 0.5 > 0.2 > near(cat, shares)
    (model,) = await minilm.models()
    assert len(cat) == model.embedding_dimensions == 384
    usage = (await minilm.embed(request("the cat", "the sofa is red"))).usage
    assert usage.input_tokens == 2 + 4 + 2 * 2, "each text has a mark at either end"


async def test_a_text_has_one_vector_whatever_is_beside_it(minilm: HuggingFaceProvider) -> None:
    """Neither the padding of a batch nor the other batches change it."""
    long = "A much longer text about rivers, bridges and the sea. " * 12
    texts = [f"Text {number}." if number % 3 else long for number in range(40)]
    together = (await minilm.embed(request(*texts))).vectors
    for place in (0, 1, 39):
        (alone,) = (await minilm.embed(request(texts[place]))).vectors
        assert list(together[place]) == pytest.approx(list(alone), abs=1e-5)


async def test_what_it_cannot_do_is_said(minilm: HuggingFaceProvider) -> None:
    """Texts longer than its files allow, other dimensions, options, and writing."""
    with pytest.raises(ContextTooLong) as raised:
        await minilm.embed(request("short", "word " * 2_000))
    assert raised.value.metadata["limit"] == "256"
    with pytest.raises(UnsupportedByModel, match="384"):
        await minilm.embed(request("short", dimensions=8))
    with pytest.raises(UnsupportedByModel, match="provider_options"):
        await minilm.embed(request("short", provider_options={"x": 1}))
    with pytest.raises(UnsupportedByModel, match="embeddings only"):
        async for _ in minilm.generate(GenerateRequest(model="minilm", prompt="x")):
            pass
    assert len((await minilm.embed(request("short", dimensions=384))).vectors) == 1


async def test_leaving_a_large_request_leaves_the_model_to_the_next(minilm: HuggingFaceProvider) -> None:
    """Cancelled in the middle, it makes room at once."""
    await minilm.embed(request("loaded"))
    large = asyncio.create_task(minilm.embed(request(*["word " * 200] * 2_000)))
    await asyncio.sleep(0.5)
    large.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large
    async with asyncio.timeout(20):  # all of it takes minutes
        await minilm.embed(request("short"))


def bert(folder: Path) -> Any:
    """A tiny BERT with random weights, in a folder."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *WORDS]
    raw = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
        )
        model: Any = BertModel(config).eval()
    model.save_pretrained(folder)
    return model


def say(folder: Path, pooling: Mapping[str, Any] | None, *further: str) -> None:
    """Write the files that say how vectors are made."""
    if pooling is None:
        return
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    modules += [{"path": f"2_{name}", "type": f"sentence_transformers.models.{name}"} for name in further]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def settings(path: Path, **fields: Any) -> Loading:
    """How the worker loads it."""
    usual = {"source": "", "revision": "main", "context_window": None, "parallel": 1, "threads": 1}
    return Loading(**{"model": "m", "path": str(path), "device": "cpu", "dtype": "auto", **usual, **fields})


WORDS = ["the", "quick", "brown", "fox"]
MEAN = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
CLS = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}


@pytest.mark.parametrize(
    ("pooling", "further", "rows", "unit"),
    [
        (None, (), "mean", True),
        (MEAN, (), "mean", False),
        (MEAN, ("Normalize",), "mean", True),
        (CLS, (), "first", False),
        ({"pooling_mode": "lasttoken"}, (), "last", False),
    ],
    ids=["nothing said", "mean", "normalised", "cls", "last token"],
)
@pytest.mark.usefixtures("transformers")
async def test_vectors_are_pooled_as_the_files_say(
    tmp_path: Path, pooling: Mapping[str, Any] | None, further: tuple[str, ...], rows: str, unit: bool
) -> None:
    """Each way is the one that the model's own hidden states lead to, for texts of several lengths."""
    import torch

    from mcp_server.providers.huggingface.worker.embedding import Embedding
    from mcp_server.providers.huggingface.worker.loading import load

    model = bert(tmp_path)
    say(tmp_path, pooling, *further)
    loaded = load(settings(tmp_path))
    texts = ("fox", "the quick brown fox", "brown fox")
    made = Embedding(loaded, "m").vectors(Embed(id=0, texts=texts), lambda: False)
    assert made is not None
    for text, vector in zip(texts, made.vectors, strict=True):
        tokens = torch.tensor([[2 + WORDS.index(word) for word in text.split()]])
        with torch.no_grad():
            hidden = model(tokens).last_hidden_state[0]
        expected = {"mean": hidden.mean(dim=0), "first": hidden[0], "last": hidden[-1]}[rows]
        expected = expected / expected.norm() if unit else expected
        assert torch.frombuffer(bytearray(vector), dtype=torch.float32).tolist() == pytest.approx(
            expected.tolist(), abs=1e-5
        )


@pytest.mark.parametrize(
    ("pooling", "further", "word"),
    [({"pooling_mode_max_tokens": True}, (), "max"), (MEAN, ("Dense",), "Dense"), ({}, (), "known are")],
    ids=["pooling", "module", "nothing chosen"],
)
@pytest.mark.usefixtures("transformers")
async def test_what_is_not_known_is_not_guessed(
    tmp_path: Path, pooling: Mapping[str, Any], further: tuple[str, ...], word: str
) -> None:
    """Files that ask for something else are refused, since other vectors would be of no use."""
    from mcp_server.providers.huggingface.worker.embedding import Embedding
    from mcp_server.providers.huggingface.worker.failures import CannotLoad
    from mcp_server.providers.huggingface.worker.loading import load

    bert(tmp_path)
    say(tmp_path, pooling, *further)
    loaded = load(settings(tmp_path))
    with pytest.raises(CannotLoad, match=word):
        Embedding(loaded, "m")
