"""Chats and completions: what they ask, and how their turn runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from contextprotocol.v1 import chat_pb2, completion_pb2, generation_pb2, model_pb2
from mcp_server.api.decode.json_value import json_object
from mcp_server.api.decode.message import messages
from mcp_server.api.decode.name import session_name
from mcp_server.api.decode.session import labels
from mcp_server.gateway import ChatInput, CompletionInput, TurnOptions
from mcp_server.rules import Violations
from mcp_server.rules.limits import MAX_CALL_LABELS, MAX_STOPS, MAX_TOOLS
from mcp_server.values import (
    SECOND,
    GenerationConfig,
    IfBusy,
    OnDisconnect,
    ResponseFormat,
    Tool,
    ToolChoice,
)

_IF_BUSY: Final = {
    generation_pb2.IF_BUSY_UNSPECIFIED: IfBusy.REJECT,
    generation_pb2.IF_BUSY_REJECT: IfBusy.REJECT,
    generation_pb2.IF_BUSY_QUEUE: IfBusy.QUEUE,
    generation_pb2.IF_BUSY_CANCEL_RUNNING: IfBusy.CANCEL_RUNNING,
}
_ON_DISCONNECT: Final = {
    generation_pb2.ON_DISCONNECT_UNSPECIFIED: OnDisconnect.CANCEL_AFTER_GRACE,
    generation_pb2.ON_DISCONNECT_CANCEL_AFTER_GRACE: OnDisconnect.CANCEL_AFTER_GRACE,
    generation_pb2.ON_DISCONNECT_CANCEL: OnDisconnect.CANCEL,
    generation_pb2.ON_DISCONNECT_CONTINUE: OnDisconnect.CONTINUE,
}
_TRUNCATION: Final = frozenset(generation_pb2.Truncation.values())
_TOOL_CHOICES: Final = {
    generation_pb2.ToolChoice.MODE_UNSPECIFIED: "auto",
    generation_pb2.ToolChoice.MODE_AUTO: "auto",
    generation_pb2.ToolChoice.MODE_NONE: "none",
    generation_pb2.ToolChoice.MODE_REQUIRED: "required",
}
_DEFAULT_CONFIG: Final = GenerationConfig()
_DEFAULT_CHOICE: Final = ToolChoice()


def chat_input(found: Violations, request: chat_pb2.ChatRequest, *, streams: bool) -> ChatInput:
    """A chat; ``streams`` says whether the call answers with a stream."""
    if request.truncation not in _TRUNCATION:
        found.add("truncation", f"{request.truncation} is not a value of Truncation")
    return ChatInput(
        options=_options(found, request, streams=streams),
        messages=messages(found, request.messages),
        tools=_tools(found, request.tools) if request.tools else (),
        tool_choice=_tool_choice(found, request.tool_choice) if request.HasField("tool_choice") else _DEFAULT_CHOICE,
        truncate=request.truncation != generation_pb2.TRUNCATION_DISABLED,
    )


def count_input(found: Violations, request: model_pb2.CountTokensRequest) -> ChatInput:
    """A chat whose tokens are counted."""
    session = session_name(found, "session", request.session) if request.session else ""
    return ChatInput(
        options=TurnOptions(session=session, model=request.model),
        messages=messages(found, request.messages),
        tools=_tools(found, request.tools),
    )


def completion_input(found: Violations, request: completion_pb2.CompleteRequest, *, streams: bool) -> CompletionInput:
    """A completion; ``streams`` as in :func:`chat_input`."""
    return CompletionInput(
        options=_options(found, request, streams=streams),
        prompt=request.prompt,
        suffix=request.suffix,
        include_context=request.include_context,
        save_as=request.save_as,
    )


def _options(
    found: Violations, request: chat_pb2.ChatRequest | completion_pb2.CompleteRequest, *, streams: bool
) -> TurnOptions:
    after_sequence = request.after_sequence if request.HasField("after_sequence") else None
    if after_sequence is not None and not streams:
        found.add("after_sequence", "can only be set for a call that streams; this one returns the whole turn")
    if_busy = _IF_BUSY.get(request.if_busy)
    if if_busy is None:
        found.add("if_busy", f"{request.if_busy} is not a value of IfBusy")
        if_busy = IfBusy.REJECT
    on_disconnect = _ON_DISCONNECT.get(request.on_disconnect)
    if on_disconnect is None:
        found.add("on_disconnect", f"{request.on_disconnect} is not a value of OnDisconnect")
        on_disconnect = OnDisconnect.CANCEL_AFTER_GRACE
    return TurnOptions(
        session=session_name(found, "session", request.session) if request.session else "",
        model=request.model,
        config=_config(found, request.config) if request.HasField("config") else _DEFAULT_CONFIG,
        request_id=request.request_id,
        after_sequence=after_sequence,
        etag=request.etag,
        if_busy=if_busy,
        on_disconnect=on_disconnect,
        timeout=(request.timeout.seconds * SECOND + request.timeout.nanos if request.HasField("timeout") else None),
        provider_options=(
            json_object(found, "provider_options", request.provider_options)
            if request.HasField("provider_options")
            else {}
        ),
        labels=labels(found, "labels", request.labels, MAX_CALL_LABELS) if request.labels else {},
    )


def _config(found: Violations, config: generation_pb2.GenerationConfig) -> GenerationConfig:
    response_format, schema = ResponseFormat.TEXT, ""
    if config.HasField("response_format"):
        kind = config.response_format.WhichOneof("format")
        if kind is None:
            found.add("config.response_format", "must have a format")
        else:
            response_format = ResponseFormat(kind)
        if kind == "json_schema":
            schema = config.response_format.json_schema.schema_json
    if len(config.stop) > MAX_STOPS:
        found.add("config.stop", f"must have at most {MAX_STOPS} stop strings, not {len(config.stop)}")
    return GenerationConfig(
        temperature=config.temperature if config.HasField("temperature") else None,
        top_p=config.top_p if config.HasField("top_p") else None,
        max_output_tokens=config.max_output_tokens if config.HasField("max_output_tokens") else None,
        stop=tuple(config.stop[:MAX_STOPS]),
        seed=config.seed if config.HasField("seed") else None,
        frequency_penalty=config.frequency_penalty if config.HasField("frequency_penalty") else None,
        presence_penalty=config.presence_penalty if config.HasField("presence_penalty") else None,
        logprobs=config.logprobs if config.HasField("logprobs") else None,
        response_format=response_format,
        json_schema=schema,
    )


def _tools(found: Violations, tools: Sequence[generation_pb2.Tool]) -> tuple[Tool, ...]:
    if len(tools) > MAX_TOOLS:
        found.add("tools", f"must have at most {MAX_TOOLS} tools, not {len(tools)}")
        return ()
    return tuple(
        [Tool(name=tool.name, description=tool.description, parameters_json=tool.parameters_json) for tool in tools]
    )


def _tool_choice(found: Violations, choice: generation_pb2.ToolChoice) -> ToolChoice:
    mode = _TOOL_CHOICES.get(choice.mode)
    if mode is None:
        found.add("tool_choice.mode", f"{choice.mode} is not a value of Mode")
    return ToolChoice(mode=mode or "auto", name=choice.name)
