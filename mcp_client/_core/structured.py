"""Structured output: asks for an answer of a type, reads it, and asks for a correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from mcp_client.errors import Details, InvalidAnswer
from mcp_client.tools.answer_type import AnswerType
from mcp_client.tools.tool import Tool
from mcp_client.values import FinishReason, Message, ParsedReply, Reply, TurnOptions

_ENDINGS: Final = {
    FinishReason.LENGTH: "it reached its maximum length: raise max_output_tokens",
    FinishReason.CONTENT_FILTER: "the provider withheld the rest of it",
    FinishReason.TOOL_CALLS: "the model called tools instead",
}
"""Why an answer is not complete. Another turn would not help."""


def answer_type(
    schema: Any, *, repair: bool, options: TurnOptions, tools: Sequence[Tool] = ()
) -> AnswerType[Any] | None:
    """The type of the answer; ``None`` if the caller asked for none.

    Raises:
        ValueError, TypeError: the arguments cannot be combined, or the type has no JSON form.
    """
    if schema is None:
        if repair:
            raise ValueError("repair: requires schema, the type of the answer")
        return None
    for name in ("json_schema", "json"):
        if options.get(name) is not None and options.get(name) is not False:
            raise ValueError(f"schema: cannot be combined with {name}")
    found = AnswerType(schema)
    if tools:
        raise ValueError("schema: cannot be combined with tools; chat_with_tools takes both")
    return found


def with_schema(options: TurnOptions, expected: AnswerType[Any] | None) -> TurnOptions:
    """The options of a turn whose answer has a type."""
    if expected is None:
        return options
    constrained = options.copy()
    constrained["json_schema"] = expected.schema
    return constrained


def parsed(reply: Reply, expected: AnswerType[Any], *earlier: Reply) -> ParsedReply[Any]:
    """The reply with the value of its answer.

    Args:
        reply: the answer.
        expected: its type.
        *earlier: the answers of the same call before it, besides those that the reply names.

    Raises:
        InvalidAnswer: the answer does not conform to the type.
    """
    try:
        value = expected.value(reply.text)
    except ValueError as error:
        ending = _ENDINGS.get(reply.finish_reason, "")
        problem = f"the answer of {reply.message.model} is not a {expected!r}: {ending or error}"
        metadata = {"turn": reply.turn, "answer": reply.text, "problem": ending or str(error)}
        raise InvalidAnswer(problem, Details(code="INTERNAL", metadata=metadata)) from error
    received = {field.name: getattr(reply, field.name) for field in fields(Reply)}
    return ParsedReply(**received | {"earlier": (*earlier, *reply.earlier)}, parsed=value)


def correction(reply: Reply, error: InvalidAnswer, messages: Sequence[Message]) -> list[Message]:
    """The messages of the turn that says what was wrong with an answer.

    Args:
        reply: the wrong answer.
        error: what is wrong with it.
        messages: the conversation before; empty if a session has it.

    Raises:
        InvalidAnswer: another turn would not help.
    """
    if reply.finish_reason in _ENDINGS or not reply.text:
        raise error
    request = Message.user(
        f"Your answer is not valid: {error.metadata['problem']}\n\n"
        "Answer again, with JSON that conforms to the schema and nothing else."
    )
    return [*messages, reply.message, request] if messages else [request]
