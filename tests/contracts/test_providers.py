"""The contract of providers, tried on each of them."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest

from mcp_server.errors import ContextTooLong, ModelNotFound
from mcp_server.interfaces import (
    Embedder,
    EmbedRequest,
    Finish,
    GenerateRequest,
    TokenCounter,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.values import FinishReason, ModelState, UsageSource
from tests.contracts.provider_contract import CALLING, COUNTING, EMBEDDING, HONOURING, LIMITED, LOADING, Subject

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_models_are_named_and_ready(subject: Subject) -> None:
    """A provider lists its models by distinct names, and one that can be used says so."""
    models = await subject.provider.models()
    assert len({model.name for model in models}) == len(models)
    (model,) = [model for model in models if model.name == subject.model]
    assert model.state is ModelState.READY
    assert not model.state_reason
    assert model.capabilities.chat
    assert model.capabilities.completion


async def test_chat_comes_in_pieces_and_ends_once(subject: Subject) -> None:
    """A chat's answer comes as several pieces of text, and its last event says why it ended."""
    answer = await subject.answer(subject.chat())
    assert len(answer.pieces) > 2
    assert answer.finish.reason is FinishReason.STOP


async def test_completion_comes_in_pieces_and_ends_once(subject: Subject) -> None:
    """So does a completion."""
    answer = await subject.answer(subject.completion(max_output_tokens=30))
    assert len(answer.pieces) > 2
    assert isinstance(answer.finish, Finish)


async def test_usage_is_reported(subject: Subject) -> None:
    """The end of an answer says what it took."""
    usage = (await subject.answer(subject.chat())).finish.usage
    assert usage is not None
    assert usage.source is UsageSource.REPORTED
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


@pytest.mark.parametrize("subject", HONOURING, indirect=True)
async def test_the_limit_of_output_holds(subject: Subject) -> None:
    """An answer that reaches its limit ends with LENGTH, after exactly so many tokens."""
    answer = await subject.answer(subject.chat(max_output_tokens=4))
    assert answer.finish.reason is FinishReason.LENGTH
    assert answer.finish.usage is not None
    assert answer.finish.usage.output_tokens == 4


