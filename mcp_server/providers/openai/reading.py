"""Makes the events of a provider from the pieces of an answer."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from mcp_server.interfaces import (
    Finish,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.providers.openai.chunks import Call, Chunk, Delta, Function, Thought, Tokens
from mcp_server.values import FinishReason, Logprob

FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,  # Together
    "end_turn": FinishReason.STOP,  # models of Anthropic behind some gateways
    "stop_sequence": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
"""The finish reasons of servers. Any other one, such as ``error``, means that the answer is incomplete."""


class Reading:
    """Reads one answer.

    Attributes:
        reason: the server's finish reason, or empty.
        error: the error object that came instead of a piece, or ``None``; what follows it is not read.

    Args:
        logprobs: how many of the likeliest tokens were asked for, or ``None``.
        echo: the text with which the answer begins although it is not new, or empty.
    """

    __slots__ = (
        "_by_index",
        "_calls",
        "_echo",
        "_events",
        "_held",
        "_kind",
        "_likely",
        "_pieces",
        "_top",
        "_usage",
        "error",
        "reason",
    )

    def __init__(self, *, logprobs: int | None, echo: str = "") -> None:
        self.reason = ""
        self.error: Any = None
        self._top = logprobs
        self._echo = echo
        self._held = ""
        self._usage: Tokens | None = None
        self._events: list[ProviderEvent] = []
        self._kind = ""
        self._pieces: list[str] = []
        self._likely: list[Logprob] = []
        self._calls: list[_OpenCall] = []
        self._by_index: dict[int, _OpenCall] = {}

    def take(self, chunks: Iterable[Chunk]) -> list[ProviderEvent]:
        """The events of pieces that came together: as few as possible."""
        self._events = []
        for chunk in chunks:
            if chunk.usage is not None:
                self._usage = chunk.usage
            if chunk.error is not None:
                self.error = chunk.error
                break
            for choice in chunk.choices or ():
                if choice.index:
                    continue  # another answer to the same question
                if choice.logprobs is not None and self._top is not None:
                    self._likely += choice.logprobs.values(self._top)
                if choice.finish_reason:
                    self.reason = choice.finish_reason
                if choice.text:
                    self._add("text", choice.text)
                delta = choice.delta or choice.message
                if delta is not None:
                    self._delta(delta)
        self._flush()
        return self._events

    def finish(self) -> Finish | None:
        """The end of the answer; ``None`` if the server did not say that it is whole."""
        reason = FINISH_REASONS.get(self.reason)
        if reason is None or not all(call.begun for call in self._calls):
            return None
        if reason is FinishReason.STOP and self._calls:
            reason = FinishReason.TOOL_CALLS  # some say it so, as does OpenAI where one tool was demanded
        return Finish(reason=reason, usage=self._usage.value() if self._usage is not None else None)

    def _delta(self, delta: Delta) -> None:
        if (reasoning := delta.reasoning_content or delta.reasoning) is not None:
            self._add("reasoning", reasoning)
        if isinstance(delta.content, str):
            self._add("text", delta.content)
        elif delta.content is not None:
            self._thoughts(delta.content)
        if delta.refusal is not None:
            self._add("refusal", delta.refusal)
        if delta.tool_calls is not None:
            for call in delta.tool_calls:
                self._call(call)

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
                self._kind = kind
            self._pieces.append(piece)

    def _flush(self) -> None:
        """Make an event of the pieces of one kind."""
        if not self._pieces:
            return
        text = "".join(self._pieces)
        self._pieces = []
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
        self._held += text
        if len(self._held) < len(self._echo) and self._echo.startswith(self._held):
            return ""
        new = self._held.removeprefix(self._echo)
        self._held = self._echo = ""
        return new

    # -- tool calls ---------------------------------------------------------------------------------------------------

    def _call(self, piece: Call) -> None:
        function = piece.function or Function()
        if piece.index is None:  # some servers leave it out
            call = self._calls[-1] if self._calls else None
        else:
            call = self._by_index.get(piece.index)
        # Some give all calls the same one.
        another = piece.id != call.server_id if call is not None and piece.id else piece.index is None
        if call is None or (function.name and another):
            call = _OpenCall(piece.id or "")
            self._calls.append(call)
            if piece.index is not None:
                self._by_index[piece.index] = call
        call.name = call.name or function.name or ""
        arguments = function.arguments or ""
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        if call.begun:
            self._arguments(call, arguments)
            return
        call.held += arguments
        if call.name:
            self._flush()
            # The server's id, or one that no other call of the answer has.
            taken = any(other.id == call.server_id for other in self._calls)
            call.id = f"call_{secrets.token_hex(12)}" if taken or not call.server_id else call.server_id
            call.begun = True
            self._events.append(ToolCallStart(id=call.id, name=call.name))
            self._arguments(call, call.held)

    def _arguments(self, call: _OpenCall, text: str) -> None:
        if text:
            self._events.append(ToolArgumentsDelta(id=call.id, text=text))


class _OpenCall:
    """A tool call while it is written."""

    __slots__ = ("begun", "held", "id", "name", "server_id")

    def __init__(self, server_id: str) -> None:
        self.server_id = server_id
        """The id from the server."""
        self.id = ""
        self.name = ""
        self.begun = False
        self.held = ""
        """The arguments that came before the name."""
