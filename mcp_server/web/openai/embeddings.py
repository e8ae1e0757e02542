"""``/embeddings``: texts into vectors."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from mcp_server.api.conversions import LARGE_BYTES
from mcp_server.gateway import Embedded, EmbedInput, Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations
from mcp_server.web.body import Convert, Shape, decode, read_body
from mcp_server.web.exchange import Exchange, json_headers
from mcp_server.web.openai.headers import Timed
from mcp_server.web.openai.names import Names
from mcp_server.web.openai.parameters import labels
from mcp_server.web.parameters import request_id


class EmbeddingBody(Shape):
    """Texts to turn into vectors."""

    model: str
    input: str | list[Any]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


_BODY: Final = msgspec.json.Decoder(EmbeddingBody)
_NAMES: Final = Names({})


class Embeddings:
    """Turns texts into vectors.

    Args:
        gateway: carries the calls out.
        convert: reads and writes large bodies off the event loop.
    """

    def __init__(self, gateway: Gateway, convert: Convert) -> None:
        self._gateway = gateway
        self._convert = convert

    async def create(self, call: Call, exchange: Exchange) -> None:
        """``POST /embeddings``."""
        timed = Timed(self._gateway)
        body: EmbeddingBody = await read_body(exchange, self._convert, lambda data: decode(_BODY, data))
        found = Violations()
        if request_id(exchange):
            found.add("Idempotency-Key", "is not supported for embeddings: leave the header out")
        inputs = _texts(found, body.input)
        of_call = labels(found, None, user=body.user)
        request = EmbedInput(inputs=inputs, model=body.model, dimensions=body.dimensions, labels=of_call)
        with _NAMES.translating():
            embedded = await self._gateway.embed(call.principal, request, violations=found)
        vectors = embedded.embeddings.vectors
        large = len(vectors) * len(vectors[0]) * 4 > LARGE_BYTES
        answer = await self._convert(large, _answer, embedded, body.encoding_format == "base64")
        await exchange.answer(200, json_headers(await timed.headers(call.principal)), answer)


def _texts(found: Violations, given: str | list[Any]) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if all(isinstance(one, str) for one in given):
        return tuple(given)
    found.add("input", "must be a text or a list of texts: this server does not take tokens")
    return ("-",)


def _answer(embedded: Embedded, as_base64: bool) -> bytes:
    encode = _base64 if as_base64 else list
    embeddings = embedded.embeddings
    tokens = embeddings.usage.input_tokens
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": encode(vector)}
                for index, vector in enumerate(embeddings.vectors)
            ],
            "model": embedded.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _base64(vector: Sequence[float]) -> str:
    """The numbers in 32 bits each, the least significant byte first."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
