"""Models and what they can do."""

from __future__ import annotations

import enum

from mcp_server.values.base import Struct


class ModelState(enum.StrEnum):
    """Whether a model can answer now."""

    READY = "ready"
    """It answers; a lazily loaded model that has not been used yet is READY too if nothing known prevents it."""
    LOADING = "loading"
    """It is being loaded; calls wait for it."""
    UNAVAILABLE = "unavailable"
    """It cannot answer; ``state_reason`` says why."""


class Capabilities(Struct):
    """What a model can do."""

    chat: bool = False
    completion: bool = False
    embedding: bool = False
    tools: bool = False
    images: bool = False
    json_schema: bool = False
    prefill: bool = False
    """It can go on from the beginning of an answer."""


class Model(Struct):
    """One model of one provider."""

    name: str
    """The provider's own name for it; with the provider's name before it, ``provider/model``, it is unique."""
    capabilities: Capabilities = Capabilities()
    """What it can do."""
    context_window: int = 0
    """The most tokens that prompt and answer may have together; 0: unknown."""
    max_batch: int = 0
    """The most inputs of one embedding request; 0: unknown."""
    embedding_dimensions: int = 0
    """The length of its vectors; 0: unknown, or it makes none."""
    state: ModelState = ModelState.READY
    """Whether it can answer now."""
    state_reason: str = ""
    """Why it cannot, for an operator to read; empty if it can."""
