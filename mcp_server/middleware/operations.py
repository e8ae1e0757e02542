"""How OpenTelemetry's semantic conventions for generative AI name the kinds of work."""

from __future__ import annotations

from typing import Final

OPERATIONS: Final = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
"""The ``gen_ai.operation.name`` of each kind of work."""
