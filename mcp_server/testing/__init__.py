"""Doubles for tests, as part of the product: providers that cost nothing, and a whole server in a line.

::

    async with running(providers={"echo": EchoProvider()}) as server:
        async with MCPClient(server.address) as client:
            reply = await client.chat("hello")
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

from mcp_server.errors import MCPError, UnsupportedByModel
from mcp_server.interfaces import EmbedRequest, Finish, GenerateRequest, Provider, ProviderEvent
from mcp_server.values import (
    Capabilities,
    Embeddings,
    FinishReason,
    Model,
    Usage,
    UsageSource,
)

if TYPE_CHECKING:
    from mcp_server.app import UnifiedMCPServer
    from mcp_server.settings import Config
    from mcp_server.values import Clock

__all__ = ["EchoProvider", "Gate", "ScriptedProvider", "running"]


class EchoProvider:
    """Answers with what it was told: the last message of a chat, the prompt of a completion; word by word.

    Its one model is ``echo``. A word counts as a token. An embedding is the count of each letter from a to z. It
    honours ``max_output_tokens`` and ``stop``.
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
        asked = [request.prompt or "", *[message.text for message in request.messages]]
        usage = Usage(
            input_tokens=sum(len(text.split()) for text in asked),
            output_tokens=len(words[:limit]),
            source=UsageSource.REPORTED,
        )
        cut = limit is not None and len(words) > limit
        yield Finish(reason=FinishReason.LENGTH if cut else FinishReason.STOP, usage=usage)

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The number of words."""
        return sum(len(message.text.split()) for message in request.messages)

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """How often each letter occurs in each text.

        Raises:
            UnsupportedByModel: other ``dimensions`` are asked for than it has.
        """
        if request.dimensions not in (None, 26):
            raise UnsupportedByModel("the model echo makes vectors of 26 numbers, and cannot shorten them")
        vectors = [[float(text.lower().count(chr(97 + index))) for index in range(26)] for text in request.inputs]
        tokens = sum(len(text.split()) for text in request.inputs)
        return Embeddings(vectors=tuple(vectors), usage=Usage(input_tokens=tokens, source=UsageSource.REPORTED))

    async def close(self) -> None:
        """Nothing to do."""


class Gate:
    """A step of a script that waits until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        """Set when a generation has come here."""
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let it go on."""
        self._opened.set()

    async def passed(self) -> None:
        """Wait here until it is open."""
        self.reached.set()
        await self._opened.wait()


Step = ProviderEvent | MCPError | Exception | Gate | float
"""What a script is made of: an event to yield, an error to raise, a gate to wait at, or seconds to sleep."""


class ScriptedProvider:
    """Answers each call with the next of its scripts, and the last one again for all that follow.

    A script that ends without a :class:`~mcp_server.interfaces.Finish` and without an error is a cut stream; most tests
    want :meth:`saying`.

    Attributes:
        requests: what it was asked, in order.
        cancelled: how many of its answers were stopped before their end.
        active: how many run now.

    Args:
        scripts: one a call.
        model: its one model, ``scripted`` with chat and completion unless told otherwise.
    """

    def __init__(self, *scripts: Iterable[Step], model: Model | None = None) -> None:
        self.requests: list[GenerateRequest] = []
        self.cancelled = 0
        self.active = 0
        self.stopped = asyncio.Event()
        """Set when an answer was stopped before its end."""
        self.model = model or Model(name="scripted", capabilities=Capabilities(chat=True, completion=True))
        self._scripts = [list(script) for script in scripts]

    @classmethod
    def saying(cls, *texts: str, model: Model | None = None) -> Self:
        """One that answers the first call with the first text, and so on, each in one piece."""
        scripts: list[list[Step]] = [[text, Finish()] for text in texts]
        return cls(*scripts, model=model)

    async def models(self) -> Sequence[Model]:
        """Its one model."""
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


@asynccontextmanager
async def running(
    config: Config | None = None,
    *,
    providers: Mapping[str, Provider] | None = None,
    clock: Clock = time.time_ns,
) -> AsyncIterator[UnifiedMCPServer]:
    """A real server on a free port of 127.0.0.1, stopped at the end.

    Args:
        config: its settings; by default a memory store, no metrics port, and the first provider's model as the default.
        providers: beside those of ``config``; by default one :class:`EchoProvider` named ``echo``.
        clock: tells it the time, in nanoseconds.
    """
    from mcp_server.app import UnifiedMCPServer
    from mcp_server.settings import testing_config

    if providers is None and config is None:
        providers = {"echo": EchoProvider()}
    if config is None:
        assert providers
        name, provider = next(iter(providers.items()))
        models = await provider.models()
        config = testing_config(default_model=f"{name}/{models[0].name}" if models else "")
    server = UnifiedMCPServer(config, providers=providers or {}, clock=clock)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace=0)
