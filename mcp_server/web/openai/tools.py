"""The functions that a model may call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from mcp_server.rules import Violations
from mcp_server.values import Tool, ToolChoice
from mcp_server.web.body import Shape
from mcp_server.web.parameters import raw_text


class Function(Shape):
    """A function."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


class FunctionTool(Shape):
    """A tool of a chat."""

    type: Literal["function"]
    function: Function


class FunctionName(Shape):
    """The name of a function."""

    name: str


class NamedChoice(Shape):
    """The only function that may be called."""

    type: Literal["function"]
    function: FunctionName


Choice = Literal["auto", "none", "required"] | NamedChoice


def tool(function: Function) -> Tool:
    """A function as a tool."""
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters_json=raw_text(function.parameters),
        strict=bool(function.strict),
    )


def tools(given: Sequence[FunctionTool] | None) -> tuple[Tool, ...]:
    """The tools of a chat."""
    return tuple([tool(one.function) for one in given or ()])


def tool_choice(
    found: Violations, name: str | None, mode: str | None, offered: Sequence[Tool], *, parallel: bool | None
) -> ToolChoice:
    """Whether the model must call a tool.

    Args:
        found: what is wrong.
        name: the only tool that it may call.
        mode: ``auto``, ``none`` or ``required``.
        offered: the tools.
        parallel: whether it may call several at once.
    """
    if parallel is not None and not offered:
        found.add("parallel_tool_calls", "can only be set with tools")
    at_once = parallel is not False
    if name is not None:
        return ToolChoice(mode="required", name=name, parallel=at_once)
    return ToolChoice(mode=mode or "auto", parallel=at_once)
