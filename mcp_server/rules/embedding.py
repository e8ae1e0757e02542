"""What a valid batch of texts to turn into vectors is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_server.rules.limits import MAX_CALL_LABELS, MAX_EMBEDDING_INPUT_BYTES, MAX_EMBEDDING_INPUTS, MAX_INT32
from mcp_server.rules.primitives import json_object, model_name, not_empty, utf8_bytes, whole
from mcp_server.rules.session import labels
from mcp_server.rules.violations import Violations


def embedding(
    found: Violations,
    *,
    inputs: tuple[str, ...],
    model: str,
    dimensions: int | None,
    options: Mapping[str, Any],
    call_labels: Mapping[str, str],
) -> None:
    """Texts to turn into vectors. How many are allowed depends on the model."""
    if not 1 <= len(inputs) <= MAX_EMBEDDING_INPUTS:
        found.add("inputs", f"must have 1 to {MAX_EMBEDDING_INPUTS} texts, not {len(inputs)}")
        inputs = ()
    for index, text in enumerate(inputs):
        if not text:
            not_empty(found, f"inputs[{index}]", text)
        elif len(text) * 4 > MAX_EMBEDDING_INPUT_BYTES:
            utf8_bytes(found, f"inputs[{index}]", text, MAX_EMBEDDING_INPUT_BYTES)
    model_name(found, "model", model)
    if dimensions is not None:
        whole(found, "dimensions", dimensions, 1, MAX_INT32)
    json_object(found, "provider_options", options)
    labels(found, "labels", call_labels, MAX_CALL_LABELS)
