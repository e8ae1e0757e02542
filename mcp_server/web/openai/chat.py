"""``/chat/completions``: a chat without a session."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from mcp_server.gateway import ChatInput, Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations
from mcp_server.values import GenerationConfig
from mcp_server.web.body import Convert, Shape, decode, read_body
from mcp_server.web.exchange import Exchange
from mcp_server.web.openai import messages, tools
from mcp_server.web.openai.answers import ChatChunks, chat_answer
from mcp_server.web.openai.headers import Timed
from mcp_server.web.openai.names import MessageNames, Names
from mcp_server.web.openai.parameters import Format, labels, response_format
from mcp_server.web.parameters import forwarded, refuse_set, request_id, require, turn_options
from mcp_server.web.streams import respond


class StreamOptions(Shape):
    """How an answer is streamed."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class ChatBody(Shape):
    """A request for a chat."""

    model: str
    messages: list[messages.AnyMessage]
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    metadata: dict[str, str] | None = None
    n: int | None = None
    parallel_tool_calls: bool | None = None
    presence_penalty: float | None = None
    prompt_cache_key: str | None = None
    reasoning_effort: str | None = None
    response_format: Format | None = None
    safety_identifier: str | None = None
    seed: int | None = None
    service_tier: str | None = None
    stop: str | list[str] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    tool_choice: tools.Choice | None = None
    tools: list[tools.FunctionTool] | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    user: str | None = None
    verbosity: str | None = None
    # Not supported; they are named so that their refusal says so.
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    modalities: Any = None
    moderation: Any = None
    prediction: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    web_search_options: Any = None


_BODY: Final = msgspec.json.Decoder(ChatBody)
_PATTERNS: Final = {
    r"tools\[(\d+)\]\.parameters_json": r"tools[\1].function.parameters",
    r"tools\[(\d+)\]\.(name|description)": r"tools[\1].function.\2",
}
_FIELDS: Final = {
    "config.max_output_tokens": "max_completion_tokens",
    "config.logprobs": "top_logprobs",
    "config.response_format.json_schema.schema_json": "response_format.json_schema.schema",
    "tool_choice.name": "tool_choice.function.name",
}
NAMES: Final = Names(_FIELDS, _PATTERNS)
_NAMES_OF_MAX_TOKENS: Final = Names({**_FIELDS, "config.max_output_tokens": "max_tokens"}, _PATTERNS)


class _Form(msgspec.Struct):
    """The form of a request, and that of its answer."""

    found: Violations
    names: Names
    messages: list[MessageNames]
    stream: bool
    include_usage: bool
    logprobs: bool


class Chat:
    """Answers chats.

    Args:
        gateway: carries them out.
        convert: reads large bodies off the event loop.
    """

    def __init__(self, gateway: Gateway, convert: Convert) -> None:
        self._gateway = gateway
        self._convert = convert

    async def create(self, call: Call, exchange: Exchange) -> None:
        """``POST /chat/completions``."""
        timed = Timed(self._gateway)
        key = request_id(exchange)
        chat, form = await read_body(exchange, self._convert, lambda data: _read(data, key))
        with form.names.translating(form.messages):
            reader = await self._gateway.chat(call.principal, chat, violations=form.found)
            del chat  # it may be large, and the turn may take long
            await respond(
                call,
                exchange,
                reader,
                events=ChatChunks(include_usage=form.include_usage) if form.stream else None,
                body=chat_answer,
                headers=lambda: timed.headers(call.principal),
                logprobs=form.logprobs,
            )


def _read(data: bytes, key: str) -> tuple[ChatInput, _Form]:
    body = decode(_BODY, data)
    found = Violations()
    conversation, names = messages.conversation(found, body.messages)
    offered = tools.tools(body.tools)
    chosen = body.tool_choice
    choice = tools.tool_choice(
        found,
        chosen.function.name if isinstance(chosen, tools.NamedChoice) else None,
        chosen if isinstance(chosen, str) else None,
        offered,
        parallel=body.parallel_tool_calls,
    )
    _refuse(found, body)
    streams = bool(body.stream)
    options = turn_options(
        key=key,
        streams=streams,
        model=body.model,
        config=_config(found, body),
        retain=body.store is not False,
        provider_options=forwarded(
            logit_bias=body.logit_bias or None, reasoning_effort=body.reasoning_effort, verbosity=body.verbosity
        ),
        labels=labels(found, body.metadata, user=body.user, safety_identifier=body.safety_identifier),
    )
    chat = ChatInput(options=options, messages=conversation, tools=offered, tool_choice=choice, truncate=False)
    return chat, _Form(
        found=found,
        names=_NAMES_OF_MAX_TOKENS if body.max_tokens is not None else NAMES,
        messages=names,
        stream=streams,
        include_usage=body.stream_options is not None and bool(body.stream_options.include_usage),
        logprobs=bool(body.logprobs),
    )


def _refuse(found: Violations, body: ChatBody) -> None:
    """Refuse by name what is not supported."""
    require(found, "n", body.n, 1)
    require(found, "store", body.store, False)
    require(found, "service_tier", body.service_tier, "auto", "default")
    require(found, "modalities", body.modalities, ["text"])
    if body.stream_options is not None and not body.stream:
        found.add("stream_options", "can only be set with stream")
    refuse_set(
        found,
        audio=body.audio,
        function_call=body.function_call,
        functions=body.functions,
        moderation=body.moderation,
        prediction=body.prediction,
        prompt_cache_options=body.prompt_cache_options,
        prompt_cache_retention=body.prompt_cache_retention,
        web_search_options=body.web_search_options,
    )


def _config(found: Violations, body: ChatBody) -> GenerationConfig:
    most, old = body.max_completion_tokens, body.max_tokens
    if most is not None and old is not None and most != old:
        found.add("max_tokens", "cannot be combined with max_completion_tokens: leave it out")
    if body.top_logprobs is not None and not body.logprobs:
        found.add("top_logprobs", "can only be set with logprobs")
    form, schema = response_format(body.response_format)
    return GenerationConfig(
        temperature=body.temperature,
        top_p=body.top_p,
        max_output_tokens=old if most is None else most,
        stop=stops(body.stop),
        seed=body.seed,
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        response_format=form,
        json_schema=schema,
    )


def stops(stop: str | list[str] | None) -> tuple[str, ...]:
    """The stop sequences."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())
