"""The slots of a loaded model: each call computes in one, and long prompts are read into it in slices.

llama.cpp reads the prompts of its slots one after another, each to its end: a short one would wait for a long one. Here
the calls that read long prompts take turns, one slice at a time, and short ones get in between. A slot keeps what it
has read, so that a conversation that goes on has to read only what is new.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from msgspec import structs

from mcp_server.values import Usage

BATCH: Final = 128
"""Slices have a multiple of so many tokens, and shorter prompts are not cut: less than half a second's work on two
cores for the smallest models."""
IMAGE_BATCH: Final = 1024
"""How many tokens are read in one go at least by models that see images: many read all of an image so."""
SLICE_SECONDS: Final = 0.25
"""How long a slice should take: llama.cpp reads it in one go. The answers of the others wait for so long, and so does a
stop."""
LEAST_SLICE: Final = 64
"""The fewest tokens of a slice: fewer take a processor almost as long."""
MOST_SLICES: Final = 64
"""In how many slices a prompt is read at most: each is sent with all that precedes it."""
GAP_SECONDS: Final = 5.0
"""How long texts to embed wait for a moment in which no answer is being written, before they keep further ones out."""
SIMILAR: Final = 0.1
"""How much of a prompt a slot must have read before to be preferred to the one that was not used for longest."""


class Slot:
    """A place for one prompt and its answer."""

    def __init__(self, id: int) -> None:
        self.id = id
        """llama.cpp's number of it."""
        self.text = ""
        """The text of the last prompt, in any form that begins alike for prompts that begin alike."""
        self.tokens: Sequence[int] = ()
        """The tokens of the last prompt, as far as it was read; empty if they are not known."""
        self.output_tokens = 0
        """How many tokens of the answer follow in it."""
        self.cached_tokens: int | None = None
        """How many tokens of the prompt it held before; ``None``: the prompt was not read in slices."""

    def answered(self, usage: Usage) -> Usage:
        """Note the end of an answer; return its usage as it was before the first slice of the prompt was read."""
        self.output_tokens = usage.output_tokens
        cached, self.cached_tokens = self.cached_tokens, None
        return usage if cached is None else structs.replace(usage, cached_input_tokens=cached)

    def held(self, tokens: Sequence[int]) -> int:
        """About how many of the tokens of a prompt it holds already."""
        common = _common(self.tokens, tokens)
        return common + (self.output_tokens if common == len(self.tokens) else 0)


class Slots:
    """The slots of one loaded model.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self.turn = asyncio.Lock()
        """Held by the call that reads a slice of its prompt; the others get it in the order in which they came."""
        self.slice_tokens = BATCH
        """How many tokens the next slice should have, by how long the last one took."""
        self._entrance = asyncio.Lock()
        self._writing = 0
        self._silent = asyncio.Event()
        self._silent.set()
        self._places = asyncio.Semaphore(count)
        self._free = [Slot(id) for id in range(count)]
        """The free ones, those first that were not used for longest."""

    def slice_took(self, tokens: int, seconds: float) -> None:
        """Note how long a slice of so many tokens took."""
        fitting = int(tokens * min(2.0, SLICE_SECONDS / max(seconds, 0.001)))
        self.slice_tokens = max(fitting // BATCH * BATCH, LEAST_SLICE)

    @contextlib.asynccontextmanager
    async def embedding(self) -> AsyncIterator[None]:
        """Embed texts within this context; each takes :meth:`other_use`.

        llama.cpp embeds nothing while it writes an answer. Without this, texts would wait for as long as answers
        overlap.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GAP_SECONDS):
                await self._silent.wait()
        async with self._entrance:
            yield

    @contextlib.asynccontextmanager
    async def answer(self, text: str) -> AsyncIterator[Slot]:
        """Wait for texts that are embedded, and for a slot for the prompt ``text``: as :meth:`slot`."""
        async with self._entrance:
            pass
        async with self.slot(text) as slot:
            yield slot

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """An answer is written within this context."""
        self._writing += 1
        self._silent.clear()
        try:
            yield
        finally:
            self._writing -= 1
            if not self._writing:
                self._silent.set()

    @contextlib.asynccontextmanager
    async def other_use(self) -> AsyncIterator[None]:
        """Wait for a free slot, and use it for something that leaves no prompt in it: llama.cpp chooses the one that
        was not used for longest, as :meth:`slot` does."""
        async with self.slot("") as slot:
            slot.text, slot.tokens, slot.output_tokens = "", (), 0
            yield

    @contextlib.asynccontextmanager
    async def slot(self, text: str) -> AsyncIterator[Slot]:
        """Wait for a free slot and use it: the one that holds most of the prompt ``text``."""
        async with self._places:
            common = [_common(slot.text, text) for slot in self._free]
            best = max(common)
            slot = self._free.pop(common.index(best) if best > SIMILAR * len(text) else 0)
            try:
                yield slot
            finally:
                self._free.append(slot)


def _common(one: Sequence[object], other: Sequence[object]) -> int:
    """How many elements two sequences have in common at their beginnings."""
    return bisect.bisect_left(range(1, min(len(one), len(other)) + 1), True, key=lambda n: one[:n] != other[:n])
