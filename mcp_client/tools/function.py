"""A Python function that a model may call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Final

from mcp_client.tools import docstring
from mcp_client.tools.schema import Parameters, Schema

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")


class ToolFunction:
    """A Python function, described to a model.

    Args:
        function: with annotated parameters; its docstring describes it, and its ``Args:`` section the parameters.

    Attributes:
        name: of the function.
        description: for the model to read.

    Raises:
        TypeError: the function cannot be described to a model.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        name = getattr(function, "__name__", None)
        if not (isinstance(name, str) and _NAME.fullmatch(name) and callable(function)):
            raise TypeError(
                f"expected a function with a name of up to 128 letters of a-z, digits, _ and -, not {function!r}"
            )
        documented = docstring.parse(inspect.getdoc(function) or "")
        self.name = name
        self.description = documented.description
        self._function = function
        self._parameters = Parameters(name, function, documented.parameters)

    @property
    def parameters(self) -> Schema:
        """The JSON Schema of the arguments."""
        return self._parameters.schema

    @property
    def is_asynchronous(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self._function)

    def call(self, arguments_json: str) -> Any:
        """Call the function with the arguments of a model.

        Raises:
            ValueError: the arguments do not conform to the schema.
        """
        return self._function(**self._parameters.arguments(arguments_json))
