"""The messages between the server and the process of a model.

Both send lists of the messages below, as MessagePack, each list after its length: four bytes, little-endian. The
process begins with :class:`Ready` or :class:`Failed`. Then it answers, in any order, what it is asked: each answer
carries the ``id`` of its question, and the last one is :class:`Done`, :class:`TokenCount`, :class:`Vectors` or
:class:`Failure`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from mcp_server.interfaces import GenerateRequest
from mcp_server.values import FinishReason, Logprob

LENGTH: Final = struct.Struct("<I")
"""What stands before each list."""


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is loaded."""

    model: str
    """What calls name it by."""
    path: str
    """Its folder or its GGUF file; empty: it comes from the model hub."""
    source: str
    """Its repository on the model hub."""
    revision: str
    """The branch, tag or commit of that."""
    context_window: int | None
    """The most tokens of one prompt and its answer; ``None``: as its files say."""
    parallel: int
    """How many answers are worked on at once."""
    threads: int
    """How many threads compute."""
    device: str
    """What computes, by PyTorch's name for it, or ``auto``."""
    dtype: str
    """The numbers that it computes with, by PyTorch's name for them, or ``auto``."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do, as its files say."""

    generates: bool
    """Whether it writes text; one that does not makes embeddings."""
    chat_template: str = ""
    """How a conversation becomes a prompt; empty: it does not chat."""
    context_window: int = 0
    """The most tokens that it reads; 0: not stated."""
    largest_window: int = 0
    """The largest ``context_window`` that settings may have; 0: any."""
    dimensions: int = 0
    """The length of its vectors; 0: it makes none, or it is not stated."""
    prompts: tuple[str, ...] = ()
    """The names of what can stand before a text that is embedded."""
    ignored: tuple[str, ...] = ()
    """What its ``generation_config.json`` asks for and is not done; known once it is loaded."""


# -- questions --------------------------------------------------------------------------------------------------------


class Question(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The base of all questions to the process."""

    id: int
    """The id of the question; never used twice."""


class Generate(Question, frozen=True, kw_only=True):
    """Write an answer."""

    request: GenerateRequest


class Count(Question, frozen=True, kw_only=True):
    """Count the tokens of a prompt."""

    request: GenerateRequest


class Embed(Question, frozen=True, kw_only=True):
    """Turn texts into vectors."""

    texts: tuple[str, ...]
    prompt_name: str | None = None
    """What stands before each text, by its name in the model's files; ``None``: their default."""


class Cancel(Question, frozen=True, kw_only=True):
    """The answer to the question with that ``id`` is no longer needed. The answer is :class:`Stopped`."""


AnyQuestion = Generate | Count | Embed | Cancel

# -- answers ----------------------------------------------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model is loaded."""

    facts: Facts


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model cannot be loaded, or cannot compute any more, and the process ends."""

    why: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The base of all answers to a question."""

    id: int
    """The id of the question."""


class Reading(Answer, frozen=True, kw_only=True):
    """A sign of life: the prompt is being read."""


class TextPiece(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of the answer's text."""

    text: str
    logprobs: tuple[Logprob, ...] = ()


class ReasoningPiece(Answer, frozen=True, kw_only=True):
    """A piece of the model's reasoning."""

    text: str


class WholeToolCall(Answer, frozen=True, kw_only=True):
    """A complete tool call."""

    call: str
    name: str
    arguments: str


class Done(Answer, frozen=True, kw_only=True):
    """The end of an answer."""

    reason: FinishReason
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int


class TokenCount(Answer, frozen=True, kw_only=True):
    """The length of a prompt."""

    tokens: int


class Vectors(Answer, frozen=True, kw_only=True):
    """One vector for each text."""

    vectors: list[bytes]
    """Each as 32-bit floats in the order of this machine."""
    tokens: int


class Failure(Answer, frozen=True, kw_only=True):
    """An answer that failed: an error of :mod:`mcp_server.errors`."""

    reason: str
    message: str
    metadata: dict[str, str]


class Stopped(Answer, frozen=True, kw_only=True):
    """Nothing is computed any more for a question that was cancelled, or that had been answered before."""


class LogLine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A line for the log of the server, not for callers."""

    text: str


AnyAnswer = Reading | TextPiece | ReasoningPiece | WholeToolCall | Done | TokenCount | Vectors | Failure | Stopped
AnyMessage = Ready | Failed | LogLine | AnyAnswer


def frame(messages: Sequence[AnyQuestion] | Sequence[AnyMessage]) -> bytes:
    """Encode a list of messages."""
    content = msgspec.msgpack.encode(messages)
    return LENGTH.pack(len(content)) + content
