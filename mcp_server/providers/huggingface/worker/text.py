"""From tokens to the pieces of an answer: whole characters, nothing of a stop string, thoughts and tool calls apart."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from mcp_server.providers.huggingface.protocol import ReasoningPiece, TextPiece, WholeToolCall
from mcp_server.values import Logprob

TORN: Final = "\ufffd"
"""What stands for the bytes of a character that is not whole."""
MAX_TORN_TOKENS: Final = 8
"""After so many tokens without a whole character it is no character but noise."""
CONTEXT_TOKENS: Final = 6
"""How a token reads can depend on those before it."""

THINK: Final = ("<think>", "</think>")
CALL: Final = ("<tool_call>", "</tool_call>")
"""The forms in which most open models write thoughts and tool calls. A model is known to do so by its chat template."""


class Detokenizer:
    """Turns tokens into text one by one.

    Args:
        decode: the text of some tokens.
        prompt: the tokens before the first.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], prompt: Sequence[int]) -> None:
        self._decode = decode
        self._tokens = list(prompt[-CONTEXT_TOKENS:])
        self._begin, self._end = 0, len(self._tokens)

    def push(self, token: int) -> str:
        """The text that this token completes; empty in the middle of a character."""
        self._tokens.append(token)
        before, after = self._before(), self._decode(self._tokens[self._begin :])
        if len(after) <= len(before):
            return ""
        if after.endswith(TORN) and len(self._tokens) - self._end < MAX_TORN_TOKENS:
            return ""
        self._begin, self._end = self._end, len(self._tokens)
        return after[len(before) :]

    def alternative(self, token: int) -> str:
        """The text that another token would have had in the place of the next one."""
        return self._decode([*self._tokens[self._begin :], token])[len(self._before()) :]

    def _before(self) -> str:
        return self._decode(self._tokens[self._begin : self._end])


class _Call(msgspec.Struct):
    """A tool call as models write it."""

    name: str
    arguments: dict[str, Any] | str = {}
    parameters: dict[str, Any] | None = None


Event = TextPiece | ReasoningPiece | WholeToolCall


class AnswerText:
    """Turns the text of an answer, as it comes, into events.

    Args:
        id: the question.
        stops: the text ends before the first of these that is whole.
        thinks: whether the model can write thoughts.
        calls: whether it can write tool calls.
        written: what the prompt has already begun: ``THINK[0]``, or ``CALL[0]`` and the beginning of a call.
    """

    def __init__(self, id: int, *, stops: Sequence[str], thinks: bool, calls: bool, written: str = "") -> None:
        self.stopped = False
        """Whether a stop string was met."""
        self.called = False
        """Whether a tool was called."""
        self._id = id
        self._stops = stops
        self._opening = [*stops, *([THINK[0]] if thinks else []), *([CALL[0]] if calls else [])]
        self._inside = ""
        self._held = ""
        self._pushed = 0
        self._consumed = 0
        self._likely: deque[tuple[int, Logprob]] = deque()
        self._strip = False
        if written:
            self.push(written)

    @property
    def thinking(self) -> bool:
        """Whether what comes is thought."""
        return self._inside == THINK[0]

    def push(self, text: str, logprob: Logprob | None = None) -> list[Event]:
        """The pieces that are complete with the next ``text``."""
        self._held += text
        self._pushed += len(text)
        if logprob is not None:
            self._likely.append((self._pushed, logprob))
        events: list[Event] = []
        while not self.stopped and self._advance(events):
            pass
        return events

    def end(self) -> list[Event]:
        """What is left to say when nothing more comes."""
        events: list[Event] = []
        if not self.stopped:
            rest, self._held = self._held, ""
            self._give(rest, events)
        return events

    def _advance(self, events: list[Event]) -> bool:
        """Go on to the next mark, and say whether there was one."""
        marks = {"": self._opening, THINK[0]: [THINK[1]], CALL[0]: [CALL[1]]}[self._inside]
        # The one that is whole first, so that it does not matter in which pieces the text came.
        found = [(place + len(mark), place, mark) for mark in marks if (place := self._held.find(mark)) >= 0]
        if not found:
            keep = len(self._held) if self._inside == CALL[0] else _beginning(self._held, marks)
            ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
            if ready:
                self._give(ready, events)
            return False
        _end, place, mark = min(found)
        ready, self._held = self._held[:place], self._held[place + len(mark) :]
        self._give(ready, events, mark)
        self._consumed += len(mark)
        self._settled()
        if mark in self._stops and not self._inside:
            self.stopped = True
            return False
        self._inside = mark if mark in (THINK[0], CALL[0]) else ""
        self._strip = True
        return True

    def _give(self, text: str, events: list[Event], mark: str = "") -> None:
        """Say ``text``, which is all of one kind and ends with ``mark``, or with the answer."""
        self._consumed += len(text)
        logprobs = self._settled()
        if self._inside == CALL[0]:
            if text.strip():
                events.append(self._call(text, mark))
            return
        if self._strip:
            # Blank lines around thoughts and calls are not part of the text.
            text = text.lstrip()
        if not text:
            return
        self._strip = False
        if self._inside:
            events.append(ReasoningPiece(id=self._id, text=text))
        else:
            events.append(TextPiece(id=self._id, text=text, logprobs=logprobs))

    def _call(self, text: str, mark: str) -> Event:
        try:
            call = msgspec.json.decode(text, type=_Call)
        except msgspec.MsgspecError:
            # The model meant something else, or failed: whoever reads it can tell.
            return TextPiece(id=self._id, text=CALL[0] + text + mark)
        self.called = True
        arguments = call.arguments if call.parameters is None else call.parameters
        written = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
        return WholeToolCall(id=self._id, call=f"call_{uuid.uuid4().hex[:24]}", name=call.name, arguments=written)

    def _settled(self) -> tuple[Logprob, ...]:
        """The probabilities of the tokens whose text is complete."""
        settled = []
        while self._likely and self._likely[0][0] <= self._consumed:
            settled.append(self._likely.popleft()[1])
        return tuple(settled)


def _beginning(text: str, marks: Sequence[str]) -> int:
    """The length of the longest end of ``text`` with which one of ``marks`` begins."""
    longest = min(len(text), max((len(mark) - 1 for mark in marks), default=0))
    for length in range(longest, 0, -1):
        end = text[len(text) - length :]
        if any(mark.startswith(end) for mark in marks):
            return length
    return 0
