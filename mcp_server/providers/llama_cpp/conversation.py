"""Encodes conversations, tools and images as llama.cpp's chat templates read them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mcp_server.errors import UnsupportedByModel
from mcp_server.interfaces import GenerateRequest
from mcp_server.providers.llama_cpp import reasoning
from mcp_server.providers.llama_cpp.images import MAX_PIXELS, MEDIA_TYPES, pixels_of
from mcp_server.providers.llama_cpp.settings import LlamaCppModel
from mcp_server.providers.llama_cpp.template import Template
from mcp_server.values import (
    Blob,
    Message,
    Part,
    ProviderStatePart,
    Reasoning,
    Refusal,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)


class ChatModel(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how a model is shown a conversation."""

    name: str
    """Its name."""
    settings: LlamaCppModel
    """Its settings."""
    template: Template = Template()
    """What its chat template can express."""

    def unsupported(self, problem: str) -> UnsupportedByModel:
        """The error of a request for what it cannot do."""
        return UnsupportedByModel(f"the model {self.name} {problem}", metadata={"model": self.name})


def prompt_fields(request: GenerateRequest, model: ChatModel) -> dict[str, Any]:
    """The fields of a chat that its prompt is made of.

    Raises:
        UnsupportedByModel: the model cannot read or do something in it.
    """
    fields: dict[str, Any] = {"messages": _messages(request.messages, model)}
    _check_images(request.messages, model)
    fields |= reasoning.fields(request.provider_options, model.name, model.settings, model.template)
    constrained = is_constrained(request)
    choice = request.tool_choice
    if request.tools and (choice.mode != "none" or constrained):
        if not model.template.tools and choice.mode != "none":
            raise model.unsupported("cannot call tools: its chat template does not mention them")
        # llama.cpp takes no names here. A model that is shown one tool can call no other.
        offered = [tool for tool in request.tools if choice.name in ("", tool.name)]
        fields["tools"] = [_tool(tool) for tool in offered]
        fields["tool_choice"] = choice.mode
        fields["parallel_tool_calls"] = choice.parallel
    if constrained and must_be_text(request):
        # The grammar leaves no room for thoughts before the answer.
        variables = fields.get("chat_template_kwargs", {})
        fields["chat_template_kwargs"] = {**variables, "enable_thinking": False}
        fields.pop("reasoning_effort", None)
        fields.pop("thinking_budget_tokens", None)
    return fields


def is_constrained(request: GenerateRequest) -> bool:
    """Whether the text of the answer is held to JSON."""
    return request.config.response_format is not ResponseFormat.TEXT


def must_be_text(request: GenerateRequest) -> bool:
    """Whether the answer is text whatever the model decides."""
    return not request.tools or request.tool_choice.mode == "none"


def has_images(request: GenerateRequest) -> bool:
    """Whether there is an image in the conversation."""
    return any(isinstance(part, Blob) for message in request.messages for part in message.parts)


def _messages(messages: Sequence[Message], model: ChatModel) -> list[dict[str, Any]]:
    """A conversation, with the model's own instruction if it has none."""
    names = {part.id: part.name for message in messages for part in message.parts if isinstance(part, ToolCall)}
    conversation = [entry for message in messages for entry in _entries(message, names, model)]
    instruction = model.settings.system_instruction
    if instruction and not any(message.role is Role.SYSTEM for message in messages):
        conversation.insert(0, {"role": "system", "content": instruction})
    return conversation


def _entries(message: Message, names: Mapping[str, str], model: ChatModel) -> list[dict[str, Any]]:
    """A message as templates read it; the results of several tools are one message each."""
    parts = [part for part in message.parts if not isinstance(part, ProviderStatePart)]
    if any(isinstance(part, ToolCall | ToolResult) for part in parts) and not model.template.tools:
        raise model.unsupported("cannot read tool calls and their results: its chat template does not mention tools")
    results = [part for part in parts if isinstance(part, ToolResult)]
    if results:
        return [_result(result, names, model) for result in results]
    entry: dict[str, Any] = {"role": message.role.value, "content": _content(parts, message.role, model)}
    thoughts = "".join([part.text for part in parts if isinstance(part, Reasoning)])
    if thoughts:
        entry["reasoning_content"] = thoughts
    calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
    if calls:
        entry["tool_calls"] = calls
    if message.name:
        entry["name"] = message.name
    return [entry]


def _content(parts: Sequence[Part], role: Role, model: ChatModel) -> Any:
    """A text, or a list of parts if there are images."""
    if not any(isinstance(part, Blob) for part in parts):
        return "".join([part.text for part in parts if isinstance(part, Text | Refusal)])
    if role is not Role.USER:
        raise model.unsupported("sees images only in messages of the user")
    return [
        _image(part, model) if isinstance(part, Blob) else {"type": "text", "text": part.text}
        for part in parts
        if isinstance(part, Blob | Text | Refusal)
    ]


def _image(blob: Blob, model: ChatModel) -> dict[str, Any]:
    if model.settings.projector is None:
        raise model.unsupported("cannot read images and other files")
    if blob.mime_type not in MEDIA_TYPES or not blob.data:
        form = "at an address" if blob.uri else "as bytes"
        raise UnsupportedByModel(
            f"the model {model.name} cannot read {blob.mime_type} {form}: send {', '.join(MEDIA_TYPES)} as bytes",
            metadata={"model": model.name, "mime_type": blob.mime_type},
        )
    url = f"data:{blob.mime_type};base64,{base64.b64encode(blob.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _check_images(messages: Sequence[Message], model: ChatModel) -> None:
    """Refuse images that would take too much memory, and what is no image."""
    pixels = 0
    for image in [part for message in messages for part in message.parts if isinstance(part, Blob)]:
        size = pixels_of(image.data)
        if size is None:
            raise model.unsupported(f"cannot read an image whose content is none of {', '.join(MEDIA_TYPES)}")
        pixels += size
    if pixels > MAX_PIXELS:
        raise model.unsupported(
            f"reads images of at most {MAX_PIXELS} pixels in a prompt, and these have {pixels}: send smaller ones"
        )


def _call(call: ToolCall) -> dict[str, Any]:
    # An answer that was cut has broken arguments, and templates read them as an object.
    try:
        arguments = msgspec.json.decode(call.arguments_json or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        arguments = {"invalid_json": call.arguments_json}
    function = {"name": call.name, "arguments": msgspec.json.encode(arguments).decode()}
    return {"id": call.id, "type": "function", "function": function}


def _result(result: ToolResult, names: Mapping[str, str], model: ChatModel) -> dict[str, Any]:
    if any(isinstance(part, Blob) for part in result.parts):
        raise model.unsupported("reads only text as the result of a tool")
    text = "".join([part.text for part in result.parts if isinstance(part, Text)])
    entry = {"role": "tool", "tool_call_id": result.tool_call_id, "content": text}
    name = names.get(result.tool_call_id)
    return {**entry, "name": name} if name else entry


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    # Templates may require what is optional elsewhere.
    schema = msgspec.json.decode(tool.parameters_json) if tool.parameters_json else {"type": "object", "properties": {}}
    return {"type": "function", "function": {**function, "parameters": schema}}
