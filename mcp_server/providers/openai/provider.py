"""The provider ``openai``: any server that speaks OpenAI's HTTP protocol."""

from __future__ import annotations

import asyncio
import math
import sys
from array import array
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from mcp_server.errors import ModelNotFound
from mcp_server.interfaces import EmbedRequest, GenerateRequest, ProviderEvent
from mcp_server.providers.http.events import BYTE_ORDER_MARK, MAX_LINE, UNREADABLE, EventStream, JSONStream
from mcp_server.providers.http.upstream import Upstream, bearer
from mcp_server.providers.openai import body, tolerant
from mcp_server.providers.openai.chunks import CHUNKS, END, Chunk, Tokens
from mcp_server.providers.openai.failures import FAILURES
from mcp_server.providers.openai.reading import Reading
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
from mcp_server.values import Capabilities, Embeddings, Model, Role, Usage

MAX_BODY: Final = 64 * 1024 * 1024
"""How much is read of an answer in one piece, in bytes: the vectors of the largest batch fit."""
GRACE: Final = 1.0
"""How long usage and the end mark are waited for after the finish reason, in seconds."""
END_GRACE: Final = 0.25
"""The same once usage has come."""
_BEFORE: Final = b" \t\r\n" + BYTE_ORDER_MARK
"""What may come before an answer and is no part of it."""
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
"""How server-sent events begin."""
CAPABILITIES: Final = ("chat", "completion", "embedding", "tools", "images", "json_schema")
"""What a model is assumed to be capable of: the server refuses what it is not."""


