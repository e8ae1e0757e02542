"""Models and their capabilities."""

from __future__ import annotations

import enum

from mcp_server.values.base import Struct


class ModelState(enum.StrEnum):
    """Whether a model can be used now."""

    READY = "ready"
    """It can be used; a model that is loaded on first use is READY before that, unless it is known to be unusable."""
    LOADING = "loading"
    """It is being loaded; calls wait for it."""
    UNAVAILABLE = "unavailable"
    """It cannot be used; ``state_reason`` says why."""


class Capabilities(Struct):
    """The capabilities of a model."""

    chat: bool = False
    completion: bool = False
    embedding: bool = False
    tools: bool = False
    images: bool = False
    json_schema: bool = False
    prefill: bool = False
    """It can continue a given beginning of an answer."""


class Model(Struct):
    """One model of one provider."""

    name: str
    """The provider's own name for it; ``provider/model`` is unique."""
    capabilities: Capabilities = Capabilities()
    """Its capabilities."""
    context_window: int = 0
    """The maximum number of tokens of prompt and answer together; 0: unknown."""
    max_batch: int = 0
    """The maximum number of inputs of one embedding request; 0: unknown."""
    batch_tokens: int = 0
    """About how many tokens one call for embeddings should have at most: the server splits larger requests; 0: as many
    as the largest providers take."""
    embedding_dimensions: int = 0
    """The dimensions of its vectors; 0: unknown, or no embeddings."""
    state: ModelState = ModelState.READY
    """Whether it can be used now."""
    state_reason: str = ""
    """Why it cannot be used, for operators; empty if it can."""
