"""Embeddings by Hugging Face models: pooled and normalised as their files say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mcp_server.errors import ContextTooLong, InvalidArgument, ProviderUnavailable, UnsupportedByModel
from mcp_server.interfaces import EmbedRequest, GenerateRequest
from mcp_server.providers.huggingface.protocol import Embed, Loading
from mcp_server.providers.huggingface.provider import HuggingFaceProvider
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
from mcp_server.values import ModelState

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
    large = asyncio.create_task(minilm.embed(request(*[f"{number} " + "word " * 200 for number in range(2_000)])))
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


WEIGHTS = "model.safetensors"
WORDS = ["the", "quick", "brown", "fox"]
MEAN = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
CLS = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}


def hidden_of(model: Any, text: str) -> Any:
    """The vectors of a text's tokens, ``(tokens, 16)``."""
    import torch

    tokens = torch.tensor([[2 + WORDS.index(word) for word in text.split()]])
    with torch.no_grad():
        return model(tokens).last_hidden_state[0]


def vectors_of(folder: Path, *texts: str, prompt_name: str | None = None) -> Any:
    """What the worker makes of texts, ``(texts, dimensions)``."""
    import torch

    from mcp_server.providers.huggingface.worker.embedding import Embedding
    from mcp_server.providers.huggingface.worker.loading import load

    loaded = load(settings(folder))
    made = Embedding(loaded, "m").vectors(Embed(id=0, texts=texts, prompt_name=prompt_name), lambda: False)
    assert made is not None
    vectors = torch.stack([torch.frombuffer(bytearray(vector), dtype=torch.float32) for vector in made.vectors])
    assert vectors.shape[1] == loaded.facts.dimensions, "the length of the vectors is known before one is made"
    return vectors


def pooled(hidden: Any, mode: str) -> Any:
    """What a kind of pooling means."""
    import torch

    weights = torch.arange(1, len(hidden) + 1).unsqueeze(1)
    return {
        "mean": hidden.mean(dim=0),
        "cls": hidden[0],
        "lasttoken": hidden[-1],
        "max": hidden.amax(dim=0),
        "mean_sqrt_len_tokens": hidden.sum(dim=0) / len(hidden) ** 0.5,
        "weightedmean": (hidden * weights).sum(dim=0) / weights.sum(),
    }[mode]


@pytest.mark.parametrize(
    ("pooling", "further", "modes", "unit"),
    [
        (None, (), ["mean"], True),
        (MEAN, (), ["mean"], False),
        (MEAN, ("Normalize",), ["mean"], True),
        (CLS, (), ["cls"], False),
        ({}, ("Dropout",), ["mean"], False),
        ({"pooling_mode": "lasttoken"}, (), ["lasttoken"], False),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, (), ["mean_sqrt_len_tokens"], False),
        ({"pooling_mode_max_tokens": True}, (), ["max"], False),
        ({"pooling_mode_weightedmean_tokens": True}, (), ["weightedmean"], False),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ("Normalize",), ["cls", "mean"], True),
    ],
)
@pytest.mark.usefixtures("transformers")
async def test_vectors_are_pooled_as_the_files_say(
    tmp_path: Path, pooling: Mapping[str, Any] | None, further: tuple[str, ...], modes: list[str], unit: bool
) -> None:
    """Each way is the one that the model's own hidden states lead to, for texts of several lengths."""
    import torch

    model = bert(tmp_path)
    say(tmp_path, pooling, *further)
    texts = ("fox", "the quick brown fox", "brown fox", "fox")
    for text, vector in zip(texts, vectors_of(tmp_path, *texts), strict=True):
        hidden = hidden_of(model, text)
        expected = torch.cat([pooled(hidden, mode) for mode in modes])
        expected = expected / expected.norm() if unit else expected
        assert vector.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("activation", ["Tanh", "Identity", None])
