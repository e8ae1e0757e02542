"""Answers of chats and completions, whole and in pieces, in the form of OpenAI's API."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mcp_server.values import (
    SECOND,
    Completed,
    Delta,
    Logprob,
    Message,
    PartStarted,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    Window,
)
from mcp_server.web.openai.logprobs import chat_logprobs, completion_logprobs
from mcp_server.web.openai.usage import chat_usage
from mcp_server.web.streams import AnswerEvents

_encode: Final = msgspec.json.Encoder().encode


# -- whole answers ----------------------------------------------------------------------------------------------------


def chat_answer(completed: Completed, logprobs: Sequence[Logprob] | None = None) -> bytes:
    """The answer to a chat."""
    choice = {
        "index": 0,
        "message": _message(completed.message),
        "logprobs": None if logprobs is None else chat_logprobs(logprobs),
        "finish_reason": completed.finish_reason.value,
    }
    return _whole("chatcmpl", "chat.completion", completed, choice)


def completion_answer(completed: Completed, logprobs: Sequence[Logprob] | None = None, *, offset: int = 0) -> bytes:
    """The answer to a completion."""
    choice = {
        "index": 0,
        "text": _joined(completed.message, Text, Refusal),
        "logprobs": None if logprobs is None else completion_logprobs(logprobs, offset),
        "finish_reason": completed.finish_reason.value,
    }
    return _whole("cmpl", "text_completion", completed, choice)


def _whole(prefix: str, kind: str, completed: Completed, choice: dict[str, Any]) -> bytes:
    message = completed.message
    return _encode(
        {
            "id": answer_id(prefix, message.turn),
            "object": kind,
            "created": completed.attempts[0].start_time // SECOND,
            "model": message.model,
            "choices": [choice],
            "usage": chat_usage(completed.usage),
        }
    )


def answer_id(prefix: str, turn: str) -> str:
    """The id of an answer: that of its turn, so that a repeated request gets the same."""
    return f"{prefix}-{turn.rpartition('/')[2]}"


def _message(message: Message) -> dict[str, Any]:
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments_json}}
        for part in message.parts
        if isinstance(part, ToolCall)
    ]
    refusal = _joined(message, Refusal)
    thoughts = _joined(message, Reasoning)
    answer: dict[str, Any] = {
        "role": "assistant",
        "content": message.text or (None if calls or refusal else ""),
        "refusal": refusal or None,
        "annotations": [],
    }
    if thoughts:
        answer["reasoning_content"] = thoughts
    if calls:
        answer["tool_calls"] = calls
    return answer


def _joined(message: Message, *kinds: type) -> str:
    return "".join([part.text for part in message.parts if isinstance(part, kinds)])  # type: ignore[union-attr]  # all have a text


# -- pieces -----------------------------------------------------------------------------------------------------------


class Chunks(AnswerEvents):
    """The chunks of one answer, as server-sent events. What all have in common is encoded once.

    Args:
        prefix: of the id.
        kind: the value of ``object``.
        include_usage: whether the last chunk reports the usage.
    """

    def __init__(self, prefix: str, kind: str, *, include_usage: bool) -> None:
        self._prefix = prefix
        self._kind = kind
        self._include_usage = include_usage
        self._id = ""
        self._created = int(time.time())
        self._head = b""
        self._usage = b',"usage":null}\n\n' if include_usage else b"}\n\n"

    def begin(self, turn: str, model: str, window: Window) -> bytes:
        """The first chunk of an answer, if it has one of its own."""
        self._id = answer_id(self._prefix, turn)
        self.continue_with(model)
        return b""

    def continue_with(self, model: str) -> None:
        """The chunks that follow are of this model."""
        facts = _encode({"id": self._id, "object": self._kind, "created": self._created, "model": model})
        self._head = b"data: " + facts[:-1] + b',"choices":['

    def end(self, completed: Completed) -> bytes:
        """The last chunks."""
        last = self._last(completed)
        if self._include_usage:
            last += self._head + b'],"usage":' + _encode(chat_usage(completed.usage)) + b"}\n\n"
        return last + b"data: [DONE]\n\n"

    def _last(self, completed: Completed) -> bytes:
        raise NotImplementedError

    def _chunk(self, choice: bytes) -> bytes:
        return self._head + choice + b"]" + self._usage


_FIELDS: Final = {"text": b'{"content":', "reasoning": b'{"reasoning_content":', "refusal": b'{"refusal":'}


class ChatChunks(Chunks):
    """The chunks of the answer to a chat."""

    def __init__(self, *, include_usage: bool) -> None:
        super().__init__("chatcmpl", "chat.completion.chunk", include_usage=include_usage)
        self._calls: dict[int, int] = {}
        """The position of each tool call among them, by the index of its part."""

    def begin(self, turn: str, model: str, window: Window) -> bytes:
        """The chunk with the role."""
        super().begin(turn, model, window)
        return self._choice(b'{"role":"assistant","content":""}')

    def part(self, event: PartStarted) -> bytes:
        """The chunk with which a tool call begins."""
        if event.kind != "tool_call":
            return b""
        index = self._calls[event.part] = len(self._calls)
        function = {"name": event.tool_name, "arguments": ""}
        call = {"index": index, "id": event.tool_call_id, "type": "function", "function": function}
        return self._choice(_encode({"tool_calls": [call]}))

    def delta(self, event: Delta) -> bytes:
        """The chunk of a piece."""
        if event.provider_state is not None:
            return b""
        if event.kind == "tool_call":
            call = {"index": self._calls[event.part], "function": {"arguments": event.text}}
            return self._choice(_encode({"tool_calls": [call]}))
        delta = _FIELDS[event.kind] + _encode(event.text) + b"}"
        if event.logprobs:
            return self._choice(delta, _encode(chat_logprobs(event.logprobs)))
        return self._choice(delta)

    def _last(self, completed: Completed) -> bytes:
        return self._choice(b"{}", finish_reason=_encode(completed.finish_reason))

    def _choice(self, delta: bytes, logprobs: bytes = b"null", finish_reason: bytes = b"null") -> bytes:
        return self._chunk(
            b'{"index":0,"delta":' + delta + b',"logprobs":' + logprobs + b',"finish_reason":' + finish_reason + b"}"
        )


class CompletionChunks(Chunks):
    """The chunks of the answer to a completion.

    Args:
        include_usage: whether the last chunk reports the usage.
        offset: how many characters the prompt has.
    """

    def __init__(self, *, include_usage: bool, offset: int) -> None:
        super().__init__("cmpl", "text_completion", include_usage=include_usage)
        self._offset = offset

    def part(self, event: PartStarted) -> bytes:
        """Parts have no beginning here."""
        return b""

    def delta(self, event: Delta) -> bytes:
        """The chunk of a piece of text."""
        if event.kind not in ("text", "refusal"):
            return b""
        logprobs = _encode(completion_logprobs(event.logprobs, self._offset)) if event.logprobs else b"null"
        self._offset += len(event.text)
        return self._choice(_encode(event.text), logprobs)

    def _last(self, completed: Completed) -> bytes:
        return self._choice(b'""', finish_reason=_encode(completed.finish_reason))

    def _choice(self, text: bytes, logprobs: bytes = b"null", finish_reason: bytes = b"null") -> bytes:
        return self._chunk(
            b'{"index":0,"text":' + text + b',"logprobs":' + logprobs + b',"finish_reason":' + finish_reason + b"}"
        )
