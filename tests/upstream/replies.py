"""What an OpenAI-compatible server does with one call: well, or badly, as real ones do.

A reply turns a call into steps; :class:`~tests.upstream.server.Upstream` carries them out and keeps books. A *token* is
one event of a stream with one piece of text, and a word of a prompt counts as one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from tests.upstream.books import Call

CHAT: Final = "/v1/chat/completions"
COMPLETION: Final = "/v1/completions"
EMBEDDING: Final = "/v1/embeddings"
EVENTS: Final = "text/event-stream"
JSON: Final = "application/json"


# -- steps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and the headers; the body that follows is chunked, or ends with the connection."""

    status: int = 200
    content_type: str = EVENTS
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = True


@dataclass(frozen=True, slots=True)
class Body:
    """A piece of the body."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes for the connection as they are, whatever HTTP says."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the body that carries this text of the answer."""

    text: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """A piece of the body that reports this usage."""

    usage: Mapping[str, Any]
    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing, for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Until:
    """Nothing, until the test goes on."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing, until the client leaves."""


@dataclass(frozen=True, slots=True)
class Close:
    """The connection ends here, with all that was sent."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is gone, as if the process had died."""


@dataclass(frozen=True, slots=True)
class End:
    """The body is complete."""


Step = Head | Body | Raw | Token | Report | Wait | Until | Hang | Close | Reset | End


class Reply(Protocol):
    """What happens to one call."""

    def steps(self, call: Call) -> Iterator[Step]:
        """In order."""
        ...


# -- good replies -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool, its arguments in pieces."""

    id: str
    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer to a chat or a completion, as a stream or whole, as the call asks."""

    tokens: tuple[str, ...] = ("Good", " day", " to", " you", ".")
    reasoning: tuple[str, ...] = ()
    tools: tuple[ToolCall, ...] = ()
    finish: str | None = "stop"
    """The finish reason; ``None``: there is none."""
    done: bool = True
    """Whether ``[DONE]`` ends the stream."""
    usage: bool = True
    """Whether it is reported, if the call asks for it."""
    thinks: float = 0.0
    """Seconds before the first token."""
    pause: float = 0.0
    """Seconds before each further one."""
    prefill: bool = False
    """Whether it goes on from the beginning of an answer that the call ends with, instead of beginning anew."""
    chunked: bool = True
    """Whether the end of the body can be told from the end of the connection."""
    fails_after: int | None = None
    """After how many tokens ``failure`` comes instead of the rest."""
    failure: tuple[Step, ...] = ()

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.tokens)

    def steps(self, call: Call) -> Iterator[Step]:
        """A stream, if the call asks for one."""
        if call.path not in (CHAT, COMPLETION):
            return NOT_FOUND.steps(call)
        return self._stream(call) if call.body.get("stream") else self._whole(call)

    def _remaining(self, call: Call) -> tuple[str, ...]:
        """The tokens that are still to be said."""
        messages = call.body.get("messages") or [{"role": "user"}]
        if not self.prefill or messages[-1]["role"] != "assistant":
            return self.tokens
        beginning = _text(messages[-1]["content"])
        assert self.text.startswith(beginning), f"{beginning!r} is not the beginning of {self.text!r}"
        left, skip = [], len(beginning)
        for token in self.tokens:
            left.append(token[skip:])
            skip = max(0, skip - len(token))
        return tuple(token for token in left if token)

    def _usage(self, call: Call) -> Mapping[str, Any]:
        arguments = sum(len(tool.arguments) for tool in self.tools)
        prompt, answer = call.prompt_tokens, len(self._remaining(call)) + len(self.reasoning) + arguments
        return {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "prompt_tokens_details": {"cached_tokens": prompt // 2},
            "completion_tokens_details": {"reasoning_tokens": len(self.reasoning)},
        }

    def _stream(self, call: Call) -> Iterator[Step]:
        yield Head(chunked=self.chunked)
        if call.path == CHAT:
            yield Body(_event(call, {"role": "assistant", "content": ""}))
        yield Wait(self.thinks)
        for number, step in enumerate(self._pieces(call)):
            if number == self.fails_after:
                break
            if number:
                yield Wait(self.pause)
            yield step
        if self.fails_after is not None:
            yield from self.failure
            return
        if self.finish is not None:
            yield Body(_event(call, {}, finish=self.finish))
        if self.usage and (call.body.get("stream_options") or {}).get("include_usage"):
            usage = self._usage(call)
            yield Report(usage, sse({**_envelope(call), "choices": [], "usage": usage}))
        if self.done:
            yield Body(b"data: [DONE]\n\n")
        yield End() if self.chunked else Close()

    def _pieces(self, call: Call) -> Iterator[Token]:
        for text in self.reasoning:
            yield Token("", _event(call, {"reasoning_content": text}))
        for text in self._remaining(call):
            yield Token(text, _event(call, {"content": text}))
        for index, tool in enumerate(self.tools):
            function = {"name": tool.name, "arguments": ""}
            head = _event(
                call, {"tool_calls": [{"index": index, "id": tool.id, "type": "function", "function": function}]}
            )
            for text in tool.arguments:
                piece = {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
                yield Token("", head + _event(call, piece))
                head = b""

    def _whole(self, call: Call) -> Iterator[Step]:
        yield Wait(self.thinks)
        if self.fails_after is not None:
            yield from self.failure
            return
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._remaining(call))}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.tools:
            message["tool_calls"] = [
                {
                    "id": tool.id,
                    "type": "function",
                    "function": {"name": tool.name, "arguments": "".join(tool.arguments)},
                }
                for tool in self.tools
            ]
        choice = {"message": message} if call.path == CHAT else {"text": message["content"]}
        body = {**_envelope(call), "choices": [{"index": 0, "finish_reason": self.finish, **choice}]}
        yield Head(content_type=JSON)
        if self.usage:
            usage = self._usage(call)
            yield Report(usage, json.dumps({**body, "usage": usage}).encode())
        else:
            yield Body(json.dumps(body).encode())
        yield End()


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """The answer to a call for embeddings: how often the first letters of the alphabet occur in each text."""

    dimensions: int = 8

    def vector(self, text: str) -> list[float]:
        """The vector of a text."""
        return [float(text.count(chr(97 + index))) for index in range(self.dimensions)]

    def steps(self, call: Call) -> Iterator[Step]:
        """As base64 if the call asks for it."""
        texts = call.body["input"]
        vectors = [self.vector(text) for text in ([texts] if isinstance(texts, str) else texts)]
        packed = call.body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if packed else vector,
            }
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": call.prompt_tokens, "total_tokens": call.prompt_tokens}
        body = {"object": "list", "model": call.body["model"], "data": data, "usage": usage}
        yield Head(content_type=JSON)
        yield Report(usage, json.dumps(body).encode())
        yield End()


@dataclass(frozen=True, slots=True)
class Well:
    """Whatever is right for the call's path."""

    def steps(self, call: Call) -> Iterator[Step]:
        """An answer, vectors, or that there is no such path."""
        reply: Reply = NOT_FOUND
        if call.path in (CHAT, COMPLETION):
            reply = Answer()
        elif call.path == EMBEDDING:
            reply = Vectors()
        return reply.steps(call)


