"""From requests to what the process of a model is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.errors import UnsupportedByModel
from mcp_server.interfaces import GenerateRequest
from mcp_server.providers.huggingface.settings import HuggingFaceModel
from mcp_server.values import (
    Blob,
    Message,
    ResponseFormat,
    Role,
    Text,
    ToolResult,
)

OPTIONS: Final[Mapping[str, tuple[str, tuple[type, ...]]]] = {
    "chat_template_kwargs": ("an object", (dict,)),
    "ignore_eos": ("true or false", (bool,)),
    "min_p": ("a number from 0 to 1", (int, float)),
    "repetition_penalty": ("a positive number", (int, float)),
    "top_k": ("a number", (int, float)),
    "typical_p": ("a number from 0 to 1", (int, float)),
}
"""The ``provider_options``, by transformers' names for them: what each must be."""


def generate(request: GenerateRequest, model: HuggingFaceModel) -> GenerateRequest:
    """The request with the defaults of its model.

    Raises:
        UnsupportedByModel: it asks for what cannot be done here.
    """
    _check(request)
    config = request.config
    temperature = config.temperature if config.temperature is not None else model.temperature
    limit = config.max_output_tokens if config.max_output_tokens is not None else model.max_output_tokens
    config = msgspec.structs.replace(config, temperature=temperature, max_output_tokens=limit)
    return msgspec.structs.replace(request, config=config, messages=_messages(request, model))


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
    if request.suffix:
        raise _unsupported(request, "cannot write towards a suffix")
    for message in request.messages:
        for part in message.parts:
            inner = part.parts if isinstance(part, ToolResult) else (part,)
            if any(isinstance(one, Blob) for one in inner):
                raise _unsupported(request, "cannot read images and other files")
    for name, value in request.provider_options.items():
        if name not in OPTIONS:
            raise _unsupported(
                request, f"does not know provider_options.{name}; known are {', '.join(OPTIONS)}", option=name
            )
        if not _fits(name, value):
            raise _unsupported(
                request, f"takes {OPTIONS[name][0]} as provider_options.{name}, and found {value!r}", option=name
            )


def _fits(name: str, value: Any) -> bool:
    kinds = OPTIONS[name][1]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return False
    if not isinstance(value, int | float):
        return True
    if not math.isfinite(value):
        return False
    if name == "repetition_penalty":
        return value > 0
    return value >= 0 and (name in ("top_k", "ignore_eos") or value <= 1)


def _unsupported(request: GenerateRequest, what: str, **metadata: str) -> UnsupportedByModel:
    return UnsupportedByModel(f"the model {request.model} {what}", metadata={"model": request.model, **metadata})
