"""Writes the answers of one model: several at once, a token of each at every step.

The answers that are being written are rows of one batch and share its steps, since a step for several takes hardly
longer than for one: what takes time is to read the weights. Prompts are read in pieces between the steps, so that long
ones do not hold up the others.

transformers' own continuous batching is not used. It has one seed for all answers and does not tell what was likely
besides; and with a model of 0.5 GB, on a processor, it took 14 GB and 66 ms of a core for each token of eight answers,
where this takes 1 GB and 18 ms.
"""

from __future__ import annotations

import queue
import traceback
from collections import deque
from collections.abc import Callable
from typing import Final

import torch

from mcp_server.errors import ProviderStreamCut, ProviderUnavailable
from mcp_server.interfaces import GenerateRequest
from mcp_server.providers.huggingface.protocol import AnyMessage, Failure, LogLine, Stopped
from mcp_server.providers.huggingface.worker.batch import Batch
from mcp_server.providers.huggingface.worker.conversation import Prompt
from mcp_server.providers.huggingface.worker.device import end_if_dead, reason
from mcp_server.providers.huggingface.worker.row import Row
from mcp_server.providers.huggingface.worker.sampling import NoToken
from mcp_server.providers.huggingface.worker.writer import Writer

PIECE: Final = 128
"""How many tokens of a prompt are read in one go: the others wait for so long, and so does a stop."""
SIGN_SECONDS: Final = 0.5
"""How often it is reported that a prompt is being read."""


