"""One model of one provider, with its limits and its price."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_server.interfaces import Provider, TokenCounter
from mcp_server.models.circuit import Circuit
from mcp_server.values import Model, Struct, Usage


class Limits(Struct):
    """How long one call to a provider may take, in seconds."""

    first_token: float = 120.0
    """Until it says anything."""
    silence: float = 60.0
    """Between two pieces."""
    attempt: float | None = None
    """In all; ``None``: as long as the turn."""


class Price(Struct):
    """What a million tokens cost."""

    input: float = 0.0
    """Of the prompt."""
    output: float = 0.0
    """Of the answer, reasoning included."""
    cached_input: float | None = None
    """Of the prompt, read from the provider's cache; ``None``: as ``input``."""
    cache_write: float | None = None
    """Of the prompt, written to the provider's cache; ``None``: as ``input``."""
    currency: str = "USD"
    """An ISO 4217 code."""

    def nanos(self, usage: Usage) -> int:
        """What a call costs, in billionths of the currency."""
        cached = self.input if self.cached_input is None else self.cached_input
        written = self.input if self.cache_write is None else self.cache_write
        plain = max(usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens, 0)
        sum_ = (
            plain * self.input
            + usage.cached_input_tokens * cached
            + usage.cache_write_tokens * written
            + usage.output_tokens * self.output
        )
        return round(sum_ * 1_000)


class Target(Struct):
    """One model of one provider."""

    provider_name: str
    """The provider's configured name."""
    provider: Provider
    """The provider."""
    circuit: Circuit
    """Whether the provider is asked at all."""
    model: Model
    """The model, under the provider's own name."""
    name: str
    """``provider/model``."""
    token_counter: TokenCounter | None = None
    """The provider, if it can count tokens."""
    limits: Limits = Limits()
    """How long a call may take."""
    price: Price | None = None
    """What its tokens cost, if that is known."""

    def lacks(self, needs: Sequence[str]) -> str:
        """The first of the capabilities that it does not have, or nothing."""
        return next((need for need in needs if not getattr(self.model.capabilities, need)), "")
