"""Providers for tests: they need no network, cost nothing, and answer alike each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Self

from mcp_server.errors import MCPError, UnsupportedByModel
from mcp_server.interfaces import EmbedRequest, Finish, GenerateRequest, ProviderEvent
from mcp_server.values import (
    Capabilities,
    Embeddings,
    FinishReason,
    Model,
    Usage,
    UsageSource,
)


class EchoProvider:
    """Repeats the last message of a chat, or the prompt of a completion, word by word.

    Its only model is ``echo``. A word counts as a token. An embedding is the count of each letter from a to z. The
    provider honours ``max_output_tokens`` and ``stop``.
    """

    async def models(self) -> Sequence[Model]:
        """The model ``echo``."""
        can = Capabilities(chat=True, completion=True, embedding=True)
        return [Model(name="echo", capabilities=can, context_window=100_000, embedding_dimensions=26)]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """The last message or the prompt, word by word."""
        text = request.messages[-1].text if request.prompt is None else request.prompt
        for stop in request.config.stop:
            text = text.partition(stop)[0]
        words = [word + " " for word in text.split(" ")]
        words[-1] = words[-1][:-1]
        limit = request.config.max_output_tokens
        for word in words[:limit]:
            if word:
                yield word
        usage = Usage(
            input_tokens=await self.count_tokens(request),
            output_tokens=len(words[:limit]),
            source=UsageSource.REPORTED,
        )
        cut = limit is not None and len(words) > limit
        yield Finish(reason=FinishReason.LENGTH if cut else FinishReason.STOP, usage=usage)

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The number of words of the prompt and the messages."""
        texts = [request.prompt or "", *[message.text for message in request.messages]]
        return sum(len(text.split()) for text in texts)

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """How often each letter occurs in each text.

        Raises:
            UnsupportedByModel: ``dimensions`` is not 26.
        """
        if request.dimensions not in (None, 26):
            raise UnsupportedByModel("the model echo makes vectors of 26 numbers and cannot shorten them")
        vectors = [[float(text.lower().count(chr(97 + index))) for index in range(26)] for text in request.inputs]
        tokens = sum(len(text.split()) for text in request.inputs)
        return Embeddings(vectors=tuple(vectors), usage=Usage(input_tokens=tokens, source=UsageSource.REPORTED))

    async def close(self) -> None:
        """Nothing to do."""


class Gate:
    """A step of a script that waits until the test calls :meth:`open`."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        """Set when an answer has reached this step."""
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let the answer continue."""
        self._opened.set()

    async def passed(self) -> None:
        """Wait until the gate is open."""
        self.reached.set()
        await self._opened.wait()


Step = ProviderEvent | MCPError | Exception | Gate | float
"""A step of a script: an event to yield, an error to raise, a gate to wait at, or seconds to sleep."""


class ScriptedProvider:
    """Answers each call with the next of its scripts; after the last script with the last one again.

    A script that ends without a :class:`~mcp_server.interfaces.Finish` and without an error is a cut stream. Most tests
    need :meth:`saying`.

    Attributes:
        requests: the requests, in order.
        cancelled: how many answers were stopped before their end.
        active: how many answers are running.

    Args:
        scripts: one for each call.
        model: the only model; by default ``scripted``, for chats and completions.
    """

    def __init__(self, *scripts: Iterable[Step], model: Model | None = None) -> None:
        self.requests: list[GenerateRequest] = []
        self.cancelled = 0
        self.active = 0
        self.stopped = asyncio.Event()
        """Set when an answer has been stopped before its end."""
        self.model = model or Model(name="scripted", capabilities=Capabilities(chat=True, completion=True))
        self._scripts = [list(script) for script in scripts]

    @classmethod
    def saying(cls, *texts: str, model: Model | None = None) -> Self:
        """A provider that answers the first call with the first text, and so on, each in one piece."""
        scripts: list[list[Step]] = [[text, Finish()] for text in texts]
        return cls(*scripts, model=model)

    async def models(self) -> Sequence[Model]:
        """The only model."""
        return [self.model]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Play the next script."""
        script = self._scripts[min(len(self.requests), len(self._scripts) - 1)]
        self.requests.append(request)
        self.active += 1
        step: Step = 0.0
        try:
            for step in script:
                if isinstance(step, Gate):
                    await step.passed()
                elif isinstance(step, float):
                    await asyncio.sleep(step)
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        except (asyncio.CancelledError, GeneratorExit):
            if not isinstance(step, Finish):
                self.cancelled += 1
                self.stopped.set()
            raise
        finally:
            self.active -= 1

    async def close(self) -> None:
        """Nothing to do."""
