"""Batches of texts to turn into vectors."""

from __future__ import annotations

from contextprotocol.v1 import embedding_pb2
from mcp_server.api.decode.json_value import json_object
from mcp_server.api.decode.name import session_name
from mcp_server.gateway import EmbedInput
from mcp_server.rules import Violations


def embed_input(found: Violations, request: embedding_pb2.EmbedRequest) -> EmbedInput:
    """A batch of texts."""
    return EmbedInput(
        inputs=tuple(request.inputs),
        model=request.model,
        session=session_name(found, "session", request.session) if request.session else "",
        dimensions=request.dimensions if request.HasField("dimensions") else None,
        provider_options=json_object(found, "provider_options", request.provider_options),
    )
