"""From the vectors of tokens to those of texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file

from mcp_server.providers.huggingface.embedding_files import Layer
from mcp_server.providers.huggingface.worker.failures import CannotLoad

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the vectors of the tokens, ``(texts, tokens, width)``, and which of them count, ``(texts, tokens)``, to one
vector a text, ``(texts, width)``."""


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _sum(hidden, mask) / _count(mask)


def _mean_sqrt_length(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _sum(hidden, mask) / _count(mask).sqrt()


def _weighted_mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return _sum(hidden, weights) / _count(weights)


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(dim=1)


def _first(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.int().argmax(dim=1)]


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    places = mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), places]


def _sum(hidden: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (hidden * weights.unsqueeze(-1)).sum(dim=1)


def _count(weights: torch.Tensor) -> torch.Tensor:
    return weights.sum(dim=1, keepdim=True).clamp(min=1e-9)


POOLS: Final[dict[str, Pool]] = {
    "cls": _first,
    "lasttoken": _last,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_length,
    "weightedmean": _weighted_mean,
}
"""By the names of sentence-transformers."""


class _Normalize(torch.nn.Module):
    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(vectors, dim=-1)


def layer_of(layer: Layer) -> torch.nn.Module:
    """A step that follows the pooling, with its weights.

    Raises:
        CannotLoad: its weights do not fit.
    """
    if layer.weights is None:
        return _Normalize()
    weights = _weights(layer.weights)
    try:
        if layer.kind == "LayerNorm":
            norm = torch.nn.LayerNorm(len(weights["norm.weight"]))
            norm.load_state_dict({name.removeprefix("norm."): value for name, value in weights.items()})
            return norm.eval()
        width, taken = weights["linear.weight"].shape
        linear = torch.nn.Linear(taken, width, bias="linear.bias" in weights)
        linear.load_state_dict({name.removeprefix("linear."): value for name, value in weights.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        raise CannotLoad(f"{layer.weights} is not the weights of a {layer.kind} layer") from error
    activation = getattr(torch.nn, layer.activation, None)
    if not (isinstance(activation, type) and issubclass(activation, torch.nn.Module)):
        raise CannotLoad(f"PyTorch has no activation function {layer.activation}, for which its files ask")
    return torch.nn.Sequential(linear, activation()).eval()


def _weights(file: Path) -> dict[str, torch.Tensor]:
    try:
        return {name: value.float() for name, value in load_file(file).items()}
    except Exception as error:  # safetensors raises an exception class of its own for each kind of damage
        raise CannotLoad(f"{file} is damaged: {error}") from error
