"""A target: one model of one provider, with its limits, its price and its circuit breaker."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_server.interfaces import Provider, TokenCounter
from mcp_server.models.circuit import Circuit
from mcp_server.settings.tables import PriceSettings
from mcp_server.values import Model, Struct


class Limits(Struct):
    """How long one call to a provider may take, in seconds."""

    first_token: float = 120.0
    """Until the first piece of the answer."""
    silence: float = 60.0
    """Between two pieces."""
    attempt: float | None = None
    """In all; ``None``: as long as the turn."""


class Target(Struct):
    """One model of one provider."""

    provider_name: str
    """The provider's configured name."""
    provider: Provider
    """The provider."""
    circuit: Circuit
    """The provider's circuit breaker."""
    model: Model
    """The model, under the provider's own name."""
    name: str
    """``provider/model``."""
    token_counter: TokenCounter | None = None
    """The provider, if it can count tokens."""
    limits: Limits = Limits()
    """How long a call may take."""
    price: PriceSettings | None = None
    """What its tokens cost; ``None``: unknown."""

    def lacks(self, needs: Sequence[str]) -> str:
        """The first of the capabilities ``needs`` that the model does not have, or an empty string."""
        capabilities = self.model.capabilities
        return next((need for need in needs if not getattr(capabilities, need)), "")
