"""Decodes models, embeddings, and the health of services."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Final, TypeAlias

from grpc_health.v1 import health_pb2

from contextprotocol.v1 import embedding_pb2, model_pb2
from mcp_client._core.responses.messages import usage
from mcp_client._core.responses.turns import attempt
from mcp_client.values import Embeddings, HealthStatus, Model, ModelState, TokenCount, Usage

AsyncStatuses: TypeAlias = AsyncGenerator[HealthStatus, None]
SyncStatuses: TypeAlias = Generator[HealthStatus, None, None]
"""The health of a service, each time that it changes."""

_MODEL_STATES: Final = {
    model_pb2.Model.STATE_READY: ModelState.READY,
    model_pb2.Model.STATE_LOADING: ModelState.LOADING,
    model_pb2.Model.STATE_UNAVAILABLE: ModelState.UNAVAILABLE,
}
_CAPABILITIES: Final = tuple(field.name for field in model_pb2.ModelCapabilities.DESCRIPTOR.fields)
_HEALTH: Final = {
    health_pb2.HealthCheckResponse.SERVING: HealthStatus.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: HealthStatus.NOT_SERVING,
}


def model(value: model_pb2.Model) -> Model:
    """A model."""
    return Model(
        name=value.name.removeprefix("models/"),
        provider=value.provider,
        aliases=tuple(value.aliases),
        capabilities=frozenset(name for name in _CAPABILITIES if getattr(value.capabilities, name)),
        context_window=value.context_window,
        max_batch=value.max_batch,
        embedding_dimensions=value.embedding_dimensions,
        state=_MODEL_STATES.get(value.state, ModelState.UNKNOWN),
        state_reason=value.state_reason,
        is_default=value.is_default,
    )


def embeddings(values: Sequence[embedding_pb2.EmbedResponse]) -> Embeddings:
    """The vectors of all batches, in order."""
    vectors = tuple([array("f", embedding.values) for value in values for embedding in value.embeddings])
    return Embeddings(
        vectors=vectors,
        model=values[0].model,
        usage=sum([usage(value.usage) for value in values], Usage()),
        attempts=tuple([attempt(item) for value in values for item in value.attempts]),
    )


def token_count(value: model_pb2.CountTokensResponse) -> TokenCount:
    """The length of a prompt."""
    return TokenCount(input_tokens=value.input_tokens, exact=value.exact, model=value.model)


def health(response: health_pb2.HealthCheckResponse) -> HealthStatus:
    """Whether a service accepts calls."""
    return _HEALTH.get(response.status, HealthStatus.UNKNOWN)
