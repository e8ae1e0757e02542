"""Writes the answers of one model: several at once, a token of each at every step.

The answers that are being written are rows of one batch and share its steps, since a step for several takes hardly
longer than for one: what takes time is to read the weights. Prompts are read in pieces between the steps, so that long
ones do not hold up the others.

transformers' own continuous batching is not used. It has one seed for all answers and does not tell what was likely
besides; and with a model of 0.5 GB, on a processor, it took 14 GB and 66 ms of a core for each token of eight answers,
where this takes 1 GB and 18 ms.
"""

from __future__ import annotations

import inspect
import queue
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from mcp_server.errors import ProviderStreamCut, ProviderUnavailable
from mcp_server.interfaces import GenerateRequest
from mcp_server.providers.huggingface.protocol import AnyMessage, Done, Failure, LogLine, Stopped
from mcp_server.providers.huggingface.worker.conversation import Prompt
from mcp_server.providers.huggingface.worker.device import end_if_dead, reason
from mcp_server.providers.huggingface.worker.loading import CannotLoad
from mcp_server.providers.huggingface.worker.sampling import Sampler
from mcp_server.providers.huggingface.worker.text import AnswerText, Detokenizer
from mcp_server.values import FinishReason, Logprob

PIECE: Final = 128
"""How many tokens of a prompt are read in one go: the others wait for so long, and so does a stop."""


class Writer:
    """What a model needs to write: made once, shared by all answers.

    Args:
        model: a ``transformers`` model that generates.
        tokenizer: its tokenizer; only the generation's thread uses it.
        context_window: the most tokens of a prompt and its answer.
        ends: the tokens that end an answer.
        thinks: whether it writes thoughts.
        calls: whether it writes tool calls.
        name: what calls name it by.

    Raises:
        CannotLoad: it is of a kind that cannot be written with here.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        context_window: int,
        ends: Sequence[int],
        thinks: bool,
        calls: bool,
        name: str,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.context_window = context_window
        self.ends = frozenset(ends)
        self.thinks = thinks
        self.calls = calls
        self.name = name
        # What most models call their cache, and what those with a state of their own call it.
        takes = inspect.signature(model.forward).parameters
        self._cache_name = "past_key_values" if "past_key_values" in takes else "cache_params"
        if self._cache_name not in takes:
            raise CannotLoad(f"models of the kind {type(model).__name__} cannot go on from what they have read")
        layers = {type(layer) for layer in DynamicCache(config=model.config).layers}
        self.shares = layers <= {DynamicLayer, DynamicSlidingWindowLayer}
        """Whether several answers can share a step. Models that keep a state instead of all keys and values cannot."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def new_cache(self) -> DynamicCache:
        """A cache with nothing in it."""
        # Where rows are to be shared, windows that slide are a matter of the mask, and the cache keeps everything.
        return DynamicCache() if self.shares else DynamicCache(config=self.model.config)

    def forward(
        self, tokens: torch.Tensor, cache: DynamicCache, positions: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """One step: the logits after the last of the tokens, ``(rows, vocabulary)``."""
        output = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_name: cache},
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits


