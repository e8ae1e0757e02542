"""The tool calls of one answer: events of their pieces, and the check of the finished ones."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from mcp_server.errors import UnsupportedByModel
from mcp_server.interfaces import GenerateRequest, ToolArgumentsDelta, ToolCallStart
from mcp_server.providers.json_schema.constraint import BadSchema, Constraint, constraint
from mcp_server.providers.json_schema.parts import nodes
from mcp_server.providers.json_schema.values import CHECKED_FORMATS


class Function(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class Piece(msgspec.Struct):
    """A piece of a tool call; the first one of each call has its id and its name."""

    index: int = 0
    id: str = ""
    function: Function = msgspec.field(default_factory=Function)


class ToolCalls:
    """The tool calls of one answer.

    Args:
        request: the request that is answered.

    Raises:
        UnsupportedByModel: the schema of a strict tool is not supported.
    """

    def __init__(self, request: GenerateRequest) -> None:
        self._model = request.model
        self._parallel = request.tool_choice.parallel
        self._strict = {
            tool.name: self._constraint(tool.name, tool.parameters_json) for tool in request.tools if tool.strict
        }
        self._calls: dict[int, tuple[ToolCallStart, list[str]]] = {}

    def take(self, pieces: Sequence[Piece]) -> list[ToolCallStart | ToolArgumentsDelta]:
        """The events of pieces that came together. Where the request allows one call, further ones are left out."""
        events: list[ToolCallStart | ToolArgumentsDelta] = []
        for piece in pieces:
            known = self._calls.get(piece.index)
            if known is None:
                if self._calls and not self._parallel:
                    continue
                known = ToolCallStart(id=piece.id, name=piece.function.name), []
                self._calls[piece.index] = known
                events.append(known[0])
            if piece.function.arguments:
                known[1].append(piece.function.arguments)
                events.append(ToolArgumentsDelta(id=known[0].id, text=piece.function.arguments))
        return events

    def check(self) -> None:
        """Refuse calls of strict tools whose arguments do not conform to the schema.

        llama.cpp's grammar for tools leaves out what it does not know of a schema.

        Raises:
            UnsupportedByModel: one does not.
        """
        for start, arguments in self._calls.values():
            strict = self._strict.get(start.name)
            violation = strict.violation("".join(arguments)) if strict is not None else None
            if violation is not None:
                raise UnsupportedByModel(
                    f"the model {self._model} called the strict tool {start.name} with arguments that do not conform "
                    f"to its schema: {violation}",
                    metadata={"model": self._model, "tool": start.name},
                )

    def _constraint(self, name: str, schema: str) -> Constraint:
        try:
            return _checked(schema or '{"type": "object"}')
        except BadSchema as bad:
            raise UnsupportedByModel(
                f"the model {self._model} cannot follow the schema of the strict tool {name}: {bad}",
                metadata={"model": self._model, "tool": name},
            ) from bad


def _checked(schema: str) -> Constraint:
    made = constraint(schema)
    # In answers held to JSON, the engine sees to these. llama.cpp's grammar for tools knows only some of them.
    for place, part in nodes(json.loads(schema)):
        if "pattern" in part:
            raise BadSchema(f"{place}.pattern is not supported for strict tools")
        if "format" in part and part["format"] not in CHECKED_FORMATS:
            raise BadSchema(f"{place}.format {part['format']!r} is not supported for strict tools")
    return made
