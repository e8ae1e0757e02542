"""Encodes requests as the JSON of OpenAI's protocol."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from mcp_server.errors import InvalidArgument, UnsupportedByModel, Violation
from mcp_server.interfaces import EmbedRequest, GenerateRequest
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
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
"""Fields of the request itself, which ``provider_options`` may not replace."""
AUDIO: Final[Mapping[str, str]] = {
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
}
"""The audio formats that can be sent, by MIME type."""

encode: Final = msgspec.json.Encoder().encode


def chat_body(request: GenerateRequest, settings: OpenAISettings, model: OpenAIModel) -> bytes:
    """The JSON of a chat.

    Raises:
        InvalidArgument: ``provider_options`` contains a field of the request itself.
        UnsupportedByModel: a part cannot be sent, or a sampling parameter is refused by the settings.
    """
    messages: list[dict[str, Any]] = []
    for message in request.messages:
        parts = message.parts
        if len(parts) == 1 and isinstance(parts[0], Text) and not message.name:
            messages.append({"role": message.role, "content": parts[0].text})
        else:
            messages += _messages(message, settings, request.model)
    body: dict[str, Any] = {"model": request.model, "messages": messages, "stream": True}
    if settings.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if request.messages and request.messages[-1].role is Role.ASSISTANT:
        _prefill(body, model.prefill)
    config = request.config
    sampling = _sampling(request, model)
    if "max_output_tokens" in sampling:
        sampling[settings.limit_field] = sampling.pop("max_output_tokens")
    if (top := sampling.pop("logprobs", None)) is not None:
        sampling |= {"logprobs": True, **({"top_logprobs": top} if top else {})}
    body |= sampling
    if config.response_format is not ResponseFormat.TEXT:
        body["response_format"] = _format(config)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        choice = request.tool_choice
        if choice.name or choice.mode != "auto":
            body["tool_choice"] = _choice(choice)
        if not choice.parallel:
            body["parallel_tool_calls"] = False
    return encode(_with_options(body, request.provider_options))


def completion_body(request: GenerateRequest, settings: OpenAISettings, model: OpenAIModel) -> bytes:
    """The JSON of a completion.

    Raises:
        InvalidArgument, UnsupportedByModel: as for a chat.
    """
    body: dict[str, Any] = {"model": request.model, "prompt": request.prompt, "stream": True}
    if settings.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if request.suffix:
        body["suffix"] = request.suffix
    config = request.config
    sampling = _sampling(request, model)
    if "max_output_tokens" in sampling:
        sampling["max_tokens"] = sampling.pop("max_output_tokens")
    if "logprobs" in sampling:
        sampling["logprobs"] = max(1, sampling["logprobs"])  # with 0, some report nothing
    body |= sampling
    if config.response_format is not ResponseFormat.TEXT:
        body["response_format"] = _format(config)
    return encode(_with_options(body, request.provider_options))


def embedding_body(request: EmbedRequest, settings: OpenAISettings) -> bytes:
    """The JSON of an embedding request.

    Raises:
        InvalidArgument: as for a chat.
    """
    body: dict[str, Any] = {"model": request.model, "input": request.inputs}
    if settings.base64_embeddings:
        body["encoding_format"] = "base64"
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return encode(_with_options(body, request.provider_options))


def _with_options(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The body with ``provider_options``, which take precedence."""
    if not options:
        return body
    if strange := sorted(OWN & options.keys()):
        allowed = "is a field of the request itself: leave it out"
        raise InvalidArgument([Violation(field=f"provider_options.{name}", description=allowed) for name in strange])
    return {**body, **options}


def _sampling(request: GenerateRequest, model: OpenAIModel) -> dict[str, Any]:
    """The sampling parameters that are set, by our names; the caller renames those that all servers name otherwise."""
    config = request.config
    sampling: dict[str, Any] = {
        "temperature": config.temperature,
        "top_p": config.top_p,
        "max_output_tokens": config.max_output_tokens,
        "stop": config.stop or None,
        "seed": config.seed,
        "frequency_penalty": config.frequency_penalty,
        "presence_penalty": config.presence_penalty,
        "logprobs": config.logprobs,
    }
    sampling = {name: value for name, value in sampling.items() if value is not None and name not in model.leave_out}
    if refused := [name for name in model.refuse if name in sampling]:
        raise UnsupportedByModel(
            f"the model {request.model} takes no {' and no '.join(refused)}: leave it unset",
            metadata={"model": request.model, "option": refused[0]},
        )
    return sampling


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
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> Any:
    return {"type": "function", "function": {"name": choice.name}} if choice.name else choice.mode


def _prefill(body: dict[str, Any], prefill: str) -> None:
    if prefill in ("prefix", "prefix_echoed"):
        body["messages"][-1]["prefix"] = True
    elif prefill == "continue":
        body |= {"continue_final_message": True, "add_generation_prompt": False}


# -- messages ---------------------------------------------------------------------------------------------------------


def _messages(message: Message, settings: OpenAISettings, model: str) -> list[dict[str, Any]]:
    """A message as the server reads it; the results of several tools are one message each, and an answer of files alone
    is none."""
    role, parts = message.role, message.parts
    if role is Role.TOOL:
        return [_result(part, model) for part in parts if isinstance(part, ToolResult)]
    entry = _answer(parts, settings) if role is Role.ASSISTANT else {"role": role, "content": _content(parts, model)}
    if entry["content"] == "" and "tool_calls" not in entry:
        return []
    if message.name:
        entry["name"] = message.name
    return [entry]


def _answer(parts: Sequence[Any], settings: OpenAISettings) -> dict[str, Any]:
    """An earlier answer of the model. A refusal is sent as text, which every server understands."""
    text = "".join([part.text for part in parts if isinstance(part, Text | Refusal)])
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments_json}}
        for part in parts
        if isinstance(part, ToolCall)
    ]
    entry: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        entry["tool_calls"] = calls
    thoughts = "".join([part.text for part in parts if isinstance(part, Reasoning)])
    if thoughts and settings.reasoning_field:
        entry[settings.reasoning_field] = thoughts
    return entry


def _result(result: ToolResult, model: str) -> dict[str, Any]:
    if any(isinstance(part, Blob) for part in result.parts):
        raise UnsupportedByModel(
            f"the model {model} reads only text as the result of a tool", metadata={"model": model}
        )
    text = "".join([part.text for part in result.parts if isinstance(part, Text)])
    return {"role": "tool", "tool_call_id": result.tool_call_id, "content": text}


def _content(parts: Sequence[Any], model: str) -> Any:
    """A text, or a list of parts if there are others than text."""
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
