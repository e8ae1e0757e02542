"""The pieces of an answer, as servers send them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mcp_server.providers.http.faults import is_fault
from mcp_server.values import Logprob, Usage, UsageSource

END: Final = b"[DONE]"
"""The data of the event that ends a stream."""
MAX_TOKENS: Final = 1 << 40
"""More than any call takes: a greater count is none."""


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
            if logprob is None:
                continue  # the first token of a prompt that is repeated
            others = (self.top_logprobs or [])[index : index + 1]
            likely = sorted(((others and others[0]) or {}).items(), key=lambda pair: -pair[1])[:top]
            best = tuple([Logprob(token=other, logprob=value) for other, value in likely])
            found.append(Logprob(token=token, logprob=logprob, top=best))
        return found


class Function(msgspec.Struct, gc=False):
    """A piece of what is called."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct, gc=False):
    """A piece of a tool call. Some servers leave the index out, some the object ``function``."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


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
    function_call: Function | None = None
    """The only tool call, of older servers."""


class Choice(msgspec.Struct, gc=False):
    """One answer. A whole one has a ``message`` where a piece has a ``delta``; a completion has a ``text``."""

    index: int | None = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    usage: Tokens | None = None
    """Moonshot's place for it."""
    error: Any = None
    """OpenRouter's place for it."""


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
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's name for what was cached."""
    input_tokens: int | None = None
    output_tokens: int | None = None

    def value(self, output: int | None = None) -> Usage | None:
        """The value of this project; ``None`` if these are no counts of a whole answer.

        Args:
            output: the tokens of the answer if they are not reported; ``None`` if they must be.
        """
        prompt = self.input_tokens if self.prompt_tokens is None else self.prompt_tokens
        answer = self.output_tokens if self.completion_tokens is None else self.completion_tokens
        total = self.total_tokens or 0
        if prompt is None and answer is not None and total > answer:
            prompt = total - answer
        if answer is None and prompt is not None:
            answer = total - prompt if total > prompt else output
        if prompt is None or answer is None or not (0 <= prompt <= MAX_TOKENS and 0 <= answer <= MAX_TOKENS):
            return None
        if prompt == answer == 0:
            return None  # some send it with every piece
        details = self.prompt_tokens_details or PromptDetails()
        return Usage(
            input_tokens=prompt,
            cached_input_tokens=_count(details.cached_tokens or self.prompt_cache_hit_tokens, prompt),
            cache_write_tokens=_count(details.cache_write_tokens, prompt),
            output_tokens=answer,
            reasoning_tokens=_count((self.completion_tokens_details or OutputDetails()).reasoning_tokens, answer),
            source=UsageSource.REPORTED,
        )


def _count(part: int | None, whole: int) -> int:
    """A part of the tokens, or 0 if it cannot be one."""
    return part if part is not None and 0 < part <= whole else 0


class Chunk(msgspec.Struct, gc=False):
    """A piece of an answer, or an error."""

    choices: list[Choice] | None = None
    usage: Tokens | None = None
    error: Any = None
    message: Any = None
    detail: Any = None
    msg: Any = None
    errors: Any = None
    code: Any = None
    type: Any = None

    def fault(self) -> Any:
        """The error object, or ``None``."""
        bare = self.choices is None and self.usage is None and (self.message or self.detail or self.msg or self.errors)
        if not bare and (self.error is None or not is_fault(self.error)):
            return None
        # Some send the error object itself, and some a part of it beside the field ``error``.
        names = ("error", "errors", "message", "detail", "msg", "code", "type")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


CHUNKS: Final = msgspec.json.Decoder(Chunk)
"""Decodes pieces of answers."""
