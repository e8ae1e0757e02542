"""Models."""

from __future__ import annotations

from typing import Final

from contextprotocol.v1 import model_pb2
from mcp_server.gateway import ModelEntry
from mcp_server.values import ModelState

_MODEL_STATES: Final = {
    ModelState.READY: model_pb2.Model.STATE_READY,
    ModelState.LOADING: model_pb2.Model.STATE_LOADING,
    ModelState.UNAVAILABLE: model_pb2.Model.STATE_UNAVAILABLE,
}
_MAX_INT32: Final = 2**31 - 1


def model(entry: ModelEntry) -> model_pb2.Model:
    """A model."""
    value = entry.model
    can = value.capabilities
    return model_pb2.Model(
        name=f"models/{entry.name}",
        provider=entry.provider,
        aliases=entry.aliases,
        capabilities=model_pb2.ModelCapabilities(
            chat=can.chat,
            completion=can.completion,
            embedding=can.embedding,
            tools=can.tools,
            images=can.images,
            json_schema=can.json_schema,
            prefill=can.prefill,
        ),
        context_window=min(value.context_window, _MAX_INT32),
        max_batch=entry.max_batch,
        embedding_dimensions=value.embedding_dimensions,
        state=_MODEL_STATES[value.state],
        state_reason=value.state_reason,
        is_default=entry.is_default,
    )
