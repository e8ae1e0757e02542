"""What the strictest servers of OpenAI's protocol demand of a conversation."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import GenerateRequest, ProviderEvent
from mcp_server.providers.openai.body import chat_body
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
from mcp_server.values import Capabilities, Model

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MAX_ID: Final = 40


def problem(messages: Sequence[dict[str, Any]]) -> str:
    """Why the messages of a chat are refused; empty if they are taken."""
    taken: set[str] = set()
    waiting: list[str] = []
    for position, message in enumerate(messages):
        role, content = message["role"], message["content"]
        if role == "tool":
            if message["tool_call_id"] not in waiting:
                return f"messages[{position}]: a result of no open call"
            waiting.remove(message["tool_call_id"])
            if not isinstance(content, str):
                return f"messages[{position}]: the result is no text"
            continue
        if waiting:
            return f"messages[{position}]: the calls {waiting} have no result"
        if role == "system" and position > 0:
            return f"messages[{position}]: a system message after others"
        if role != "assistant":
            if not content:
                return f"messages[{position}]: empty"
            continue
        calls = message.get("tool_calls")
        if calls is None and not (isinstance(content, str) and content.strip()):
            return f"messages[{position}]: an empty answer"
        for call in calls or ():
            if wrong := _problem_of(call, taken):
                return f"messages[{position}]: {wrong}"
            taken.add(call["id"])
            waiting.append(call["id"])
    if waiting:
        return f"the calls {waiting} have no result"
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        return "nothing to answer"
    return ""


def _problem_of(call: dict[str, Any], taken: set[str]) -> str:
    id, function = call["id"], call["function"]
    if not 1 <= len(id) <= MAX_ID or not id.isprintable() or id in taken:
        return f"the id {id!r} is too long, unprintable or not unique"
    if not _NAME.fullmatch(function["name"]):
        return f"the name {function['name']!r}"
    try:
        arguments = json.loads(function["arguments"], parse_constant=_refuse)
    except ValueError:
        return f"the arguments {function['arguments']!r} are no JSON"
    return "" if isinstance(arguments, dict) else f"the arguments {arguments!r} are no object"


def _refuse(constant: str) -> None:
    raise ValueError(constant)


class StrictProvider:
    """Sends nothing anywhere: judges each chat as it would be sent, and answers with the next script.

    Attributes:
        script: the events of the next answer, or an exception to raise.
        bodies: the messages of each chat.
        problems: why chats were refused.

    Args:
        context_window: of its only model, ``strict``; 0: unknown.
    """

    def __init__(self, *, context_window: int = 0) -> None:
        self.script: Iterable[ProviderEvent | Exception] = ()
        self.bodies: list[list[dict[str, Any]]] = []
        self.problems: list[str] = []
        self._model = Model(
            name="strict", capabilities=Capabilities(chat=True, tools=True), context_window=context_window
        )

    async def models(self) -> Sequence[Model]:
        return [self._model]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        messages = json.loads(chat_body(request, OpenAISettings(), OpenAIModel()))["messages"]
        self.bodies.append(messages)
        if wrong := problem(messages):
            self.problems.append(wrong)
            raise ProviderUnavailable(wrong)
        script, self.script = self.script, ()
        for step in script:
            if isinstance(step, Exception):
                raise step
            yield step

    async def close(self) -> None: ...
