"""Finds out how a loaded model can be used, by comparing a few steps with the model's own reading of the whole text.

What a model does with padding, positions and its own state is not known from its name or its files, and a model that is
used in a wrong way writes fluent nonsense instead of failing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Final

import torch
from transformers.cache_utils import DynamicCache

from mcp_server.providers.huggingface.worker.batch import Batch, BatchRow
from mcp_server.providers.huggingface.worker.failures import CannotLoad
from mcp_server.providers.huggingface.worker.steps import Steps, Ways, keeps_keys_and_values

LENGTHS: Final = (21, 9)
"""The tokens of two texts. They differ, so that one is padded beside the other."""
WRITTEN: Final = 2
"""How many of them are read one by one, as they are when they are written."""
ORDINARY: Final = range(16, 256)
"""Ids that are single characters in most vocabularies: neither marks nor placeholders."""
TOLERANCE: Final = 0.005
"""How much logits may differ, relative to their spread, in 32 bits; rounding makes about 0.00001."""
TOLERANCE_16: Final = 0.1
"""The same in 16 bits; rounding makes about 0.02."""

KINDS: Final = ((True, True), (False, True), (False, False))
"""Whether answers share their steps, and whether their steps may alternate, the fastest first."""


class _Row(BatchRow):
    def __init__(self, text: Sequence[int], cache: DynamicCache) -> None:
        super().__init__(cache, len(text) - WRITTEN)
        self.text = list(text)
        self.logits: list[torch.Tensor] = []


@torch.inference_mode()
def find(model: Any) -> Steps:
    """The model's steps, used in the fastest way that leaves answers as they are.

    Args:
        model: a ``transformers`` model that generates.

    Raises:
        CannotLoad: there is none.
    """
    prompts = texts(model)
    try:
        expected = [_whole(model, text) for text in prompts]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the model's code raises, it does not work
        raise failed(model, error) from error
    allowed = tolerance(model)
    failure: Exception | None = None
    for (shares, interleaves), positions, pieces in product(KINDS, (True, False), (True, False)):
        if shares and not keeps_keys_and_values(model):
            continue
        steps = Steps(model, Ways(shares=shares, interleaves=interleaves, pieces=pieces, positions=positions))
        try:
            found = _written(steps, prompts)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # a model that is used in a wrong way raises whatever it likes
            failure = error
            continue
        if all(_similar(one, other, allowed) for one, other in zip(found, expected, strict=True)):
            return steps
    raise CannotLoad(
        f"models of the kind {type(model).__name__} answer differently when they continue from what they have read, "
        "and cannot be used here"
    ) from failure


def _whole(model: Any, text: list[int]) -> torch.Tensor:
    """The logits after the prompt and after each token that follows, where all is read at once."""
    output = model(input_ids=torch.tensor([text], device=model.device))
    logits: torch.Tensor = output.logits[0, -WRITTEN - 1 :].float().cpu()
    return logits


def _written(steps: Steps, prompts: Sequence[list[int]]) -> list[torch.Tensor]:
    """The same, where each text is read as a prompt and then a token at a time."""
    rows = [_Row(text, steps.new_cache()) for text in prompts]
    if steps.ways.interleaves:
        for row in rows:
            _read(steps, row)
        batches = [Batch(steps, row) for row in rows]
        if steps.ways.shares:
            batches = batches[:1]
            batches[0].add(rows[1])
        for _ in range(WRITTEN):
            for batch in batches:
                _step(batch)
    else:
        for row in rows:
            _read(steps, row)
            batch = Batch(steps, row)
            for _ in range(WRITTEN):
                _step(batch)
    return [torch.stack(row.logits) for row in rows]


def _read(steps: Steps, row: _Row) -> None:
    cut = row.length // 2 if steps.ways.pieces else 0
    if cut:
        steps.read(row.text[:cut], row.cache, 0)
    row.logits.append(steps.read(row.text[cut : row.length], row.cache, cut)[0].float().cpu())


def _step(batch: Batch[_Row]) -> None:
    for row in batch.rows:
        row.token = row.text[row.length]
        row.length += 1
    for row, logits in zip(batch.rows, batch.step(), strict=True):
        row.logits.append(logits.float().cpu())


def _similar(one: torch.Tensor, other: torch.Tensor, allowed: float) -> bool:
    """Whether two rows of logits, ``(steps, vocabulary)``, are the same but for rounding at most of their steps."""
    # Where experts are chosen by a hair's breadth, rounding can turn a single step around.
    near_ones = sum(near(found, expected, allowed) for found, expected in zip(one, other, strict=True))
    return near_ones > len(one) // 2


def near(one: torch.Tensor, other: torch.Tensor, allowed: float) -> bool:
    """Whether two lists of numbers differ by ``allowed`` of their spread at most."""
    numbers = torch.isfinite(other)
    if not numbers.any():
        return False
    expected = other[numbers]
    spread = expected.std(correction=0).clamp(min=1e-6)
    return bool((one[numbers] - expected).square().mean().sqrt() <= allowed * spread)


def tolerance(model: Any) -> float:
    """How much two results of a model may differ by rounding, relative to their spread."""
    return TOLERANCE if model.dtype in (torch.float32, torch.float64) else TOLERANCE_16


def texts(model: Any) -> list[list[int]]:
    """Two texts of different lengths, as tokens of a model's vocabulary."""
    vocabulary = model.config.get_text_config().vocab_size
    ids = ORDINARY if vocabulary >= ORDINARY.stop else range(vocabulary)
    return [[ids[(37 * place + 11 * length) % len(ids)] for place in range(length)] for length in LENGTHS]


def failed(model: Any, error: Exception) -> CannotLoad:
    """The error of a model that does not compute."""
    why = " ".join(str(error).split())[:200]
    return CannotLoad(f"{type(model).__name__} fails at a first text: {type(error).__name__}: {why}")
