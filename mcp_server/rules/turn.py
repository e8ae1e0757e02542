"""What a valid chat or completion is, apart from its messages and tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_server.rules.context import context_name
from mcp_server.rules.generation import generation_config
from mcp_server.rules.limits import MAX_CALL_LABELS, MAX_MESSAGE_BYTES, MAX_TIMEOUT, MIN_TIMEOUT
from mcp_server.rules.primitives import (
    duration,
    expected_etag,
    json_object,
    model_name,
    not_empty,
    request_id,
    utf8_bytes,
)
from mcp_server.rules.session import labels
from mcp_server.rules.violations import Violations
from mcp_server.values import GenerationConfig, IfBusy


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
    call_labels: Mapping[str, str],
) -> None:
    """What chats and completions have in common. ``key`` is their ``request_id``."""
    if model:
        model_name(found, "model", model)
    if key:
        request_id(found, key)
    if after_sequence is not None and not key:
        found.add("after_sequence", "requires the request_id of the turn to resume")
    if etag:
        expected_etag(found, "etag", etag)
        if not session:
            found.add("etag", "requires a session")
        if if_busy is IfBusy.QUEUE:
            found.add("etag", "cannot be combined with IF_BUSY_QUEUE: turns ahead in the queue will change the etag")
    if timeout is not None:
        duration(found, "timeout", timeout, MIN_TIMEOUT, MAX_TIMEOUT)
    generation_config(found, config)
    json_object(found, "provider_options", provider_options)
    if call_labels:
        labels(found, "labels", call_labels, MAX_CALL_LABELS)


def completion(
    found: Violations, *, prompt: str, suffix: str, session: str, include_context: bool, save_as: str, commit: bool
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
        if not commit:
            found.add("save_as", "cannot be combined with commit = false, which leaves the session as it is")
        context_name(found, "save_as", save_as)