class Row:
    """One answer while it is written."""

    def __init__(self, id: int, request: GenerateRequest, prompt: Prompt, writer: Writer) -> None:
        self.id = id
        self.prompt = prompt.tokens
        self.read = 0
        """How many tokens of the prompt have been read."""
        self.cache = writer.new_cache()
        self.token = 0
        """The last one that was written; not read yet."""
        self.length = len(prompt.tokens)
        """How many tokens there are in all, the last one included."""
        self._writer = writer
        room = writer.context_window - len(prompt.tokens)
        asked = request.config.max_output_tokens
        self._limit = room if asked is None else min(asked, room)
        self._top = request.config.logprobs
        self._sampler = Sampler(
            request.config,
            request.provider_options,
            defaults=writer.model.generation_config,
            prompt=prompt.tokens,
            ends=sorted(writer.ends),
        )
        self._ends = frozenset() if request.provider_options.get("ignore_eos") else writer.ends
        self._characters = Detokenizer(writer.decode, prompt.tokens)
        self._text = AnswerText(
            id,
            stops=request.config.stop,
            thinks=writer.thinks,
            calls=writer.calls and bool(request.tools),
            written=prompt.written,
        )
        self._count = 0
        self._thought = 0

    @property
    def begun(self) -> bool:
        """Whether it has a token."""
        return self._count > 0

    def write(self, logits: torch.Tensor) -> tuple[list[AnyMessage], bool]:
        """Take one token: the messages that it completes, and whether the answer continues."""
        token = self._sampler.choose(logits)
        self._count += 1
        self._thought += self._text.thinking
        if token in self._ends:
            return [*self._text.end(), self._done(FinishReason.STOP)], False
        logprob = None if self._top is None else self._logprob(logits, token, self._top)
        events: list[AnyMessage] = [*self._text.push(self._characters.push(token), logprob)]
        if self._text.stopped:
            return [*events, self._done(FinishReason.STOP)], False
        if self._count >= self._limit:
            return [*events, *self._text.end(), self._done(FinishReason.LENGTH)], False
        self.token = token
        self.length += 1
        return events, True

    def _done(self, reason: FinishReason) -> Done:
        if self._text.called and reason is FinishReason.STOP:
            reason = FinishReason.TOOL_CALLS
        return Done(
            id=self.id,
            reason=reason,
            input_tokens=len(self.prompt),
            output_tokens=self._count,
            reasoning_tokens=self._thought,
        )

    def _logprob(self, logits: torch.Tensor, token: int, top: int) -> Logprob:
        likely = torch.log_softmax(logits.float(), dim=-1)
        best = likely.topk(top) if top else None
        others = (
            ()
            if best is None
            else tuple(
                [
                    Logprob(token=self._characters.alternative(int(other)), logprob=float(value))
                    for value, other in zip(best.values.tolist(), best.indices.tolist(), strict=True)
                ]
            )
        )
        return Logprob(token=self._characters.alternative(token), logprob=float(likely[token]), top=others)


class Batch:
    """Rows that share their steps, their keys and values padded on the left to one length."""

    def __init__(self, writer: Writer, row: Row) -> None:
        self.rows = [row]
        self._writer = writer
        self._cache = row.cache

    def add(self, row: Row) -> None:
        """Take a row in whose prompt has been read."""
        joined = self._writer.new_cache()
        for index, (ours, theirs) in enumerate(zip(_layers(self._cache), _layers(row.cache), strict=True)):
            length = max(ours.keys.shape[-2], theirs.keys.shape[-2])
            keys = torch.cat([_padded(ours.keys, length), _padded(theirs.keys, length)])
            values = torch.cat([_padded(ours.values, length), _padded(theirs.values, length)])
            joined.update(keys, values, index)
        self.rows.append(row)
        self._cache = joined

    def keep(self, wanted: Callable[[Row], bool]) -> None:
        """Let the other rows go, and what they took."""
        kept = [index for index, row in enumerate(self.rows) if wanted(row)]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in kept]
        if not self.rows:
            return
        indices = torch.tensor(kept, device=self._writer.model.device)
        length = max(row.length for row in self.rows) - 1
        for layer in _layers(self._cache):
            layer.keys = layer.keys[indices, :, -length:].contiguous()
            layer.values = layer.values[indices, :, -length:].contiguous()

    def step(self) -> torch.Tensor:
        """Read the last token of each row: the logits of the next, ``(rows, vocabulary)``."""
        device = self._writer.model.device
        lengths = [row.length for row in self.rows]
        longest = max(lengths)
        tokens = torch.tensor([[row.token] for row in self.rows], device=device)
        positions = torch.tensor([[length - 1] for length in lengths], device=device)
        mask = None
        if min(lengths) < longest:
            places = torch.arange(longest, device=device)
            mask = (places >= torch.tensor([[longest - length] for length in lengths], device=device)).long()
        return self._writer.forward(tokens, self._cache, positions, mask)


