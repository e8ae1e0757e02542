"""The parameters of a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from mcp_server.errors import InvalidArgument
from mcp_server.rules import Violations, shown
from mcp_server.rules.limits import LABEL_KEY, MAX_CALL_LABELS, MAX_LABEL
from mcp_server.values import GenerationConfig, ResponseFormat, Tool, ToolChoice
from mcp_server.web.body import Shape, decode
from mcp_server.web.openai.items import Form
from mcp_server.web.openai.parameters import JSONFormat, TextFormat, schema_text
from mcp_server.web.openai.tools import Function, tool, tool_choice
from mcp_server.web.parameters import forwarded, refuse_set, require

MAX_METADATA: Final = 16
"""Entries of ``metadata``, of at most 64 characters each, with values of at most :data:`MAX_TEXT`."""
MAX_TEXT: Final = 512
"""The most characters of a short text that is kept with a response."""


class StreamOptions(Shape):
    """How events are streamed."""

    include_obfuscation: Literal[False] | None = None


class ConversationReference(Shape):
    """The conversation that a response belongs to."""

    id: str


class ReasoningOptions(Shape):
    """How much a model reasons, and what the response shows of it."""

    effort: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class SchemaFormat(Shape, tag_field="type", tag="json_schema"):
    """JSON that follows a schema."""

    name: str
    schema: msgspec.Raw
    description: str | None = None
    strict: bool | None = None


class TextOptions(Shape):
    """The format of the answer."""

    format: TextFormat | JSONFormat | SchemaFormat | None = None
    verbosity: str | None = None


class FunctionTool(Function):
    """A function that the model may call."""

    type: Literal["function"] = "function"


class NamedChoice(Shape, tag_field="type", tag="function"):
    """The only function that may be called."""

    name: str


class AllowedChoice(Shape, tag_field="type", tag="allowed_tools"):
    """The functions that may be called."""

    mode: Literal["auto", "required"]
    tools: list[NamedChoice]


class PromptParameters(Shape):
    """What the prompt of a response is made of."""

    model: str | None = None
    input: str | list[msgspec.Raw] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationReference | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedChoice | AllowedChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    personality: Any = None

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation, if there is one."""
        chosen = self.conversation
        return chosen.id if isinstance(chosen, ConversationReference) else chosen

    def offered(self, found: Violations) -> tuple[Tool, ...]:
        """The tools that the model may call."""
        tools: list[Tool] = []
        for number, raw in enumerate(self.tools or ()):
            if (function := _function(found, f"tools[{number}]", raw)) is not None:
                tools.append(tool(function))
        if isinstance(self.tool_choice, AllowedChoice):
            allowed = {each.name for each in self.tool_choice.tools}
            names = {one.name for one in tools}
            for number, each in enumerate(self.tool_choice.tools):
                if each.name not in names:
                    found.add(f"tool_choice.tools[{number}].name", f"{shown(each.name)} is not in tools")
            tools = [one for one in tools if one.name in allowed]
        return tuple(tools)

    def choice(self, found: Violations, tools: Sequence[Tool]) -> ToolChoice:
        """Whether the model must call a tool."""
        chosen = self.tool_choice
        name = chosen.name if isinstance(chosen, NamedChoice) else None
        mode = chosen.mode if isinstance(chosen, AllowedChoice) else chosen if isinstance(chosen, str) else None
        # Clients send these two with every request.
        parallel = self.parallel_tool_calls if tools else None
        return tool_choice(found, name, mode if tools or mode == "required" else None, tools, parallel=parallel)

    def check_history(self, found: Violations) -> None:
        """Refuse two histories."""
        if self.previous_response_id is not None and self.conversation is not None:
            found.add("previous_response_id", "cannot be combined with conversation")


