"""What valid sampling parameters are, and a valid format of the answer."""

from __future__ import annotations

from mcp_server.rules.limits import MAX_INT32, MAX_INT64, MAX_LOGPROBS, MAX_STOP, MAX_STOPS, MIN_INT64
from mcp_server.rules.primitives import characters, json_schema, not_empty, number, whole
from mcp_server.rules.violations import Violations
from mcp_server.values import GenerationConfig, ResponseFormat


def generation_config(found: Violations, config: GenerationConfig) -> None:
    """The sampling parameters and the format of the answer."""
    if config.temperature is not None:
        number(found, "config.temperature", config.temperature, 0, 2)
    if config.top_p is not None:
        number(found, "config.top_p", config.top_p, 0, 1, above=True)
    if config.max_output_tokens is not None:
        whole(found, "config.max_output_tokens", config.max_output_tokens, 1, MAX_INT32)
    if len(config.stop) > MAX_STOPS:
        found.add("config.stop", f"must have at most {MAX_STOPS} stop strings, not {len(config.stop)}")
    for index, stop in enumerate(config.stop[:MAX_STOPS]):
        not_empty(found, f"config.stop[{index}]", stop)
        characters(found, f"config.stop[{index}]", stop, MAX_STOP)
    if config.seed is not None:
        whole(found, "config.seed", config.seed, MIN_INT64, MAX_INT64)
    if config.frequency_penalty is not None:
        number(found, "config.frequency_penalty", config.frequency_penalty, -2, 2)
    if config.presence_penalty is not None:
        number(found, "config.presence_penalty", config.presence_penalty, -2, 2)
    if config.logprobs is not None:
        whole(found, "config.logprobs", config.logprobs, 0, MAX_LOGPROBS)
    if config.response_format is ResponseFormat.JSON_SCHEMA:
        json_schema(found, "config.response_format.json_schema.schema_json", config.json_schema)
