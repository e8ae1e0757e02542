"""The provider ``huggingface``: models in the Hugging Face format that run on this machine, by transformers."""

from __future__ import annotations

import array
import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from mcp_server.errors import MCPError, ModelNotFound, ProviderRateLimited, UnsupportedByModel, recorded
from mcp_server.interfaces import (
    EmbedRequest,
    Finish,
    GenerateRequest,
    ProviderEvent,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.providers.huggingface import files, translate
from mcp_server.providers.huggingface.engine import Engine, EngineLost
from mcp_server.providers.huggingface.model import TransformersModel
from mcp_server.providers.huggingface.protocol import (
    Asked,
    Called,
    Count,
    Counted,
    Done,
    Embed,
    Facts,
    Generate,
    Refused,
    Said,
    Settings,
    Thought,
    Told,
    Vectors,
)
from mcp_server.providers.local.lazy import LazyEngine, LoadFailed
from mcp_server.values import (
    Capabilities,
    Embeddings,
    Logprob,
    Model,
    ModelState,
    Usage,
    UsageSource,
)

LIBRARIES: Final = ("torch", "transformers")
CALL_MARK: Final = "<tool_call>"
"""A chat template that speaks of this teaches the one form of tool calls that is understood here."""


class HuggingFaceProvider:
    """Answers with models that run on this machine, each loaded when it is first used.

    A model is loaded into a process of its own: the server goes on while it loads and computes, and whatever happens
    there. Answers that are written at the same time share the steps of the model.

    Args:
        models: the models.
        parallel: how many answers each model writes at once; more wait in the order of their arrival.
        max_queued: how many may wait for each model; more are refused.
        threads: how many threads each model computes with; ``None``: one a core but one.
        device: what computes, by PyTorch's name for it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; ``auto``: the fastest
            that is there.
        dtype: the numbers to compute with, by PyTorch's name for them: ``float32``, ``bfloat16``, ``float16``;
            ``auto``: as the model's files say, and ``float32`` on a processor.
    """

    def __init__(
        self,
        models: Iterable[TransformersModel],
        *,
        parallel: int = 4,
        max_queued: int = 64,
        threads: int | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        threads = threads if threads is not None else max(1, (os.cpu_count() or 1) - 1)
        self._models = {
            model.name: _Served(
                model,
                Settings(
                    model=model.name,
                    path="" if model.path is None else str(model.path.absolute()),
                    source=model.source,
                    revision=model.revision,
                    context_window=model.context_window,
                    parallel=parallel,
                    threads=threads,
                    device=device,
                    dtype=dtype,
                ),
                room=parallel + max_queued,
            )
            for model in models
        }

    async def models(self) -> Sequence[Model]:
        """Its models and their states. Loads none."""
        return [await served.model() for served in self._models.values()]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Go on with a chat or a prompt.

        Raises:
            ModelNotFound, ContextTooLong, UnsupportedByModel, ProviderRateLimited, ProviderUnavailable,
            ProviderStreamCut.
        """
        served = self._served(request.model)
        request = translate.generate(request, served.settings)
        with served.place():
            engine = await served.lazy.engine()
            _check(engine.facts, request)
            begun = False
            try:
                async with engine.ask(Generate(id=engine.new_id(), request=request)) as call:
                    while not call.ended:
                        answers = await call.answers()
                        call.ended = isinstance(answers[-1], Done | Refused)
                        for event in _events(answers):
                            begun = True
                            yield event
            except EngineLost as error:
                raise await served.lazy.lost(engine, begun=begun) from error

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The tokens of the whole prompt, by the model's own template and vocabulary. Loads the model."""
        served = self._served(request.model)
        request = translate.generate(request, served.settings)
        engine = await served.lazy.engine()
        _check(engine.facts, request)
        counted = await served.answer(engine, Count(id=engine.new_id(), request=request))
        assert isinstance(counted, Counted)
        return counted.tokens

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """One vector for each text, pooled and normalised as the model's files say; else the mean, of length 1.

        Raises:
            ModelNotFound, ContextTooLong, UnsupportedByModel, ProviderRateLimited, ProviderUnavailable.
        """
        served = self._served(request.model)
        if request.provider_options:
            raise UnsupportedByModel(f"the model {request.model} takes no provider_options for embeddings")
        with served.place():
            engine = await served.lazy.engine()
            if engine.facts.generates:
                raise UnsupportedByModel(f"the model {request.model} makes no embeddings")
            if request.dimensions not in (None, engine.facts.dimensions):
                raise UnsupportedByModel(
                    f"the vectors of the model {request.model} have {engine.facts.dimensions} dimensions and cannot be "
                    "shortened",
                    metadata={"model": request.model, "dimensions": str(engine.facts.dimensions)},
                )
            made = await served.answer(engine, Embed(id=engine.new_id(), texts=request.inputs))
        assert isinstance(made, Vectors)
        vectors = tuple([array.array("f", vector).tolist() for vector in made.vectors])
        return Embeddings(vectors=vectors, usage=Usage(input_tokens=made.tokens, source=UsageSource.REPORTED))

    async def close(self) -> None:
        """End all processes. Answers that are being made end with :class:`ProviderUnavailable`."""
        await asyncio.gather(*[served.lazy.close() for served in self._models.values()])

    def _served(self, name: str) -> _Served:
        served = self._models.get(name)
        if served is None:
            known = ", ".join(self._models) or "none"
            raise ModelNotFound(f"there is no model {name!r} here: choose one of {known}", metadata={"model": name})
        return served


class _Served:
    """One model and what is loaded of it."""

    def __init__(self, settings: TransformersModel, loading: Settings, *, room: int) -> None:
        self.settings = settings
        self.lazy: LazyEngine[Engine] = LazyEngine(settings.name, self._start)
        self._loading = loading
        self._room = room
        self._taken = 0
        self._facts: Facts | None = None
        self._version: tuple[int, int] | None = None

    async def model(self) -> Model:
        """What it can do, and its state."""
        state, failure = ModelState.READY, ""
        # What it can do is not known before its files are here. A call is to reach it all the same, and to hear why.
        can = Capabilities(chat=True, completion=True, embedding=True, tools=True, prefill=True)
        facts = Facts(generates=True)
        try:
            known = await self.facts()
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
            name=self.settings.name,
            capabilities=can,
            context_window=self.settings.context_window or facts.context_window,
            embedding_dimensions=facts.dimensions,
            state=state,
            state_reason=failure,
        )

    async def facts(self) -> Facts | None:
        """What its files say; ``None`` while they are not on this machine.

        Raises:
            LoadFailed: it cannot be used as it is.
        """
        if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
            raise LoadFailed(
                "Hugging Face models need the extra `huggingface`: pip install 'contextprotocol[huggingface]' "
                f"({missing[0]} is missing)"
            )
        path = self.settings.path
        if path is None or (self.lazy.loaded and self._facts is not None):
            return self._facts
        looked_at = path / "config.json" if path.is_dir() else path
        try:
            status = looked_at.stat()
            version = (status.st_mtime_ns, status.st_size)
        except OSError:
            version = None
        if self._facts is None or version is None or self._version != version:
            try:
                self._facts = await asyncio.to_thread(files.read, path)
            except files.BadFiles as error:
                self._facts = None
                raise LoadFailed(str(error)) from error
            self._version = version
            # What other files failed at says nothing of these.
            self.lazy.failure = ""
        return self._facts

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places at the model.

        Raises:
            ProviderRateLimited: all are taken.
        """
        if self._taken >= self._room:
            raise ProviderRateLimited(
                f"the model {self.settings.name} has {self._taken} calls in work and waiting, and takes no more now",
                metadata={"model": self.settings.name},
                retry_after=1,
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def answer(self, engine: Engine, question: Asked) -> Told:
        """The one answer to a question."""
        try:
            async with engine.ask(question) as call:
                (answer,) = await call.answers()
                call.ended = True
        except EngineLost as error:
            raise await self.lazy.lost(engine, begun=False) from error
        if isinstance(answer, Refused):
            raise _error(answer)
        return answer

    async def _start(self) -> Engine:
        await self.facts()
        engine = await Engine.start(self._loading)
        self._facts = engine.facts
        return engine


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


def _capabilities(facts: Facts) -> Capabilities:
    chat = facts.generates and bool(facts.chat_template)
    return Capabilities(
        chat=chat,
        completion=facts.generates,
        embedding=not facts.generates,
        tools=chat and CALL_MARK in facts.chat_template,
        prefill=chat,
    )


def _events(answers: Sequence[Told]) -> Iterator[ProviderEvent]:
    """What has come together, as few events as say it."""
    texts: list[str] = []
    likely: list[Logprob] = []
    for answer in answers:
        if isinstance(answer, Said):
            texts.append(answer.text)
            likely += answer.logprobs
            continue
        if texts:
            yield _delta(texts, likely)
            texts, likely = [], []
        if isinstance(answer, Thought):
            yield ReasoningDelta(text=answer.text)
        elif isinstance(answer, Called):
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
        elif isinstance(answer, Refused):
            raise _error(answer)
    if texts:
        yield _delta(texts, likely)


def _delta(texts: Sequence[str], likely: Sequence[Logprob]) -> str | TextDelta:
    text = "".join(texts)
    return TextDelta(text=text, logprobs=tuple(likely)) if likely else text


def _error(refused: Refused) -> MCPError:
    return recorded(refused.reason, refused.message, refused.metadata)
