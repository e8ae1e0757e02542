"""Providers that only some tests of clients need."""

from __future__ import annotations

from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import EmbedRequest
from mcp_server.testing import EchoProvider
from mcp_server.values import Capabilities, Embeddings, Model


class Letters(EchoProvider):
    """Counts the letters of up to three texts at once, and notes what it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    async def models(self) -> list[Model]:
        """The model ``letters``."""
        return [Model(name="letters", capabilities=Capabilities(embedding=True), max_batch=3)]

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """As the echo does."""
        self.batches.append(list(request.inputs))
        return await super().embed(request)


class Breaks(Letters):
    """Fails after some batches."""

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """As the letters, three times."""
        if len(self.batches) == 3:
            raise ProviderUnavailable("it has gone")
        return await super().embed(request)