class OpenAIProvider:
    """Answers with the models of one server that speaks OpenAI's protocol.

    Args:
        settings: its settings table.
        name: its name, for messages.

    Raises:
        ConfigError: the certificates of the settings cannot be used.
    """

    def __init__(self, settings: OpenAISettings, *, name: str = "openai") -> None:
        self._settings = settings
        self._urls: dict[str, URL] = {}
        accounts = {"OpenAI-Organization": settings.organization, "OpenAI-Project": settings.project}
        self._upstream = Upstream(
            name,
            settings,
            failures=FAILURES,
            headers={header: value for header, value in accounts.items() if value},
            authorization=_azure if settings.api_version else bearer,
        )

    async def models(self) -> Sequence[Model]:
        """The models that the settings list by their full names. Sends no request."""
        return [_model(name, self._settings.models[name]) for name in self._settings.model_names()]

    def look_up(self, name: str, /) -> Model | None:
        """The assumed properties of a model; ``None`` if the settings do not allow it."""
        known = self._settings.model(name)
        return None if known is None else _model(name, known)

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Send one request to the server.

        Raises:
            ModelNotFound, UnsupportedByModel, InvalidArgument, ContextTooLong, ProviderUnavailable,
            ProviderRateLimited, ProviderRejected, ProviderTimeout, ProviderStreamCut.
        """
        upstream, model = self._upstream, request.model
        known = self._known(model)
        if request.prompt is None:
            path, content = "/chat/completions", body.chat_body(request, self._settings, known)
        else:
            path, content = "/completions", body.completion_body(request, self._settings, known)
        tools = [tool.name for tool in request.tools]
        reading = Reading(logprobs=request.config.logprobs, tools=tools, echo=_echo(request, known))
        del request  # it may be large, and the answer may take long
        response = await upstream.post(self._url(path, model), model, content)
        del content
        complete = False
        try:
            stream, data = await self._begin(response, model)
            until: float | None = None
            while True:
                more = bool(data)
                for event in reading.take(stream.feed(data) if more else stream.end()):
                    until = None  # the answer goes on
                    yield event
                if stream.done or stream.problem or reading.error is not None or not more:
                    break
                if not reading.known:
                    data = await upstream.some(response, model)
                    continue
                # The answer is whole. What may come is usage and the end mark.
                now = asyncio.get_running_loop().time()
                until = until or now + GRACE
                left = (min(until, now + END_GRACE) if reading.reported else until) - now
                last = await upstream.some_within(left, response, model)
                if last is None:
                    break
                data = last
            if reading.error is not None:
                raise upstream.error_in_answer(reading.error, model, response, begun=reading.begun)
            if stream.problem and not reading.known:
                raise upstream.cut(f"has {stream.problem}", model)
            for event in reading.end():
                yield event
            finish = reading.finish()
            if finish is None:
                why = f"ended with {upstream.quote(reading.reason)!r}" if reading.reason else "ended without saying why"
                raise upstream.cut(why, model)
            complete = stream.done or not data
            yield finish
        finally:
            upstream.leave(response, complete=complete)

    async def _begin(
        self, response: aiohttp.ClientResponse, model: str
    ) -> tuple[EventStream[Chunk] | JSONStream[Chunk], bytes]:
        """What reads the body, chosen by how it begins, and the bytes that have come; empty at its end.

        Raises:
            ProviderUnavailable: it is no answer.
            ProviderStreamCut: the connection was lost.
        """
        begun = start = b""
        while not start or any(field.startswith(start) for field in _FIELDS):  # it may be cut anywhere
            data = await self._upstream.some(response, model)
            begun += data
            start = begun.lstrip(_BEFORE)
            if not data or len(begun) > MAX_LINE:
                break
        kind = response.content_type
        if start.startswith((b"{", b"[")):
            return JSONStream(CHUNKS, odd=tolerant.chunks), begun
        if kind != "text/event-stream" and not start.startswith(_FIELDS):
            if kind == "application/json":
                raise self._upstream.cut("is not JSON of the known form", model)
            raise self._upstream.unavailable(f"answered with {self._upstream.quote(kind)}, not with events", model)
        return EventStream(CHUNKS, end=END, odd=tolerant.chunks), begun

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """Send one request to the server.

        Raises:
            ModelNotFound, UnsupportedByModel, InvalidArgument, ContextTooLong, ProviderUnavailable,
            ProviderRateLimited, ProviderRejected, ProviderTimeout.
        """
        upstream, model = self._upstream, request.model
        self._known(model)
        url = self._url("/embeddings", model)
        response = await upstream.post(url, model, body.embedding_body(request, self._settings))
        try:
            content = await self._whole(response, model)
            try:
                found, tokens, error = _vectors(content)
            except UNREADABLE as raised:
                raise upstream.unavailable("answered with invalid vectors", model) from raised
            if error is not None:
                raise upstream.error_in_answer(error, model, response, begun=False)
        finally:
            upstream.leave(response, complete=False)
        try:
            placed = [position if index is None else index for position, (index, _) in enumerate(found)]
            order = sorted(range(len(found)), key=placed.__getitem__)
            vectors = tuple([_vector(found[position][1]) for position in order])
        except (*UNREADABLE, TypeError) as raised:
            raise upstream.unavailable("answered with invalid vectors", model) from raised
        if len(vectors) != len(request.inputs) or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
            raise upstream.unavailable(f"answered {len(request.inputs)} texts with {len(vectors)} vectors", model)
        usage = tokens.value(output=0) if tokens is not None else None
        return Embeddings(vectors=vectors, usage=usage or Usage())

    async def close(self) -> None:
        """Close all connections. Running answers end with an error."""
        await self._upstream.close()

    def _known(self, name: str) -> OpenAIModel:
        known = self._settings.model(name)
        if known is None:
            choices = ", ".join(self._settings.models) or "none"
            text = f"the provider {self._upstream.name} has no model {name!r}: choose one of {choices}"
            raise ModelNotFound(text, metadata={"model": name})
        return known

    def _url(self, path: str, model: str) -> URL:
        if self._settings.api_version:
            return URL(self._settings.url(path, model), encoded=True)
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self._settings.url(path, model), encoded=True)
        return url

    async def _whole(self, response: aiohttp.ClientResponse, model: str) -> bytes:
        try:
            return await self._upstream.whole(response, MAX_BODY)
        except (aiohttp.ClientError, OSError) as error:
            raise self._upstream.unavailable("broke its connection off", model) from error


class _Item(msgspec.Struct, gc=False):
    embedding: str | list[float]
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Item]
    usage: Tokens | None = None


_decode_vectors: Final = msgspec.json.Decoder(_Answer).decode


def _vectors(content: bytes) -> tuple[list[tuple[int | None, Any]], Tokens | None, Any]:
    """The vectors of an answer with their indices, its usage, and an error object or ``None``."""
    try:
        made = _decode_vectors(content)
    except UNREADABLE:
        return tolerant.vectors(content)
    return [(item.index, item.embedding) for item in made.data], made.usage, None


def _vector(encoded: Any) -> Sequence[float]:
    """The numbers, which are sent as they are or as base64 of little-endian 32-bit floats.

    Raises:
        ValueError, TypeError: they are no numbers.
    """
    if isinstance(encoded, list):
        if not all(math.isfinite(number) for number in encoded):
            raise ValueError("a vector with a number that is none")
        return encoded
    if not isinstance(encoded, str):
        raise TypeError("no vector")
    vector = array("f", b64decode(encoded, validate=True))
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


def _azure(key: str) -> Mapping[str, str]:
    return {"api-key": key}


def _model(name: str, settings: OpenAIModel) -> Model:
    """A model with the properties that are configured for it."""
    capabilities = CAPABILITIES if settings.capabilities is None else settings.capabilities
    return Model(
        name=name,
        capabilities=Capabilities(**dict.fromkeys(capabilities, True), prefill=settings.prefill != "none"),
        context_window=settings.context_window or 0,
        max_batch=settings.max_batch or 0,
        embedding_dimensions=settings.embedding_dimensions or 0,
    )


def _echo(request: GenerateRequest, known: OpenAIModel) -> str:
    """The text that the answer repeats before it continues."""
    if known.prefill != "prefix_echoed" or not request.messages or request.messages[-1].role is not Role.ASSISTANT:
        return ""
    return request.messages[-1].text
