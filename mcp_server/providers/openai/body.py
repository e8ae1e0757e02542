"""From a request of this project to the JSON that servers read."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from mcp_server.errors import InvalidArgument, UnsupportedByModel, Violation
from mcp_server.interfaces import EmbedRequest, GenerateRequest
from mcp_server.providers.openai.options import ModelOptions, Options, Prefill
from mcp_server.values import (
    Blob,
    GenerationConfig,
    Message,
    Reasoning,
    Refusal,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

OWN: Final = frozenset(("best_of", "input", "messages", "model", "n", "prompt", "stream", "stream_options", "suffix"))
"""What the request itself says, and ``provider_options`` may not: the answer would be to something else, or be lost."""
AUDIO: Final[Mapping[str, str]] = {
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
}
"""The sounds that are understood, by MIME type."""

encode: Final = msgspec.json.Encoder().encode


def chat_body(request: GenerateRequest, options: Options, model: ModelOptions) -> bytes:
    """The JSON of a chat.

    Raises:
        InvalidArgument: ``provider_options`` has what is not the caller's to say.
        UnsupportedByModel: a part cannot be sent, or a knob is refused by configuration.
    """
    messages: list[dict[str, Any]] = []
    for message in request.messages:
        parts = message.parts
        if len(parts) == 1 and isinstance(parts[0], Text) and not message.name:
            messages.append({"role": message.role, "content": parts[0].text})
        else:
            messages += _messages(message, options, request.model)
    body: dict[str, Any] = {"model": request.model, "messages": messages, "stream": True}
    if options.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if request.messages and request.messages[-1].role is Role.ASSISTANT:
        _prefill(body, model.prefill, request.model)
    config = request.config
    if config is not _DEFAULT:
        knobs = _knobs(request, model)
        if "max_output_tokens" in knobs:
            knobs[options.limit_field] = knobs.pop("max_output_tokens")
        if (top := knobs.pop("logprobs", None)) is not None:
            knobs |= {"logprobs": True, **({"top_logprobs": top} if top else {})}
        body |= knobs
        if config.response_format is not ResponseFormat.TEXT:
            body["response_format"] = _format(config)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice != _AUTO:
            body["tool_choice"] = _choice(request.tool_choice)
    return encode(_with_options(body, request.provider_options))


def completion_body(request: GenerateRequest, options: Options, model: ModelOptions) -> bytes:
    """The JSON of a completion.

    Raises:
        InvalidArgument, UnsupportedByModel: as for a chat.
    """
    body: dict[str, Any] = {"model": request.model, "prompt": request.prompt, "stream": True}
    if options.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if request.suffix:
        body["suffix"] = request.suffix
    config = request.config
    knobs = _knobs(request, model)
    if "max_output_tokens" in knobs:
        knobs["max_tokens"] = knobs.pop("max_output_tokens")
    if "logprobs" in knobs:
        knobs["logprobs"] = max(1, knobs["logprobs"])  # with 0, some report nothing
    body |= knobs
    if config.response_format is not ResponseFormat.TEXT:
        body["response_format"] = _format(config)
    return encode(_with_options(body, request.provider_options))


def embedding_body(request: EmbedRequest, options: Options) -> bytes:
    """The JSON of an embedding request.

    Raises:
        InvalidArgument: as for a chat.
    """
    body: dict[str, Any] = {"model": request.model, "input": request.inputs}
    if options.base64_embeddings:
        body["encoding_format"] = "base64"
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return encode(_with_options(body, request.provider_options))


_DEFAULT: Final = GenerationConfig()
_AUTO: Final = ToolChoice()


def _with_options(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """With what is passed on as it is, which goes before what the request says otherwise."""
    if not options:
        return body
    if strange := sorted(OWN & options.keys()):
        allowed = "this is decided by the request itself: leave it out"
        raise InvalidArgument([Violation(field=f"provider_options.{name}", description=allowed) for name in strange])
    return {**body, **options}


def _knobs(request: GenerateRequest, model: ModelOptions) -> dict[str, Any]:
    """The knobs that are set, by their own names; those of them that all servers call otherwise are for the caller."""
    config = request.config
    knobs: dict[str, Any] = {
        "temperature": config.temperature,
        "top_p": config.top_p,
        "max_output_tokens": config.max_output_tokens,
        "stop": config.stop or None,
        "seed": config.seed,
        "frequency_penalty": config.frequency_penalty,
        "presence_penalty": config.presence_penalty,
        "logprobs": config.logprobs,
    }
    knobs = {name: value for name, value in knobs.items() if value is not None and name not in model.leave_out}
    if refused := [name for name in model.refuse if name in knobs]:
        raise UnsupportedByModel(
            f"the model {request.model} takes no {' and no '.join(refused)}: leave it unset",
            metadata={"model": request.model, "option": refused[0]},
        )
    return knobs


def _format(config: GenerationConfig) -> dict[str, Any]:
    if config.response_format is ResponseFormat.JSON:
        return {"type": "json_object"}
    schema = {"name": "answer", "strict": True, "schema": msgspec.Raw(config.json_schema.encode())}
    return {"type": "json_schema", "json_schema": schema}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters_json:
        function["parameters"] = msgspec.Raw(tool.parameters_json.encode())
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> Any:
    return {"type": "function", "function": {"name": choice.name}} if choice.name else choice.mode


def _prefill(body: dict[str, Any], prefill: Prefill, model: str) -> None:
    if prefill in (Prefill.PREFIX, Prefill.PREFIX_ECHOED):
        body["messages"][-1]["prefix"] = True
    elif prefill is Prefill.CONTINUE:
        body |= {"continue_final_message": True, "add_generation_prompt": False}


# -- messages ---------------------------------------------------------------------------------------------------------


def _messages(message: Message, options: Options, model: str) -> list[dict[str, Any]]:
    """A message as the server reads it; one with the results of several tools is several."""
    role, parts = message.role, message.parts
    if role is Role.TOOL:
        return [_result(part, model) for part in parts if isinstance(part, ToolResult)]
    said = _answer(parts, options) if role is Role.ASSISTANT else {"role": role, "content": _content(parts, model)}
    if message.name:
        said["name"] = message.name
    return [said]


def _answer(parts: Sequence[Any], options: Options) -> dict[str, Any]:
    """What the model said before. A refusal is plain text to servers that know no other."""
    text = "".join([part.text for part in parts if isinstance(part, Text | Refusal)])
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments_json}}
        for part in parts
        if isinstance(part, ToolCall)
    ]
    said: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        said["tool_calls"] = calls
    thoughts = "".join([part.text for part in parts if isinstance(part, Reasoning)])
    if thoughts and options.reasoning_field:
        said[options.reasoning_field] = thoughts
    return said


def _result(result: ToolResult, model: str) -> dict[str, Any]:
    if any(isinstance(part, Blob) for part in result.parts):
        raise UnsupportedByModel(
            f"the model {model} reads only text as the result of a tool", metadata={"model": model}
        )
    text = "".join([part.text for part in result.parts if isinstance(part, Text)])
    return {"role": "tool", "tool_call_id": result.tool_call_id, "content": text}


def _content(parts: Sequence[Any], model: str) -> Any:
    """Text as it is, and a list of pieces if there is anything else."""
    if not any(isinstance(part, Blob) for part in parts):
        return "".join([part.text for part in parts if isinstance(part, Text)])
    return [
        {"type": "text", "text": part.text} if isinstance(part, Text) else _blob(part, model)
        for part in parts
        if isinstance(part, Text | Blob)
    ]


def _blob(blob: Blob, model: str) -> dict[str, Any]:
    if blob.mime_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": blob.uri or _data_url(blob)}}
    if blob.mime_type in AUDIO and blob.data:
        data = base64.b64encode(blob.data).decode()
        return {"type": "input_audio", "input_audio": {"data": data, "format": AUDIO[blob.mime_type]}}
    if blob.mime_type == "application/pdf" and blob.data:
        return {"type": "file", "file": {"filename": "document.pdf", "file_data": _data_url(blob)}}
    form = "at an address" if blob.uri else "as bytes"
    raise UnsupportedByModel(
        f"{blob.mime_type} {form} cannot be sent to the model {model}: images can, and wav, mp3 and PDF as bytes",
        metadata={"model": model, "mime_type": blob.mime_type},
    )


def _data_url(blob: Blob) -> str:
    return f"data:{blob.mime_type};base64,{base64.b64encode(blob.data).decode()}"
