"""The provider: three methods, and one more that counts tokens."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from contextprotocol_eliza.rules import reply
from mcp_server.errors import ModelNotFound
from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent
from mcp_server.values import Capabilities, FinishReason, Model, Usage, UsageSource

MODEL: Final = "eliza"


class Eliza:
    """Answers with the rules of ELIZA, word by word.

    Args:
        delay: seconds before each word.
    """

    def __init__(self, *, delay: float = 0.0) -> None:
        self._delay = delay

    async def models(self) -> Sequence[Model]:
        """The only one. What a model cannot do, for example tools, the server refuses before it asks."""
        return [Model(name=MODEL, capabilities=Capabilities(chat=True, completion=True))]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """The answer, and the tokens that it took. A token is a word.

        A caller who leaves is noticed at each ``yield`` and ``await``: there is nothing to release.
        """
        if request.model != MODEL:
            raise ModelNotFound(f"there is no model {request.model!r}, only {MODEL!r}")
        text = reply(request.messages[-1].text if request.prompt is None else request.prompt)
        for stop in request.config.stop:
            text = text.partition(stop)[0]
        words = text.split(" ")
        limit = request.config.max_output_tokens
        for number, word in enumerate(words[:limit]):
            await asyncio.sleep(self._delay)
            if piece := word if number == len(words) - 1 else f"{word} ":
                yield piece
        yield Finish(
            reason=FinishReason.LENGTH if limit is not None and limit < len(words) else FinishReason.STOP,
            usage=Usage(
                input_tokens=await self.count_tokens(request),
                output_tokens=len(words[:limit]),
                source=UsageSource.REPORTED,
            ),
        )

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The words of the prompt, by which the server shortens histories that are too long."""
        texts = [request.prompt or "", *[message.text for message in request.messages]]
        return sum(len(text.split()) for text in texts)

    async def close(self) -> None:
        """Nothing to do."""
