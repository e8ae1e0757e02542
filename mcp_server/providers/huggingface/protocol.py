"""What the server and the process of a model say to each other.

Each says lists of the messages below, as MessagePack, each list after its length: four bytes, little-endian. The
process begins with :class:`Ready` or :class:`Failed`. Then it answers, in any order, what it is asked: each answer
carries the ``id`` of its question, and the last one is :class:`Done`, :class:`Counted`, :class:`Vectors` or
:class:`Refused`.
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
    """The most tokens that it reads; 0: not said."""
    dimensions: int = 0
    """The length of its vectors; 0: it makes none, or it is not said."""


# -- questions --------------------------------------------------------------------------------------------------------


class Question(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The base of all that the process is asked."""

    id: int
    """Names it; never used twice."""


class Generate(Question, frozen=True, kw_only=True):
    """Write an answer."""

    request: GenerateRequest


class Count(Question, frozen=True, kw_only=True):
    """How long is the prompt?"""

    request: GenerateRequest


class Embed(Question, frozen=True, kw_only=True):
    """Turn texts into vectors."""

    texts: tuple[str, ...]


class Cancel(Question, frozen=True, kw_only=True):
    """The answer to the question with that ``id`` is not wanted any more. Nothing answers this."""


Asked = Generate | Count | Embed | Cancel

# -- answers ----------------------------------------------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model is loaded."""

    facts: Facts


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model cannot be loaded, and the process ends."""

    why: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The base of all that answers a question."""

    id: int
    """The question."""


class Said(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of the answer's text."""

    text: str
    logprobs: tuple[Logprob, ...] = ()


class Thought(Answer, frozen=True, kw_only=True):
    """A piece of what the model thinks."""

    text: str


class Called(Answer, frozen=True, kw_only=True):
    """A whole tool call."""

    call: str
    name: str
    arguments: str


class Done(Answer, frozen=True, kw_only=True):
    """The end of an answer."""

    reason: FinishReason
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int


class Counted(Answer, frozen=True, kw_only=True):
    """How long a prompt is."""

    tokens: int


class Vectors(Answer, frozen=True, kw_only=True):
    """One vector a text."""

    vectors: list[bytes]
    """Each as 32-bit floats in the order of this machine."""
    tokens: int


class Refused(Answer, frozen=True, kw_only=True):
    """An answer that failed: an error of :mod:`mcp_server.errors`."""

    reason: str
    message: str
    metadata: dict[str, str]


class Noted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something that only the operator is to read."""

    text: str


Told = Ready | Failed | Said | Thought | Called | Done | Counted | Vectors | Refused | Noted


def frame(messages: Sequence[Asked] | Sequence[Told]) -> bytes:
    """The messages as they are sent."""
    content = msgspec.msgpack.encode(messages)
    return LENGTH.pack(len(content)) + content
