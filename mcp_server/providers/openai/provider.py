"""The provider ``openai``: any server that speaks OpenAI's HTTP protocol."""

from __future__ import annotations

import ssl
import sys
from array import array
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import aiohttp
import msgspec

from mcp_server.errors import ModelNotFound
from mcp_server.interfaces import EmbedRequest, GenerateRequest, ProviderEvent
from mcp_server.providers.openai import body
from mcp_server.providers.openai.chunks import UNREADABLE, EventStream, Tokens, decode_chunk
from mcp_server.providers.openai.options import ModelOptions, Options, Prefill
from mcp_server.providers.openai.reading import Reading
from mcp_server.providers.openai.upstream import Upstream
from mcp_server.values import Embeddings, Model, Role, Usage

MAX_BODY: Final = 64 * 1024 * 1024
"""How much is read of an answer that comes in one piece, in bytes: the vectors of the largest batch fit."""


class OpenAIProvider:
    """Answers with the models of one server that speaks OpenAI's protocol.

    Args:
        options: what is configured.
        keys: the API keys; none for a server that asks for none.
        headers: sent with every request.
        ssl_context: how the server's certificate is checked; ``None``: as usual.
        proxy: the address of an HTTP proxy, perhaps with a user and a password; ``None``: connections are direct.
    """

    def __init__(
        self,
        options: Options,
        *,
        keys: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        self._options = options
        self._upstream = Upstream(options, keys=keys, headers=headers or {}, ssl_context=ssl_context, proxy=proxy)

    async def models(self) -> Sequence[Model]:
        """The models that are configured by their full names. Asks nobody."""
        return [options.model(name) for name, options in self._options.models.items() if "*" not in name]

    def look_up(self, name: str, /) -> Model | None:
        """What is assumed of a model; ``None`` if it is not to be tried."""
        options = self._options.of(name)
        return None if options is None else options.model(name)

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Ask the server once.

        Raises:
            ModelNotFound, UnsupportedByModel, InvalidArgument, ContextTooLong, ProviderUnavailable,
            ProviderRateLimited, ProviderRejected, ProviderTimeout, ProviderStreamCut.
        """
        upstream, model = self._upstream, request.model
        options = self._of(model)
        if request.prompt is None:
            path, content = "/chat/completions", body.chat_body(request, self._options, options)
        else:
            path, content = "/completions", body.completion_body(request, self._options, options)
        reading = Reading(logprobs=request.config.logprobs, echo=_echo(request, options))
        response = await upstream.post(path, model, content)
        complete = False
        try:
            if response.content_type == "text/event-stream":
                stream, data = EventStream(), b"\n"
                while data and not (stream.done or stream.problem or reading.error is not None):
                    data = await upstream.some(response, model)
                    for event in reading.take(stream.feed(data or b"\n")):
                        yield event
                if stream.problem:
                    raise upstream.cut(f"has {stream.problem}", model)
            elif response.content_type == "application/json":
                # Some servers cannot stream, and say nothing of it.
                content = await self._whole(response, model)
                try:
                    answer = decode_chunk(content)
                except UNREADABLE as error:
                    raise upstream.cut("is not JSON of the known form", model) from error
                for event in reading.take([answer]):
                    yield event
            else:
                kind = upstream.quote(response.content_type)
                raise upstream.unavailable(f"answered with {kind}, not with events", model)
            if reading.error is not None:
                raise upstream.error_in_stream(reading.error, model)
            finish = reading.finish()
            if finish is None:
                why = f"ended with {upstream.quote(reading.reason)!r}" if reading.reason else "ended without saying why"
                raise upstream.cut(why, model)
            complete = True
            yield finish
        finally:
            upstream.leave(response, complete=complete)

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """Ask the server once.

        Raises:
            ModelNotFound, UnsupportedByModel, InvalidArgument, ContextTooLong, ProviderUnavailable,
            ProviderRateLimited, ProviderRejected, ProviderTimeout.
        """
        upstream, model = self._upstream, request.model
        self._of(model)
        response = await upstream.post("/embeddings", model, body.embedding_body(request, self._options))
        try:
            content = await self._whole(response, model)
        finally:
            upstream.leave(response, complete=False)
        try:
            made = _decode_vectors(content)
            vectors = tuple([_vector(item.embedding) for item in sorted(made.data, key=lambda item: item.index)])
        except (*UNREADABLE, ValueError) as error:
            raise upstream.unavailable("answered with what are no vectors", model) from error
        if len(vectors) != len(request.inputs) or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
            raise upstream.unavailable(f"answered {len(request.inputs)} texts with {len(vectors)} vectors", model)
        return Embeddings(vectors=vectors, usage=made.usage.value() if made.usage is not None else Usage())

    async def close(self) -> None:
        """Close all connections. Answers that are being made end with an error."""
        await self._upstream.close()

    def _of(self, name: str) -> ModelOptions:
        options = self._options.of(name)
        if options is None:
            known = ", ".join(self._options.models) or "none"
            text = f"the provider {self._options.name} is not configured for a model {name!r}: choose one of {known}"
            raise ModelNotFound(text, metadata={"model": name})
        return options

    async def _whole(self, response: aiohttp.ClientResponse, model: str) -> bytes:
        try:
            return await self._upstream.whole(response, MAX_BODY)
        except (aiohttp.ClientError, OSError) as error:
            raise self._upstream.unavailable("broke its connection off", model) from error


class _Item(msgspec.Struct, gc=False):
    embedding: str | list[float]
    index: int = 0


class _Vectors(msgspec.Struct):
    data: list[_Item]
    usage: Tokens | None = None


_decode_vectors: Final = msgspec.json.Decoder(_Vectors).decode


def _vector(given: str | list[float]) -> Sequence[float]:
    """The numbers, which come as they are or as base64 of little-endian 32-bit floats."""
    if not isinstance(given, str):
        return given
    vector = array("f", b64decode(given, validate=True))
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


def _echo(request: GenerateRequest, options: ModelOptions) -> str:
    """What the answer repeats."""
    last = request.messages[-1] if request.messages else None
    echoed = options.prefill is Prefill.PREFIX_ECHOED and last is not None and last.role is Role.ASSISTANT
    return last.text if echoed and last is not None else ""
