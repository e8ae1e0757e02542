"""From requests to what the process of a model is asked."""

from __future__ import annotations

from typing import Final

import msgspec

from mcp_server.errors import UnsupportedByModel
from mcp_server.interfaces import GenerateRequest
from mcp_server.providers.huggingface import options
from mcp_server.providers.huggingface.settings import HuggingFaceModel
from mcp_server.values import (
    Blob,
    Message,
    ResponseFormat,
    Role,
    Text,
    ToolResult,
)

DEFAULTS: Final = ("repetition_penalty", "no_repeat_ngram_size")
"""The ``provider_options`` that the settings have defaults of."""


def generate(request: GenerateRequest, model: HuggingFaceModel) -> GenerateRequest:
    """The request with the defaults of its model.

    Raises:
        UnsupportedByModel: it asks for what cannot be done here.
        InvalidArgument: an option has a value that it does not take.
    """
    _check(request)
    options.decode(options.GenerateOptions, request.provider_options, request.model)
    config = request.config
    temperature = config.temperature if config.temperature is not None else model.temperature
    limit = config.max_output_tokens if config.max_output_tokens is not None else model.max_output_tokens
    config = msgspec.structs.replace(config, temperature=temperature, max_output_tokens=limit)
    defaults = {name: value for name in DEFAULTS if (value := getattr(model, name)) is not None}
    return msgspec.structs.replace(
        request,
        config=config,
        messages=_messages(request, model),
        provider_options={**defaults, **request.provider_options},
    )


def _messages(request: GenerateRequest, model: HuggingFaceModel) -> tuple[Message, ...]:
    """The conversation, with the model's own instruction if it has none."""
    if request.prompt is not None or not model.system_instruction:
        return request.messages
    if any(message.role is Role.SYSTEM for message in request.messages):
        return request.messages
    return (Message(role=Role.SYSTEM, parts=(Text(text=model.system_instruction),)), *request.messages)


def _check(request: GenerateRequest) -> None:
    if request.config.response_format is not ResponseFormat.TEXT:
        raise _unsupported(request, "cannot be held to JSON")
    if request.tools and request.tool_choice.mode != "none":
        if any(tool.strict for tool in request.tools):
            raise _unsupported(request, "cannot be held to the schemas of tools: leave `strict` unset")
        if not request.tool_choice.parallel:
            raise _unsupported(request, "cannot be held to one tool call at a time")
    if request.suffix:
        raise _unsupported(request, "cannot write towards a suffix")
    for message in request.messages:
        for part in message.parts:
            inner = part.parts if isinstance(part, ToolResult) else (part,)
            if any(isinstance(one, Blob) for one in inner):
                raise _unsupported(request, "cannot read images and other files")


def _unsupported(request: GenerateRequest, what: str) -> UnsupportedByModel:
    return UnsupportedByModel(f"the model {request.model} {what}", metadata={"model": request.model})
