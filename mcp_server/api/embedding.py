"""``contextprotocol.v1.EmbeddingService``: turns texts into vectors."""

from __future__ import annotations

from contextprotocol.v1 import embedding_pb2
from mcp_server.api import decode, encode
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations


class EmbeddingService:
    """Turns texts into vectors."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Embed(self, call: Call, request: embedding_pb2.EmbedRequest) -> embedding_pb2.EmbedResponse:
        found = Violations()
        batch = decode.embed_input(found, request)
        return encode.embed_response(await self._gateway.embed(call.principal, batch, violations=found))
