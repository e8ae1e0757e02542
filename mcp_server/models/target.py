"""A target: one model of one provider, with its limits, its price and its circuit breakers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mcp_server.interfaces import Loader, Provider, TokenCounter
from mcp_server.models.circuit import Circuits
from mcp_server.settings.tables import PriceSettings
from mcp_server.values import Model, ModelState, Struct


class Limits(Struct):
    """How long one call to a provider may take, in seconds."""

    first_token: float = 120.0
    """Until the first piece of the answer."""
    fallback: float = 20.0
    """As ``first_token``, while another model can be asked that has not been silent itself."""
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
    circuits: Circuits
    """The model's circuit breakers."""
    model: Model
    """The model, under the provider's own name."""
    name: str
    """``provider/model``."""
    token_counter: TokenCounter | None = None
    """The provider, if it can count tokens."""
    loader: Loader | None = None
    """The provider, if it loads its models when they are first needed."""
    limits: Limits = Limits()
    """How long a call may take."""
    price: PriceSettings | None = None
    """What its tokens cost; ``None``: unknown."""

    @property
    def present_model(self) -> Model:
        """The model with its state now: a model that no call reaches is UNAVAILABLE."""
        problem = self.circuits.problem
        if not problem or self.model.state is ModelState.UNAVAILABLE:
            return self.model
        state = self.model.state if self.circuits.closed else ModelState.UNAVAILABLE
        return msgspec.structs.replace(self.model, state=state, state_reason=problem)

    def lacks(self, needs: Sequence[str]) -> str:
        """The first of the capabilities ``needs`` that the model does not have, or an empty string."""
        capabilities = self.model.capabilities
        return next((need for need in needs if not getattr(capabilities, need)), "")
