"""Answers as streams of events in the form of Anthropic's API."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, Final

from mcp_server.values import Completed, Delta, PartStarted, Usage, Window
from mcp_server.web.anthropic.answers import (
    NO_END,
    encode,
    end_of,
    is_object,
    message_object,
    redacted_block,
    text_block,
    thinking_block,
    tool_block,
    usage_object,
)
from mcp_server.web.anthropic.thinking import Thoughts, signature
from mcp_server.web.streams import AnswerEvents

_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
_DELTAS: Final = {
    "text": b',"delta":{"type":"text_delta","text":',
    "refusal": b',"delta":{"type":"text_delta","text":',
    "reasoning": b',"delta":{"type":"thinking_delta","thinking":',
    "tool_call": b',"delta":{"type":"input_json_delta","partial_json":',
}
_SIGNATURE: Final = b',"delta":{"type":"signature_delta","signature":'


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + encode({"type": kind, **fields}) + b"\n\n"


class _Block:
    """A content block.

    Args:
        kind: the kind of its part.
        start: how it begins.
    """

    __slots__ = ("arguments", "index", "kind", "pending", "start")

    def __init__(self, kind: str, start: dict[str, Any]) -> None:
        self.kind = kind
        self.start = start
        self.index = b""
        """Its position on the wire; empty while it has not begun there."""
        self.arguments = ""
        """Those of a tool call, so far."""
        self.pending: list[bytes] = []
        """The deltas that wait for its beginning, without their index."""

    def is_whole(self) -> bool:
        """Whether nothing more belongs to it once another part has begun: pieces of several tool calls may
        alternate."""
        return self.kind != "tool_call" or is_object(self.arguments)


class MessageEvents(AnswerEvents):
    """The events of one answer. Clients expect one content block after the other: what belongs to a later one waits
    until the one before it has ended.

    Args:
        thoughts: what the caller sees of the model's reasoning.
    """

    keep_alive: ClassVar[bytes] = _PING

    def __init__(self, thoughts: Thoughts) -> None:
        self._thoughts = thoughts
        self._blocks: dict[int, _Block] = {}
        self._open: deque[_Block] = deque()
        """The blocks that have not ended. The first of them is on the wire."""
        self._count = 0

    def begin(self, turn: str, model: str, window: Window) -> bytes:
        """The message without content; the count of its prompt may be an estimate."""
        message = message_object(turn, model, (), Usage(input_tokens=window.input_tokens), NO_END)
        return _event("message_start", message=message) + _PING

    def part(self, event: PartStarted) -> bytes:
        """The beginning of a content block."""
        if event.kind in ("text", "refusal"):
            return self._add(event.part, _Block(event.kind, text_block("")))
        if event.kind == "tool_call":
            return self._add(event.part, _Block(event.kind, tool_block(event.tool_call_id, event.tool_name, {})))
        if event.kind == "reasoning" and self._thoughts is not Thoughts.HIDDEN:
            return self._add(event.part, _Block(event.kind, thinking_block("", "")))
        return b""

    def delta(self, event: Delta) -> bytes:
        """A piece of a content block."""
        if event.provider_state is not None:
            return self._state(event)
        block = self._blocks.get(event.part)
        if block is None or not event.text or (event.kind == "reasoning" and self._thoughts is Thoughts.SIGNED):
            return b""
        data = self._send(block, _DELTAS[event.kind] + encode(event.text) + b"}}\n\n")
        if event.kind == "tool_call":
            block.arguments += event.text
            if len(self._open) > 1 and "}" in event.text:
                data += self._advance()
        return data

    def _state(self, event: Delta) -> bytes:
        text = signature(event.provider_state)
        if event.kind == "provider_state":
            hidden = self._thoughts is Thoughts.HIDDEN
            return b"" if hidden else self._add(event.part, _Block(event.kind, redacted_block(text)))
        block = self._blocks.get(event.part)
        if block is None or event.kind != "reasoning":
            return b""  # this API has no place for the states of other parts
        return self._send(block, _SIGNATURE + encode(text) + b"}}\n\n")

    def end(self, completed: Completed) -> bytes:
        """The rest of the content, why it ended, and the usage."""
        data = b""
        while self._open:
            data += self._begin_first() + self._end_first()
        return data + _event("message_delta", delta=end_of(completed), usage=usage_object(completed.usage)) + _STOP

    def _add(self, part: int, block: _Block) -> bytes:
        self._blocks[part] = block
        self._open.append(block)
        return self._advance()

    def _send(self, block: _Block, delta: bytes) -> bytes:
        if block.index:
            # What comes for a block that has ended is the replacement of half a character.
            return _DELTA + block.index + delta if block is self._open[0] else b""
        block.pending.append(delta)
        return b""

    def _advance(self) -> bytes:
        """Go on to the next block as long as the present one has ended."""
        data = self._begin_first()
        while len(self._open) > 1 and self._open[0].is_whole():
            data += self._end_first() + self._begin_first()
        return data

    def _begin_first(self) -> bytes:
        block = self._open[0]
        if block.index:
            return b""
        block.index = str(self._count).encode()
        deltas = [_DELTA + block.index + delta for delta in block.pending]
        block.pending.clear()
        self._count += 1
        return _event("content_block_start", index=self._count - 1, content_block=block.start) + b"".join(deltas)

    def _end_first(self) -> bytes:
        block = self._open.popleft()
        return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":' + block.index + b"}\n\n"