class CreateParameters(PromptParameters):
    """The body of ``POST /responses``."""

    background: bool | None = None
    include: list[str] | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    user: str | None = None
    access_programs: Any = None
    background_options: Any = None
    context_management: Any = None
    image: Any = None
    max_tool_calls: Any = None
    moderation: Any = None
    prompt: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None

    @property
    def stored(self) -> bool:
        """Whether the response is kept."""
        return self.store is not False

    def check(self, found: Violations) -> None:
        """Add what is wrong with the parameters, except what the rules of turns find."""
        if self.model is None:
            found.add("model", "missing required parameter: model")
        self.check_history(found)
        if self.background and not self.stored:
            found.add("background", "cannot be combined with store = false: there would be nothing to come back to")
        if self.stream_options is not None and not self.stream:
            found.add("stream_options", "can only be set with stream = true")
        if self.reasoning is not None:
            refuse_set(found, **{"reasoning.generate_summary": self.reasoning.generate_summary})
        check_include(found, self.include)
        if self.top_logprobs is not None and LOGPROBS not in (self.include or ()):
            found.add("top_logprobs", f"can only be set with {LOGPROBS!r} in include")
        check_metadata(found, self.metadata)
        for name, text in (
            ("prompt_cache_key", self.prompt_cache_key),
            ("reasoning.effort", self.reasoning.effort if self.reasoning is not None else None),
            ("safety_identifier", self.safety_identifier),
            ("user", self.user),
        ):
            _check_length(found, name, text or "")
        refuse_set(
            found,
            access_programs=self.access_programs,
            background_options=self.background_options,
            context_management=self.context_management,
            image=self.image,
            max_tool_calls=self.max_tool_calls,
            moderation=self.moderation,
            personality=self.personality,
            prompt=self.prompt,
            prompt_cache_options=self.prompt_cache_options,
            prompt_cache_retention=self.prompt_cache_retention,
        )
        require(found, "service_tier", self.service_tier, "auto", "default")

    def config(self) -> GenerationConfig:
        """The sampling parameters and the format of the answer."""
        chosen = self.text.format if self.text is not None else None
        schema = ""
        kind = ResponseFormat.TEXT
        if isinstance(chosen, SchemaFormat):
            kind, schema = ResponseFormat.JSON_SCHEMA, schema_text(chosen.schema, chosen.description)
        elif isinstance(chosen, JSONFormat):
            kind = ResponseFormat.JSON
        return GenerationConfig(
            temperature=self.temperature,
            top_p=self.top_p,
            max_output_tokens=self.max_output_tokens,
            logprobs=(self.top_logprobs or 0) if LOGPROBS in (self.include or ()) else None,
            response_format=kind,
            json_schema=schema,
        )

    def provider_options(self) -> dict[str, Any]:
        """What goes to the provider as it is."""
        return forwarded(
            reasoning_effort=self.reasoning.effort if self.reasoning is not None else None,
            verbosity=self.text.verbosity if self.text is not None else None,
        )

    def labels(self) -> dict[str, str]:
        """The labels of the call: of ``metadata`` and the user what can be a label."""
        given = {**(self.metadata or {})}
        for name, value in (("user", self.user), ("safety_identifier", self.safety_identifier)):
            if value:
                given.setdefault(name, value)
        fit = [pair for pair in given.items() if LABEL_KEY.fullmatch(pair[0]) and len(pair[1]) <= MAX_LABEL]
        return dict(fit[:MAX_CALL_LABELS])


LOGPROBS: Final = "message.output_text.logprobs"
ENCRYPTED: Final = "reasoning.encrypted_content"
KEPT: Final = (ENCRYPTED, "message.input_image.image_url")
"""What items of the history can contain. Images always have their addresses."""
INCLUDABLE: Final = (LOGPROBS, *KEPT)


def check_include(found: Violations, include: Sequence[str] | None, allowed: Sequence[str] = INCLUDABLE) -> None:
    """Refuse what cannot be included."""
    for number, name in enumerate(include or ()):
        if name not in allowed:
            found.add(f"include[{number}]", f"{shown(name)} is not supported here: {', '.join(allowed)} are")


def form_of(include: Sequence[str] | None, reasoning: Mapping[str, Any] | None) -> Form:
    """What items contain.

    Args:
        include: what the caller asks for.
        reasoning: the parameter of the response, as it shows it.
    """
    return Form(
        summaries=bool(reasoning and reasoning.get("summary")),
        encrypted=ENCRYPTED in (include or ()),
        logprobs=LOGPROBS in (include or ()),
    )


def check_metadata(found: Violations, metadata: Mapping[str, str] | None) -> None:
    """Refuse metadata that is over the limits of this API."""
    if metadata and len(metadata) > MAX_METADATA:
        found.add("metadata", f"must have at most {MAX_METADATA} keys, not {len(metadata)}")
    for key, value in (metadata or {}).items():
        if len(key) > 64:
            found.add(f"metadata[{shown(key)}]", f"must have a key of at most 64 characters, not {len(key)}")
        _check_length(found, f"metadata[{shown(key)}]", value)


def _check_length(found: Violations, field: str, text: str) -> None:
    if len(text) > MAX_TEXT:
        found.add(field, f"must have at most {MAX_TEXT} characters, not {len(text)}")


class _Kind(msgspec.Struct):
    type: str = ""


_kind: Final = msgspec.json.Decoder(_Kind)
_tool: Final = msgspec.json.Decoder(FunctionTool)


def _function(found: Violations, path: str, raw: msgspec.Raw) -> Function | None:
    try:
        kind = decode(_kind, bytes(raw)).type
        if kind == "function":
            return decode(_tool, bytes(raw))
        found.add(f"{path}.type", f"{shown(kind)} is not supported by this server: function is")
    except InvalidArgument as error:
        for one in error.violations:
            found.add(f"{path}.{one.field}" if one.field else path, one.description)
    return None
