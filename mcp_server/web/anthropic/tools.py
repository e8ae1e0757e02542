"""The tools that a model may call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mcp_server.rules import Violations, shown
from mcp_server.values import Tool, ToolChoice
from mcp_server.web.anthropic.blocks import CacheControl
from mcp_server.web.body import Shape, decode
from mcp_server.web.parameters import raw_text, require

# -- tools ------------------------------------------------------------------------------------------------------------


class _AnyTool(msgspec.Struct):
    """A tool of any type: its own fields are not known."""

    type: str | None = None


class CustomTool(Shape):
    """A tool that the caller runs."""

    name: str
    input_schema: msgspec.Raw
    type: str | None = None
    description: str | None = None
    cache_control: CacheControl | None = None
    strict: bool | None = None
    eager_input_streaming: bool | None = None
    """The input is streamed as the model writes it in any case."""
    allowed_callers: list[str] | None = None
    defer_loading: bool | None = None
    input_examples: list[Any] | None = None


_ANY: Final = msgspec.json.Decoder(_AnyTool)
_CUSTOM: Final = msgspec.json.Decoder(CustomTool)


def tools(found: Violations, given: Sequence[msgspec.Raw] | None) -> tuple[Tool, ...]:
    """The tools. Those of Anthropic's own servers and models are refused by their type."""
    offered: list[Tool] = []
    for index, raw in enumerate(given or ()):
        path = f"tools[{index}]"
        data = bytes(raw)
        kind = decode(_ANY, data, path).type
        if kind not in (None, "custom"):
            found.add(f"{path}.type", f"must be custom, not {shown(kind or '')}: this server has no tools of its own")
            offered.append(Tool(name=f"tool_{index}"))
            continue
        tool = decode(_CUSTOM, data, path)
        require(found, f"{path}.allowed_callers", tool.allowed_callers, ["direct"])
        require(found, f"{path}.defer_loading", tool.defer_loading, False)
        require(found, f"{path}.input_examples", tool.input_examples, [])
        schema = raw_text(tool.input_schema)
        if not schema.startswith("{"):
            found.add(f"{path}.input_schema", "must be an object")
        offered.append(
            Tool(
                name=tool.name,
                description=tool.description or "",
                parameters_json=schema,
                strict=bool(tool.strict),
            )
        )
    return tuple(offered)


# -- the choice among them --------------------------------------------------------------------------------------------


class Auto(Shape, tag_field="type", tag="auto"):
    """The model decides."""

    disable_parallel_tool_use: bool = False


class AnyOne(Shape, tag_field="type", tag="any"):
    """The model must call a tool."""

    disable_parallel_tool_use: bool = False


class Named(Shape, tag_field="type", tag="tool"):
    """The model must call this tool."""

    name: str
    disable_parallel_tool_use: bool = False


class NoTool(Shape, tag_field="type", tag="none"):
    """The model must not call a tool."""


Choice = Auto | AnyOne | Named | NoTool


def tool_choice(chosen: Choice | None) -> ToolChoice:
    """Whether the model must call a tool."""
    if chosen is None:
        return ToolChoice()
    if isinstance(chosen, NoTool):
        return ToolChoice(mode="none")
    parallel = not chosen.disable_parallel_tool_use
    if isinstance(chosen, Auto):
        return ToolChoice(parallel=parallel)
    return ToolChoice(mode="required", name=chosen.name if isinstance(chosen, Named) else "", parallel=parallel)