@pytest.mark.parametrize("subject", HONOURING, indirect=True)
async def test_a_stop_string_ends_the_answer_before_it(subject: Subject) -> None:
    """The text ends right before the first stop string, of which nothing is seen."""
    whole = (await subject.answer(subject.chat())).text
    stop = whole[len(whole) // 2 :][:6]
    answer = await subject.answer(subject.chat(stop=(stop, "never said")))
    assert answer.text == whole.partition(stop)[0]
    assert answer.finish.reason is FinishReason.STOP


async def test_closing_in_mid_stream_leaves_the_provider_fit(subject: Subject) -> None:
    """An answer that is closed after its first piece ends, and the next call is answered."""
    async with aclosing(subject.provider.generate(subject.completion())) as events:  # type: ignore[type-var]  # a generator
        async for event in events:
            assert not isinstance(event, Finish)
            break
    assert (await subject.answer(subject.chat())).finish.reason is FinishReason.STOP


async def test_cancelling_the_reader_leaves_the_provider_fit(subject: Subject) -> None:
    """A task that is cancelled in the middle of an answer ends cancelled, and the next call is answered."""
    begun = asyncio.Event()

    async def read() -> None:
        async with aclosing(subject.provider.generate(subject.completion())) as events:  # type: ignore[type-var]  # as above
            async for _ in events:
                begun.set()
                await asyncio.Event().wait()

    reader = asyncio.create_task(read())
    await begun.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert (await subject.answer(subject.chat())).finish.reason is FinishReason.STOP


async def test_a_deadline_ends_an_answer_and_leaves_the_provider_fit(subject: Subject) -> None:
    """A reader whose time is up in the middle of an answer hears that, and the next call is answered."""
    with pytest.raises(TimeoutError):
        async with (
            asyncio.timeout(None) as limit,
            aclosing(subject.provider.generate(subject.completion())) as events,  # type: ignore[type-var]  # as above
        ):
            async for _ in events:
                limit.reschedule(asyncio.get_running_loop().time() + 0.05)
                await asyncio.Event().wait()
    assert (await subject.answer(subject.chat())).finish.reason is FinishReason.STOP


@pytest.mark.parametrize("subject", CALLING, indirect=True)
async def test_a_tool_is_called(subject: Subject) -> None:
    """A call has a name and an id, its arguments are a JSON object when put together, and the answer ends with it."""
    assert subject.calling is not None
    answer = await subject.answer(subject.calling)
    (start,) = [event for event in answer.events if isinstance(event, ToolCallStart)]
    arguments = [event for event in answer.events if isinstance(event, ToolArgumentsDelta)]
    assert start.name == "weather"
    assert {event.id for event in arguments} == {start.id}
    assert isinstance(json.loads("".join([event.text for event in arguments])), dict)
    assert answer.finish.reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("subject", LIMITED, indirect=True)
async def test_a_prompt_that_is_too_long_is_told_as_that(subject: Subject) -> None:
    """Chat or completion, it is refused before anything is written, and the next call is answered."""
    for request in (subject.chat("word " * 9_000), subject.completion("word " * 9_000)):
        with pytest.raises(ContextTooLong) as raised:
            await subject.answer(request)
        assert raised.value.message
    assert (await subject.answer(subject.chat())).finish.reason is FinishReason.STOP


@pytest.mark.parametrize("subject", LOADING, indirect=True)
async def test_an_unknown_model_is_not_found(subject: Subject) -> None:
    """The error names it."""
    with pytest.raises(ModelNotFound, match="other"):
        await subject.answer(GenerateRequest(model="other", prompt="x"))


async def test_answers_at_once_do_not_mix(subject: Subject) -> None:
    """Eight calls at once, more than are worked on at a time, each get a whole answer of their own."""
    requests = [
        subject.completion(f"{number}, {number + 1}, {number + 2},", max_output_tokens=8) for number in range(8)
    ]
    alone = [await subject.answer(request) for request in requests[:2]]
    together = await asyncio.gather(*[subject.answer(request) for request in requests])
    assert [answer.text for answer in together[:2]] == [answer.text for answer in alone]
    assert all(answer.finish for answer in together)


@pytest.mark.parametrize("subject", COUNTING, indirect=True)
async def test_tokens_are_counted_as_they_are_used(subject: Subject) -> None:
    """The count of a prompt is what the answer's usage says it was."""
    counter = subject.provider
    assert isinstance(counter, TokenCounter)
    usage = (await subject.answer(subject.chat(max_output_tokens=1))).finish.usage
    assert usage is not None
    assert await counter.count_tokens(subject.chat()) == usage.input_tokens


@pytest.mark.parametrize("subject", EMBEDDING, indirect=True)
async def test_embeddings_keep_the_order_of_their_inputs(subject: Subject) -> None:
    """A batch gives one vector an input, in order, all of the length that the model names, and says what it took."""
    embedder = subject.provider
    assert isinstance(embedder, Embedder)
    inputs = ("zebra", "apple pie", "zebra", *[f"number {number}" for number in range(20)])
    name = subject.embedding_model or subject.model
    made = await embedder.embed(EmbedRequest(model=name, inputs=inputs))
    (model,) = [model for model in await subject.provider.models() if model.name == name]
    assert {len(vector) for vector in made.vectors} == {model.embedding_dimensions}
    assert len(made.vectors) == len(inputs)
    assert list(made.vectors[0]) == pytest.approx(list(made.vectors[2]))
    (alone,) = (await embedder.embed(EmbedRequest(model=name, inputs=("apple pie",)))).vectors
    assert list(made.vectors[1]) == pytest.approx(list(alone), abs=1e-3)
    assert made.usage.input_tokens >= len(inputs)


async def test_a_provider_that_was_not_used_can_be_used_and_closed(fresh: Subject) -> None:
    """It is READY though nothing is loaded, and closing it takes no time."""
    (model,) = [model for model in await fresh.provider.models() if model.name == fresh.model]
    assert model.state is ModelState.READY
    await fresh.provider.close()


@pytest.mark.parametrize("fresh", LOADING, indirect=True)
async def test_a_model_is_loaded_when_it_is_first_used(fresh: Subject) -> None:
    """Its state shows it, calls wait for it, and who leaves does not stop it."""
    leaving, staying = [asyncio.create_task(fresh.answer(fresh.chat())) for _ in range(2)]

    async def state() -> ModelState:
        (model,) = [model for model in await fresh.provider.models() if model.name == fresh.model]
        return model.state

    while await state() is not ModelState.LOADING:  # noqa: ASYNC110  # a provider announces its states to nobody
        await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).finish.reason is FinishReason.STOP
    assert await state() is ModelState.READY


async def test_closing_ends_what_runs(fresh: Subject) -> None:
    """A provider can be closed while it answers: the answer ends in one way or another, and the close returns."""
    first = asyncio.Event()

    async def read() -> None:
        async for _ in fresh.provider.generate(fresh.completion()):
            first.set()

    reader = asyncio.create_task(read())
    await first.wait()
    await fresh.provider.close()
    await asyncio.wait([reader], timeout=10)
    assert reader.done()
    reader.exception()
