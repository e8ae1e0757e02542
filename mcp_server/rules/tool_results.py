"""Which tool calls of a conversation wait for their results, and whether what follows answers them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mcp_server.errors import InvalidArgument, ToolResultsMissing
from mcp_server.rules.violations import Violations, shown
from mcp_server.values import Message, Role, ToolCall, ToolResult


def open_calls(history: Sequence[Message]) -> list[str]:
    """The ids of the tool calls that a history ends with and that have no result yet, in order.

    Args:
        history: at least its end, from the last message that is no TOOL message.
    """
    end = len(history)
    while end and history[end - 1].role is Role.TOOL:
        end -= 1
    waiting = Counter(_calls_of(history[end - 1]) if end else ())
    if waiting:
        for message in history[end:]:
            for part in message.parts:
                if isinstance(part, ToolResult):
                    _answered(waiting, part.tool_call_id)
    return list(waiting.elements())


def check_tool_results(waiting: Sequence[str], messages: Sequence[Message], *, complete: bool) -> None:
    """Refuse messages that part a tool call from its result: each call has exactly one, right behind it.

    Args:
        waiting: the calls that are open before the messages, as :func:`open_calls`.
        messages: what follows.
        complete: whether no call may be open at their end.

    Raises:
        ToolResultsMissing: a call has no result.
        InvalidArgument: a result has no call, or its call has another result.
    """
    found = Violations()
    rest = Counter(waiting)
    for index, message in enumerate(messages):
        if message.role is not Role.TOOL:
            if rest:
                raise _missing(rest)
            rest = Counter(_calls_of(message))
            continue
        for number, part in enumerate(message.parts):
            if not isinstance(part, ToolResult):
                continue
            if not _answered(rest, part.tool_call_id):
                found.add(
                    f"messages[{index}].parts[{number}].tool_result.tool_call_id",
                    f"{shown(part.tool_call_id)} is not the id of an open tool call: each call has exactly one result, "
                    "in the TOOL messages that follow it",
                )
    if rest and complete:
        raise _missing(rest)
    if found:
        raise InvalidArgument(found, more=found.more)


def check_cut(history: Sequence[Message]) -> None:
    """Refuse a history that would end with only some of the results of its last tool calls.

    Args:
        history: at least its end, from the last message that is no TOOL message.

    Raises:
        ToolResultsMissing: a call has no result, and another one has.
    """
    if history and history[-1].role is Role.TOOL and (rest := open_calls(history)):
        raise ToolResultsMissing(
            f"only some of the results of an exchange would remain, without those of the tool calls {_names(rest)}: "
            "keep all of its results, or none",
            metadata={"tool_call_ids": ",".join(rest)},
        )


def _answered(waiting: Counter[str], call: str) -> bool:
    """Take a call off those that wait, if it is one of them."""
    if call not in waiting:
        return False
    waiting[call] -= 1
    if not waiting[call]:
        del waiting[call]
    return True


def _calls_of(message: Message) -> list[str]:
    return [part.id for part in message.parts if isinstance(part, ToolCall)]


def _missing(waiting: Counter[str]) -> ToolResultsMissing:
    calls = list(waiting.elements())
    return ToolResultsMissing(
        f"the model waits for the results of its tool calls {_names(calls)}: the next messages must be "
        "one TOOL message for each",
        metadata={"tool_call_ids": ",".join(calls)},
    )


def _names(calls: Sequence[str]) -> str:
    names = ", ".join([call if call.isprintable() and 0 < len(call) <= 80 else shown(call) for call in calls[:10]])
    return f"{names} and {len(calls) - 10} more" if len(calls) > 10 else names
