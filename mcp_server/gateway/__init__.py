"""The use cases of every edge: sessions, turns, models, chat, complete, embed. Edges call these and nothing below.

Each takes the :class:`~mcp_server.principal.Principal` of the caller, and applies the rules of a valid
request (:mod:`mcp_server.rules`), whoever calls. ``violations`` is what the edge could not convert; it is raised
together with what the rules find, all in one :class:`~mcp_server.errors.InvalidArgument`.
"""

from __future__ import annotations

from mcp_server.gateway.generation import GenerationUseCases
from mcp_server.gateway.models import ModelUseCases
from mcp_server.gateway.turns import TurnUseCases
from mcp_server.models.embedding import Embedded, EmbedInput
from mcp_server.models.entry import ModelEntry
from mcp_server.turns.counting import TokenCount
from mcp_server.turns.kinds import ChatInput, CompletionInput
from mcp_server.turns.log import TurnReader
from mcp_server.turns.options import TurnOptions
from mcp_server.turns.watching import SessionWatch

__all__ = [
    "ChatInput",
    "CompletionInput",
    "EmbedInput",
    "Embedded",
    "Gateway",
    "ModelEntry",
    "SessionWatch",
    "TokenCount",
    "TurnOptions",
    "TurnReader",
]


class Gateway(GenerationUseCases, TurnUseCases, ModelUseCases):
    """All use cases over sessions, turns and models."""
