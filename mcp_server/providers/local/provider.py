"""What all providers of models on this machine have in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from mcp_server.errors import ModelNotFound
from mcp_server.interfaces import LoadCounts, LoadedModel
from mcp_server.providers.local.lazy import LazyEngine
from mcp_server.values import Model


class LocalModel(ABC):
    """One model, and what is loaded of it."""

    lazy: LazyEngine[Any]
    """Its engine."""

    @abstractmethod
    async def model(self) -> Model:
        """What it can do, and its state."""


AnyModel = TypeVar("AnyModel", bound=LocalModel)


class LocalProvider(Generic[AnyModel]):
    """A provider whose models are loaded when they are first used, each into a process of its own.

    Args:
        models: its models by name.
    """

    def __init__(self, models: Mapping[str, AnyModel]) -> None:
        self._models = dict(models)

    async def models(self) -> Sequence[Model]:
        """Its models and their states. Loads none."""
        return await asyncio.gather(*[served.model() for served in self._models.values()])

    def loaded(self) -> Sequence[LoadedModel]:
        """Its models that are loaded, or are being loaded."""
        return [facts for served in self._models.values() if (facts := served.lazy.facts()) is not None]

    def load_counts(self) -> LoadCounts:
        """How often its models were loaded and unloaded."""
        counts = [served.lazy.counts for served in self._models.values()]
        return LoadCounts(
            loads=sum(each.loads for each in counts),
            unloads=sum(each.unloads for each in counts),
            load_seconds=sum(each.load_seconds for each in counts),
        )

    def unload(self, model: str, /) -> None:
        """Unload a model as soon as no call uses it.

        Raises:
            ModelNotFound.
        """
        self._served(model).lazy.unload()

    async def close(self) -> None:
        """End all processes. Answers that are being made end with :class:`ProviderUnavailable`."""
        await asyncio.gather(*[served.lazy.close() for served in self._models.values()])

    def _served(self, name: str) -> AnyModel:
        """The model of that name.

        Raises:
            ModelNotFound: there is none.
        """
        served = self._models.get(name)
        if served is None:
            known = ", ".join(self._models) or "none"
            raise ModelNotFound(f"there is no local model {name!r}: choose one of {known}", metadata={"model": name})
        return served
