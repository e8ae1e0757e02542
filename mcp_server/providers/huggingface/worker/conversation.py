"""From a conversation to the tokens of a prompt, by the model's own template."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mcp_server.errors import UnsupportedByModel
from mcp_server.interfaces import GenerateRequest
from mcp_server.providers.huggingface.worker.text import CALL, THINK
from mcp_server.values import (
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)


class Prompt(msgspec.Struct, frozen=True):
    """What a model reads before it writes."""

    tokens: list[int]
    """The whole of it."""
    written: str = ""
    """What of the answer's own marks it ends with."""


def prompt_of(request: GenerateRequest, tokenizer: Any, model: str) -> Prompt:
    """The prompt of a request.

    Raises:
        UnsupportedByModel: the template cannot say it.
    """
    if request.prompt is not None:
        tokens = tokenizer(request.prompt)["input_ids"]
        if not tokens:
            raise UnsupportedByModel(f"the model {model} cannot continue an empty prompt", metadata={"model": model})
        return Prompt(tokens)
    variables = request.provider_options.get("chat_template_kwargs", {})
    if taken := variables.keys() & inspect.signature(tokenizer.apply_chat_template).parameters.keys():
        # Another template above all: a template is a program.
        raise UnsupportedByModel(
            f"provider_options.chat_template_kwargs.{min(taken)} is not for callers to set", metadata={"model": model}
        )
    offered = [_tool(tool) for tool in request.tools] if request.tool_choice.mode != "none" else []
    last = request.messages[-1] if request.messages else None
    prefill = last is not None and last.role is Role.ASSISTANT and bool(last.text)
    try:
        text: str = tokenizer.apply_chat_template(
            _messages(request.messages),
            tools=offered or None,
            tokenize=False,
            add_generation_prompt=not prefill,
            continue_final_message=prefill,
            **variables,
        )
    except Exception as error:  # a template is a program, and refuses a conversation by raising whatever it likes
        why = " ".join(str(error).split())[:200]
        raise UnsupportedByModel(
            f"the chat template of the model {model} does not take this conversation: {why}", metadata={"model": model}
        ) from error
    written = THINK[0] if text.rstrip().endswith(THINK[0]) else ""
    if offered and request.tool_choice.mode == "required":
        written = _call_begun(request.tool_choice.name)
        text += written
    return Prompt(tokenizer(text, add_special_tokens=False)["input_ids"], written)


def _call_begun(name: str) -> str:
    """A model that goes on from here calls a tool, since nothing else makes sense.

    It ends where models end a token: a space belongs to the next one.
    """
    call = CALL[0] + '\n{"name": "'
    return f'{call}{name}", "arguments":' if name else call


def _tool(tool: Tool) -> dict[str, Any]:
    parameters = (
        msgspec.json.decode(tool.parameters_json) if tool.parameters_json else {"type": "object", "properties": {}}
    )
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _messages(conversation: Sequence[Message]) -> list[dict[str, Any]]:
    """As templates want them: each tool result is a message of its own, with the name of the tool."""
    names: dict[str, str] = {}
    entries: list[dict[str, Any]] = []
    for message in conversation:
        names.update({part.id: part.name for part in message.parts if isinstance(part, ToolCall)})
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        entries += [_result(result, names) for result in results] or [_message(message)]
    return entries


def _result(result: ToolResult, names: Mapping[str, str]) -> dict[str, Any]:
    entry = {"role": Role.TOOL.value, "content": _text(result.parts), "tool_call_id": result.tool_call_id}
    return {**entry, "name": names[result.tool_call_id]} if result.tool_call_id in names else entry


def _message(message: Message) -> dict[str, Any]:
    entry: dict[str, Any] = {"role": message.role.value, "content": _text(message.parts)}
    thoughts = "".join([part.text for part in message.parts if isinstance(part, Reasoning)])
    if thoughts:
        entry["reasoning_content"] = thoughts
    if message.name:
        entry["name"] = message.name
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    if calls:
        entry["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in calls
        ]
    return entry


def _text(parts: Sequence[Any]) -> str:
    return "".join([part.text for part in parts if isinstance(part, Text | Refusal)])


def _arguments(call: ToolCall) -> Any:
    """As templates want them: an object, not its text."""
    try:
        return msgspec.json.decode(call.arguments_json or "{}")
    except msgspec.MsgspecError:
        return call.arguments_json
