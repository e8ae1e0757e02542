"""Finds out how a loaded model can be used, by comparing a few steps with the model's own reading of the whole text.

What a model does with padding, positions and its own state is not known from its name or its files, and a model that is
used in a wrong way writes fluent nonsense instead of failing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
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
SAME: Final = 0.001
"""How much logits may differ, relative to their spread, where the same numbers are computed in the same shapes."""
TOLERANCE: Final = 0.005
"""The same in other shapes, in 32 bits; rounding makes about 0.00001."""
TOLERANCE_16: Final = 0.1
"""The same in 16 bits; rounding makes about 0.03."""
REFUSED_16: Final = 0.3
"""From what difference on a model is refused in 16 bits, for rounding grows with its layers; wrong positions make 0.6
or more."""


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
    allowed = TOLERANCE if tolerance(model) == TOLERANCE else REFUSED_16
    for positions in (True, False):
        ways = Ways(shares=False, interleaves=False, pieces=False, positions=positions)
        alone = _attempt(model, ways, prompts)
        if _similar(alone, expected, allowed):
            break
    else:
        raise CannotLoad(
            f"models of the kind {type(model).__name__} answer differently when they continue from what they have "
            "read, and cannot be used here"
        )
    alternating = msgspec.structs.replace(ways, interleaves=True)
    found = _attempt(model, alternating, prompts)
    if _similar(found, alone, SAME):
        return Steps(model, _fastest(model, alternating, prompts, alone))
    # Some operations of graphics cards add in any order: then the same steps differ by rounding.
    exact = _similar(_attempt(model, ways, prompts), alone, SAME)
    if not exact and _similar(found, alone, tolerance(model)):
        return Steps(model, _fastest(model, alternating, prompts, alone))
    return Steps(model, ways)


def _fastest(model: Any, ways: Ways, prompts: Sequence[list[int]], alone: Sequence[torch.Tensor]) -> Ways:
    """The first of the faster ways in which answers are those written alone, or ``ways``."""
    whole = keeps_keys_and_values(model)
    allowed = tolerance(model)
    for shares, pieces in ((True, True), (True, False), (False, True)):
        if shares and not whole:
            continue
        if pieces and not whole and allowed > TOLERANCE:
            # What is left of a state that was not continued can be less than the rounding of 16 bits.
            continue
        faster = msgspec.structs.replace(ways, shares=shares, pieces=pieces)
        if _similar(_attempt(model, faster, prompts), alone, allowed):
            return faster
    return ways


def _attempt(model: Any, ways: Ways, prompts: Sequence[list[int]]) -> list[torch.Tensor]:
    """The logits after each prompt and each token that follows, or nothing where the model fails."""
    try:
        return _written(Steps(model, ways), prompts)
    except (torch.OutOfMemoryError, CannotLoad):
        raise
    except Exception:  # noqa: BLE001  # a model that is used in a wrong way raises whatever it likes
        return []


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


def _similar(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], allowed: float) -> bool:
    """Whether the logits of each text, ``(steps, vocabulary)``, are the same but for rounding at most of its steps."""
    if len(found) != len(expected):
        return False
    # Where experts are chosen by a hair's breadth, rounding can turn a single step around.
    return all(
        sum(near(one, other, allowed) for one, other in zip(ours, theirs, strict=True)) > len(ours) // 2
        for ours, theirs in zip(found, expected, strict=True)
    )


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
