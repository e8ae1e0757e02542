"""EmbeddingService."""

from __future__ import annotations

from contextprotocol.v1 import embedding_pb2
from mcp_server.api import decode, encode
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.principal import ANONYMOUS


class EmbeddingService:
    """Turns texts into vectors."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Embed(self, call: Call, request: embedding_pb2.EmbedRequest) -> embedding_pb2.EmbedResponse:
        embedded = await self._gateway.embed(ANONYMOUS, decode.embed_input(request))
        return embedding_pb2.EmbedResponse(
            embeddings=[embedding_pb2.Embedding(values=vector) for vector in embedded.embeddings.vectors],
            model=embedded.model,
            usage=encode.usage(embedded.embeddings.usage),
            attempts=[encode.attempt(attempt) for attempt in embedded.attempts],
        )
