"""The provider ``demo``: answers by rules, so that everything can be tried without a model."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Final

from msgspec.structs import replace

from mcp_server.errors import ContextTooLong, ModelNotFound, ProviderUnavailable
from mcp_server.interfaces import EmbedRequest, GenerateRequest, ProviderEvent
from mcp_server.providers.demo import answers, commands, embedding, options
from mcp_server.providers.demo.conversation import Conversation
from mcp_server.providers.demo.failures import Failure, failure_of
from mcp_server.providers.demo.settings import DemoSettings
from mcp_server.providers.demo.tokens import count, least_tokens, prompt_tokens, tokens_of
from mcp_server.providers.demo.writing import FOREVER, Writing
from mcp_server.values import Capabilities, Embeddings, Model, Usage, UsageSource

SMALL_WINDOW: Final = 1024
"""The context window of ``demo-small``."""
_ABLE: Final = Capabilities(
    chat=True, completion=True, embedding=True, tools=True, images=True, json_schema=True, prefill=True
)
_SMALL: Final = Capabilities(chat=True, completion=True, prefill=True)
_MOST_REMEMBERED: Final = 1000
_AT_ONCE: Final = 10_000
"""How many tokens are counted without a thread."""


class DemoProvider:
    """Answers by rules.

    Args:
        settings: its settings table.
        name: its name, for messages.
    """

    def __init__(self, settings: DemoSettings, *, name: str = "demo") -> None:
        self._settings = settings
        self._name = name
        self._failure = failure_of(settings.fail) if settings.fail else None
        self._failed_once: set[str] = set()
        self._closed = asyncio.Event()

    async def models(self) -> Sequence[Model]:
        """The models of the settings."""
        return [self._model(name) for name in self._settings.models]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Answer by rules.

        Raises:
            ModelNotFound, UnsupportedByModel, InvalidArgument, ContextTooLong: it cannot be answered.
            ProviderError: it was told to fail.
        """
        model = self._model(request.model)
        chosen = options.checked(request.provider_options, request.model)
        tokens = await self._fitting(request, model)
        conversation = Conversation.of(request)
        # A large schema takes long, and so do large files.
        plan = await asyncio.to_thread(answers.plan_of, conversation, self._settings.seed)
        failure = self._failure or self._due(plan.failure, conversation)
        plan = replace(plan, failure=failure)
        if failure is not None and not plan.calls:  # it comes after as many tokens as it says
            plan = replace(plan, tokens=itertools.chain(plan.tokens, commands.lines()))
        if conversation.beginning:
            plan = replace(plan, tokens=answers.behind(plan.tokens, conversation.beginning), opening=None)
        elif plan.thinks or chosen.thinks or (chosen.thinks is None and model.name == "demo-thinking"):
            thoughts = tokens_of(answers.reasoning(conversation, plan))
            plan = replace(plan, reasoning=itertools.islice(thoughts, chosen.thought_tokens))
        rate = self._settings.tokens_per_second if chosen.tokens_per_second is None else chosen.tokens_per_second
        writing = Writing(
            f"{self._name}/{model.name}",
            request.config,
            input_tokens=tokens,
            room=model.context_window - tokens,
            pause=self._pause,
        )
        interval = plan.interval if plan.interval is not None else 1 / rate if rate else 0.0
        async for event in writing.write(plan, interval):
            yield event

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The number of tokens of the whole prompt."""
        self._model(request.model)
        return await asyncio.to_thread(prompt_tokens, request)

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """One vector for each text.

        Raises:
            ModelNotFound, UnsupportedByModel, ContextTooLong: they cannot be made.
            ProviderError: it was told to fail.
        """
        model = self._model(request.model)
        options.checked_for_embedding(request, request.model)
        for text in request.inputs:
            failure = self._failure or commands.failure_in(text)
            if failure is not None:
                raise failure.error(f"{self._name}/{model.name}")
        dimensions = request.dimensions or embedding.DIMENSIONS
        lengths = await asyncio.to_thread(lambda: [max(1, count(text)) for text in request.inputs])
        if max(lengths) > model.context_window:
            raise _too_long(model, max(lengths))
        vectors = await asyncio.to_thread(lambda: [embedding.vector(text, dimensions) for text in request.inputs])
        return Embeddings(vectors=tuple(vectors), usage=Usage(input_tokens=sum(lengths), source=UsageSource.REPORTED))

    async def close(self) -> None:
        """End running answers."""
        self._closed.set()

    def _model(self, name: str) -> Model:
        if name not in self._settings.models:
            raise ModelNotFound(f"the provider {self._name} has no model {name!r}", metadata={"model": name})
        window = self._settings.context_window
        if name == "demo-small":
            return Model(name=name, capabilities=_SMALL, context_window=min(window, SMALL_WINDOW))
        return Model(
            name=name,
            capabilities=_ABLE,
            context_window=window,
            embedding_dimensions=embedding.DIMENSIONS,
            batch_tokens=window,
        )

    async def _fitting(self, request: GenerateRequest, model: Model) -> int:
        """The length of a prompt that leaves room for an answer."""
        tokens = least_tokens(request)
        if tokens < model.context_window:
            long = tokens > _AT_ONCE
            tokens = await asyncio.to_thread(prompt_tokens, request) if long else prompt_tokens(request)
        if tokens >= model.context_window:
            raise _too_long(model, tokens)
        return tokens

    def _due(self, failure: Failure | None, conversation: Conversation) -> Failure | None:
        """The failure, unless it was to come once and has come."""
        if failure is None or not failure.once:
            return failure
        digest = conversation.digest
        if digest in self._failed_once:
            self._failed_once.discard(digest)
            return None
        if len(self._failed_once) >= _MOST_REMEMBERED:
            self._failed_once.clear()
        self._failed_once.add(digest)
        return failure

    async def _pause(self, seconds: float) -> None:
        """Wait, and let others run.

        Raises:
            ProviderUnavailable: the provider was closed.
        """
        try:
            async with asyncio.timeout(min(seconds, FOREVER)):
                await self._closed.wait()
        except TimeoutError:
            return
        raise ProviderUnavailable(f"the provider {self._name} was closed")


def _too_long(model: Model, tokens: int) -> ContextTooLong:
    return ContextTooLong(
        f"the prompt has at least {tokens} tokens; the context window of the model {model.name} has "
        f"{model.context_window}: send less",
        metadata={"tokens": str(tokens), "limit": str(model.context_window)},
    )
