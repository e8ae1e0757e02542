"""Answers questions with one loaded model.

One thread reads the questions, one makes prompts of them, and one computes: a long prompt does not hold up the answers,
and a stop comes through at once.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import traceback
from collections.abc import Callable, Iterator

import msgspec
import torch

from mcp_server.errors import ContextTooLong, MCPError, ProviderUnavailable
from mcp_server.providers.huggingface.protocol import (
    AnyMessage,
    AnyQuestion,
    Cancel,
    Count,
    Embed,
    Failed,
    Failure,
    Generate,
    Loading,
    LogLine,
    Ready,
    Stopped,
    TokenCount,
)
from mcp_server.providers.huggingface.worker.conversation import prompt_of
from mcp_server.providers.huggingface.worker.device import end_if_dead, full, reason
from mcp_server.providers.huggingface.worker.embedding import Embedding
from mcp_server.providers.huggingface.worker.failures import CannotLoad
from mcp_server.providers.huggingface.worker.generation import Generation
from mcp_server.providers.huggingface.worker.loading import Loaded, load
from mcp_server.providers.huggingface.worker.text import CALL, THINK
from mcp_server.providers.huggingface.worker.writer import Writer

Tell = Callable[[list[AnyMessage]], None]
Ask = Callable[[AnyQuestion], None]
"""Takes a question, and returns at once."""


def serving(settings: Loading, tell: Tell) -> Ask | None:
    """Load a model and say whether that worked; return what takes the questions, or ``None``."""
    try:
        loaded = load(settings)
        ask = _try_out(loaded, settings, tell)
    except CannotLoad as error:
        tell([Failed(why=str(error))])
        return None
    tell([Ready(facts=loaded.facts)])
    return ask


def _try_out(loaded: Loaded, settings: Loading, tell: Tell) -> Ask:
    try:
        return (_generating if loaded.facts.generates else _embedding)(loaded, settings, tell)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise CannotLoad(full(loaded.model.device)) from error


def _generating(loaded: Loaded, settings: Loading, tell: Tell) -> Ask:
    model, template, window = settings.model, loaded.facts.chat_template, loaded.facts.context_window
    tokenizer = loaded.tokenizer_for_another_thread()
    ended = loaded.model.generation_config.eos_token_id
    ends = {*(ended if isinstance(ended, list) else [ended]), tokenizer.eos_token_id} - {None}
    writer = Writer(
        loaded.model,
        tokenizer,
        context_window=window,
        ends=sorted(ends),
        thinks=THINK[1] in template,
        calls=CALL[0] in template,
        name=model,
    )
    loaded.facts = msgspec.structs.replace(loaded.facts, ignored=writer.rules.ignored)
    generation = Generation(writer, settings.parallel, tell)
    questions: queue.SimpleQueue[AnyQuestion] = queue.SimpleQueue()

    def prepare(question: AnyQuestion) -> None:
        if isinstance(question, Cancel):
            generation.cancel(question.id)
            generation.confirm(question.id)
        elif isinstance(question, Generate | Count):
            prompt = prompt_of(question.request, loaded.tokenizer, model)
            if isinstance(question, Count):
                tell([TokenCount(id=question.id, tokens=len(prompt.tokens))])
            elif len(prompt.tokens) < window:
                generation.submit(question.id, question.request, prompt)
            else:
                raise context_too_long(len(prompt.tokens), window, model=model)

    def ask(question: AnyQuestion) -> None:
        if isinstance(question, Cancel):
            # Once at once, and once behind the question: it may still be in preparation.
            generation.cancel(question.id)
        questions.put(question)

    _start(_each(questions, prepare, loaded, model, tell), tell)
    _start(generation.run, tell)
    return ask


def _embedding(loaded: Loaded, settings: Loading, tell: Tell) -> Ask:
    embedding = Embedding(loaded, settings.model)
    loaded.facts = msgspec.structs.replace(loaded.facts, context_window=embedding.window)
    questions: queue.SimpleQueue[AnyQuestion] = queue.SimpleQueue()
    cancelled: set[int] = set()

    def embed(question: AnyQuestion) -> None:
        if isinstance(question, Cancel):
            cancelled.discard(question.id)
            tell([Stopped(id=question.id)])
        elif isinstance(question, Embed):
            vectors = embedding.vectors(question, lambda: question.id in cancelled)
            if vectors is not None:
                tell([vectors])

    def ask(question: AnyQuestion) -> None:
        if isinstance(question, Cancel):
            cancelled.add(question.id)
        questions.put(question)

    _start(_each(questions, embed, loaded, settings.model, tell), tell)
    return ask


def context_too_long(tokens: int, limit: int, *, model: str) -> ContextTooLong:
    """The error of a prompt of ``tokens`` where ``limit`` fit."""
    return ContextTooLong(
        f"the prompt has {tokens} tokens, and the model {model} reads {limit}: send less, or use a model with a larger "
        "context window",
        metadata={"model": model, "tokens": str(tokens), "limit": str(limit)},
    )


def _each(
    questions: queue.SimpleQueue[AnyQuestion],
    work: Callable[[AnyQuestion], None],
    loaded: Loaded,
    model: str,
    tell: Tell,
) -> Callable[[], None]:
    def run() -> None:
        while True:
            question = questions.get()
            with _refused(question, loaded.model.device, model, tell):
                work(question)

    return run


@contextlib.contextmanager
def _refused(question: AnyQuestion, device: torch.device, model: str, tell: Tell) -> Iterator[None]:
    """Tell of what goes wrong with a question; others go on."""
    try:
        yield
    except MCPError as error:
        tell([Failure(id=question.id, reason=error.reason, message=error.message, metadata=error.metadata)])
    except Exception as error:  # noqa: BLE001  # whatever the model's code raises, others go on
        end_if_dead(device, tell)
        message = f"the model {model} failed: {reason(error, device)}"
        refused = Failure(id=question.id, reason=ProviderUnavailable.reason, message=message, metadata={"model": model})
        tell([LogLine(text=traceback.format_exc()), refused])


def _start(work: Callable[[], None], tell: Tell) -> None:
    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # without this thread nothing is answered: the process ends
            tell([LogLine(text=traceback.format_exc()), Failed(why=f"{type(error).__name__}: {error}")])
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()
