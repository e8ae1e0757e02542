"""ELIZA, the model of 1966, as a provider of contextprotocol."""

from contextprotocol_eliza.provider import Eliza
from contextprotocol_eliza.settings import ElizaSettings

__all__ = ["Eliza", "ElizaSettings"]
