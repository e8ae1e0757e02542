"""``/messages`` and ``/messages/count_tokens``: a chat without a session, and the length of its prompt."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from mcp_server.gateway import ChatInput, Gateway, TurnOptions
from mcp_server.interfaces import Call
from mcp_server.rules import Violations
from mcp_server.rules.limits import MAX_LABEL
from mcp_server.values import GenerationConfig, ResponseFormat
from mcp_server.web.anthropic import blocks
from mcp_server.web.anthropic.answers import answer
from mcp_server.web.anthropic.conversation import conversation
from mcp_server.web.anthropic.events import MessageEvents
from mcp_server.web.anthropic.headers import check_version, response_headers
from mcp_server.web.anthropic.thinking import Thoughts
from mcp_server.web.anthropic.tools import Choice, tool_choice, tools
from mcp_server.web.body import Convert, Shape, decode, read_body
from mcp_server.web.exchange import Exchange, json_headers
from mcp_server.web.names import MessageNames, Names
from mcp_server.web.parameters import forwarded, raw_text, refuse_set, request_id, require, turn_options
from mcp_server.web.streams import respond

_KEEPS_ALL: Final = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
"""What coding assistants send: nothing is taken out of the conversation."""


class Metadata(Shape):
    """For whom a request is made."""

    user_id: str | None = None


class SchemaFormat(Shape):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    schema: msgspec.Raw


class OutputConfig(Shape):
    """The format of the answer, and how hard the model tries."""

    effort: str | None = None
    format: SchemaFormat | None = None


class Thinking(Shape, tag_field="type", tag="enabled"):
    """The model thinks before it answers."""

    budget_tokens: int
    display: Literal["summarized", "omitted"] | None = None


class Adaptive(Shape, tag_field="type", tag="adaptive"):
    """The model decides whether it thinks."""

    display: Literal["summarized", "omitted"] | None = None


class NoThinking(Shape, tag_field="type", tag="disabled"):
    """The caller wants no thinking."""


class Prompt(Shape):
    """What both requests have in common."""

    model: str
    messages: list[blocks.AnyMessage]
    cache_control: blocks.CacheControl | None = None
    output_config: OutputConfig | None = None
    system: blocks.System = None
    thinking: Thinking | Adaptive | NoThinking | None = None
    tool_choice: Choice | None = None
    tools: list[msgspec.Raw] | None = None
    # Not supported; they are named so that their refusal says so.
    context_management: Any = None
    mcp_servers: Any = None
    speed: Any = None


class MessageBody(Prompt, kw_only=True):
    """A request for an answer."""

    max_tokens: int
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    """There is one tier, so both mean the same."""
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    # Not supported.
    container: Any = None
    diagnostics: Any = None
    inference_geo: Any = None
    user_profile_id: Any = None
    workspace_id: Any = None


_MESSAGE: Final = msgspec.json.Decoder(MessageBody)
_PROMPT: Final = msgspec.json.Decoder(Prompt)
NAMES: Final = Names(
    {
        "config.max_output_tokens": "max_tokens",
        "config.stop": "stop_sequences",
        "config.response_format.json_schema.schema_json": "output_config.format.schema",
        "provider_options.reasoning_effort": "output_config.effort",
        "tool_choice.mode": "tool_choice.type",
    },
    {r"tools\[(\d+)\]\.parameters_json": r"tools[\1].input_schema"},
)


class _Form(msgspec.Struct):
    """The form of a request, and that of its answer."""

    found: Violations
    messages: list[MessageNames]
    stream: bool
    thoughts: Thoughts


class Messages:
    """Answers messages, and counts their tokens.

    Args:
        gateway: carries them out.
        convert: reads large bodies off the event loop.
    """

    def __init__(self, gateway: Gateway, convert: Convert) -> None:
        self._gateway = gateway
        self._convert = convert

    async def create(self, call: Call, exchange: Exchange) -> None:
        """``POST /messages``."""
        check_version(exchange)
        key = request_id(exchange)
        chat, form = await read_body(exchange, self._convert, lambda data: _read(data, key))
        with NAMES.translating(form.messages):
            reader = await self._gateway.chat(call.principal, chat, violations=form.found)
            del chat  # it may be large, and the turn may take long
            await respond(
                call,
                exchange,
                reader,
                events=MessageEvents(form.thoughts) if form.stream else None,
                body=lambda completed, _: answer(completed, form.thoughts),
                headers=lambda: response_headers(self._gateway, call, exchange),
            )

    async def count(self, call: Call, exchange: Exchange) -> None:
        """``POST /messages/count_tokens``."""
        check_version(exchange)
        chat, form = await read_body(exchange, self._convert, _read_prompt)
        with NAMES.translating(form.messages):
            count = await self._gateway.count_tokens(
                call.principal,
                messages=chat.messages,
                model=chat.options.model,
                tools=chat.tools,
                violations=form.found,
            )
        headers = await response_headers(self._gateway, call, exchange)
        await exchange.answer(200, json_headers(headers), msgspec.json.encode({"input_tokens": count.tokens}))


def _read(data: bytes, key: str) -> tuple[ChatInput, _Form]:
    body = decode(_MESSAGE, data)
    found = Violations()
    _refuse(found, body)
    refuse_set(
        found,
        container=body.container,
        diagnostics=body.diagnostics,
        inference_geo=body.inference_geo,
        user_profile_id=body.user_profile_id,
        workspace_id=body.workspace_id,
    )
    messages, names = conversation(found, body.system, body.messages, to_answer=True)
    streams = bool(body.stream)
    options = turn_options(
        key=key,
        streams=streams,
        model=body.model,
        config=_config(body),
        provider_options=_provider_options(body),
        labels=_labels(body.metadata),
    )
    chat = ChatInput(
        options=options,
        messages=messages,
        tools=tools(found, body.tools),
        tool_choice=tool_choice(body.tool_choice),
        truncate=False,
    )
    return chat, _Form(found=found, messages=names, stream=streams, thoughts=_thoughts(body.thinking))


def _read_prompt(data: bytes) -> tuple[ChatInput, _Form]:
    body = decode(_PROMPT, data)
    found = Violations()
    _refuse(found, body)
    messages, names = conversation(found, body.system, body.messages, to_answer=False)
    chat = ChatInput(options=TurnOptions(model=body.model), messages=messages, tools=tools(found, body.tools))
    return chat, _Form(found=found, messages=names, stream=False, thoughts=Thoughts.SHOWN)


def _refuse(found: Violations, body: Prompt) -> None:
    """Refuse by name what is not supported."""
    if not body.model:
        found.add("model", "must not be empty")
    require(found, "context_management", body.context_management, {"edits": []}, _KEEPS_ALL)
    require(found, "mcp_servers", body.mcp_servers, [])
    require(found, "speed", body.speed, "standard")


def _config(body: MessageBody) -> GenerationConfig:
    shape = body.output_config.format if body.output_config is not None else None
    return GenerationConfig(
        temperature=body.temperature,
        top_p=body.top_p,
        max_output_tokens=body.max_tokens,
        stop=tuple(body.stop_sequences or ()),
        response_format=ResponseFormat.TEXT if shape is None else ResponseFormat.JSON_SCHEMA,
        json_schema="" if shape is None else raw_text(shape.schema),
    )


def _provider_options(body: MessageBody) -> dict[str, Any]:
    thinking = body.thinking
    return forwarded(
        top_k=body.top_k,
        reasoning_effort=body.output_config.effort if body.output_config is not None else None,
        # In the other cases the model does as it does without being asked.
        thinking={"type": "enabled", "budget_tokens": thinking.budget_tokens}
        if isinstance(thinking, Thinking)
        else None,
    )


def _thoughts(thinking: Thinking | Adaptive | NoThinking | None) -> Thoughts:
    """What the caller wants to see of the model's reasoning."""
    if isinstance(thinking, NoThinking):
        return Thoughts.HIDDEN
    return Thoughts.SIGNED if thinking is not None and thinking.display == "omitted" else Thoughts.SHOWN


def _labels(metadata: Metadata | None) -> dict[str, str]:
    """The labels of a call: its user, by a digest if the id is too long for a label."""
    if metadata is None or not metadata.user_id:
        return {}
    user = metadata.user_id
    if len(user) > MAX_LABEL:
        user = f"sha256:{hashlib.sha256(user.encode()).hexdigest()}"
    return {"user_id": user}
