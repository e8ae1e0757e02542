"""Python functions as tools: what a model is told of them, and what they are called with."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import enum
import inspect
import json
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from mcp_client import _requests
from mcp_client._messages import Blob, Message, Text, Tool, ToolCall, ToolResult
from mcp_client._shapes import Shape, hints_of, is_plain, record, shape

MAX_RESULT_BYTES: Final = 3 * 1024 * 1024
"""Of a message that a server stores."""
MAX_ERROR_CHARACTERS: Final = 10_000
"""Of what a model is told of an exception."""

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MIME_TYPE: Final = re.compile(r"[^/\s]+/[^/\s]+")

_SECTION: Final = re.compile(r"^(?:[A-Z][\w ]*:$|:\w)")
"""Where a docstring goes on to parameters, results, errors …"""
_ARGUMENTS: Final = re.compile(r"^(?:Args|Arguments|Parameters):$")
_GOOGLE: Final = re.compile(r"^(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_SPHINX: Final = re.compile(r"^:param\s+(?:[^:]*\s)?(\w+):\s*(.*)$")

_FAILURES: Final = (Exception, SystemExit, asyncio.CancelledError)
"""What the model is told of. All else, ``KeyboardInterrupt`` above all, is for the program."""
_Result = TypeVar("_Result")

_log: Final = logging.getLogger("mcp_client.tools")


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
        name = getattr(function, "__name__", None)
        if not (isinstance(name, str) and _NAME.fullmatch(name) and callable(function)):
            raise TypeError(
                f"a tool is a function with a name of up to 64 letters of a-z, digits, _ and -, not {function!r}"
            )
        self._function = function
        description, told = _described(inspect.getdoc(function) or "")
        self._arguments = _parameters(name, function, told)
        self.tool = Tool(name=name, description=description, parameters=self._arguments.schema)

    @property
    def is_asynchronous(self) -> bool:
        """Whether it is to be awaited."""
        return inspect.iscoroutinefunction(self._function)

    def call(self, arguments_json: str) -> Any:
        """Call it as a model asks for.

        Raises:
            ValueError: the arguments do not fit.
        """
        return self._function(**self._arguments.read(json.loads(arguments_json or "{}")))


class Functions:
    """The functions of one conversation, by name.

    Args:
        functions: no two of one name.

    Raises:
        TypeError, ValueError: one of them cannot be described, or two have the same name.
    """

    def __init__(self, functions: Sequence[Callable[..., Any]]) -> None:
        if not isinstance(functions, Iterable):
            raise TypeError(f"tools: expected a sequence of functions, not {functions!r} alone")
        self._by_name: dict[str, Function] = {}
        for function in map(Function, functions):
            if function.tool.name in self._by_name:
                raise ValueError(f"tools: two are named {function.tool.name!r}")
            self._by_name[function.tool.name] = function

    @property
    def tools(self) -> Sequence[Tool]:
        """What a model is told of them."""
        return [function.tool for function in self._by_name.values()]

    def is_asynchronous(self, name: str) -> bool:
        """Whether the function of that name is to be called in an event loop, and takes no time there."""
        return name in self._by_name and self._by_name[name].is_asynchronous

    def run(self, call: ToolCall) -> ToolResult | Awaitable[ToolResult]:
        """Do here what a model asks for; what is asynchronous is to be awaited.

        What goes wrong is a result too. So it comes back from whatever thread or event loop this is done in.
        """
        try:
            if call.name not in self._by_name:
                raise LookupError(f"there is no tool {call.name!r}; there are {', '.join(self._by_name) or 'none'}")
            value = self._by_name[call.name].call(call.arguments_json)
            return _awaited(call, value) if inspect.isawaitable(value) else _answered(call, value)
        except _FAILURES as error:
            return _failed(call, error)


def in_thread(work: Callable[[], _Result]) -> Future[_Result]:
    """Do it in a thread of its own, for which the program does not wait when it ends."""
    future: Future[_Result] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # for the thread that waits
            future.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=[run], name="mcp_client.tools", daemon=True).start()
    return future


async def _awaited(call: ToolCall, value: Awaitable[Any]) -> ToolResult:
    try:
        return _answered(call, await value)
    except _FAILURES as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        return _failed(call, error)


def _answered(call: ToolCall, value: Any) -> ToolResult:
    """What a function has returned, for the model: a text as it is, parts of a message, anything else as JSON.

    Raises:
        TypeError, ValueError: it cannot be sent.
    """
    parts: Sequence[Text | Blob]
    if isinstance(value, Text | Blob):
        parts = (value,)
    elif isinstance(value, list | tuple) and value and all(isinstance(part, Text | Blob) for part in value):
        parts = tuple(value)
    else:
        text = value if isinstance(value, str) else _json(value)
        parts = (Text(text=text or '""'),)
    for part in parts:
        _check(part)
    result = ToolResult(tool_call_id=call.id, parts=parts)
    (message,) = _requests.messages([Message.tool(result)])
    if (size := message.ByteSize()) > MAX_RESULT_BYTES:
        raise ValueError(f"the result has {size:,} bytes; a model can be told at most {MAX_RESULT_BYTES:,}")
    return result


def _check(part: Text | Blob) -> None:
    """Raises ValueError if a server would refuse it."""
    if isinstance(part, Text):
        if not part.text:
            raise ValueError("a Text of the result is empty")
        part.text.encode()  # half of a surrogate pair
    elif not _MIME_TYPE.fullmatch(part.mime_type):
        raise ValueError(f"the mime_type of a Blob of the result is {part.mime_type!r}; image/png is one")
    elif part.uri and not part.uri.startswith(("https://", "data:")):
        raise ValueError("the uri of a Blob of the result begins neither with https:// nor with data:")


def _failed(call: ToolCall, error: BaseException) -> ToolResult:
    """What a function has raised, for the model, who may ask again, and better. Its author finds it in the log."""
    _log.warning("the tool %r failed, as the model is told", call.name, exc_info=error)
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # it cannot even say what it is
        text = type(error).__name__
    text = text[:MAX_ERROR_CHARACTERS].encode(errors="replace").decode()
    return ToolResult(tool_call_id=call.id, parts=(Text(text=text),), is_error=True)


def _json(value: Any) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"the result cannot be told to a model: JSON cannot say {type(value).__name__}")


def _parameters(name: str, function: Callable[..., Any], told: Mapping[str, str]) -> Shape:
    hints = hints_of(function, f"tool {name}")
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise TypeError(f"tool {name}: it does not say which parameters it has: {error}") from error
    fields: dict[str, Shape] = {}
    required = []
    for parameter in parameters:
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
        elif parameter.default is not None and is_plain(parameter.default):
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
