"""The forward steps of a model that writes, and the keys and values that they leave behind."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from mcp_server.providers.huggingface.worker.failures import CannotLoad


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """How a model can be used without changing its answers."""

    shares: bool
    """Several answers can be rows of one step."""
    interleaves: bool
    """The steps of one answer can come between those of another."""
    pieces: bool
    """A prompt can be read in pieces."""
    positions: bool
    """It takes the positions of tokens; others count by themselves."""


class Steps:
    """Computes the steps of a model.

    Args:
        model: a ``transformers`` model that generates.
        ways: how it is used.

    Raises:
        CannotLoad: it cannot continue from what it has read.
    """

    def __init__(self, model: Any, ways: Ways) -> None:
        self.model = model
        self.ways = ways
        takes = inspect.signature(model.forward).parameters
        # What most models call their cache, and what those with a state of their own call it.
        self._cache_name = next((name for name in ("past_key_values", "cache_params") if name in takes), "")
        if not self._cache_name:
            raise CannotLoad(f"models of the kind {type(model).__name__} cannot continue from what they have read")
        self._only_last = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        device: torch.device = self.model.device
        return device

    def new_cache(self) -> DynamicCache:
        """A cache with nothing in it."""
        # Where rows are to be shared, windows that slide are a matter of the mask, and the cache keeps everything.
        return DynamicCache() if self.ways.shares else DynamicCache(config=self.model.config)

    def read(self, tokens: list[int], cache: DynamicCache, start: int) -> torch.Tensor:
        """Read ``tokens`` of one answer from position ``start`` on: the logits after the last, ``(1, vocabulary)``."""
        positions = torch.arange(start, start + len(tokens), device=self.device).unsqueeze(0)
        return self.forward(torch.tensor([tokens], device=self.device), cache, positions, None)

    def forward(
        self, tokens: torch.Tensor, cache: DynamicCache, positions: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """One step: the logits after the last of the tokens, ``(rows, vocabulary)``."""
        placed = {"position_ids": positions} if self.ways.positions else {}
        output = self.model(
            input_ids=tokens,
            attention_mask=mask,
            use_cache=True,
            **placed,
            **self._only_last,
            **{self._cache_name: cache},
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits


def keeps_keys_and_values(model: Any) -> bool:
    """Whether each layer of a model's cache keeps keys and values alone: no other state can be put together."""
    layers = {type(layer) for layer in DynamicCache(config=model.config).layers}
    return layers <= {DynamicLayer, DynamicSlidingWindowLayer}