# -- bad replies ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """An error as OpenAI words it."""

    status: int
    message: str = "no"
    code: str | None = None
    type: str = "error"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> Mapping[str, Any]:
        """The error object."""
        return {"error": {"message": self.message, "type": self.type, "param": None, "code": self.code}}

    def steps(self, _: Call) -> Iterator[Step]:
        """At once."""
        yield Head(self.status, JSON, self.headers)
        yield Body(json.dumps(self.error).encode())
        yield End()


@dataclass(frozen=True, slots=True)
class Steps:
    """Anything else."""

    sequence: tuple[Step, ...]

    def steps(self, _: Call) -> Iterator[Step]:
        """Whatever the call is."""
        return iter(self.sequence)


NOT_FOUND: Final = Refusal(status=404, message="no such path", type="invalid_request_error")


# -- which reply a call gets ------------------------------------------------------------------------------------------

Plan = Callable[["Call"], Reply]
"""Chooses the reply to a call."""


def in_turn(*replies: Reply) -> Plan:
    """The first call gets the first reply, and so on; the last one is for all that follow."""
    return lambda call: replies[min(call.number, len(replies) - 1)]


def alternating(*replies: Reply) -> Plan:
    """The same, and then from the beginning again."""
    return lambda call: replies[call.number % len(replies)]


def by_key(replies: Mapping[str, Reply], otherwise: Reply) -> Plan:
    """By the key that came with the call."""
    return lambda call: replies.get(call.key, otherwise)


# -- the shape of what is sent ----------------------------------------------------------------------------------------


def sse(value: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def _event(call: Call, delta: Mapping[str, Any], *, finish: str | None = None) -> bytes:
    choice = {"delta": delta} if call.path == CHAT else {"text": delta.get("content", "")}
    return sse({**_envelope(call), "choices": [{"index": 0, **choice, "finish_reason": finish}]})


def _envelope(call: Call) -> Mapping[str, Any]:
    kind = {CHAT: "chat.completion", COMPLETION: "text_completion"}[call.path]
    if call.path == CHAT and call.body.get("stream"):
        kind += ".chunk"
    return {"id": f"call-{call.number}", "object": kind, "created": 1, "model": call.body["model"]}


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
