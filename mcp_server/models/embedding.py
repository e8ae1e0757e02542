"""Embeddings: texts into vectors. No turn: nothing is kept but the rows that its caller gets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from mcp_server import rules
from mcp_server.errors import InvalidArgument, ProviderUnavailable, UnsupportedByModel, Violation
from mcp_server.interfaces import Embedder, EmbedRequest
from mcp_server.models.call import Call
from mcp_server.models.catalogue import Candidates
from mcp_server.models.failover import Failover
from mcp_server.models.target import Target
from mcp_server.models.usage import Ledger
from mcp_server.rules.limits import MAX_RESPONSE_BYTES
from mcp_server.values import Attempt, Embeddings, Struct, TurnState

MAX_BATCH: Final = 2048
"""The most inputs of one request, whatever the model takes."""


class EmbedInput(Struct):
    """One batch of texts."""

    inputs: tuple[str, ...]
    """The texts; at least one."""
    model: str = ""
    """An alias or ``provider/model``; empty: the session's, then the server's default."""
    session: str = ""
    """The id of the session that supplies the default model, or empty."""
    dimensions: int | None = None
    """The wanted length of the vectors, for models that can shorten them."""
    provider_options: Mapping[str, Any] = {}
    """Passed to the provider as it is."""

    def violations(self) -> rules.Violations:
        """What is wrong with the request. How many inputs are allowed depends on the model."""
        found = rules.Violations()
        rules.embedding(
            found,
            inputs=self.inputs,
            model=self.model,
            dimensions=self.dimensions,
            options=self.provider_options,
        )
        return found


class Embedded(Struct):
    """The vectors and what they took."""

    embeddings: Embeddings
    """One vector an input, in order."""
    model: str
    """``provider/model``."""
    attempts: tuple[Attempt, ...]
    """Every call to a provider."""


def max_batch(target: Target) -> int:
    """The most inputs of one embedding request whose answer still fits a response; 0 for a model that makes none."""
    if not target.model.capabilities.embedding:
        return 0
    dimensions = target.model.embedding_dimensions
    fits = MAX_RESPONSE_BYTES // (4 * dimensions + 16) if dimensions else MAX_BATCH
    return min(target.model.max_batch or MAX_BATCH, fits, MAX_BATCH)


async def embed(request: EmbedInput, candidates: Candidates, ledger: Ledger, *, until: float) -> Embedded:
    """Turn texts into vectors.

    Args:
        request: the texts.
        candidates: the models to ask.
        ledger: gets a row for each call, also when this fails or is cancelled.
        until: when to give up, by the event loop's clock.

    Raises:
        InvalidArgument: more texts than the models take at once.
        UnsupportedByModel, ContextTooLong, ProviderError: as the last provider failed.
    """
    limit = min(max_batch(target) for target in candidates.targets)
    if len(request.inputs) > limit:
        name = candidates.targets[0].name
        problem = f"{name} takes at most {limit} texts at once, not {len(request.inputs)}: send several batches"
        raise InvalidArgument([Violation(field="inputs", description=problem)])
    outcome = TurnState.CANCELLED
    try:
        target, embeddings = await Failover(candidates, ledger, until=until).run(partial(_ask, request))
        outcome = TurnState.SUCCEEDED
    finally:
        ledger.update(outcome)
    return Embedded(embeddings=embeddings, model=target.name, attempts=ledger.rows)


async def _ask(request: EmbedInput, call: Call) -> tuple[Target, Embeddings]:
    """One call to a provider."""
    target = call.target
    call.begin(0)
    if not isinstance(target.provider, Embedder):
        raise UnsupportedByModel(
            f"the provider {target.provider_name} does not support embeddings", metadata={"model": target.name}
        )
    embeddings = await target.provider.embed(
        EmbedRequest(
            model=target.model.name,
            inputs=request.inputs,
            dimensions=request.dimensions,
            provider_options=request.provider_options,
        )
    )
    if len(embeddings.vectors) != len(request.inputs):
        raise ProviderUnavailable(
            f"{target.name} returned {len(embeddings.vectors)} vectors for {len(request.inputs)} texts",
            metadata={"model": target.name},
        )
    call.meter.usage = embeddings.usage
    return target, embeddings
