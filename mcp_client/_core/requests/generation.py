"""Requests of the chat and completion services."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from contextprotocol.v1 import chat_pb2, completion_pb2, generation_pb2
from mcp_client._core.arguments import argument, chosen, duration, struct
from mcp_client._core.requests import option_names
from mcp_client._core.requests.messages import Input, messages
from mcp_client._core.requests.names import session_name, set_request_id
from mcp_client.tools.tool import Tool
from mcp_client.values import Session, ToolChoice, TurnOptions

MAX_REQUEST_ID: Final = 128
"""The maximum length of a ``request_id``, in characters."""

_SAMPLING: Final = (
    "temperature",
    "top_p",
    "max_output_tokens",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
)
_TRUNCATIONS: Final = {
    "auto": generation_pb2.TRUNCATION_AUTO,
    "disabled": generation_pb2.TRUNCATION_DISABLED,
}
_TOOL_MODES: Final = {
    "auto": generation_pb2.ToolChoice.MODE_AUTO,
    "none": generation_pb2.ToolChoice.MODE_NONE,
    "required": generation_pb2.ToolChoice.MODE_REQUIRED,
}
_IF_BUSY: Final = {
    "reject": generation_pb2.IF_BUSY_REJECT,
    "queue": generation_pb2.IF_BUSY_QUEUE,
    "cancel_running": generation_pb2.IF_BUSY_CANCEL_RUNNING,
}
_ON_DISCONNECT: Final = {
    "cancel_after_grace": generation_pb2.ON_DISCONNECT_CANCEL_AFTER_GRACE,
    "cancel": generation_pb2.ON_DISCONNECT_CANCEL,
    "continue": generation_pb2.ON_DISCONNECT_CONTINUE,
}


def chat(
    new: Input,
    *,
    session: str | Session | None,
    truncation: str,
    options: TurnOptions,
    tools: Sequence[Tool] = (),
    tool_choice: ToolChoice | str | None = None,
    after_sequence: int | None = None,
) -> chat_pb2.ChatRequest:
    """Continue a chat."""
    request = chat_pb2.ChatRequest(messages=messages(new), config=_config(options), tools=encoded_tools(tools))
    if tool_choice is not None:
        choice = ToolChoice(mode=tool_choice) if isinstance(tool_choice, str) else tool_choice
        with argument("tool_choice"):
            request.tool_choice.mode = chosen("mode", choice.mode, _TOOL_MODES)
            request.tool_choice.name = choice.name
    _turn_fields(request, session, options, after_sequence)
    request.truncation = chosen("truncation", truncation, _TRUNCATIONS)
    return request


def complete(
    prompt: str,
    *,
    suffix: str,
    session: str | Session | None,
    include_context: bool,
    save_as: str,
    options: TurnOptions,
    after_sequence: int | None = None,
) -> completion_pb2.CompleteRequest:
    """Complete a prompt."""
    request = completion_pb2.CompleteRequest(config=_config(options), include_context=include_context)
    for name, value in (("prompt", prompt), ("suffix", suffix), ("save_as", save_as)):
        with argument(name):
            setattr(request, name, value)
    _turn_fields(request, session, options, after_sequence)
    return request


def of_round(options: TurnOptions, number: int) -> TurnOptions:
    """The options of one round of a chat with tools, from 0."""
    if number == 0:
        return options
    later = options.copy()
    later["etag"] = None  # the previous round has changed it
    if request_id := options.get("request_id"):
        later["request_id"] = f"{request_id}.{number}"
    return later


def check_rounds(options: TurnOptions, max_rounds: int) -> None:
    """Check the arguments of a chat of several turns, before the first one.

    Raises:
        TypeError, ValueError: the server would refuse one of the rounds.
    """
    option_names.check(options)
    with argument("max_rounds"):
        if isinstance(max_rounds, bool) or not isinstance(max_rounds, int):
            raise TypeError(f"expected an int, not {max_rounds!r}")
        if max_rounds < 1:
            raise ValueError(f"expected at least 1, not {max_rounds!r}")
    with argument("request_id"):
        longest = of_round(options, max_rounds).get("request_id")
        if longest and len(longest) > MAX_REQUEST_ID:
            suffix = f".{max_rounds}"
            most = MAX_REQUEST_ID - len(suffix)
            raise ValueError(f"at most {most} characters are allowed because the last round appends {suffix}")


def _config(options: TurnOptions) -> generation_pb2.GenerationConfig | None:
    """The sampling parameters; ``None`` if none is set."""
    result = generation_pb2.GenerationConfig()
    for name in _SAMPLING:
        if (value := options.get(name)) is not None:
            with argument(name):
                setattr(result, name, value)
    if stop := options.get("stop"):
        with argument("stop"):
            result.stop.extend([stop] if isinstance(stop, str) else stop)
    if (schema := options.get("json_schema")) is not None:
        with argument("json_schema"):
            result.response_format.json_schema.schema_json = _schema_json(schema)
    elif options.get("json"):
        result.response_format.json.SetInParent()
    return result if result.ByteSize() else None


def encoded_tools(tools: Sequence[Tool]) -> list[generation_pb2.Tool]:
    """The tools that a model may call."""
    with argument("tools"):
        return [_tool(tool) for tool in tools]


def _tool(tool: Tool) -> generation_pb2.Tool:
    if not isinstance(tool, Tool):
        raise TypeError(f"expected a Tool, not {type(tool).__name__}; chat_with_tools takes functions")
    parameters = _schema_json(tool.parameters)
    return generation_pb2.Tool(name=tool.name, description=tool.description, parameters_json=parameters)


def _schema_json(schema: str | Mapping[str, Any]) -> str:
    """The text of a JSON Schema; one that is given as text is sent unchanged."""
    return schema if isinstance(schema, str) else jsonlib.dumps(dict(schema), allow_nan=False)


def _turn_fields(
    request: chat_pb2.ChatRequest | completion_pb2.CompleteRequest,
    session: str | Session | None,
    options: TurnOptions,
    after_sequence: int | None,
) -> None:
    option_names.check(options)
    if session is not None:
        request.session = session_name(session)
    with argument("model"):
        request.model = options.get("model") or ""
    with argument("etag"):
        request.etag = options.get("etag") or ""
    if (turn_timeout := options.get("turn_timeout")) is not None:
        request.timeout.CopyFrom(duration("turn_timeout", turn_timeout))
    if provider_options := options.get("provider_options"):
        request.provider_options.CopyFrom(struct("provider_options", provider_options))
    if labels := options.get("labels"):
        with argument("labels"):
            request.labels.update(labels)
    set_request_id(request, options.get("request_id"))
    if after_sequence is not None:
        with argument("after_sequence"):
            if not options.get("request_id"):
                raise ValueError("requires the request_id of the turn to continue")
            request.after_sequence = after_sequence
    if if_busy := options.get("if_busy"):
        request.if_busy = chosen("if_busy", if_busy, _IF_BUSY)
    if on_disconnect := options.get("on_disconnect"):
        request.on_disconnect = chosen("on_disconnect", on_disconnect, _ON_DISCONNECT)