@pytest.mark.usefixtures("transformers")
async def test_layers_after_the_pooling_are_computed(tmp_path: Path, activation: str | None) -> None:
    """With their weights, and with the activation function that the files name."""
    import torch
    from safetensors.torch import save_file

    model = bert(tmp_path)
    say(tmp_path, MEAN, "Dense", "LayerNorm")
    linear, norm = torch.nn.Linear(16, 6), torch.nn.LayerNorm(6)
    torch.nn.init.normal_(norm.weight)
    for name, layer, kind in (("2_Dense", linear, "linear"), ("2_LayerNorm", norm, "norm")):
        (tmp_path / name).mkdir()
        save_file({f"{kind}.{key}": value for key, value in layer.state_dict().items()}, tmp_path / name / WEIGHTS)
    named = {} if activation is None else {"activation_function": f"torch.nn.modules.{activation}"}
    config = {"in_features": 16, "out_features": 6, "bias": True, **named}
    (tmp_path / "2_Dense" / "config.json").write_text(json.dumps(config))
    (tmp_path / "2_LayerNorm" / "config.json").write_text(json.dumps({"dimension": 6}))
    (vector,) = vectors_of(tmp_path, "the quick fox")
    with torch.no_grad():
        dense = linear(hidden_of(model, "the quick fox").mean(dim=0))
        expected = norm(dense if activation == "Identity" else dense.tanh())
    assert vector.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.usefixtures("transformers")
async def test_texts_are_read_in_lower_case_where_the_files_say_so(tmp_path: Path) -> None:
    """Whatever the tokenizer does by itself."""
    bert(tmp_path)
    say(tmp_path, MEAN)
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 5, "do_lower_case": True}))
    one, other = vectors_of(tmp_path, "THE Quick fox", "the quick fox")
    assert one.tolist() == other.tolist()


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.usefixtures("transformers")
async def test_prompts_stand_before_texts(tmp_path: Path, include: bool) -> None:
    """The default one, or the one that a call names; its tokens count in the pooling unless the files say otherwise."""
    model = bert(tmp_path)
    say(tmp_path, {**MEAN, "include_prompt": include})
    prompts = {"query": "the ", "passage": "quick brown "}
    described = {"prompts": prompts, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(described))
    for name, prompt in ((None, "the "), ("passage", "quick brown ")):
        texts = ("fox", "brown fox")
        for text, vector in zip(texts, vectors_of(tmp_path, *texts, prompt_name=name), strict=True):
            hidden = hidden_of(model, prompt + text)[0 if include else len(prompt.split()) :]
            assert vector.tolist() == pytest.approx(hidden.mean(dim=0).tolist(), abs=1e-5)


@pytest.mark.usefixtures("transformers")
async def test_vectors_are_as_long_as_the_files_say(tmp_path: Path) -> None:
    """The rest of each is cut off, as sentence-transformers does."""
    bert(tmp_path)
    say(tmp_path, MEAN, "Normalize")
    (whole,) = vectors_of(tmp_path, "brown fox")
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"truncate_dim": 5}))
    (vector,) = vectors_of(tmp_path, "brown fox")
    assert vector.tolist() == whole[:5].tolist()


@pytest.mark.usefixtures("transformers")
async def test_a_model_without_a_padding_token_embeds_several_texts(tmp_path: Path) -> None:
    """As many that were made for writing."""
    model = bert(tmp_path)
    say(tmp_path, MEAN)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(
        json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "pad_token"})
    )
    texts = ("fox", "the quick brown fox")
    for text, vector in zip(texts, vectors_of(tmp_path, *texts), strict=True):
        assert vector.tolist() == pytest.approx(hidden_of(model, text).mean(dim=0).tolist(), abs=1e-5)


