"""Models, embeddings, and the health of services."""

from __future__ import annotations

import enum
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from mcp_client.values.message import Usage
from mcp_client.values.turn import Attempt


class HealthStatus(enum.StrEnum):
    """Whether a service accepts calls."""

    SERVING = "serving"
    NOT_SERVING = "not_serving"
    UNKNOWN = "unknown"


class ModelState(enum.StrEnum):
    """Whether a model can answer now."""

    READY = "ready"
    LOADING = "loading"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that the server offers."""

    name: str
    """``provider/model``, as the ``model`` argument takes it."""
    provider: str
    aliases: Sequence[str]
    capabilities: frozenset[str]
    """Some of ``chat``, ``completion``, ``embedding``, ``tools``, ``images``, ``json_schema``, ``prefill``."""
    context_window: int
    """In tokens; 0: unknown."""
    max_batch: int
    """The maximum number of texts in one embedding call; 0: the model creates no embeddings."""
    embedding_dimensions: int
    state: ModelState
    state_reason: str
    """Why the model is not ready, or empty."""
    is_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """The length of a prompt."""

    input_tokens: int
    exact: bool
    """Whether the provider counted the tokens; otherwise the server estimated them."""
    model: str
    """The ``provider/model`` for which they were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Vectors, in the order of their texts."""

    vectors: Sequence[array[float]]
    """Arrays of the type ``"f"``, which NumPy and the like read without copying: ``numpy.asarray(vectors[0])``."""
    model: str
    """The ``provider/model`` that created all of them."""
    usage: Usage
    attempts: Sequence[Attempt] = ()
    """All calls of the server to a provider, in order, with their costs."""

    def __repr__(self) -> str:
        length = len(self.vectors[0]) if self.vectors else 0
        return (
            f"{type(self).__qualname__}(vectors=<{len(self.vectors):,} of {length:,} numbers>, model={self.model!r}, "
            f"input_tokens={self.usage.input_tokens})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingProgress:
    """How far a call that embeds many texts has come."""

    done: int
    """How many texts have been embedded."""
    total: int
    batch: Embeddings
    """The last of them, in their order."""
