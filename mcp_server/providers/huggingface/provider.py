"""The provider ``huggingface``: models in the Hugging Face format that run on this machine, by transformers."""

from __future__ import annotations

import array
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from mcp_server.errors import (
    InvalidArgument,
    MCPError,
    ProviderRateLimited,
    UnsupportedByModel,
    Violation,
    recorded,
)
from mcp_server.interfaces import (
    EmbedRequest,
    Finish,
    GenerateRequest,
    Progress,
    ProviderEvent,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.providers.huggingface import files, model_facts, options, translate
from mcp_server.providers.huggingface.engine import Engine, EngineLost
from mcp_server.providers.huggingface.protocol import (
    AnyMessage,
    AnyQuestion,
    Count,
    Done,
    Embed,
    Facts,
    Failure,
    Generate,
    Loading,
    Reading,
    ReasoningPiece,
    TextPiece,
    TokenCount,
    Vectors,
    WholeToolCall,
)
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
from mcp_server.providers.local.files import LIST_SECONDS, ModelFiles
from mcp_server.providers.local.lazy import LazyEngine, LoadFailed, Timers
from mcp_server.providers.local.provider import LocalModel, LocalProvider
from mcp_server.providers.local.settings import thread_count
from mcp_server.values import (
    Capabilities,
    Embeddings,
    Logprob,
    Model,
    ModelState,
    Usage,
    UsageSource,
)

log = structlog.get_logger("contextprotocol.providers")

CALL_MARK: Final = "<tool_call>"
"""A chat template that speaks of this teaches the one form of tool calls that is understood here."""
BATCH_TOKENS: Final = 4096
"""About how many tokens one call for embeddings should have: a few seconds of work on a slow machine."""


class HuggingFaceProvider(LocalProvider["_Served"]):
    """Answers with models that run on this machine, each loaded when it is first used.

    A model is loaded into a process of its own: the server goes on while it loads and computes, and whatever happens
    there. Answers that are written at the same time share the steps of the model.

    Args:
        settings: its settings table.
        timers: what measures how long models stay loaded; ``None``: the event loop.
    """

    def __init__(self, settings: HuggingFaceSettings, *, timers: Timers | None = None) -> None:
        super().__init__({name: _Served(name, model, settings, timers) for name, model in settings.models.items()})

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Go on with a chat or a prompt.

        Raises:
            InvalidArgument, ModelNotFound, ContextTooLong, UnsupportedByModel, ProviderRateLimited,
            ProviderUnavailable, ProviderStreamCut.
        """
        served = self._served(request.model)
        request = translate.generate(request, served.settings)
        async with served.place() as engine:
            _check(engine.facts, request)
            begun = False
            try:
                async with engine.ask(Generate(id=engine.new_id(), request=request)) as call:
                    while not call.ended:
                        answers = await call.answers()
                        call.ended = isinstance(answers[-1], Done | Failure)
                        for event in _events(answers):
                            begun = begun or not isinstance(event, Progress)
                            yield event
            except EngineLost as error:
                raise await served.lazy.lost(engine, begun=begun) from error

    async def load(self, request: GenerateRequest | EmbedRequest, /) -> AsyncIterator[Progress]:
        """Load the model, and end when it is loaded. A request that it cannot take is refused before.

        Raises:
            InvalidArgument, ModelNotFound, UnsupportedByModel, ProviderUnavailable.
        """
        served = self._served(request.model)
        if isinstance(request, GenerateRequest):
            translate.generate(request, served.settings)
        else:
            options.decode(options.EmbedOptions, request.provider_options, request.model)
        async for sign in served.lazy.load():
            yield sign

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The tokens of the whole prompt, by the model's own template and vocabulary. Loads the model."""
        served = self._served(request.model)
        request = translate.generate(request, served.settings)
        async with served.lazy.use(last=False) as engine:
            _check(engine.facts, request)
            counted = await served.answer(engine, Count(id=engine.new_id(), request=request))
        assert isinstance(counted, TokenCount)
        return counted.tokens

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """One vector for each text, pooled and normalised as the model's files say; else the mean, of length 1.

        Raises:
            ModelNotFound, ContextTooLong, UnsupportedByModel, ProviderRateLimited, ProviderUnavailable.
        """
        served = self._served(request.model)
        chosen = options.decode(options.EmbedOptions, request.provider_options, request.model)
        async with served.place() as engine:
            if engine.facts.generates:
                raise UnsupportedByModel(f"the model {request.model} makes no embeddings")
            _check_prompt(engine.facts, chosen.prompt_name)
            if request.dimensions not in (None, engine.facts.dimensions):
                raise UnsupportedByModel(
                    f"the vectors of the model {request.model} have {engine.facts.dimensions} dimensions and cannot be "
                    "shortened",
                    metadata={"model": request.model, "dimensions": str(engine.facts.dimensions)},
                )
            question = Embed(id=engine.new_id(), texts=request.inputs, prompt_name=chosen.prompt_name)
            made = await served.answer(engine, question)
        assert isinstance(made, Vectors)
        vectors = tuple([array.array("f", vector).tolist() for vector in made.vectors])
        return Embeddings(vectors=vectors, usage=Usage(input_tokens=made.tokens, source=UsageSource.REPORTED))


class _Served(LocalModel):
    """One model and what is loaded of it."""

    def __init__(
        self, name: str, settings: HuggingFaceModel, provider: HuggingFaceSettings, timers: Timers | None
    ) -> None:
        self.name = name
        self.settings = settings
        self.lazy: LazyEngine[Engine] = LazyEngine(
            name, self.facts, self._start, keep_alive=settings.keep_alive_seconds, timers=timers
        )
        self._loading = Loading(
            model=name,
            path="" if settings.path is None else str(settings.path.absolute()),
            source=settings.source or name,
            revision=settings.revision,
            context_window=settings.context_window,
            parallel=provider.parallel,
            threads=thread_count(provider.threads),
            device=provider.device,
            dtype=provider.dtype,
        )
        self._memory_limit = provider.memory_limit_bytes
        self._room = provider.parallel + provider.max_queued
        self._taken = 0
        self._facts: Facts | None = None
        self._files = None if settings.path is None else ModelFiles(settings.path, _read, self._changed)

    async def model(self) -> Model:
        """What it can do, and its state."""
        state, failure = ModelState.READY, ""
        # What it can do is not known before its files are here. A call is to reach it all the same, and to hear why.
        can = Capabilities(chat=True, completion=True, embedding=True, tools=True, prefill=True)
        facts = Facts(generates=True)
        try:
            known = await self.facts(seconds=LIST_SECONDS)
        except LoadFailed as failed:
            known, state, failure = None, ModelState.UNAVAILABLE, str(failed)
        if known is not None:
            facts = known
            can = _capabilities(facts)
        if self.lazy.loading:
            state, failure = ModelState.LOADING, ""
        elif not self.lazy.loaded and self.lazy.failure:
            state, failure = ModelState.UNAVAILABLE, self.lazy.failure
        return Model(
            name=self.name,
            capabilities=can,
            context_window=self.settings.context_window or facts.context_window,
            batch_tokens=BATCH_TOKENS,
            embedding_dimensions=facts.dimensions,
            state=state,
            state_reason=failure,
        )

    async def facts(self, *, seconds: float | None = None) -> Facts | None:
        """What its files say; ``None`` while they are not on this machine. Waits so long for them at most.

        Raises:
            LoadFailed: it cannot be used as it is.
        """
        if self._files is None or (self.lazy.loaded and self._facts is not None):
            return self._facts
        return await self._files.content(seconds=seconds)

    def _changed(self) -> None:
        # What other files failed at says nothing of these.
        self.lazy.failure = ""

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Engine]:
        """Hold one of the places at the model, which is loaded.

        Raises:
            ProviderRateLimited: all are taken.
            ProviderUnavailable: it cannot be loaded.
        """
        if self._taken >= self._room:
            raise ProviderRateLimited(
                f"the model {self.name} has {self._taken} calls in work and waiting, and takes no more now",
                metadata={"model": self.name},
                retry_after=1,
            )
        self._taken += 1
        try:
            async with self.lazy.use() as engine:
                yield engine
        finally:
            self._taken -= 1

    async def answer(self, engine: Engine, question: AnyQuestion) -> AnyMessage:
        """The one answer to a question."""
        try:
            async with engine.ask(question) as call:
                (answer,) = await call.answers()
                call.ended = True
        except EngineLost as error:
            raise await self.lazy.lost(engine, begun=False) from error
        if isinstance(answer, Failure):
            raise _error(answer)
        return answer

    async def _start(self) -> Engine:
        await self.facts()
        engine = await Engine.start(self._loading, self.lazy.suspects, memory_limit=self._memory_limit)
        self._facts = engine.facts
        if engine.facts.ignored:
            log.warning(
                "generation_config.json is not followed in full", model=self.name, ignored=list(engine.facts.ignored)
            )
        return engine


