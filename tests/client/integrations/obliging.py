"""A model that does what it is asked, as far as it can be read off the request: for suites written for real ones."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent, ToolArgumentsDelta, ToolCallStart
from mcp_server.values import (
    Capabilities,
    FinishReason,
    Model,
    Role,
    Usage,
    UsageSource,
)


class ObligingProvider:
    """Asks for the tool that it must or may ask for, keeps to the schema of an answer, and else repeats what was said.

    Texts in single quotes are what it fills texts with, and every number is a three.
    """

    async def models(self) -> Sequence[Model]:
        """The models ``obliging`` and ``other``, which are alike."""
        able = Capabilities(chat=True, tools=True, images=True, json_schema=True)
        return [Model(name=name, capabilities=able, context_window=100_000) for name in ("obliging", "other")]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """A call of a tool, an object, or words."""
        question = request.messages[-1].text
        usage = Usage(input_tokens=len(question.split()) + 1, output_tokens=3, source=UsageSource.REPORTED)
        named = [tool for tool in request.tools if request.tool_choice.name in ("", tool.name)]
        if named and request.tool_choice.mode != "none" and request.messages[-1].role is not Role.TOOL:
            yield ToolCallStart(id="call_1", name=named[0].name)
            yield ToolArgumentsDelta(id="call_1", text=_filled(named[0].parameters_json, question))
            yield Finish(reason=FinishReason.TOOL_CALLS, usage=usage)
            return
        if request.config.json_schema:
            yield _filled(request.config.json_schema, question)
        elif request.config.response_format.value == "json":
            yield json.dumps({"setup": "Why?", "punchline": "Because."})
        else:
            for word in ["You", " said:", *[f" {word}" for word in question.split()]]:
                yield word
        yield Finish(usage=usage)

    async def close(self) -> None:
        """Nothing to do."""


def _filled(schema_json: str, question: str) -> str:
    """The text of an object that fits."""
    quoted = re.search(r"'(.+?)'", question)
    schema = json.loads(schema_json or '{"type": "object"}')
    return json.dumps(_fill(schema, schema, quoted[1] if quoted else "text"), ensure_ascii=False)


def _fill(schema: Mapping[str, Any], root: Mapping[str, Any], text: str) -> Any:
    if reference := schema.get("$ref"):
        return _fill(root["$defs"][reference.rpartition("/")[2]], root, text)
    for choice in ("anyOf", "allOf"):
        if choice in schema:
            return _fill(schema[choice][0], root, text)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    if kind == "object":
        return {name: _fill(value, root, text) for name, value in schema.get("properties", {}).items()}
    if kind == "array":
        return [_fill(schema.get("items", {}), root, text)]
    return {"integer": 3, "number": 3.0, "boolean": True, "null": None}.get(kind, text)