class Generation:
    """Writes answers until its process ends.

    Args:
        writer: the model.
        parallel: how many answers are written at once.
        tell: receives their messages.
    """

    def __init__(self, writer: Writer, parallel: int, tell: Callable[[list[AnyMessage]], None]) -> None:
        self._writer = writer
        self._steps = writer.steps
        # A model that keeps its state in itself can have one answer in work.
        self._parallel = parallel if self._steps.ways.interleaves else 1
        self._tell = tell
        self._arriving: queue.SimpleQueue[Row | int | Stopped] = queue.SimpleQueue()
        self._waiting: deque[Row] = deque()
        self._reading: deque[Row] = deque()
        self._oldest_next = False
        self._batches: list[Batch[Row]] = []

    def submit(self, id: int, request: GenerateRequest, prompt: Prompt) -> None:
        """Write an answer. From any thread."""
        self._arriving.put(Row(id, request, prompt, self._writer))

    def cancel(self, id: int) -> None:
        """Write no further token of that answer. From any thread."""
        self._arriving.put(id)

    def confirm(self, id: int) -> None:
        """Answer that nothing is computed for that answer any more, as soon as that is so. From any thread."""
        self._arriving.put(Stopped(id=id))

    @property
    def busy(self) -> bool:
        """Whether there is something to write."""
        return bool(self._waiting or self._reading or self._batches)

    def run(self) -> None:
        """Generate until the process ends."""
        while True:
            self.advance()

    @torch.inference_mode()
    def advance(self) -> None:
        """Wait for something to do; then a step of each kind: take in what has come, read, write."""
        self._take(wait=not self.busy)
        while self._waiting and len(self._reading) + sum(len(batch.rows) for batch in self._batches) < self._parallel:
            self._reading.append(self._waiting.popleft())
        if self._reading:
            self._read()
        for batch in list(self._batches):
            if batch.rows:
                self._step(batch)
                self._take(wait=False)

    def _take(self, *, wait: bool) -> None:
        """What has come since: new answers, and those that are not wanted any more."""
        cancelled: set[int] = set()
        stopped: list[AnyMessage] = []
        while wait or not self._arriving.empty():
            wait = False
            arrived = self._arriving.get()
            if isinstance(arrived, int):
                cancelled.add(arrived)
            elif isinstance(arrived, Stopped):
                stopped.append(arrived)
            else:
                self._waiting.append(arrived)
        if cancelled:
            self._waiting = deque(row for row in self._waiting if row.id not in cancelled)
            self._reading = deque(row for row in self._reading if row.id not in cancelled)
            self._keep(lambda row: row.id not in cancelled)
        if stopped:
            self._tell(stopped)

    def _keep(self, wanted: Callable[[Row], bool]) -> None:
        for batch in list(self._batches):
            self._shrink(batch, wanted)

    def _shrink(self, batch: Batch[Row], wanted: Callable[[Row], bool]) -> None:
        try:
            batch.keep(wanted)
        except Exception as error:  # noqa: BLE001  # memory that ran out above all; the other batches go on
            self._batches.remove(batch)
            self._fail([row for row in batch.rows if wanted(row)], error)
            return
        if not batch.rows:
            self._batches.remove(batch)

    def _read(self) -> None:
        """Read a piece of a prompt; when all of it has been read, its row writes its first token."""
        row = self._next_to_read()
        end = min(len(row.prompt), row.read + PIECE) if self._steps.ways.pieces else len(row.prompt)
        try:
            logits = self._steps.read(row.prompt[row.read : end], row.cache, row.read)
        except Exception as error:  # noqa: BLE001  # whatever the model's code raises, the other answers go on
            self._reading.remove(row)
            self._fail([row], error)
            return
        row.read = end
        if not row.unread:
            self._reading.remove(row)
            if self._write([row], logits):
                self._join(row)
        signs: list[AnyMessage] = [sign for other in self._reading if (sign := other.sign_of_life(SIGN_SECONDS))]
        if signs:
            self._tell(signs)

    def _next_to_read(self) -> Row:
        """In turn the prompt with the least left and the oldest: a short one does not wait for a long one, and a long
        one makes progress however many short ones come."""
        oldest, self._oldest_next = self._oldest_next, not self._oldest_next
        return self._reading[0] if oldest else min(self._reading, key=lambda row: row.unread)

    def _join(self, row: Row) -> None:
        """Write the row together with the others, if the model can do that and there is memory for it."""
        if self._batches and self._steps.ways.shares:
            try:
                self._batches[0].add(row)
            except Exception as error:  # noqa: BLE001  # nothing is changed; it is written beside the others
                self._log(error)
            else:
                return
        self._batches.append(Batch(self._steps, row))

    def _step(self, batch: Batch[Row]) -> None:
        try:
            logits = batch.step()
        except Exception as error:  # noqa: BLE001  # as above
            self._split(batch, error)
            return
        continued = self._write(batch.rows, logits)
        self._shrink(batch, lambda row: row in continued)

    def _split(self, batch: Batch[Row], error: Exception) -> None:
        """Try the halves of a batch whose step failed, so that a row that fails whatever is beside it fails alone."""
        self._batches.remove(batch)
        if len(batch.rows) == 1:
            self._fail(batch.rows, error)
            return
        end_if_dead(self._steps.device, self._tell)
        self._log(error)
        rows = list(batch.rows)
        try:
            self._batches += batch.halves()
        except Exception as again:  # noqa: BLE001  # as above
            self._fail(rows, again)

    def _write(self, rows: list[Row], logits: torch.Tensor) -> list[Row]:
        """Take a token for each row, tell of it, and return the rows that go on. A row that fails ends alone."""
        events: list[AnyMessage] = []
        continued = []
        for index, row in enumerate(rows):
            try:
                pieces, more = row.write(logits[index])
            except Exception as error:  # noqa: BLE001  # as above
                self._fail([row], error)
                continue
            events += pieces
            if more:
                continued.append(row)
        if events:
            self._tell(events)
        return continued

    def _fail(self, rows: list[Row], error: Exception) -> None:
        name = self._writer.name
        device = self._steps.device
        end_if_dead(device, self._tell)
        why = str(error) if isinstance(error, NoToken) else reason(error, device)
        self._log(error)
        failures: list[AnyMessage] = [
            Failure(
                id=row.id,
                reason=(ProviderStreamCut if row.begun else ProviderUnavailable).reason,
                message=f"the model {name} failed while it answered: {why}",
                metadata={"model": name},
            )
            for row in rows
        ]
        self._tell(failures)

    def _log(self, error: Exception) -> None:
        self._tell([LogLine(text="".join(traceback.format_exception(error)))])
