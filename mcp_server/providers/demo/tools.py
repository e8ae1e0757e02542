"""Which tools the demo calls, and with which arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mcp_server.errors import UnsupportedByModel
from mcp_server.providers.demo.conversation import Conversation, words_of
from mcp_server.providers.demo.examples import NoExample, example
from mcp_server.providers.demo.hints import Hints, object_in
from mcp_server.providers.json_schema import patterns
from mcp_server.providers.json_schema.parts import LISTS, MAPS, SCHEMAS
from mcp_server.providers.json_schema.syntax import FORMATS, SUPPORTED
from mcp_server.values import Tool, ToolCall

_PLAIN: Final = frozenset(
    """
    call data fetch find from function list load look make read save send show tool with
    """.split()  # noqa: SIM905  # a list would take a page
)
"""Words in the names of tools that do not say which tool it is."""


def chosen(conversation: Conversation, *, by_name: bool) -> list[Tool]:
    """The tools to call: those that the message names, else the one that it describes, else for a question the only
    one; or the one that must be called.

    Args:
        conversation: what is asked.
        by_name: whether a message that names a tool is a reason to call it.
    """
    request = conversation.request
    choice, tools = request.tool_choice, request.tools
    if not tools or choice.mode == "none":
        return []
    if choice.name:
        return [tool for tool in tools if tool.name == choice.name]
    found = _meant(conversation.text, tools) if by_name else []
    if not found and choice.mode == "required":
        return [tools[0]]
    return found if choice.parallel else found[:1]


def call(conversation: Conversation, tool: Tool, index: int) -> ToolCall:
    """A call of a tool, its arguments made of the message.

    Raises:
        UnsupportedByModel: the tool is strict, and no arguments were found that conform to its schema.
    """
    request = conversation.request
    text = tool.parameters_json or '{"type": "object"}'
    hints = Hints((conversation.asked or [""])[-1])
    try:
        schema = json.loads(text)
        arguments = example(text, schema, hints)
    except NoExample as error:
        if tool.strict:
            raise UnsupportedByModel(
                f"the model {request.model} cannot follow the schema of the strict tool {tool.name}: {error}",
                metadata={"model": request.model},
            ) from error
        arguments = _close_to(schema, hints)
    return made(conversation, tool.name, arguments, index)


def made(conversation: Conversation, name: str, arguments: Any, index: int) -> ToolCall:
    """A call with an id that no other call of the conversation has."""
    encoded = msgspec.json.encode(arguments).decode()
    return ToolCall(id=f"call_{conversation.digest}_{index}", name=name, arguments_json=encoded)


def arguments_in(text: str) -> dict[str, Any]:
    """The arguments that a message writes as a JSON object; none if it has no such object."""
    return object_in(text) or {}


def _close_to(schema: Any, hints: Hints) -> Any:
    """Arguments by what is supported of a schema; none if that is not enough."""
    rest = _supported(schema)
    try:
        return example(json.dumps(rest), rest, hints)
    except NoExample:
        return {}


def _supported(schema: Any) -> Any:
    """A schema without the keywords that are not supported."""
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "format" and value not in FORMATS:
            continue
        if key == "pattern" and (not isinstance(value, str) or patterns.problem(value) is not None):
            continue
        if key in SCHEMAS:
            kept[key] = _supported(value)
        elif key in LISTS and isinstance(value, list):
            kept[key] = [_supported(part) for part in value]
        elif key in MAPS and isinstance(value, dict):
            kept[key] = {name: _supported(part) for name, part in value.items()}
        elif key in SUPPORTED:
            kept[key] = value
    return kept


def _meant(text: str, tools: Sequence[Tool]) -> list[Tool]:
    """The tools that a text means."""
    words = words_of(text)
    named = [tool for tool in tools if _has_name(text, tool.name) or words & _words_of_name(tool)]
    if named:
        return named
    shared = [len(words & words_of(tool.description.partition(".")[0]) - _PLAIN) for tool in tools]
    if max(shared):
        return [tools[shared.index(max(shared))]]
    return list(tools) if len(tools) == 1 and text.rstrip().endswith("?") else []


def _has_name(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE) is not None


def _words_of_name(tool: Tool) -> set[str]:
    """The words of a name like ``get_weather`` or ``getWeather`` that say which tool it is."""
    return words_of(re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", tool.name)) - _PLAIN
