"""Answers whose first word decides what they are.

llama.cpp's grammar for a required tool call allows words before it, in which a small model loses itself, and it has no
grammar for "a call, or JSON". So the model begins freely. If it does not begin with a call, the answer is begun anew:
as a call where there must be one, and otherwise as JSON.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from msgspec import structs

from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent, TextDelta, ToolCallStart
from mcp_server.providers.llama_cpp.conversation import is_constrained, must_be_text
from mcp_server.values import FinishReason, ResponseFormat, Role, ToolChoice

_JSON: Final = re.compile(r"[\[{]\s*[\"{]")
_NAMES: Final = ("alpha", "beta")
_WORD: Final = "Zulu"


Answer = Callable[[GenerateRequest, str], AsyncIterator[ProviderEvent]]
"""Answers a request in one go. The model continues from the beginning of an answer, which may be empty."""


async def decided(
    request: GenerateRequest, answer: Answer, opening: Callable[[], Awaitable[str]]
) -> AsyncIterator[ProviderEvent]:
    """The answer to a request, begun anew if its first word is not what it must be.

    Args:
        request: the request.
        answer: answers a request in one go.
        opening: what every call begins with in the template of the model; empty if that is not known.
    """
    constrained = is_constrained(request)
    required = request.tool_choice.mode == "required"
    if must_be_text(request) or not (required or constrained):
        async with aclosing(answer(request, "")) as events:  # type: ignore[type-var]  # a generator
            async for event in events:
                yield event
        return
    config = structs.replace(request.config, response_format=ResponseFormat.TEXT, json_schema="")
    free = structs.replace(request, config=config)
    prefilled = bool(request.messages) and request.messages[-1].role is Role.ASSISTANT
    beginning = await opening() if required and not prefilled else ""
    called = False
    async with aclosing(answer(free, "")) as events:  # type: ignore[type-var]  # as above
        async for event in events:
            if isinstance(event, str | TextDelta) and not called:
                if not (event if isinstance(event, str) else event.text).strip():
                    continue
                if beginning or not required:
                    break
                if constrained:
                    continue  # words before a call are not JSON
            called = called or isinstance(event, ToolCallStart)
            if isinstance(event, Finish) and event.reason is FinishReason.STOP and not called and not required:
                break
            yield event
            if isinstance(event, Finish):
                return
    again = (
        answer(free, beginning)
        if required
        else answer(structs.replace(request, tool_choice=ToolChoice(mode="none")), "")
    )
    async with aclosing(again) as events:  # type: ignore[type-var]  # as above
        async for event in events:
            yield event


def probes() -> list[dict[str, Any]]:
    """Chats whose prompts tell what a call begins with: two with calls, and one with text in their place."""
    function = {"description": "", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": {"name": name, **function}} for name in _NAMES]
    answers: list[dict[str, Any]] = [
        {"content": "", "tool_calls": [{"id": "0", "type": "function", "function": {"name": name, "arguments": "{}"}}]}
        for name in _NAMES
    ]
    user = {"role": "user", "content": "Go."}
    return [
        {"messages": [user, {"role": "assistant", **answer}, user], "tools": tools}
        for answer in (*answers, {"content": _WORD})
    ]


def opening_in(one: str, other: str, text: str) -> str:
    """What a call begins with, by the prompts of :func:`probes`; empty if they do not tell."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    common = "".join([character for character, _ in same])
    begin = text.find(_WORD)
    if begin < 0 or common[:begin] != text[:begin]:
        return ""
    opening = common[begin:]
    # The tokens of JSON go across its quotation marks: the model writes all of it.
    json = _JSON.search(opening)
    return opening[: json.start()] if json is not None and json.start() else opening
