"""Python functions as tools: what a model is told of them, and what they are called with."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mcp_client._messages import Blob, Text, Tool, ToolCall, ToolResult
from mcp_client._shapes import Shape, record, shape

_SECTION: Final = re.compile(r"^(?:[A-Z][\w ]*:$|:\w)")
"""Where a docstring goes on to parameters, results, errors …"""
_ARGUMENTS: Final = re.compile(r"^(?:Args|Arguments|Parameters):$")
_GOOGLE: Final = re.compile(r"^(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_SPHINX: Final = re.compile(r"^:param\s+(?:[^:]*\s)?(\w+):\s*(.*)$")


class Function:
    """A Python function that a model may call.

    Args:
        function: with annotated parameters; its docstring describes it, and in an ``Args:`` section its parameters.

    Attributes:
        tool: what a model is told of it.

    Raises:
        TypeError: it cannot be described.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        name = getattr(function, "__name__", "")
        if not name.isidentifier():
            raise TypeError(f"a tool is a function with a name and a docstring, not {function!r}")
        self._function = function
        description, told = _described(inspect.getdoc(function) or "")
        self._arguments = _parameters(name, function, told)
        self.tool = Tool(name=name, description=description, parameters=self._arguments.schema)

    @property
    def asynchronous(self) -> bool:
        """Whether it is to be awaited."""
        return inspect.iscoroutinefunction(self._function)

    def bind(self, arguments_json: str) -> Callable[[], Any]:
        """The call that a model asks for.

        Raises:
            ValueError: the arguments do not fit.
        """
        arguments = self._arguments.read(json.loads(arguments_json or "{}"))
        return lambda: self._function(**arguments)


class Functions:
    """The functions of one conversation, by name.

    Args:
        functions: no two of one name.

    Raises:
        TypeError, ValueError: one of them cannot be described, or two have the same name.
    """

    def __init__(self, functions: Sequence[Callable[..., Any]]) -> None:
        self._by_name: dict[str, Function] = {}
        for function in map(Function, functions):
            if function.tool.name in self._by_name:
                raise ValueError(f"tools: two are named {function.tool.name!r}")
            self._by_name[function.tool.name] = function

    @property
    def tools(self) -> Sequence[Tool]:
        """What a model is told of them."""
        return [function.tool for function in self._by_name.values()]

    def find(self, name: str) -> Function:
        """The function of that name.

        Raises:
            LookupError: there is none.
        """
        if name not in self._by_name:
            raise LookupError(f"there is no tool {name!r}; there are {', '.join(self._by_name)}")
        return self._by_name[name]


def answered(call: ToolCall, value: Any) -> ToolResult:
    """What a function has returned, for the model: a text as it is, parts of a message, anything else as JSON.

    Raises:
        TypeError: JSON cannot say it.
    """
    parts: Sequence[Text | Blob]
    if isinstance(value, Text | Blob):
        parts = (value,)
    elif isinstance(value, list | tuple) and value and all(isinstance(part, Text | Blob) for part in value):
        parts = tuple(value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=_plain, ensure_ascii=False)
        parts = (Text(text=text or '""'),)
    return ToolResult(tool_call_id=call.id, parts=parts)


def failed(call: ToolCall, error: Exception) -> ToolResult:
    """What a function has raised, for the model: it may ask again, and better."""
    return ToolResult(tool_call_id=call.id, parts=(Text(text=f"{type(error).__name__}: {error}"),), is_error=True)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"the result cannot be told to a model: JSON cannot say {type(value).__name__}")


def _parameters(name: str, function: Callable[..., Any], told: Mapping[str, str]) -> Shape:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"tool {name}: an annotation cannot be resolved: {error}") from error
    fields: dict[str, Shape] = {}
    required = []
    for parameter in inspect.signature(function).parameters.values():
        where = f"tool {name}: parameter {parameter.name}"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{where}: a model gives arguments by their names, which *, ** and / rule out")
        if parameter.name not in hints:
            raise TypeError(f"{where}: it has no annotation")
        found = shape(hints[parameter.name], where)
        schema = dict(found.schema)
        if parameter.name in told:
            schema.setdefault("description", told[parameter.name])
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        elif isinstance(parameter.default, str | int | float) and not isinstance(parameter.default, enum.Enum):
            schema["default"] = parameter.default
        fields[parameter.name] = Shape(schema, found.read)
    return record(name, fields, required, dict)


def _described(docstring: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of its function, and of each parameter."""
    lines = docstring.splitlines()
    end = next((number for number, line in enumerate(lines) if _SECTION.match(line)), len(lines))
    told: dict[str, str] = {}
    name, inside, margin = "", False, 0
    for line in lines[end:]:
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if found := _SPHINX.match(line):
            name, told[found[1]] = found[1], found[2]
        elif text and not indent:
            name, inside, margin = "", bool(_ARGUMENTS.match(line)), 0
        elif inside and (found := _GOOGLE.match(text)) and indent <= (margin or indent):
            name, told[found[1]], margin = found[1], found[2], indent
        elif name and text:
            told[name] = f"{told[name]} {text}".strip()
    return "\n".join(lines[:end]).strip(), told
