"""The pieces of an answer, as servers send them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mcp_server.values import Logprob, Usage, UsageSource

END: Final = b"[DONE]"
"""The data of the event that ends a stream."""


class Token(msgspec.Struct, gc=False):
    """One token and how likely it was."""

    token: str
    logprob: float
    top_logprobs: list[Token] | None = None

    def value(self, top: int) -> Logprob:
        """The value of this project, with the ``top`` likeliest alternatives."""
        best = tuple([Logprob(token=other.token, logprob=other.logprob) for other in (self.top_logprobs or ())[:top]])
        return Logprob(token=self.token, logprob=self.logprob, top=best)


class Logprobs(msgspec.Struct, gc=False):
    """The tokens of a piece. Those of completions have lists side by side."""

    content: list[Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def values(self, top: int) -> list[Logprob]:
        """The values of this project, with the ``top`` likeliest alternatives at each position."""
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
        """The value of this project."""
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


CHUNKS: Final = msgspec.json.Decoder(Chunk)
"""Decodes pieces of answers."""
