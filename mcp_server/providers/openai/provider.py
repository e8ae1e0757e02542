"""The provider ``openai``: any server that speaks OpenAI's HTTP protocol."""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from mcp_server.errors import ModelNotFound
from mcp_server.interfaces import EmbedRequest, GenerateRequest, ProviderEvent
from mcp_server.providers.http.events import UNREADABLE, EventStream
from mcp_server.providers.http.upstream import Upstream, bearer
from mcp_server.providers.openai import body
from mcp_server.providers.openai.chunks import CHUNKS, END, Tokens
from mcp_server.providers.openai.failures import FAILURES
from mcp_server.providers.openai.reading import Reading
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
from mcp_server.values import Capabilities, Embeddings, Model, Role, Usage

MAX_BODY: Final = 64 * 1024 * 1024
"""How much is read of an answer in one piece, in bytes: the vectors of the largest batch fit."""
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
        reading = Reading(logprobs=request.config.logprobs, echo=_echo(request, known))
        response = await upstream.post(self._url(path, model), model, content)
        complete = False
        try:
            if response.content_type == "text/event-stream":
                stream, data = EventStream(CHUNKS, end=END), b"\n"
                while data and not (stream.done or stream.problem or reading.error is not None):
                    data = await upstream.some(response, model)
                    for event in reading.take(stream.feed(data or b"\n")):
                        yield event
                if stream.problem:
                    raise upstream.cut(f"has {stream.problem}", model)
            elif response.content_type == "application/json":
                # Some servers do not stream, and do not say so.
                content = await self._whole(response, model)
                try:
                    answer = CHUNKS.decode(content)
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
        finally:
            upstream.leave(response, complete=False)
        try:
            made = _decode_vectors(content)
            vectors = tuple([_vector(item.embedding) for item in sorted(made.data, key=lambda item: item.index)])
        except (*UNREADABLE, ValueError) as error:
            raise upstream.unavailable("answered with invalid vectors", model) from error
        if len(vectors) != len(request.inputs) or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
            raise upstream.unavailable(f"answered {len(request.inputs)} texts with {len(vectors)} vectors", model)
        return Embeddings(vectors=vectors, usage=made.usage.value() if made.usage is not None else Usage())

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
    index: int = 0


class _Vectors(msgspec.Struct):
    data: list[_Item]
    usage: Tokens | None = None


_decode_vectors: Final = msgspec.json.Decoder(_Vectors).decode


def _vector(encoded: str | list[float]) -> Sequence[float]:
    """The numbers, which are sent as they are or as base64 of little-endian 32-bit floats."""
    if not isinstance(encoded, str):
        return encoded
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
    last = request.messages[-1] if request.messages else None
    echoed = known.prefill == "prefix_echoed" and last is not None and last.role is Role.ASSISTANT
    return last.text if echoed and last is not None else ""
