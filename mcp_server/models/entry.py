"""Models as callers see them in lists."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_server.errors import ModelNotFound, NotAllowed
from mcp_server.models.catalogue import Catalogue
from mcp_server.models.embedding import max_batch
from mcp_server.models.inventory import find_route
from mcp_server.models.target import Target
from mcp_server.values import Model, Struct


class ModelEntry(Struct):
    """A model that callers may choose."""

    model: Model
    """What it is, and what it can do."""
    provider: str
    """The provider's configured name."""
    name: str
    """``provider/model``."""
    aliases: tuple[str, ...]
    """Its shorter names, sorted."""
    max_batch: int
    """The most inputs of one embedding request; 0 for a model that makes no embeddings."""
    is_default: bool
    """Whether it answers chats and completions that name no model."""


def entries(catalogue: Catalogue, targets: Sequence[Target], default_model: str) -> list[ModelEntry]:
    """The entries of these models.

    Args:
        catalogue: the models that the caller may use.
        targets: some of them.
        default_model: the name of the model of chats and completions that name none.
    """
    try:
        default = find_route(catalogue, default_model)[0].targets[0].name
    except (ModelNotFound, NotAllowed):
        default = ""
    return [
        ModelEntry(
            model=target.present_model,
            provider=target.provider_name,
            name=target.name,
            aliases=tuple(sorted([alias for alias, name in catalogue.aliases.items() if name == target.name])),
            max_batch=max_batch(target),
            is_default=target.name == default,
        )
        for target in targets
    ]