def _layers(cache: DynamicCache) -> list[Any]:
    """The layers, each with its ``keys`` and ``values``: ``(rows, heads, tokens, width)``."""
    return cache.layers


def _padded(states: torch.Tensor, length: int) -> torch.Tensor:
    """Keys or values, ``(rows, heads, tokens, width)``, with zeros on the left up to ``length`` tokens."""
    return torch.nn.functional.pad(states, (0, 0, length - states.shape[-2], 0))


class Generation:
    """Writes answers until its process ends.

    Args:
        writer: the model.
        parallel: how many answers are written at once.
        tell: receives their messages.
    """

    def __init__(self, writer: Writer, parallel: int, tell: Callable[[list[AnyMessage]], None]) -> None:
        self._writer = writer
        self._parallel = parallel
        self._tell = tell
        self._arriving: queue.SimpleQueue[Row | int | Stopped] = queue.SimpleQueue()
        self._waiting: deque[Row] = deque()
        self._reading: deque[Row] = deque()
        self._batches: list[Batch] = []

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
        for batch in self._batches:
            batch.keep(wanted)
        self._batches = [batch for batch in self._batches if batch.rows]

    def _read(self) -> None:
        """Read a piece of the oldest prompt; when it has been read, its row writes its first token."""
        row = self._reading[0]
        # Models with a state of their own take a prompt whole or not at all.
        piece = PIECE if self._writer.shares else len(row.prompt)
        end = min(len(row.prompt), row.read + piece)
        device = self._writer.model.device
        tokens = torch.tensor([row.prompt[row.read : end]], device=device)
        positions = torch.arange(row.read, end, device=device).unsqueeze(0)
        try:
            logits = self._writer.forward(tokens, row.cache, positions, None)
            row.read = end
            if end == len(row.prompt):
                self._reading.popleft()
                if self._write([row], logits):
                    self._join(row)
        except Exception as error:  # noqa: BLE001  # whatever the model's code raises, the other answers go on
            self._reading = deque(other for other in self._reading if other is not row)
            self._fail([row], error)

    def _join(self, row: Row) -> None:
        """Write the row together with the others, if the model can do that."""
        if self._batches and self._writer.shares:
            self._batches[0].add(row)
        else:
            self._batches.append(Batch(self._writer, row))

    def _step(self, batch: Batch) -> None:
        try:
            going_on = self._write(batch.rows, batch.step())
        except Exception as error:  # noqa: BLE001  # as above
            self._batches.remove(batch)
            self._fail(batch.rows, error)
            return
        batch.keep(lambda row: row in going_on)
        if not batch.rows:
            self._batches.remove(batch)

    def _write(self, rows: list[Row], logits: torch.Tensor) -> list[Row]:
        """Take a token for each row, tell of it, and return the rows that go on."""
        events: list[AnyMessage] = []
        going_on = []
        for index, row in enumerate(rows):
            pieces, more = row.write(logits[index])
            events += pieces
            if more:
                going_on.append(row)
        if events:
            self._tell(events)
        return going_on

    def _fail(self, rows: list[Row], error: Exception) -> None:
        name = self._writer.name
        device = self._writer.model.device
        end_if_dead(device, self._tell)
        message = f"the model {name} failed while it answered: {reason(error, device)}"
        reasons = [(ProviderStreamCut if row.begun else ProviderUnavailable).reason for row in rows]
        self._tell(
            [
                LogLine(text="".join(traceback.format_exception(error))),
                *[
                    Failure(id=row.id, reason=reason, message=message, metadata={"model": name})
                    for row, reason in zip(rows, reasons, strict=True)
                ],
            ]
        )
