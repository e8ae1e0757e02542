"""How the calls to a model of the provider ``llama_cpp`` share it: slots, slices of long prompts, context windows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from mcp_server.errors import ContextTooLong, ProviderUnavailable
from mcp_server.interfaces import EmbedRequest, Finish, GenerateRequest, Progress
from mcp_server.providers.llama_cpp import slots
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.providers.llama_cpp.slots import BATCH, LEAST_SLICE, SLICE_SECONDS, Slots
from mcp_server.values import GenerationConfig, Message, ModelState, Role, Text, Usage
from tests.providers.conftest import events_of

Make = Callable[..., LlamaCppProvider]


@pytest.fixture
async def make(model_file: Path) -> AsyncIterator[Make]:
    """Make providers of the model ``m``, the embedded one, and close them at the end."""
    async with AsyncExitStack() as stack:

        def made(
            *,
            parallel: int = 2,
            context_window: int | None = 2048,
            embedding_window: int | None = None,
            path: Path = model_file,
        ) -> LlamaCppProvider:
            model = LlamaCppModel(
                path=path, context_window=context_window, embedding_window=embedding_window, temperature=0.0
            )
            provider = LlamaCppProvider(LlamaCppSettings(models={"m": model}, parallel=parallel))
            stack.push_async_callback(provider.close)
            return provider

        yield made


def asked(prompt: str, tokens: int | None = 2) -> GenerateRequest:
    """A short continuation of a prompt."""
    return GenerateRequest(
        model="m",
        prompt=prompt,
        config=GenerationConfig(max_output_tokens=tokens),
        provider_options={"ignore_eos": True},
    )


async def usage_of(provider: LlamaCppProvider, request: GenerateRequest) -> Usage:
    """What an answer has used."""
    finish = (await events_of(provider, request))[-1]
    assert isinstance(finish, Finish)
    assert finish.usage is not None
    return finish.usage


async def test_a_short_prompt_does_not_wait_for_a_long_one(make: Make) -> None:
    """It is answered while the long one is being read, in whichever slot that is; that is reported meanwhile."""
    provider = make(parallel=3)
    await events_of(provider, asked("warm"))
    for word in ("dog ", "cat "):
        async with aclosing(provider.generate(asked(word * 700))) as events:  # type: ignore[type-var]  # a generator
            assert await anext(events) == Progress(stage="reading")
            short = asyncio.create_task(events_of(provider, asked("Good morning")))
            beside = 0
            async for event in events:
                if event == Progress(stage="reading"):
                    beside += not short.done()
                else:
                    break
            assert short.done()
            assert beside < 6, "a few slices are read before it is answered"
            assert isinstance((await short)[-1], Finish)


async def test_a_prompt_is_read_once_however_it_is_cut(make: Make) -> None:
    """The answer is that of a prompt in one piece; only what was read for earlier calls counts as cached."""
    provider = make(parallel=1)
    text = "The quick brown fox jumps over the lazy dog. " * 40
    first = await usage_of(provider, asked(text))
    again = await usage_of(provider, asked(text + "And then"))
    assert first.input_tokens > 3 * BATCH
    assert first.cached_input_tokens == 0
    assert first.input_tokens - 2 <= again.cached_input_tokens < again.input_tokens


async def test_a_conversation_keeps_its_slot(make: Make) -> None:
    """A conversation that goes on finds what was read for it, however many others there are."""
    provider = make(parallel=3)
    stories = {n: f"Story {n}. " + f"Number {n} goes on and on. " * 20 for n in range(3)}
    for _ in range(2):
        for n, text in stories.items():
            chat = (Message(role=Role.USER, parts=(Text(text=text),)),)
            usage = await usage_of(
                provider,
                GenerateRequest(model="m", messages=chat, config=GenerationConfig(max_output_tokens=2)),
            )
            stories[n] = text + "More."
    assert usage.cached_input_tokens > usage.input_tokens - 20


async def test_a_reader_that_leaves_lets_the_next_one_in(make: Make) -> None:
    """A long prompt is given up in the middle, and its slot answers another call."""
    provider = make(parallel=1)
    async with aclosing(provider.generate(asked("dog " * 600))) as events:  # type: ignore[type-var]  # a generator
        await anext(events)
    async with asyncio.timeout(20):
        assert (await usage_of(provider, asked("dog " * 100))).input_tokens == 101


async def test_texts_are_embedded_among_answers(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though llama.cpp embeds nothing while it writes, and some answer is always being written."""
    monkeypatch.setattr(slots, "GAP_SECONDS", 0.1)
    provider = make(parallel=3)
    written, embedded = asyncio.Event(), asyncio.Event()

    async def chat(tokens: int) -> None:
        while not embedded.is_set():
            await events_of(provider, asked("1, 2, 3,", tokens))
            written.set()

    async def embed() -> None:
        await written.wait()
        made = await provider.embed(EmbedRequest(model="m", inputs=("Paris", "Rome")))
        assert len(made.vectors) == 2
        embedded.set()

    async with asyncio.timeout(60):
        await asyncio.gather(chat(30), chat(50), embed())


