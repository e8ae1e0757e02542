"""A provider that says which server it is in, word by word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent
from mcp_server.values import Capabilities, Model

WORDS = 10
"""How many an answer has."""


class Words:
    """Says the name of its server again and again, with a pause before each."""

    def __init__(self, server: str) -> None:
        self._server = server

    async def models(self) -> Sequence[Model]:
        """The model ``words``."""
        return [Model(name="words", capabilities=Capabilities(chat=True))]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Take a tenth of a second."""
        for _ in range(WORDS):
            await asyncio.sleep(0.01)
            yield f"{self._server} "
        yield Finish()

    async def close(self) -> None:
        """Nothing to do."""
