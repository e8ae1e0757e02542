"""What valid tools are, and a valid choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mcp_server.rules.limits import (
    MAX_TOOL_DESCRIPTION_BYTES,
    MAX_TOOL_NAME,
    MAX_TOOLS,
    MAX_TOOLS_BYTES,
    TOOL_NAME,
)
from mcp_server.rules.primitives import characters, json_schema, utf8_bytes
from mcp_server.rules.violations import Violations, shown
from mcp_server.values import Tool, ToolChoice

_MODES: Final = ("auto", "none", "required")


def tools(found: Violations, offered: Sequence[Tool]) -> None:
    """The tools that the model may call."""
    if len(offered) > MAX_TOOLS:
        found.add("tools", f"must have at most {MAX_TOOLS} tools, not {len(offered)}")
        return
    size = sum([len(tool.description) + len(tool.parameters_json) for tool in offered])
    if size > MAX_TOOLS_BYTES:
        found.add(
            "tools", f"descriptions and parameters must have at most {MAX_TOOLS_BYTES} bytes together, not {size}"
        )
        return
    names: set[str] = set()
    for index, tool in enumerate(offered):
        field = f"tools[{index}]"
        if len(tool.name) > MAX_TOOL_NAME:
            characters(found, f"{field}.name", tool.name, MAX_TOOL_NAME)
        elif not TOOL_NAME.fullmatch(tool.name):
            found.add(f"{field}.name", f"must match {TOOL_NAME.pattern}")
        elif tool.name in names:
            found.add(f"{field}.name", f"must be unique: another tool is named {tool.name}")
        names.add(tool.name)
        utf8_bytes(found, f"{field}.description", tool.description, MAX_TOOL_DESCRIPTION_BYTES)
        if tool.parameters_json:
            json_schema(found, f"{field}.parameters_json", tool.parameters_json)


def tool_choice(found: Violations, choice: ToolChoice, offered: Sequence[Tool]) -> None:
    """Whether the model must call one of the tools."""
    if choice.mode not in _MODES:
        found.add("tool_choice.mode", f"must be one of {', '.join(_MODES)}, not {shown(choice.mode)}")
    elif choice.mode == "required" and not offered:
        found.add("tool_choice.mode", "must not be MODE_REQUIRED without tools")
    if choice.name:
        if choice.mode != "required":
            found.add("tool_choice.name", "can only be set with MODE_REQUIRED")
        elif choice.name not in [tool.name for tool in offered]:
            found.add("tool_choice.name", f"{shown(choice.name)} is not one of the tools")
