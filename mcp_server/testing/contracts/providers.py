"""The contract of providers, as tests for their authors::

    class TestShouting(ProviderContract):
        @classmethod
        async def make(cls) -> Subject:
            return Subject(provider=Shouting(), model="loud")

pytest and pytest-asyncio run every test of the contract on it. A provider that does more inherits more classes:
``class TestMine(ProviderContract, EmbeddingContract)``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from mcp_server.errors import ContextTooLong, ModelNotFound
from mcp_server.interfaces import (
    Embedder,
    EmbedRequest,
    Finish,
    GenerateRequest,
    PartState,
    Progress,
    Provider,
    ProviderEvent,
    TextDelta,
    TokenCounter,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.models.usage import Meter
from mcp_server.turns.answer import Answer as KeptAnswer
from mcp_server.values import FinishReason, GenerationConfig, Message, ModelState, Role, Text, UsageSource

__all__ = [
    "ContextWindowContract",
    "EmbeddingContract",
    "LoadingContract",
    "ProviderContract",
    "ProviderStateContract",
    "SamplingContract",
    "Subject",
    "TokenCounterContract",
    "ToolContract",
]

QUESTION = "What is the capital of France?"
BEGINNING = "Once upon a time there was a fox who lived in a"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A provider to test, and its model."""

    provider: Provider
    model: str
    """A model for chats and completions."""
    completes: bool = True
    """Whether it continues prompts; if not, the tests chat instead."""
    embedding_model: str = ""
    """The model for embeddings, if it is another one."""
    tool_request: GenerateRequest | None = None
    """A request to which the model answers with one call of the tool ``weather``."""

    def chat(self, text: str = QUESTION, **config: Any) -> GenerateRequest:
        """A chat of one message."""
        message = Message(role=Role.USER, parts=(Text(text=text),))
        return GenerateRequest(model=self.model, messages=(message,), config=GenerationConfig(**config))

    def completion(self, prompt: str = BEGINNING, **config: Any) -> GenerateRequest:
        """A prompt to continue; a chat, if the model continues none."""
        if not self.completes:
            return self.chat(prompt, **config)
        return GenerateRequest(model=self.model, prompt=prompt, config=GenerationConfig(**config))

    async def answer(self, request: GenerateRequest) -> Answer:
        """Everything that the provider yields."""
        return Answer([event async for event in self.provider.generate(request)])


class Answer:
    """What a provider yielded."""

    def __init__(self, events: list[ProviderEvent]) -> None:
        self.events = events

    @property
    def finish(self) -> Finish:
        """The end."""
        (finish,) = [event for event in self.events if isinstance(event, Finish)]
        assert finish is self.events[-1], "the end is the last event"
        return finish

    @property
    def pieces(self) -> list[str]:
        """The pieces of text."""
        texts = [event for event in self.events if isinstance(event, str | TextDelta)]
        found = [event if isinstance(event, str) else event.text for event in texts]
        assert all(found), "a delta is never empty"
        return found

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