@pytest.mark.usefixtures("transformers")
async def test_a_model_that_padding_would_change_is_not_padded(tmp_path: Path) -> None:
    """FNet has no mask: a text beside a longer one still has the vector that it has alone."""
    import torch
    from transformers import FNetConfig, FNetModel

    bert(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = FNetModel(
            FNetConfig(vocab_size=6, hidden_size=16, intermediate_size=16, num_hidden_layers=1, pad_token_id=0)
        ).eval()
    model.save_pretrained(tmp_path)
    say(tmp_path, MEAN)
    texts = ("fox", "the quick brown fox", "quick fox", "brown fox")
    for text, vector in zip(texts, vectors_of(tmp_path, *texts), strict=True):
        assert vector.tolist() == pytest.approx(hidden_of(model, text).mean(dim=0).tolist(), abs=1e-5)


@pytest.mark.parametrize(("padding", "window"), [(1, 32), (0, 33)])
@pytest.mark.usefixtures("transformers")
async def test_the_window_is_what_the_positions_leave(tmp_path: Path, padding: int, window: int) -> None:
    """Models like RoBERTa begin after the position of the padding; one token more would be out of range."""
    import torch
    from transformers import RobertaConfig, RobertaModel

    from mcp_server.providers.huggingface import model_facts

    bert(tmp_path)
    config = RobertaConfig(
        vocab_size=8,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=34,
        pad_token_id=padding,
    )
    with torch.random.fork_rng():
        RobertaModel(config).eval().save_pretrained(tmp_path)
    assert model_facts.read(tmp_path).context_window == window
    say(tmp_path, MEAN)
    assert len(vectors_of(tmp_path, "fox " * window)) == 1
    with pytest.raises(ContextTooLong) as raised:
        vectors_of(tmp_path, "fox " * (window + 1))
    assert raised.value.metadata["limit"] == str(window)


@pytest.mark.usefixtures("transformers")
async def test_numbers_that_are_not_finite_are_no_vectors(tmp_path: Path) -> None:
    """They are reported instead."""
    from mcp_server.providers.huggingface.worker.embedding import Embedding
    from mcp_server.providers.huggingface.worker.loading import load

    bert(tmp_path)
    loaded = load(settings(tmp_path))
    embedding = Embedding(loaded, "m")
    loaded.model.embeddings.word_embeddings.weight.data[2] = float("nan")
    with pytest.raises(ProviderUnavailable, match="NaN"):
        embedding.vectors(Embed(id=0, texts=("the fox",)), lambda: False)


@pytest.mark.usefixtures("transformers")
async def test_equal_texts_are_computed_once_and_a_stop_comes_between_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches have a number of tokens, whatever the texts are."""
    from mcp_server.providers.huggingface.worker import embedding as module
    from mcp_server.providers.huggingface.worker.loading import load

    bert(tmp_path)
    loaded = load(settings(tmp_path))
    embedding = module.Embedding(loaded, "m")
    monkeypatch.setattr(module, "BATCH_TOKENS", 12)
    computed: list[tuple[int, int]] = []
    loaded.model.register_forward_pre_hook(
        lambda _module, _positional, named: computed.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    texts = ["the quick fox"] * 5 + ["fox"] * 5 + ["brown fox the the", "quick brown fox the", "the fox fox fox"]
    made = embedding.vectors(Embed(id=0, texts=tuple(texts)), lambda: False)
    assert made is not None
    assert (len(made.vectors), made.tokens) == (13, 5 * 3 + 5 + 3 * 4)
    assert computed == [(3, 4), (2, 4)]
    assert embedding.vectors(Embed(id=1, texts=tuple(texts)), lambda: len(computed) == 3) is None
    assert len(computed) == 3


@pytest.mark.usefixtures("transformers")
async def test_a_batch_that_is_too_large_for_the_memory_is_made_smaller(tmp_path: Path) -> None:
    """The vectors are the same."""
    import torch

    from mcp_server.providers.huggingface.worker.embedding import Embedding
    from mcp_server.providers.huggingface.worker.loading import load

    bert(tmp_path)
    texts = ("fox", "the quick brown fox", "quick fox")
    expected = vectors_of(tmp_path, *texts)
    loaded = load(settings(tmp_path))
    embedding = Embedding(loaded, "m")

    def fail(_module: Any, _positional: Any, named: dict[str, Any]) -> None:
        if named["input_ids"].shape[0] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    loaded.model.register_forward_pre_hook(fail, with_kwargs=True)
    made = embedding.vectors(Embed(id=0, texts=texts), lambda: False)
    assert made is not None
    for vector, row in zip(made.vectors, expected, strict=True):
        assert torch.frombuffer(bytearray(vector), dtype=torch.float32).tolist() == pytest.approx(
            row.tolist(), abs=1e-5
        )


LIBRARY = "sentence_transformers.models"
TRANSFORMER = {"path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"path": "1_Pooling", "type": "sentence_transformers.sentence_transformer.modules.Pooling"}


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"1_Pooling/config.json": {"pooling_mode_median_tokens": True}}, "median"),
        ({"1_Pooling/config.json": {"pooling_mode": "attention"}}, "attention"),
        (
            {"modules.json": [TRANSFORMER, POOLING, {"path": "2_CNN", "type": "sentence_transformers.models.CNN"}]},
            "CNN",
        ),
        ({"modules.json": [TRANSFORMER, POOLING, {"path": "2_Own", "type": "their_own.Module"}]}, "their_own.Module"),
        (
            {"modules.json": [TRANSFORMER, POOLING, {"path": "2_D", "type": "sentence_transformers.models.Dense"}]},
            "2_D",
        ),
        ({"modules.json": [TRANSFORMER]}, "no Pooling"),
        ({"modules.json": [{**TRANSFORMER, "path": "0_Transformer"}, POOLING]}, "first module"),
        ({"modules.json": {"0": TRANSFORMER}}, "damaged"),
        ({"modules.json": [TRANSFORMER, {**POOLING, "path": "../other"}]}, "other"),
        ({"modules.json": [TRANSFORMER, POOLING, {"path": "x" * 999, "type": f"{LIBRARY}.Dense"}]}, "too long"),
        ({"sentence_bert_config.json": {"max_seq_length": "many"}}, "max_seq_length"),
        ({"1_Pooling/config.json": {"pooling_mode": []}}, "pooling_mode"),
        ({"config_sentence_transformers.json": {"default_prompt_name": []}}, "default_prompt_name"),
        ({"sentence_bert_config.json": {"transformer_task": "fill-mask"}}, "fill-mask"),
        ({"config_sentence_transformers.json": {"model_type": "SparseEncoder"}}, "SparseEncoder"),
        ({"config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": "query"}}, "query"),
        ({"config_sentence_transformers.json": {"prompts": {"query": 1}}}, "prompts"),
    ],
)
@pytest.mark.usefixtures("transformers")
async def test_what_is_not_known_is_not_guessed(tmp_path: Path, files: Mapping[str, Any], word: str) -> None:
    """Files that ask for something else are refused with the reason, before the model is loaded."""
    bert(tmp_path)
    say(tmp_path, MEAN)
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    provider = HuggingFaceProvider(HuggingFaceSettings(models={"m": HuggingFaceModel(path=tmp_path)}))
    (model,) = await provider.models()
    assert model.state is ModelState.UNAVAILABLE
    assert word in model.state_reason
    await provider.close()


@pytest.mark.usefixtures("transformers")
async def test_a_call_names_a_prompt_of_the_model(tmp_path: Path) -> None:
    """Another name is refused with those that there are."""
    bert(tmp_path)
    say(tmp_path, MEAN)
    prompts = {"query": "the ", "passage": ""}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    provider = HuggingFaceProvider(HuggingFaceSettings(models={"minilm": HuggingFaceModel(path=tmp_path)}))
    try:
        named, written = [
            (await provider.embed(request(text, provider_options=chosen))).vectors
            for text, chosen in (("fox", {"prompt_name": "query"}), ("the fox", {}))
        ]
        assert named == written
        with pytest.raises(InvalidArgument, match="query, passage"):
            await provider.embed(request("fox", provider_options={"prompt_name": "other"}))
        with pytest.raises(InvalidArgument, match="a name"):
            await provider.embed(request("fox", provider_options={"prompt_name": 1}))
        (model,) = await provider.models()
        assert model.batch_tokens
    finally:
        await provider.close()
