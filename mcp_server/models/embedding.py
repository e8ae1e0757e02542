"""Embeddings: texts into vectors. No turn: nothing is kept but the rows that its caller gets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from mcp_server import rules
from mcp_server.errors import InvalidArgument, ProviderUnavailable, UnsupportedByModel, Violation
from mcp_server.interfaces import Embedder, EmbedRequest
from mcp_server.models.catalogue import Candidates
from mcp_server.models.failover import Failover
from mcp_server.models.provider_call import ProviderCall
from mcp_server.models.target import Target
from mcp_server.models.usage import Ledger, checked_usage
from mcp_server.rules.limits import MAX_EMBEDDING_INPUTS, MAX_RESPONSE_BYTES
from mcp_server.token_estimates import BYTES_PER_TOKEN
from mcp_server.values import Attempt, Embeddings, Struct, TurnState, Usage, total_usage

replace = msgspec.structs.replace

ASSUMED_DIMENSIONS: Final = 4096
"""The dimensions of vectors whose number is not known: few models have more. What does not fit a response must be
refused before it is paid for."""
MAX_BATCH_TOKENS: Final = 200_000
"""About how many tokens one call to a provider has that declares no number: OpenAI takes 300,000."""


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
    labels: Mapping[str, str] = {}
    """For whom or what the call is made."""
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
            call_labels=self.labels,
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


def max_batch(target: Target, dimensions: int | None = None) -> int:
    """The most inputs of one embedding request whose answer still fits a response; 0 for a model that makes none.

    Args:
        target: the model.
        dimensions: those of the vectors that are wanted; by default the model's own.
    """
    if not target.model.capabilities.embedding:
        return 0
    length = dimensions or target.model.embedding_dimensions or ASSUMED_DIMENSIONS
    fits = MAX_RESPONSE_BYTES // (4 * length + 16)
    return min(target.model.max_batch or MAX_EMBEDDING_INPUTS, fits, MAX_EMBEDDING_INPUTS)


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
    limit = min(max_batch(target, request.dimensions) for target in candidates.targets)
    if len(request.inputs) > limit:
        name = candidates.targets[0].name
        problem = f"{name} takes at most {limit} texts at once, not {len(request.inputs)}: send several batches"
        raise InvalidArgument([Violation(field="inputs", description=problem)])
    failover = Failover(candidates, "embedding", ledger, until=until, content=lambda: request.inputs)
    outcome = TurnState.CANCELLED
    try:
        embedded = await failover.run(partial(_ask, request, {}))
        outcome = TurnState.SUCCEEDED
    finally:
        ledger.update(outcome)
    target, vectors = embedded
    return Embedded(
        embeddings=Embeddings(vectors=tuple(vectors), usage=ledger.total()), model=target.name, attempts=ledger.rows
    )


Vectors = list[Sequence[float]]


async def _ask(request: EmbedInput, made: dict[str, Vectors], call: ProviderCall) -> tuple[Target, Vectors]:
    """One call to a model: one or more batches, each of which is a sign of life.

    Args:
        request: the texts.
        made: the vectors that each model has made in earlier calls, by ``provider/model``. They are not made again.
        call: the call.
    """
    target = call.target
    provider = target.provider
    if not isinstance(provider, Embedder):
        raise UnsupportedByModel(
            f"the provider {target.provider_name} does not support embeddings", metadata={"model": target.name}
        )
    vectors = made.setdefault(target.name, [])
    rest = EmbedRequest(
        model=target.model.name,
        inputs=request.inputs[len(vectors) :],
        dimensions=request.dimensions,
        provider_options=request.provider_options,
    )
    if target.loader is not None:
        await call.load(target.loader, rest)
    call.begin(0)
    usages: list[Usage] = []
    for batch in _batches(rest.inputs, target.model.batch_tokens or MAX_BATCH_TOKENS):
        embeddings = await provider.embed(replace(rest, inputs=batch))
        lengths = {len(vector) for vector in (*embeddings.vectors, *vectors[:1])}
        if not all(math.isfinite(sum(vector)) for vector in embeddings.vectors):
            raise ProviderUnavailable(
                f"{target.name} returned a vector with a number that is none", metadata={"model": target.name}
            )
        if len(embeddings.vectors) != len(batch) or len(lengths) != 1:
            what = f"{len(embeddings.vectors)} vectors of {len(lengths)} lengths for {len(batch)} texts"
            raise ProviderUnavailable(f"{target.name} returned {what}", metadata={"model": target.name})
        call.piece()
        vectors += embeddings.vectors
        usages.append(checked_usage(embeddings.usage))
        call.meter.usage = total_usage(usages)
    return target, vectors


def _batches(texts: Sequence[str], limit: int) -> Iterator[tuple[str, ...]]:
    """The texts in batches of about ``limit`` tokens at most, or of one text."""
    batch: list[str] = []
    tokens = 0
    for text in texts:
        size = len(text.encode()) // BYTES_PER_TOKEN + 1
        if batch and tokens + size > limit:
            yield tuple(batch)
            batch, tokens = [], 0
        batch.append(text)
        tokens += size
    yield tuple(batch)
