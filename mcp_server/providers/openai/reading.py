"""Makes the events of a provider from the pieces of an answer.

Text may end with half a character: the turn joins it with the next piece, whichever provider it is from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from mcp_server.interfaces import (
    Finish,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
)
from mcp_server.providers.http.failures import normalized
from mcp_server.providers.http.faults import is_fault
from mcp_server.providers.openai.calls import ToolCalls
from mcp_server.providers.openai.chunks import Choice, Chunk, Delta, Thought
from mcp_server.values import FinishReason, Logprob, Usage
from mcp_server.values.surrogates import repaired, split_last

_SPELLINGS: Final[Mapping[FinishReason, tuple[str, ...]]] = {
    FinishReason.STOP: (
        "stop",
        "stopped",
        "stop_sequence",
        "stop_token",
        "stop_string",
        "eos",  # Together
        "eos_token",  # TGI
        "eos_token_id",
        "end",
        "end_of_text",
        "end_of_turn",
        "end_turn",  # models of Anthropic behind some gateways
        "eot",
        "complete",  # Cohere
        "completed",
        "done",
        "finish",
        "finished",
        "normal",
        "success",
    ),
    FinishReason.LENGTH: (
        "length",
        "length_capped",
        "limit",
        "max_length",
        "max_new_tokens",
        "max_output_tokens",
        "max_token",
        "max_tokens",
        "max_completion_tokens",
        "max_tokens_reached",
        "context_length",
        "context_length_exceeded",
        "context_window_exceeded",
        "model_context_window_exceeded",  # Anthropic
        "model_length",  # Mistral
        "token_limit",
        "token_limit_reached",
        "truncated",
    ),
    FinishReason.TOOL_CALLS: (
        "tool_calls",
        "tool_call",
        "tool_use",
        "tool_calling",
        "function_call",
        "function_calls",
        "function_calling",
    ),
    FinishReason.CONTENT_FILTER: (
        "content_filter",
        "content_filtered",
        "content_filtering",
        "content_policy",
        "content_policy_violation",
        "filter",
        "filtered",
        "blocklist",  # Gemini
        "error_toxic",  # Cohere
        "guardrail_intervened",  # Bedrock
        "image_safety",
        "moderation",
        "prohibited_content",
        "recitation",
        "refusal",  # Anthropic
        "responsible_ai_policy_violation",
        "safety",
        "sensitive",  # Zhipu
        "spii",
    ),
}
FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    normalized(spelling): reason for reason, spellings in _SPELLINGS.items() for spelling in spellings
}
"""The finish reasons of servers, by their letters. Any other one, such as ``error``, means that the answer is
incomplete."""


def finish_reason(spelling: str) -> FinishReason | None:
    """The finish reason in any spelling; ``None`` if it is unknown."""
    return FINISH_REASONS.get(spelling) or FINISH_REASONS.get(normalized(spelling).removeprefix("finishreason"))


class Reading:
    """Reads one answer.

    Attributes:
        reason: the server's finish reason, or empty.
        known: whether the reason is known. From then on the answer is whole, whatever follows.
        reported: whether usage has come since.
        begun: whether pieces of the answer have come.
        error: the error object that came instead of a piece, or ``None``; what follows it is not read.

    Args:
        logprobs: how many of the likeliest tokens were asked for, or ``None``.
        tools: the names of the tools that were offered.
        echo: the text with which the answer begins although it is not new, or empty.
    """

    __slots__ = (
        "_calls",
        "_echo",
        "_events",
        "_held",
        "_index",
        "_kind",
        "_likely",
        "_pieces",
        "_so_far",
        "_streamed",
        "_top",
        "_usage",
        "begun",
        "error",
        "known",
        "reason",
        "reported",
    )

    def __init__(self, *, logprobs: int | None, tools: Collection[str] = (), echo: str = "") -> None:
        self.reason = ""
        self.known = False
        self.reported = False
        self.begun = False
        self.error: Any = None
        self._top = logprobs
        self._echo = echo
        self._held = ""
        self._usage: Usage | None = None
        self._events: list[ProviderEvent] = []
        self._index: int | None = None
        self._kind = ""
        self._pieces: list[str] = []
        self._so_far: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
        self._streamed = False
        """Whether pieces have come as such."""
        self._likely: list[Logprob] = []
        self._calls = ToolCalls(tools)

    def take(self, chunks: Iterable[Chunk]) -> list[ProviderEvent]:
        """The events of pieces that came together: as few as possible."""
        self._events = []
        for chunk in chunks:
            choices = chunk.choices
            if self._kind == "text" and choices and len(choices) == 1 and chunk.usage is None and chunk.error is None:
                choice = choices[0]
                delta = choice.delta
                # Nearly every chunk of an answer is one more piece of text, and nothing else.
                if (
                    delta is not None
                    and type(content := delta.content) is str
                    and content
                    and choice.index == self._index
                    and choice.message is None
                    and choice.text is None
                    and choice.finish_reason is None
                    and choice.logprobs is None
                    and choice.usage is None
                    and choice.error is None
                    and delta.reasoning_content is None
                    and delta.reasoning is None
                    and delta.refusal is None
                    and delta.tool_calls is None
                    and delta.function_call is None
                ):
                    self._streamed = True
                    self._pieces.append(content)
                    continue
            whole = self.known
            if choices:
                for position, choice in enumerate(choices):
                    if choice.index is None:
                        if position:
                            continue
                    elif choice.index != self._index:
                        if self._index is not None:
                            continue  # another answer to the same question
                        self._index = choice.index
                    if choice.delta is not None and choice.message is None and not choice.text:
                        if choice.logprobs is not None and self._top is not None:
                            self._likely += choice.logprobs.values(self._top)
                        self._delta(choice.delta)
                    else:
                        self._whole(choice)
                    if choice.finish_reason:
                        self._end(choice.finish_reason)
                    if choice.usage is not None:
                        self._used(choice.usage.value())
                    if choice.error is not None and not whole and is_fault(choice.error):
                        self.error = choice.error
            if chunk.usage is not None:
                self._used(chunk.usage.value())
            if (chunk.error is not None or not choices) and not whole:
                self.error = self.error or chunk.fault()
            if self.error is not None:
                break
        self._flush()
        if self._events:
            self.begun = True
        return self._events

    def end(self) -> list[ProviderEvent]:
        """The last events before the finish: nothing else will come."""
        return self._calls.end()

    def finish(self) -> Finish | None:
        """The end of the answer; ``None`` if the server did not say that it is whole."""
        reason = finish_reason(self.reason)
        if reason is None or not self._calls.complete:
            return None
        if reason is FinishReason.STOP and self._calls:
            reason = FinishReason.TOOL_CALLS  # some say it so, as does OpenAI where one tool was demanded
        if reason is FinishReason.TOOL_CALLS and not self._calls:
            reason = FinishReason.STOP  # there is no call to answer
        return Finish(reason=reason, usage=self._usage)

    def _end(self, reason: str) -> None:
        """Take a finish reason; an unknown one does not replace a known one."""
        known = finish_reason(reason) is not None
        if known or not self.known:
            self.reason, self.known = reason, known

    def _used(self, usage: Usage | None) -> None:
        if usage is not None:
            self._usage = usage
            self.reported = self.known

    def _whole(self, choice: Choice) -> None:
        """Take a choice that may hold the whole answer, of which only what has not come yet is new."""
        before = bool(self._so_far["text"] or self._pieces)
        if choice.delta is not None:
            self._delta(choice.delta)
        message = choice.message
        if message is not None:
            self._flush()
            if message.content is not None and not isinstance(message.content, str):
                thoughts = "".join([thought.text for piece in message.content for thought in piece.thinking])
                self._rest("reasoning", thoughts)
                self._rest("text", "".join([piece.text for piece in message.content]))
            else:
                self._rest("reasoning", message.reasoning_content or message.reasoning or "")
                self._rest("text", message.content or "")
            self._rest("refusal", message.refusal or "")
            if message.tool_calls:
                self._flush()
                self._events += self._calls.take_whole(message.tool_calls)
            elif message.function_call is not None and not self._calls:
                self._flush()
                self._events += self._calls.take_function(message.function_call)
        elif choice.text and not (choice.delta is not None and choice.delta.content):
            self._add("text", choice.text)  # Together sends the same text in both places
        if choice.logprobs is not None and self._top is not None and not (before and message is not None):
            self._likely += choice.logprobs.values(self._top)

    def _rest(self, kind: str, text: str) -> None:
        """Add what is new of a text that may repeat what has come."""
        if not text:
            return
        so_far = repaired("".join(self._so_far[kind]))
        if text.startswith(so_far):
            self._add(kind, text[len(so_far) :])
        elif not self._streamed:
            self._add(kind, text)  # messages that are pieces

    def _delta(self, delta: Delta) -> None:
        if reasoning := delta.reasoning_content or delta.reasoning:
            self._streamed = True
            self._add("reasoning", reasoning)
        if isinstance(delta.content, str):
            if delta.content:
                self._streamed = True
                self._add("text", delta.content)
        elif delta.content is not None:
            self._streamed = True
            self._thoughts(delta.content)
        if delta.refusal:
            self._add("refusal", delta.refusal)
        if delta.tool_calls or delta.function_call is not None:
            self._flush()
            self._kind = ""
            if delta.tool_calls:
                self._events += self._calls.take(delta.tool_calls)
            if delta.function_call is not None:
                self._events += self._calls.take_function(delta.function_call)

    def _thoughts(self, content: Iterable[Thought]) -> None:
        for piece in content:
            self._add("text", piece.text)
            for thought in piece.thinking:
                self._add("reasoning", thought.text)

    # -- text of all kinds --------------------------------------------------------------------------------------------

    def _add(self, kind: str, piece: str) -> None:
        if piece:
            if kind != self._kind:
                self._flush()
                if self._calls:
                    self._events += self._calls.begin()
                self._kind = kind
            self._pieces.append(piece)

    def _flush(self) -> None:
        """Make an event of the pieces of one kind."""
        if not self._pieces:
            return
        text = "".join(self._pieces)
        self._pieces = []
        self._so_far[self._kind].append(text)
        if self._kind == "reasoning":
            self._events.append(ReasoningDelta(text=text))
        elif self._kind == "refusal":
            self._events.append(RefusalDelta(text=text))
        elif not self._echo or (text := self._without_echo(text)):
            if self._top is None:
                self._events.append(text)
            else:
                self._events.append(TextDelta(text=text, logprobs=tuple(self._likely)))
                self._likely = []

    def _without_echo(self, text: str) -> str:
        """What of the text is new. What repeats the beginning is kept back until it is all there."""
        held, half = split_last(self._held + text)
        self._held = held + half
        if len(held) < len(self._echo) and self._echo.startswith(held):
            return ""
        new = self._held.removeprefix(self._echo)
        self._held = self._echo = ""
        return new
