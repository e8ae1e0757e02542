"""Tool calls as every provider takes them: ids, names and arguments, and each call together with its result.

A model may invent any of them, and a history may come from elsewhere. What is stored can be continued all the same:
ids and names are made fit when an answer comes in, and :func:`for_provider` makes a whole conversation fit.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from mcp_server.values import (
    Message,
    Part,
    ProviderStatePart,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    with_states_of,
)

_ID: Final = re.compile(r"[!-~]{1,40}")
"""The ids that every provider takes: OpenAI takes no longer ones."""
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME: Final = 128
_COMMON_NAME: Final = 64
"""How long the name of a tool may be at every provider."""
_NO_RESULT: Final = Text(text="no result: the call was interrupted")

replace = msgspec.structs.replace


def fit_name(name: str) -> str:
    """The name of a tool, with ``_`` for what a name must not have, and at most 128 characters."""
    return _NOT_IN_NAMES.sub("_", name[:_MAX_NAME]) or "_"


def fit_id(id: str, taken: set[str]) -> str:
    """The id of a new tool call, or another one if it does not fit or is taken; it is taken then."""
    if id in taken or not _ID.fullmatch(id):
        id = f"call_{secrets.token_hex(12)}"
    taken.add(id)
    return id


def call_ids(messages: Iterable[Message]) -> frozenset[str]:
    """The ids of all tool calls in the messages."""
    return frozenset([part.id for message in messages for part in message.parts if isinstance(part, ToolCall)])


def for_provider(messages: Sequence[Message], provider: str, tools: Sequence[Tool] = ()) -> tuple[Message, ...]:
    """The conversation without anything that a provider may refuse, and without what belongs to others.

    Args:
        messages: the conversation.
        provider: the configured name of the provider: it gets its own states, and no others.
        tools: those that the model may call. Only their names may be longer than every provider takes.

    The ids of calls are unique, the names and arguments of calls valid, each call has exactly one result, and no answer
    is empty. The same history always gives the same messages, so that providers find them in their caches.
    """
    messages = with_states_of(provider, messages)
    if _all_fit(messages):
        return messages
    conversation = _Conversation(frozenset([tool.name for tool in tools]))
    for message in messages[:-1]:
        conversation.add(message)
    # The last message may be the beginning of an answer, which is to be continued.
    conversation.add(messages[-1], keep=True)
    conversation.close_calls()
    return tuple(conversation.messages)


class _Conversation:
    """The messages so far, and the calls that wait for their results."""

    def __init__(self, offered: frozenset[str]) -> None:
        self.messages: list[Message] = []
        self._offered = offered
        self._taken: set[str] = set()
        self._waiting: list[tuple[str, str]] = []
        """For each open call its id in the history, and the id that the provider reads."""

    def add(self, message: Message, *, keep: bool = False) -> None:
        if message.role is Role.TOOL:
            if results := self._results(message.parts):
                self.messages.append(replace(message, parts=results))
            return
        self.close_calls()
        if message.role is Role.ASSISTANT:
            message = replace(message, parts=self._answer(message.parts))
            if not keep and _is_empty(message.parts):
                return
        self.messages.append(message)

    def close_calls(self) -> None:
        """Give a result to each call that has none in the history."""
        for _, id in self._waiting:
            result = ToolResult(tool_call_id=id, parts=(_NO_RESULT,), is_error=True)
            self.messages.append(Message(role=Role.TOOL, parts=(result,)))
        self._waiting.clear()

    def _answer(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        fit: list[Part] = []
        for part in parts:
            if isinstance(part, ToolCall):
                id = self._id(part.id)
                self._waiting.append((part.id, id))
                arguments = _arguments(part.arguments_json)
                fit.append(replace(part, id=id, name=self._name(part.name), arguments_json=arguments))
            elif not isinstance(part, Text | Refusal | Reasoning) or part.text or part.provider_state is not None:
                fit.append(part)
        return tuple(fit)

    def _results(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        fit: list[Part] = []
        for part in parts:
            if not isinstance(part, ToolResult):
                continue
            for number, (id, provider_id) in enumerate(self._waiting):
                if id == part.tool_call_id:
                    fit.append(replace(part, tool_call_id=provider_id))
                    del self._waiting[number]
                    break
        return tuple(fit)

    def _name(self, name: str) -> str:
        return name if name in self._offered else fit_name(name)[:_COMMON_NAME]

    def _id(self, id: str) -> str:
        fit, number = id, 0
        while fit in self._taken or not _ID.fullmatch(fit):
            # Nine letters and digits, which the strictest providers demand.
            fit = hashlib.sha256(f"{number} {id}".encode()).hexdigest()[:9]
            number += 1
        self._taken.add(fit)
        return fit


def _all_fit(messages: Sequence[Message]) -> bool:
    """Whether no message has to be changed. One with a tool call or result always counts as one that has: calls are
    matched with their results."""
    for message in messages:
        parts = message.parts
        if len(parts) == 1 and type(part := parts[0]) is Text:  # as nearly all are
            if _is_blank(part.text):
                return False
        elif message.role is Role.TOOL or (
            message.role is Role.ASSISTANT and (_is_empty(parts) or any(isinstance(part, ToolCall) for part in parts))
        ):
            return False
    return True


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _is_empty(parts: Sequence[Part]) -> bool:
    """Whether an answer has nothing but reasoning, states and blanks."""
    for part in parts:
        if isinstance(part, Text | Refusal):
            if not _is_blank(part.text):
                return False
        elif not isinstance(part, Reasoning | ProviderStatePart):
            return False
    return True


def _arguments(text: str) -> str:
    """The arguments of a call as a JSON object. The model can see there what it wrote instead of one."""
    if _is_blank(text):
        return "{}"
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return msgspec.json.encode({"invalid_arguments": text}).decode()
    return text
