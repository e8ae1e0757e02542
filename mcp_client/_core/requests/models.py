"""Requests of the embedding and model services, and of health checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

from grpc_health.v1 import health_pb2

from contextprotocol.v1 import embedding_pb2, model_pb2
from mcp_client._core.arguments import argument, struct
from mcp_client._core.requests.generation import encoded_tools
from mcp_client._core.requests.messages import Input, messages
from mcp_client._core.requests.names import session_name
from mcp_client.tools.tool import Tool
from mcp_client.values import Session

MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""The maximum size of the texts of one embedding request."""


def health_check(service: str) -> health_pb2.HealthCheckRequest:
    """Check the health of a service."""
    with argument("service"):
        return health_pb2.HealthCheckRequest(service=service)


def get_model(model: str) -> model_pb2.GetModelRequest:
    """Get a model."""
    with argument("model"):
        return model_pb2.GetModelRequest(name=f"models/{model.removeprefix('models/')}")


def count_tokens(
    new: Input, *, session: str | Session | None, model: str, tools: Sequence[Tool]
) -> model_pb2.CountTokensRequest:
    """Count the tokens of a prompt."""
    request = model_pb2.CountTokensRequest(messages=messages(new), tools=encoded_tools(tools))
    if session is not None:
        request.session = session_name(session)
    with argument("model"):
        request.model = model
    return request


def embed(
    inputs: str | Sequence[str],
    *,
    model: str,
    session: str | Session | None,
    dimensions: int | None,
    provider_options: Mapping[str, Any],
    labels: Mapping[str, str],
) -> embedding_pb2.EmbedRequest:
    """Embed texts."""
    request = embedding_pb2.EmbedRequest()
    with argument("inputs"):
        if isinstance(inputs, bytes | Mapping | Set):
            raise TypeError(f"expected a text or a sequence of texts, not {type(inputs).__name__}")
        request.inputs.extend([inputs] if isinstance(inputs, str) else inputs)
    with argument("model"):
        request.model = model
    if session is not None:
        request.session = session_name(session)
    if dimensions is not None:
        with argument("dimensions"):
            request.dimensions = dimensions
    if provider_options:
        request.provider_options.CopyFrom(struct("provider_options", provider_options))
    with argument("labels"):
        request.labels.update(labels)
    return request


def batch(request: embedding_pb2.EmbedRequest, first: int, size: int) -> embedding_pb2.EmbedRequest:
    """A request for at most ``size`` of the texts, from index ``first``, within the size limit of a server."""
    result = embedding_pb2.EmbedRequest(model=request.model, session=request.session, labels=request.labels)
    if request.HasField("dimensions"):
        result.dimensions = request.dimensions
    if request.HasField("provider_options"):
        result.provider_options.CopyFrom(request.provider_options)
    room = MAX_BATCH_BYTES
    for text in request.inputs[first : first + max(size, 1)]:
        room -= len(text.encode())
        if room < 0 and result.inputs:
            break
        result.inputs.append(text)
    return result