@pytest.mark.asyncio(loop_scope="class")
class ProviderContract:
    """What every provider does: chats and completions, their end, cancellation and closing. Override :meth:`make`."""

    @classmethod
    async def make(cls) -> Subject:
        """A new provider."""
        raise NotImplementedError

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def subject(cls) -> AsyncIterator[Subject]:
        """One provider for all tests of the class: it may be slow to make, or load models."""
        subject = await cls.make()
        yield subject
        await subject.provider.close()

    @pytest_asyncio.fixture(loop_scope="class")
    async def fresh(self) -> AsyncIterator[Subject]:
        """A provider that no other test uses."""
        subject = await self.make()
        yield subject
        await subject.provider.close()

    async def test_models_are_named_and_ready(self, subject: Subject) -> None:
        """A provider lists its models by distinct names, and a usable model is READY."""
        models = await subject.provider.models()
        assert len({model.name for model in models}) == len(models)
        (model,) = [model for model in models if model.name == subject.model]
        assert model.state is ModelState.READY
        assert not model.state_reason
        assert model.capabilities.chat
        assert model.capabilities.completion is subject.completes

    async def test_chat_comes_in_pieces_and_ends_once(self, subject: Subject) -> None:
        """A chat's answer comes as several pieces of text, and its last event says why it ended."""
        answer = await subject.answer(subject.chat())
        assert len(answer.pieces) > 2
        assert answer.finish.reason is FinishReason.STOP

    async def test_completion_comes_in_pieces_and_ends_once(self, subject: Subject) -> None:
        """A completion does, too."""
        if not subject.completes:
            pytest.skip("the model does not continue prompts")
        answer = await subject.answer(subject.completion(max_output_tokens=30))
        assert len(answer.pieces) > 2
        assert isinstance(answer.finish, Finish)

    async def test_usage_is_reported(self, subject: Subject) -> None:
        """The end of an answer reports the tokens used."""
        usage = (await subject.answer(subject.chat())).finish.usage
        assert usage is not None
        assert usage.source is UsageSource.REPORTED
        assert usage.input_tokens > 0
        assert usage.output_tokens > 0

    async def test_a_provider_answers_after_an_answer_was_closed(self, subject: Subject) -> None:
        """An answer that is closed after its first piece ends, and the next call is answered."""
        async with aclosing(subject.provider.generate(subject.completion())) as events:  # type: ignore[type-var]  # a generator
            async for event in events:
                assert not isinstance(event, Finish)
                break
        assert (await subject.answer(subject.chat())).finish.reason is FinishReason.STOP

    async def test_a_provider_answers_after_its_reader_was_cancelled(self, subject: Subject) -> None:
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

    async def test_a_provider_answers_after_a_deadline(self, subject: Subject) -> None:
        """A deadline in the middle of an answer ends it with TimeoutError, and the next call is answered."""
        with pytest.raises(TimeoutError):
            async with (
                asyncio.timeout(None) as limit,
                aclosing(subject.provider.generate(subject.completion())) as events,  # type: ignore[type-var]  # as above
            ):
                async for _ in events:
                    limit.reschedule(asyncio.get_running_loop().time() + 0.05)
                    await asyncio.Event().wait()
        assert (await subject.answer(subject.chat())).finish.reason is FinishReason.STOP

    async def test_answers_at_once_do_not_mix(self, subject: Subject) -> None:
        """Eight calls at the same time each get their own complete answer."""
        requests = [
            subject.completion(f"{number}, {number + 1}, {number + 2},", max_output_tokens=8) for number in range(8)
        ]
        alone = [await subject.answer(request) for request in requests[:2]]
        together = await asyncio.gather(*[subject.answer(request) for request in requests])
        assert [answer.text for answer in together[:2]] == [answer.text for answer in alone]
        assert all(answer.finish for answer in together)

    async def test_an_unused_provider_is_ready_and_can_be_closed(self, fresh: Subject) -> None:
        """Its model is READY before anything is loaded."""
        (model,) = [model for model in await fresh.provider.models() if model.name == fresh.model]
        assert model.state is ModelState.READY
        await fresh.provider.close()

    async def test_closing_ends_running_answers(self, fresh: Subject) -> None:
        """A provider can be closed while it answers: the answer ends somehow, and the close returns."""
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