def _read(path: Path) -> Facts:
    try:
        return model_facts.read(path)
    except files.BadFiles as error:
        raise LoadFailed(str(error)) from error


def _check(facts: Facts, request: GenerateRequest) -> None:
    can = _capabilities(facts)
    lacking = ""
    if not can.completion:
        lacking = "makes embeddings only"
    elif request.prompt is None and not can.chat:
        lacking = "has no chat template"
    elif request.tools and request.tool_choice.mode != "none" and not can.tools:
        lacking = "has no chat template for tools of a form that is known here"
    if lacking:
        raise UnsupportedByModel(f"the model {request.model} {lacking}", metadata={"model": request.model})


def _check_prompt(facts: Facts, name: str | None) -> None:
    if name is not None and name not in facts.prompts:
        names = f"one of {', '.join(facts.prompts)}" if facts.prompts else "left out: the model has no prompts"
        raise InvalidArgument([Violation(field="provider_options.prompt_name", description=f"must be {names}")])


def _capabilities(facts: Facts) -> Capabilities:
    chat = facts.generates and bool(facts.chat_template)
    return Capabilities(
        chat=chat,
        completion=facts.generates,
        embedding=not facts.generates,
        tools=chat and CALL_MARK in facts.chat_template,
        prefill=chat,
    )


