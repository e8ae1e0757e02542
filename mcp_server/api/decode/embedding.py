"""Batches of texts to turn into vectors."""

from __future__ import annotations

from contextprotocol.v1 import embedding_pb2
from mcp_server.api.decode.json_value import json_object
from mcp_server.api.decode.name import session_name
from mcp_server.api.decode.session import labels
from mcp_server.gateway import EmbedInput
from mcp_server.rules import Violations
from mcp_server.rules.limits import MAX_CALL_LABELS, MAX_EMBEDDING_INPUTS


def embed_input(found: Violations, request: embedding_pb2.EmbedRequest) -> EmbedInput:
    """A batch of texts."""
    if (count := len(request.inputs)) > MAX_EMBEDDING_INPUTS:
        found.add("inputs", f"must have 1 to {MAX_EMBEDDING_INPUTS} texts, not {count}")
    return EmbedInput(
        inputs=tuple(request.inputs) if count <= MAX_EMBEDDING_INPUTS else (),
        model=request.model,
        session=session_name(found, "session", request.session) if request.session else "",
        dimensions=request.dimensions if request.HasField("dimensions") else None,
        labels=labels(found, "labels", request.labels, MAX_CALL_LABELS),
        provider_options=json_object(found, "provider_options", request.provider_options),
    )
