"""What a call may ask of a model: sampling parameters, and how its turn runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_server.rules.context import context_name
from mcp_server.rules.limits import (
    MAX_EMBEDDING_INPUT_BYTES,
    MAX_LOGPROBS,
    MAX_MESSAGE_BYTES,
    MAX_STOP,
    MAX_STOPS,
    MAX_TIMEOUT,
    MIN_TIMEOUT,
)
from mcp_server.rules.plain import (
    characters,
    duration,
    json_object,
    json_schema,
    model_name,
    not_empty,
    number,
    request_id,
    utf8_bytes,
    whole,
)
from mcp_server.rules.violations import Violations
from mcp_server.values import GenerationConfig, IfBusy, ResponseFormat


def turn(
    found: Violations,
    *,
    session: str,
    model: str,
    key: str,
    after_sequence: int | None,
    etag: str,
    if_busy: IfBusy,
    timeout: int | None,
    config: GenerationConfig,
    provider_options: Mapping[str, Any],
) -> None:
    """What chats and completions have in common. ``key`` is their ``request_id``."""
    if model:
        model_name(found, "model", model)
    if key:
        request_id(found, key)
    if after_sequence is not None and not key:
        found.add("after_sequence", "requires the request_id of the turn to resume")
    if etag:
        if not session:
            found.add("etag", "requires a session")
        if if_busy is IfBusy.QUEUE:
            found.add("etag", "cannot be combined with IF_BUSY_QUEUE: turns ahead in the queue will change the etag")
    if timeout is not None:
        duration(found, "timeout", timeout, MIN_TIMEOUT, MAX_TIMEOUT)
    generation_config(found, config)
    json_object(found, "provider_options", provider_options)


def generation_config(found: Violations, config: GenerationConfig) -> None:
    """The sampling parameters and the format of the answer."""
    if config.temperature is not None:
        number(found, "config.temperature", config.temperature, 0, 2)
    if config.top_p is not None:
        number(found, "config.top_p", config.top_p, 0, 1, above=True)
    if config.max_output_tokens is not None:
        whole(found, "config.max_output_tokens", config.max_output_tokens, 1)
    if len(config.stop) > MAX_STOPS:
        found.add("config.stop", f"must have at most {MAX_STOPS} stop strings")
    for index, stop in enumerate(config.stop):
        not_empty(found, f"config.stop[{index}]", stop)
        characters(found, f"config.stop[{index}]", stop, MAX_STOP)
    if config.frequency_penalty is not None:
        number(found, "config.frequency_penalty", config.frequency_penalty, -2, 2)
    if config.presence_penalty is not None:
        number(found, "config.presence_penalty", config.presence_penalty, -2, 2)
    if config.logprobs is not None:
        whole(found, "config.logprobs", config.logprobs, 0, MAX_LOGPROBS)
    if config.response_format is ResponseFormat.JSON_SCHEMA:
        json_schema(found, "config.response_format.json_schema.schema_json", config.json_schema)


def completion(
    found: Violations, *, prompt: str, suffix: str, session: str, include_context: bool, save_as: str
) -> None:
    """What is asked of a completion alone."""
    not_empty(found, "prompt", prompt)
    utf8_bytes(found, "prompt", prompt, MAX_MESSAGE_BYTES)
    utf8_bytes(found, "suffix", suffix, MAX_MESSAGE_BYTES)
    if include_context and not session:
        found.add("include_context", "requires a session")
    if save_as:
        if not session:
            found.add("save_as", "requires a session")
        context_name(found, "save_as", save_as)


def embedding(
    found: Violations, *, inputs: tuple[str, ...], model: str, dimensions: int | None, options: Mapping[str, Any]
) -> None:
    """Texts to turn into vectors. How many are allowed depends on the model."""
    if not inputs:
        found.add("inputs", "must have at least one text")
    for index, text in enumerate(inputs):
        if not text:
            not_empty(found, f"inputs[{index}]", text)
        elif len(text) * 4 > MAX_EMBEDDING_INPUT_BYTES:
            utf8_bytes(found, f"inputs[{index}]", text, MAX_EMBEDDING_INPUT_BYTES)
    model_name(found, "model", model)
    if dimensions is not None:
        whole(found, "dimensions", dimensions, 1)
    json_object(found, "provider_options", options)
