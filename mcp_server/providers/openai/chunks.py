"""The pieces of an answer as servers send them, and how they are cut out of a stream of server-sent events."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mcp_server.values import Logprob, Usage, UsageSource

MAX_LINE: Final = 2 * 1024 * 1024
"""The longest line that is read, in bytes: an answer of the greatest length in one piece fits."""
DONE: Final = b"[DONE]"
DATA: Final = b"data: "
LAST: Final = b"data: [DONE]\n\n"
"""How nearly every stream ends."""


class Token(msgspec.Struct, gc=False):
    """One token and how likely it was."""

    token: str
    logprob: float
    top_logprobs: list[Token] | None = None

    def value(self, top: int) -> Logprob:
        """As this project says it, with the ``top`` likeliest."""
        best = tuple([Logprob(token=other.token, logprob=other.logprob) for other in (self.top_logprobs or ())[:top]])
        return Logprob(token=self.token, logprob=self.logprob, top=best)


class Logprobs(msgspec.Struct, gc=False):
    """The tokens of a piece. Those of completions have lists side by side."""

    content: list[Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def values(self, top: int) -> list[Logprob]:
        """As this project says it, with the ``top`` likeliest at each position."""
        if self.content is not None:
            return [token.value(top) for token in self.content]
        found = []
        for index, (token, logprob) in enumerate(zip(self.tokens or (), self.token_logprobs or (), strict=False)):
            others = (self.top_logprobs or [])[index : index + 1]
            likely = sorted(((others and others[0]) or {}).items(), key=lambda pair: -pair[1])[:top]
            best = tuple([Logprob(token=other, logprob=value) for other, value in likely])
            found.append(Logprob(token=token, logprob=logprob or 0.0, top=best))
        return found


class Function(msgspec.Struct, gc=False):
    """A piece of what is called."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct, gc=False):
    """A piece of a tool call. Some servers leave the index out."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Thought(msgspec.Struct, gc=False):
    """A piece of a content that has several: Mistral's."""

    text: str = ""
    thinking: list[Thought] = []


class Delta(msgspec.Struct, gc=False):
    """What is new."""

    content: str | list[Thought] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None


class Choice(msgspec.Struct, gc=False):
    """One answer. A whole one has a ``message`` where a piece has a ``delta``; a completion has a ``text``."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptDetails(msgspec.Struct, gc=False):
    """What the tokens of the prompt were."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """What the tokens of the answer were."""

    reasoning_tokens: int | None = None


class Tokens(msgspec.Struct, gc=False):
    """What an answer took."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's name for what was cached."""

    def value(self) -> Usage:
        """As this project says it."""
        prompt = self.prompt_tokens_details or PromptDetails()
        output = self.completion_tokens_details or OutputDetails()
        return Usage(
            input_tokens=self.prompt_tokens or 0,
            cached_input_tokens=prompt.cached_tokens or self.prompt_cache_hit_tokens or 0,
            cache_write_tokens=prompt.cache_write_tokens or 0,
            output_tokens=self.completion_tokens or 0,
            reasoning_tokens=output.reasoning_tokens or 0,
            source=UsageSource.REPORTED,
        )


class Chunk(msgspec.Struct, gc=False):
    """A piece of an answer."""

    choices: list[Choice] | None = None
    usage: Tokens | None = None
    error: Any = None


decode_chunk: Final = msgspec.json.Decoder(Chunk).decode
_decode_lines: Final = msgspec.json.Decoder(Chunk).decode_lines
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for what cannot be read."""


class EventStream:
    """Cuts server-sent events out of the bytes of a body, and decodes them: all that arrived together at once.

    Attributes:
        done: whether the server said that nothing more comes.
        problem: what is wrong with the stream, or empty; then nothing more is read.
    """

    __slots__ = ("_rest", "done", "problem")

    def __init__(self) -> None:
        self.done = False
        self.problem = ""
        self._rest = b""

    def feed(self, data: bytes) -> list[Chunk]:
        """The pieces that are complete with the next ``data``."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        if len(self._rest) > MAX_LINE:
            self.problem = f"a line of more than {MAX_LINE} bytes"
            return []
        block = data[:end]
        if block.startswith(DATA):
            self.done = block.endswith(LAST)
            lines = block[len(DATA) : -len(LAST)] if self.done else block[len(DATA) :]
            try:
                # A line end within JSON is escaped: whatever is found is the beginning of a line.
                return _decode_lines(lines.replace(b"\ndata: ", b"\n"))
            except UNREADABLE:
                pass  # something rarer is in it, or something bad
        return self._each(block)

    def _each(self, block: bytes) -> list[Chunk]:
        """Line by line, whatever they are."""
        chunks = []
        for line in block.splitlines():
            if not line.startswith(b"data:"):
                continue  # blank, a comment, or the name of the event
            data = line[5:].strip()
            if data == DONE:
                self.done = True
                break
            try:
                chunks.append(decode_chunk(data))
            except UNREADABLE:
                self.problem = "an event that is not JSON of the known form"
                break
        return chunks
