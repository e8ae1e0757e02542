"""Embeddings."""

from __future__ import annotations

from contextprotocol.v1 import embedding_pb2
from mcp_server.api.encode.message import usage
from mcp_server.api.encode.turn import attempt
from mcp_server.gateway import Embedded


def embed_response(embedded: Embedded) -> embedding_pb2.EmbedResponse:
    """The vectors, their usage and the calls to providers."""
    return embedding_pb2.EmbedResponse(
        embeddings=[embedding_pb2.Embedding(values=vector) for vector in embedded.embeddings.vectors],
        model=embedded.model,
        usage=usage(embedded.embeddings.usage),
        attempts=[attempt(each) for each in embedded.attempts],
    )