class SamplingContract:
    """What a provider does that honours ``max_output_tokens`` and ``stop``."""

    async def test_the_limit_of_output_holds(self, subject: Subject) -> None:
        """An answer that reaches its limit ends with LENGTH, after exactly so many tokens."""
        answer = await subject.answer(subject.chat(max_output_tokens=4))
        assert answer.finish.reason is FinishReason.LENGTH
        assert answer.finish.usage is not None
        assert answer.finish.usage.output_tokens == 4

    async def test_a_stop_string_ends_the_answer_before_it(self, subject: Subject) -> None:
        """The text ends right before the first stop string, and contains nothing of it."""
        whole = (await subject.answer(subject.chat())).text
        stop = whole[len(whole) // 2 :][:6]
        answer = await subject.answer(subject.chat(stop=(stop, "never written")))
        assert answer.text == whole.partition(stop)[0]
        assert answer.finish.reason is FinishReason.STOP


class ToolContract:
    """What a provider does whose models call tools. The subject needs a ``tool_request``."""

    async def test_a_tool_is_called(self, subject: Subject) -> None:
        """A call has a name, an id and arguments that together are a JSON object, and the answer ends with it."""
        assert subject.tool_request is not None
        answer = await subject.answer(subject.tool_request)
        (start,) = [event for event in answer.events if isinstance(event, ToolCallStart)]
        arguments = [event for event in answer.events if isinstance(event, ToolArgumentsDelta)]
        assert start.name == "weather"
        assert {event.id for event in arguments} == {start.id}
        assert isinstance(json.loads("".join([event.text for event in arguments])), dict)
        assert answer.finish.reason is FinishReason.TOOL_CALLS


class ProviderStateContract:
    """What a provider does whose answers have states that it needs to receive back."""

    async def test_an_answer_with_its_states_can_be_continued(self, subject: Subject) -> None:
        """The server keeps the states of an answer, and the provider takes them back in the next request."""
        request = subject.chat()
        answer = await subject.answer(request)
        assert any(isinstance(event, PartState) for event in answer.events)
        kept = KeptAnswer(lambda _: None, Meter(), provider="subject", model=subject.model)
        for event in answer.events:
            if not isinstance(event, Progress):
                kept.add(event)
        message = Message(role=Role.ASSISTANT, parts=kept.parts())
        again = replace(request, messages=(*request.messages, message, *request.messages))
        assert isinstance((await subject.answer(again)).finish, Finish)


class ContextWindowContract:
    """What a provider does whose models read at most 9,000 words."""

    async def test_a_prompt_that_is_too_long_is_refused(self, subject: Subject) -> None:
        """Chat or completion, it fails with ContextTooLong before any output, and the next call is answered."""
        for request in (subject.chat("word " * 9_000), subject.completion("word " * 9_000)):
            with pytest.raises(ContextTooLong) as raised:
                await subject.answer(request)
            assert raised.value.message
        assert (await subject.answer(subject.chat())).finish.reason is FinishReason.STOP


class TokenCounterContract:
    """What a provider does that counts tokens."""

    async def test_tokens_are_counted_as_they_are_used(self, subject: Subject) -> None:
        """The count of a prompt is equal to the input tokens of the answer's usage."""
        counter = subject.provider
        assert isinstance(counter, TokenCounter)
        usage = (await subject.answer(subject.chat(max_output_tokens=1))).finish.usage
        assert usage is not None
        assert await counter.count_tokens(subject.chat()) == usage.input_tokens


class EmbeddingContract:
    """What a provider does that makes embeddings."""

    async def test_embeddings_keep_the_order_of_their_inputs(self, subject: Subject) -> None:
        """A batch gives one vector for each input, in order, of the length that the model names, and its usage."""
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


class LoadingContract:
    """What a provider does that loads models at their first use, and has no others than it lists."""

    async def test_an_unknown_model_is_not_found(self, subject: Subject) -> None:
        """The error names it."""
        with pytest.raises(ModelNotFound, match="other"):
            await subject.answer(GenerateRequest(model="other", prompt="x"))

    async def test_a_model_is_loaded_when_it_is_first_used(self, fresh: Subject) -> None:
        """The state is LOADING, calls wait, and a call that is cancelled does not stop the loading."""
        leaving, staying = [asyncio.create_task(fresh.answer(fresh.chat())) for _ in range(2)]

        async def state() -> ModelState:
            (model,) = [model for model in await fresh.provider.models() if model.name == fresh.model]
            return model.state

        while await state() is not ModelState.LOADING:  # noqa: ASYNC110  # a provider does not announce its states
            await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).finish.reason is FinishReason.STOP
        assert await state() is ModelState.READY