async def test_a_text_waits_for_a_gap_before_it_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that begin meanwhile go first; those that begin while texts are embedded wait."""
    shared = Slots(2)
    order: list[str] = []
    begun = asyncio.Event()

    async def embed() -> None:
        async with shared.embedding():
            order.append("embedding")
            begun.set()
            await asyncio.sleep(0)
            order.append("embedded")

    async def answer() -> None:
        async with shared.answer("x"), shared.writing():
            order.append("answer")

    async with shared.answer("x"), shared.writing():
        embedding = asyncio.create_task(embed())
        await asyncio.sleep(0)
        await answer()
    await begun.wait()
    await answer()
    await embedding
    assert order == ["answer", "embedding", "embedded", "answer"]
    monkeypatch.setattr(slots, "GAP_SECONDS", 0.0)
    async with shared.writing():
        await embed()
    assert order[-1] == "embedded"


def test_slices_fit_the_time_that_they_take() -> None:
    """They become larger where reading is fast, and smaller where it is slow, in whole batches of llama.cpp."""
    slots = Slots(1)
    sizes = []
    for seconds in (0.01, 0.01, SLICE_SECONDS, 10, 10):
        slots.slice_took(slots.slice_tokens, seconds)
        sizes.append(slots.slice_tokens)
    assert sizes == [2 * BATCH, 4 * BATCH, 4 * BATCH, LEAST_SLICE, LEAST_SLICE]


@pytest.mark.parametrize("window", [128, 300])
async def test_a_context_window_is_kept_to_the_token(make: Make, window: int) -> None:
    """Prompt and answer together fill it and no more; a prompt that fills it alone is refused."""
    provider = make(context_window=window)
    usage = await usage_of(provider, asked("cat " * (window - 20), tokens=None))
    assert usage.input_tokens + usage.output_tokens == window
    with pytest.raises(ContextTooLong) as raised:
        await events_of(provider, asked("cat " * window))
    assert raised.value.metadata["limit"] == str(window)


async def test_a_window_beyond_the_models_own_is_named(make: Make, model_file: Path, tmp_path: Path) -> None:
    """The settings are refused with both numbers; where the file comes later, its model is unavailable for that."""
    path = tmp_path / "model.gguf"
    models = {"m": LlamaCppModel(path=path, context_window=16_384)}
    assert not list(LlamaCppSettings(models=models).problems())
    provider = make(path=path, context_window=16_384)
    path.symlink_to(model_file)
    (problem,) = LlamaCppSettings(models=models).problems()
    assert problem[0] == ("models", "m", "context_window")
    assert problem[1] == "found 16384, but the model was trained with 8192 tokens; set 8192 or less"
    (model,) = await provider.models()
    assert model.state is ModelState.UNAVAILABLE
    assert problem[1] in model.state_reason
    with pytest.raises(ProviderUnavailable, match="16384"):
        await events_of(provider, asked("x"))
    with pytest.raises(ProviderUnavailable, match="16384"):
        await provider.embed(EmbedRequest(model="m", inputs=("x",)))


async def test_texts_to_embed_have_the_window_of_the_settings(make: Make) -> None:
    """It is larger or smaller than without any, and each text costs its own tokens, computed once."""
    large, small = make(embedding_window=1_100), make(context_window=256)
    made = await large.embed(EmbedRequest(model="m", inputs=(" cat" * 1_050, "x", "yes")))
    assert 1_050 < made.usage.input_tokens < 1_060
    assert len(made.vectors) == 3
    with pytest.raises(ContextTooLong) as raised:
        await small.embed(EmbedRequest(model="m", inputs=("x", " cat" * 300)))
    assert raised.value.metadata == {"model": "m", "tokens": "300", "limit": "256"}
    (model,) = await large.models()
    assert model.batch_tokens > 0


async def test_loading_is_reported_until_it_is_done(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is being loaded is alive; one that is loaded needs no time."""
    monkeypatch.setattr("mcp_server.providers.local.lazy.SIGN_SECONDS", 0.02)
    for request in (asked("x"), EmbedRequest(model="m", inputs=("x",))):
        provider = make()
        signs = [sign async for sign in provider.load(request)]
        assert signs
        assert {sign.stage for sign in signs} == {"loading"}
        assert not [sign async for sign in provider.load(request)]
    missing = make(path=Path("nowhere.gguf"))
    with pytest.raises(ProviderUnavailable, match="nowhere"):
        _ = [sign async for sign in missing.load(asked("x"))]
