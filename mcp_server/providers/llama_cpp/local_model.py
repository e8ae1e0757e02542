"""One model of the provider ``llama_cpp``: its file, the process in which it is loaded, and what that is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from mcp_server.errors import ProviderUnavailable, UnsupportedByModel
from mcp_server.interfaces import GenerateRequest, Progress
from mcp_server.model_files import gguf, how_to_get
from mcp_server.providers.json_schema.constraint import PROBE, Constraint
from mcp_server.providers.llama_cpp import conversation, reasoning, translate
from mcp_server.providers.llama_cpp.connection import BrokenConnection
from mcp_server.providers.llama_cpp.conversation import ChatModel
from mcp_server.providers.llama_cpp.decision import opening_in, probes
from mcp_server.providers.llama_cpp.engine import LONG_STEP_SECONDS, Engine, Loading
from mcp_server.providers.llama_cpp.settings import WINDOWS, LlamaCppModel, LlamaCppSettings, window_problem
from mcp_server.providers.llama_cpp.slots import BATCH, IMAGE_BATCH, MOST_SLICES, Slot, Slots
from mcp_server.providers.llama_cpp.template import CHAT_TEMPLATE, TOOL_TEMPLATE, template_of
from mcp_server.providers.local.files import LIST_SECONDS, ModelFiles
from mcp_server.providers.local.lazy import LazyEngine, LoadFailed, Timers
from mcp_server.providers.local.provider import LocalModel
from mcp_server.providers.local.settings import thread_count
from mcp_server.values import Capabilities, Model, ModelState

DEFAULT_CONTEXT_WINDOW = 8192
"""The context window of a model whose file allows more, or names none: memory is allocated for all of it."""
EMBEDDING_WINDOW = 1024
"""The most tokens of a text to embed, where the settings say nothing: a text is read in one go, which takes up to a
megabyte of memory for each token."""
EMBEDDING_BATCH = 1024
"""About how many tokens of texts are sent to llama.cpp at once. It computes one text after another: more at once would
not be faster, but would hold up others."""
KEPT_CONSTRAINTS = 256
"""Of how many JSON Schemas it is remembered whether the engine for constrained output accepts them."""
REPORT_SECONDS = 0.25
"""How often the reading of a prompt is reported at most."""
APPLY_TEMPLATE = "/apply-template"
COUNT_CHAT = "/v1/chat/completions/input_tokens"
READING = (APPLY_TEMPLATE, COUNT_CHAT)
"""What only reads a request."""
PROJECTOR = "clip"
"""What the files of all projectors call their architecture."""


class _Counted(msgspec.Struct):
    input_tokens: int


class _Prompt(msgspec.Struct):
    prompt: str


class _Tokens(msgspec.Struct):
    tokens: list[int]


class LlamaModel(LocalModel):
    """One model and what is loaded of it.

    Args:
        name: its name.
        settings: its settings, resolved.
        provider: those of the provider.
        timers: what measures how long it stays loaded; ``None``: the event loop.
    """

    def __init__(self, name: str, settings: LlamaCppModel, provider: LlamaCppSettings, timers: Timers | None) -> None:
        assert settings.path is not None
        self.name = name
        self.settings = settings
        self.lazy: LazyEngine[Engine] = LazyEngine(
            name, self.file, self._start, keep_alive=settings.keep_alive_seconds, timers=timers
        )
        others = [path for path in (settings.chat_template, settings.projector) if path is not None]
        self._files = ModelFiles(settings.path, self._read, self._changed, others=others)
        self._set_window = provider.models[name].context_window
        self._parallel = provider.parallel
        self._threads = thread_count(provider.threads)
        self._memory_limit = provider.memory_limit_bytes
        self._loaded: gguf.ModelFile | None = None
        self._slots: tuple[Engine, Slots] | None = None
        self._opening: tuple[Engine, str] | None = None
        self._accepted: dict[str, bool] = {}

    async def model(self) -> Model:
        """What it can do, and its state."""
        loaded = self.lazy.loaded
        try:
            file = self._loaded if loaded and self._loaded is not None else await self.file(seconds=LIST_SECONDS)
        except LoadFailed as failed:
            # What it can do is not known. A call is to reach it all the same: it waits, or hears the reason.
            images = self.settings.projector is not None
            can = Capabilities(
                chat=True, completion=True, embedding=True, tools=True, images=images, json_schema=True, prefill=True
            )
            return Model(name=self.name, capabilities=can, state=ModelState.UNAVAILABLE, state_reason=str(failed))
        state, failure = ModelState.READY, ""
        if self.lazy.loading:
            state = ModelState.LOADING
        elif not loaded and (failure := self.lazy.failure):
            state = ModelState.UNAVAILABLE
        chat = file.generates and bool(file.chat_template)
        can = Capabilities(
            chat=chat,
            completion=file.generates,
            embedding=True,
            tools=chat and template_of(file).tools,
            images=chat and self.settings.projector is not None,
            json_schema=file.generates,
            prefill=chat,
        )
        return Model(
            name=self.name,
            capabilities=can,
            context_window=self._window(file),
            batch_tokens=EMBEDDING_BATCH,
            embedding_dimensions=file.embedding_length,
            state=state,
            state_reason=failure,
        )

    async def file(self, *, seconds: float | None = None) -> gguf.ModelFile:
        """What the file says of itself; read again only when it has changed. Waits so long for it at most.

        Raises:
            LoadFailed: it cannot be used as it is.
        """
        return await self._files.content(seconds=seconds)

    def _read(self, path: Path) -> gguf.ModelFile:
        try:
            file = gguf.read(path)
        except gguf.BadModelFile as error:
            raise LoadFailed(f"the model file {error}{self._hint()}") from error
        for key in WINDOWS:
            if problem := window_problem(getattr(self.settings, key), file):
                raise LoadFailed(f"{key}: {problem}")
        return self._with_settings(file)

    def _with_settings(self, file: gguf.ModelFile) -> gguf.ModelFile:
        """The file with the chat template of the settings, which are checked against it."""
        template = self.settings.chat_template
        if template is not None:
            try:
                metadata = {**file.metadata, CHAT_TEMPLATE: template.read_text(encoding="utf-8")}
            except (OSError, ValueError) as error:
                raise LoadFailed(f"chat_template: {template} cannot be read: {error}") from error
            metadata.pop(TOOL_TEMPLATE, None)
            file = structs.replace(file, metadata=metadata)
        if (projector := self.settings.projector) is not None:
            try:
                architecture = gguf.read(projector).architecture
            except gguf.BadModelFile as error:
                raise LoadFailed(f"projector: the file {error}") from error
            if architecture != PROJECTOR:
                raise LoadFailed(f"projector: {projector} is a {architecture} model, and not a projector of images")
        try:
            reasoning.fields({}, self.name, self.settings, template_of(file))
        except UnsupportedByModel as error:
            raise LoadFailed(f"reasoning_effort: {error.message}") from error
        return file

    async def prompt_fields(self, request: GenerateRequest) -> dict[str, Any]:
        """The fields of a chat that its prompt is made of, once the model is loaded; none for a completion."""
        if request.prompt is not None:
            return {}
        assert self._loaded is not None
        model = ChatModel(name=self.name, settings=self.settings, template=template_of(self._loaded))
        # Images take long to encode.
        return await asyncio.to_thread(conversation.prompt_fields, request, model)

    def _changed(self) -> None:
        # What another file failed at says nothing of this one.
        self.lazy.failure = ""

    def check_generates(self, engine: Engine) -> None:
        """Refuse a call for text to a model that writes none."""
        if not engine.settings.generates:
            raise UnsupportedByModel(f"the model {self.name} makes embeddings only", metadata={"model": self.name})

    async def embed(self, engine: Engine, text: str) -> translate.Vectors:
        """The vector of one text. It takes the slot that was not used for longest, and its turn with long prompts."""
        body = msgspec.json.encode({"input": [text]})
        slots = self.slots(engine)
        async with slots.other_use(), slots.turn:
            answer = await self.ask(engine, "/v1/embeddings", body, slot=True, step_seconds=LONG_STEP_SECONDS)
        return msgspec.json.decode(answer, type=translate.Vectors)

    async def tokens(self, engine: Engine, text: str) -> list[int]:
        """The tokens of a text, those that the model wants around it included."""
        body = msgspec.json.encode({"content": text, "add_special": True, "parse_special": True})
        answer = await self.ask(engine, "/tokenize", body)
        return msgspec.json.decode(answer, type=_Tokens).tokens

    async def check_lengths(self, engine: Engine, texts: Sequence[str]) -> None:
        """Refuse texts that are too long to embed."""
        limit = engine.settings.embedding_window
        for text in texts:
            # A token is at least a byte, and two may be added.
            if len(text.encode()) + 2 <= limit:
                continue
            tokens = len(await self.tokens(engine, text))
            if tokens > limit:
                raise translate.context_too_long(tokens, limit, model=self.name)

    def slots(self, engine: Engine) -> Slots:
        """The slots of the engine."""
        if self._slots is None or self._slots[0] is not engine:
            self._slots = engine, Slots(engine.settings.parallel)
        return self._slots[1]

    async def call_opening(self) -> str:
        """What every tool call begins with in the template of the model; empty if that is not known."""
        async with self.lazy.use(last=False) as engine:
            if self._opening is None or self._opening[0] is not engine:
                prompts: list[str] = []
                with contextlib.suppress(UnsupportedByModel, ProviderUnavailable):  # a template may refuse such chats
                    prompts = [await self.apply_template(engine, probe) for probe in probes()]
                self._opening = engine, opening_in(*prompts) if prompts else ""
            return self._opening[1]

    async def apply_template(self, engine: Engine, fields: dict[str, Any]) -> str:
        """The prompt of a chat."""
        answer = await self.ask(engine, APPLY_TEMPLATE, msgspec.json.encode(fields))
        return msgspec.json.decode(answer, type=_Prompt).prompt

    async def prompt_tokens(
        self, engine: Engine, request: GenerateRequest, fields: dict[str, Any], text: str
    ) -> tuple[int, list[int]]:
        """The length and the tokens of a prompt that is long, or where they must be counted; nothing of any other.

        A prompt with images has a length only: what llama.cpp makes of an image are not tokens.

        Args:
            engine: the engine that generates.
            request: the request with the prompt.
            fields: the fields of a chat that its prompt is made of.
            text: about the text of the prompt.

        Raises:
            ContextTooLong: they do not fit into the context window.
        """
        window = engine.settings.context_window
        tokens: list[int] = []
        # A token is at least a byte. llama.cpp keeps to a window only if it is a multiple of 256.
        if len(text.encode()) <= BATCH and window % 256 == 0:
            return 0, tokens
        if conversation.has_images(request):
            length = await self.count_chat(engine, fields)
        else:
            prompt = request.prompt
            if prompt is None:
                prompt = await self.apply_template(engine, fields)
            tokens = await self.tokens(engine, prompt + request.suffix)
            length = len(tokens)
        if length >= window:
            raise translate.context_too_long(length, window, model=self.name)
        return length, tokens

    async def count_chat(self, engine: Engine, fields: dict[str, Any]) -> int:
        """The length of the prompt of a chat, images included."""
        body = msgspec.json.encode(fields)
        answer = await self.ask(engine, COUNT_CHAT, body)
        return msgspec.json.decode(answer, type=_Counted).input_tokens

    async def read_prompt(
        self, engine: Engine, slot: Slot, tokens: list[int], content: bytes
    ) -> AsyncIterator[Progress]:
        """Read all of a prompt but its end into a slot, slice by slice. Other calls get their turns in between."""
        slots = self.slots(engine)
        clock = asyncio.get_running_loop().time
        reported = clock()
        position = slot.held(tokens)
        least = (len(tokens) - position) // MOST_SLICES
        slot.cached_tokens = None
        # The last slice comes with the call itself.
        while len(tokens) - position > 1.5 * (size := max(slots.slice_tokens, least)):
            position += size
            async with slots.turn:
                begin = clock()
                body = translate.slice_body(tokens[:position], slot.id)
                answer = await self.ask(engine, "/completions", body, slot=True, content=content)
                slots.slice_took(size, clock() - begin)
            read = msgspec.json.decode(answer, type=translate.PromptSlice)
            if slot.cached_tokens is None:
                slot.cached_tokens = read.cached
            slot.tokens, slot.output_tokens = tokens[:position], 0
            if clock() - reported > REPORT_SECONDS:
                reported = clock()
                yield Progress(stage="reading")

    async def check_constraint(self, engine: Engine, constraint: Constraint, content: bytes) -> None:
        """Refuse a constraint that the engine for constrained output does not accept.

        llama.cpp itself would answer without the constraint. Each is tried once.
        """
        accepted = self._accepted.get(constraint.grammar)
        if accepted is None:
            async with self.slots(engine).slot("") as slot:
                slot.text, slot.tokens = "", ()
                body = translate.probe_body(constraint, slot.id)
                answer = await self.ask(engine, "/v1/completions", body, slot=True, content=content)
            accepted = translate.decode_chunk(answer).text.startswith(PROBE)
            if len(self._accepted) >= KEPT_CONSTRAINTS:
                del self._accepted[next(iter(self._accepted))]
            self._accepted[constraint.grammar] = accepted
        if not accepted:
            raise UnsupportedByModel(
                f"the model {self.name} cannot follow the JSON schema: no value conforms to all of its parts, or its "
                "parts cannot be combined, or it is too large",
                metadata={"model": self.name},
            )

    async def ask(
        self,
        engine: Engine,
        path: str,
        body: bytes,
        *,
        slot: bool = False,
        content: bytes | None = None,
        step_seconds: float = 0.0,
    ) -> bytes:
        """The whole answer to a request; the options are as for :meth:`Engine.post`."""
        asked = engine.post(path, body, slot=slot, content=content, step_seconds=step_seconds)
        try:
            async with asked as response:
                answer = await response.read()
        except BrokenConnection as error:
            raise await self.lazy.lost(engine, begun=False) from error
        if response.status != 200:
            raise translate.error_of(response.status, answer, model=self.name, reads=path in READING)
        return answer

    def _hint(self) -> str:
        hint = how_to_get(self.settings.source) if self.settings.source is not None else ""
        return f": {hint}" if hint else ""

    def _window(self, file: gguf.ModelFile) -> int:
        """The most tokens of prompt and answer; of a model that only makes embeddings, of a text to embed."""
        default = DEFAULT_CONTEXT_WINDOW if file.generates else EMBEDDING_WINDOW
        window = self.settings.context_window if file.generates else self.settings.embedding_window or self._set_window
        return window or min(file.context_length or default, default)

    async def _start(self) -> Engine:
        file = self._loaded = await self.file()
        window = self._window(file)
        to_embed = min(self.settings.embedding_window or EMBEDDING_WINDOW, window) if file.generates else window
        return await Engine.start(
            Loading(
                model=self.name,
                path=file.path,
                context_window=window,
                parallel=self._parallel if file.generates else 1,
                batch=to_embed if self.settings.projector is None else max(to_embed, IMAGE_BATCH),
                embedding_window=to_embed,
                threads=self._threads,
                chat_template=self.settings.chat_template,
                projector=self.settings.projector,
                generates=file.generates,
                pool=not file.pools,
            ),
            self.lazy.suspects,
            memory_limit=self._memory_limit,
        )
