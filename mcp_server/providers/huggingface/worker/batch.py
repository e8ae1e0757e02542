"""Answers that share their steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from transformers.cache_utils import DynamicCache

from mcp_server.providers.huggingface.worker.steps import Steps


class BatchRow:
    """One answer while it is written.

    Args:
        cache: what its prompt leaves behind. A batch takes it over.
        length: how many tokens there are in all, the last one included.
    """

    def __init__(self, cache: DynamicCache, length: int) -> None:
        self.cache = cache
        self.length = length
        self.token = 0
        """The last token that was written; not read yet."""


AnyRow = TypeVar("AnyRow", bound=BatchRow)


class Batch(Generic[AnyRow]):
    """Rows that share their steps, their keys and values padded on the left to one length.

    Args:
        steps: the model.
        row: the first row; its prompt has been read.
    """

    def __init__(self, steps: Steps, row: AnyRow) -> None:
        self.rows = [row]
        self._steps = steps
        self._cache = row.cache

    def add(self, row: AnyRow) -> None:
        """Take a row in whose prompt has been read. Where that fails, nothing is changed."""
        joined = self._steps.new_cache()
        for index, (ours, theirs) in enumerate(zip(_layers(self._cache), _layers(row.cache), strict=True)):
            length = max(ours.keys.shape[-2], theirs.keys.shape[-2])
            keys = torch.cat([_padded(ours.keys, length), _padded(theirs.keys, length)])
            values = torch.cat([_padded(ours.values, length), _padded(theirs.values, length)])
            joined.update(keys, values, index)
        self.rows.append(row)
        self._cache = joined

    def keep(self, wanted: Callable[[AnyRow], bool]) -> None:
        """Let the other rows go, and what they took."""
        kept = [index for index, row in enumerate(self.rows) if wanted(row)]
        if len(kept) < len(self.rows):
            self._select(kept)

    def halves(self) -> tuple[Batch[AnyRow], Batch[AnyRow]]:
        """Two batches of half the rows each, in the place of this one, whose step failed somewhere in the middle."""
        before = max(row.length for row in self.rows) - 1
        for layer in _layers(self._cache):
            # Some layers may have taken in what the failed step read.
            layer.keys, layer.values = layer.keys[:, :, :before], layer.values[:, :, :before]
        other = Batch(self._steps, self.rows[0])
        other.rows = list(self.rows)
        other._cache = self._steps.new_cache()
        for index, layer in enumerate(_layers(self._cache)):
            other._cache.update(layer.keys, layer.values, index)
        middle = len(self.rows) // 2
        indices = range(len(self.rows))
        other._select(indices[middle:])
        self._select(indices[:middle])
        return self, other

    def step(self) -> torch.Tensor:
        """Read the last token of each row: the logits of the next, ``(rows, vocabulary)``."""
        device = self._steps.device
        lengths = [row.length for row in self.rows]
        longest = max(lengths)
        tokens = torch.tensor([[row.token] for row in self.rows], device=device)
        positions = torch.tensor([[length - 1] for length in lengths], device=device)
        mask = None
        if min(lengths) < longest:
            places = torch.arange(longest, device=device)
            mask = (places >= torch.tensor([[longest - length] for length in lengths], device=device)).long()
        return self._steps.forward(tokens, self._cache, positions, mask)

    def _select(self, kept: Sequence[int]) -> None:
        self.rows = [self.rows[index] for index in kept]
        if not self.rows:
            return
        indices = torch.tensor(kept, device=self._steps.device)
        length = max(row.length for row in self.rows) - 1
        for layer in _layers(self._cache):
            layer.keys = layer.keys[indices, :, -length:].contiguous()
            layer.values = layer.values[indices, :, -length:].contiguous()


def _layers(cache: DynamicCache) -> list[Any]:
    """The layers, each with its ``keys`` and ``values``: ``(rows, heads, tokens, width)``."""
    return cache.layers


def _padded(states: torch.Tensor, length: int) -> torch.Tensor:
    """Keys or values, ``(rows, heads, tokens, width)``, with zeros on the left up to ``length`` tokens."""
    return torch.nn.functional.pad(states, (0, 0, length - states.shape[-2], 0))
