"""The description of a tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_client.tools.function import ToolFunction


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that a model may call. The caller runs it, and answers each call with a :class:`ToolResult`."""

    name: str
    """Up to 64 letters, digits, ``_`` and ``-``."""
    description: str = ""
    """What the tool does, for the model to read."""
    parameters: Mapping[str, Any] | str = ""
    """The JSON Schema of the arguments. A schema that is given as JSON text is sent unchanged. Empty: no arguments."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Tool:
        """Describe a Python function by its name, its docstring and the types of its parameters.

        Raises:
            TypeError: the function cannot be described to a model.
        """
        described = ToolFunction(function)
        return cls(name=described.name, description=described.description, parameters=described.parameters)
