"""The settings table. Its docstrings are what ``mcp-server config-schema`` tells editors."""

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from contextprotocol_eliza.provider import MODEL, Eliza
from mcp_server.settings import ProviderSettings


class ElizaSettings(ProviderSettings):
    """ELIZA, the model of 1966: answers by rules, and needs no network."""

    delay: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds before each word; 0: none."""

    def build(self, name: str) -> Eliza:
        """The provider of ``[providers.NAME]``."""
        return Eliza(delay=self.delay)

    def model_names(self) -> Iterable[str]:
        """The models that settings may name."""
        return [MODEL]

    def any_model(self) -> bool:
        """There are no others."""
        return False
