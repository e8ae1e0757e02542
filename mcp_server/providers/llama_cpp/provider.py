"""The provider ``llama_cpp``: models that run on this machine, from GGUF files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import msgspec

from mcp_server.errors import ProviderStreamCut, UnsupportedByModel
from mcp_server.interfaces import (
    EmbedRequest,
    Finish,
    GenerateRequest,
    Progress,
    ProviderEvent,
    TextDelta,
)
from mcp_server.providers.llama_cpp import translate
from mcp_server.providers.llama_cpp.connection import BrokenConnection
from mcp_server.providers.llama_cpp.conversation import has_images
from mcp_server.providers.llama_cpp.decision import decided
from mcp_server.providers.llama_cpp.engine import LONG_STEP_SECONDS
from mcp_server.providers.llama_cpp.local_model import LlamaModel
from mcp_server.providers.llama_cpp.settings import LlamaCppSettings
from mcp_server.providers.llama_cpp.tool_calls import ToolCalls
from mcp_server.providers.local.lazy import Timers
from mcp_server.providers.local.provider import LocalProvider
from mcp_server.values import Embeddings, FinishReason, Usage, UsageSource

DONE = b"[DONE]"


class LlamaCppProvider(LocalProvider[LlamaModel]):
    """Answers with models that run on this machine, each loaded when it is first used.

    A model is loaded into a process of its own, so that the server goes on while it loads, and whatever happens there.
    The same process makes the embeddings.

    Args:
        settings: its settings table.
        timers: what measures how long models stay loaded; ``None``: the event loop.

    Raises:
        ConfigError: the source of a model does not name one.
    """

    def __init__(self, settings: LlamaCppSettings, *, timers: Timers | None = None) -> None:
        super().__init__(
            {name: LlamaModel(name, model.resolved(name), settings, timers) for name, model in settings.models.items()}
        )

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Go on with a chat or a prompt.

        Raises:
            ModelNotFound, ContextTooLong, UnsupportedByModel, ProviderUnavailable, ProviderStreamCut.
        """
        local = self._served(request.model)
        async with contextlib.AsyncExitStack() as using:
            answer = decided(request, partial(self._answer, using), local.call_opening)
            async with contextlib.aclosing(answer) as events:  # type: ignore[type-var]  # a generator
                async for event in events:
                    yield event

    async def _answer(
        self, using: contextlib.AsyncExitStack, request: GenerateRequest, beginning: str
    ) -> AsyncIterator[ProviderEvent]:
        """The answer to a request in one go, continued from its ``beginning``.

        The model stays loaded until ``using`` is left.
        """
        local = self._served(request.model)
        constraint = translate.constraint_of(request.config, local.name)
        body = translate.generate_body(request, local.name, local.settings, constraint)
        calls = ToolCalls(request)
        engine = await using.enter_async_context(local.lazy.use())
        local.check_generates(engine)
        prompt = await local.prompt_fields(request)
        if beginning:
            prompt["messages"].append({"role": "assistant", "content": beginning})
        body |= prompt
        content = msgspec.json.encode(body)
        reason: FinishReason | None = None
        usage: Usage | None = None
        texts: list[str] = []
        begun = False
        try:
            async with engine.admit(content):
                if constraint is not None:
                    await local.check_constraint(engine, constraint, content)
                slots = local.slots(engine)
                async with slots.answer(text := translate.text_of(body)) as slot:
                    length, tokens = await local.prompt_tokens(engine, request, prompt, text)
                    if length:
                        translate.limit_output(body, engine.settings.context_window - length)
                    slot.text = text
                    reading = local.read_prompt(engine, slot, tokens, content)
                    async with contextlib.aclosing(reading) as signs:  # type: ignore[type-var]  # a generator
                        async for progress in signs:
                            yield progress
                    body["id_slot"] = slot.id
                    asked = engine.post(
                        translate.generate_path(request),
                        msgspec.json.encode(body),
                        content=content,
                        step_seconds=LONG_STEP_SECONDS if has_images(request) else 0.0,
                    )
                    async with slots.writing(), asked as response:
                        if response.status != 200:
                            raise translate.error_of(response.status, await response.read(), model=request.model)
                        async for events in response.events():
                            chunks = [translate.decode_chunk(event) for event in events if event != DONE]
                            if not begun and any(chunk.prompt_progress is not None for chunk in chunks):
                                yield Progress(stage="reading")
                            for event in translate.deltas(
                                chunks, calls, logprobs=request.config.logprobs, constrained=constraint is not None
                            ):
                                if not begun:
                                    begun, slot.tokens = True, tokens
                                yield event
                                if constraint is not None and isinstance(event, str | TextDelta):
                                    texts.append(event if isinstance(event, str) else event.text)
                            for chunk in chunks:
                                if chunk.error is not None:
                                    raise translate.error_from(chunk.error, model=request.model)
                                reason, usage = chunk.finish_reason or reason, chunk.reported or usage
                    if usage is not None:
                        usage = slot.answered(usage)
        except BrokenConnection as error:
            raise await local.lazy.lost(engine, begun=begun) from error
        if reason is None:
            raise ProviderStreamCut(f"the model {request.model} ended without saying that its answer was complete")
        if constraint is not None and reason is FinishReason.STOP:
            # Not here but in a thread: a long answer to a large schema takes long to check.
            await asyncio.to_thread(translate.check_answer, constraint, "".join(texts), request.model)
        if reason is FinishReason.TOOL_CALLS:
            await asyncio.to_thread(calls.check)
        yield Finish(reason=reason, usage=usage)

    async def load(self, request: GenerateRequest | EmbedRequest, /) -> AsyncIterator[Progress]:
        """Load the model, and end when it is loaded.

        Raises:
            ModelNotFound, ProviderUnavailable.
        """
        async for sign in self._served(request.model).lazy.load():
            yield sign

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The tokens of the whole prompt, by the model's own template and vocabulary. Loads the model."""
        local = self._served(request.model)
        async with local.lazy.use(last=False) as engine:
            if request.prompt is not None:
                return len(await local.tokens(engine, request.prompt + request.suffix))
            return await local.count_chat(engine, await local.prompt_fields(request))

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """One vector of length 1 for each text: the average over its tokens, unless the model's file says otherwise.

        Raises:
            ModelNotFound, ContextTooLong, UnsupportedByModel, ProviderUnavailable.
        """
        local = self._served(request.model)
        if request.provider_options:
            raise UnsupportedByModel(f"the model {request.model} takes no provider_options for embeddings")
        async with local.lazy.use() as engine:
            length = (await local.model()).embedding_dimensions
            if request.dimensions is not None and request.dimensions != length:
                raise UnsupportedByModel(
                    f"the vectors of the model {request.model} have {length} dimensions and cannot be shortened",
                    metadata={"model": request.model, "dimensions": str(length)},
                )
            await local.check_lengths(engine, request.inputs)
            async with local.slots(engine).embedding():
                made = [await local.embed(engine, text) for text in request.inputs]
        tokens = sum(one.usage.prompt_tokens for one in made)
        vectors = tuple([one.data[0].embedding for one in made])
        return Embeddings(vectors=vectors, usage=Usage(input_tokens=tokens, source=UsageSource.REPORTED))
