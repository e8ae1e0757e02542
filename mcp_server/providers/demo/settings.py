"""The settings of the provider ``demo``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from mcp_server.entry_points import load_object
from mcp_server.plugin_settings import ProviderSettings
from mcp_server.providers.demo.failures import BadFailure, failure_of

if TYPE_CHECKING:
    from mcp_server.interfaces import Provider

ModelNames = Annotated[
    tuple[Literal["demo", "demo-thinking", "demo-small"], ...],
    Meta(min_length=1, extra={"allowed": "an array of demo, demo-thinking and demo-small, at least one"}),
]


class DemoSettings(ProviderSettings):
    """No model: answers by rules, calls tools, thinks, makes JSON and fails on command, to try the server without a key
    or a download."""

    models: ModelNames = ("demo", "demo-thinking", "demo-small")
    """The models. ``demo-thinking`` shows its reasoning; ``demo-small`` reads 1024 tokens, and neither calls tools nor
    reads images nor follows JSON Schemas. The first is the default model if ``models.default`` is not set."""
    tokens_per_second: Annotated[float, Meta(ge=0, le=100_000)] = 40.0
    """How fast answers are written; 0: as fast as they are read. The ``provider_options`` of that name of a call
    takes precedence."""
    context_window: Annotated[int, Meta(ge=128, le=200_000)] = 8192
    """The most tokens of prompt and answer together, and of a text to embed. ``demo-small`` has 1024 at most."""
    seed: int = 0
    """Chooses among the openings of answers, together with the conversation and the ``seed`` of the call."""
    fail: str = ""
    """How every call fails, in the words of the command ``/fail``, for example ``unavailable``, ``rate_limit 5`` or
    ``after 3 tokens``. Empty: only calls that ask for it fail."""

    def build(self, name: str) -> Provider:
        """Make the provider."""
        provider: Provider = load_object("mcp_server.providers.demo.provider:DemoProvider")(self, name=name)
        return provider

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """The failure is one that there is."""
        try:
            if self.fail:
                failure_of(self.fail)
        except BadFailure as error:
            yield ("fail",), str(error)

    def model_names(self) -> tuple[str, ...]:
        """As configured."""
        return self.models

    def any_model(self) -> bool:
        """There are no others."""
        return False