def _events(answers: Sequence[AnyMessage]) -> Iterator[ProviderEvent]:
    """What has come together, as few events as say it."""
    texts: list[str] = []
    likely: list[Logprob] = []
    for answer in answers:
        if isinstance(answer, TextPiece):
            texts.append(answer.text)
            likely += answer.logprobs
            continue
        if texts:
            yield _delta(texts, likely)
            texts, likely = [], []
        if isinstance(answer, Reading):
            yield Progress(stage="reading")
        elif isinstance(answer, ReasoningPiece):
            yield ReasoningDelta(text=answer.text)
        elif isinstance(answer, WholeToolCall):
            yield ToolCallStart(id=answer.call, name=answer.name)
            yield ToolArgumentsDelta(id=answer.call, text=answer.arguments)
        elif isinstance(answer, Done):
            usage = Usage(
                input_tokens=answer.input_tokens,
                output_tokens=answer.output_tokens,
                reasoning_tokens=answer.reasoning_tokens,
                source=UsageSource.REPORTED,
            )
            yield Finish(reason=answer.reason, usage=usage)
        elif isinstance(answer, Failure):
            raise _error(answer)
    if texts:
        yield _delta(texts, likely)


def _delta(texts: Sequence[str], likely: Sequence[Logprob]) -> str | TextDelta:
    text = "".join(texts)
    return TextDelta(text=text, logprobs=tuple(likely)) if likely else text


def _error(refused: Failure) -> MCPError:
    return recorded(refused.reason, refused.message, refused.metadata)
