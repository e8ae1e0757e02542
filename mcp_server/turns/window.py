"""The window: the system message, and as much of the history as fits the model.

The system message and the new input are always in it; the oldest exchanges are left out first, each as a whole. An
exchange runs from a USER message to before the next one, so that a tool call is never parted from its result: where the
new input begins with results, the exchange of their calls goes on in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from mcp_server.errors import ContextTooLong, InternalError
from mcp_server.interfaces import ContextType
from mcp_server.token_estimates import BYTES_PER_TOKEN, tokens_of_messages, tokens_of_tools
from mcp_server.values import (
    ContextEntry,
    MCPSession,
    Message,
    Role,
    Struct,
    Text,
    Tool,
    Visibility,
    Window,
)

log = structlog.get_logger("contextprotocol.turns")

DEFAULT_ANSWER_TOKENS = 1_024
"""Room that is kept for an answer whose length is not limited, or a quarter of the context window if that is less."""

CountTokens = Callable[[Sequence[Message]], Awaitable[int]]


class Selection(Struct):
    """What of a conversation a model is shown."""

    messages: tuple[Message, ...]
    """The whole prompt: system message, history, new input."""
    window: Window
    """The part of the history in it."""


def context_text(session: MCPSession, types: Mapping[str, ContextType]) -> str:
    """The session's PROMPT context as its types render it, in the order of the names."""
    return "\n\n".join(
        [
            _rendered(types[entry.type], name, entry)
            for name, entry in sorted(session.context.items())
            if entry.visibility is Visibility.PROMPT and entry.type in types
        ]
    )


def _rendered(type_: ContextType, name: str, entry: ContextEntry) -> str:
    try:
        return type_.render(name, entry)
    except Exception as error:
        what = f"the context type {entry.type!r} cannot render the entry {name!r}"
        facts = {"entry": name, "type": entry.type}
        raise InternalError.logged(log, "context entry not rendered", error, what=what, **facts) from error


def system_messages(
    session: MCPSession | None, types: Mapping[str, ContextType], instruction: str = ""
) -> tuple[Message, ...]:
    """The session's instruction and context, and the ``instruction`` of the turn, as one SYSTEM message; none if there
    is nothing of them. It is one message since the templates of many models allow no second one."""
    own = () if session is None else (session.system_instruction, context_text(session, types))
    pieces = [piece for piece in (*own, instruction) if piece]
    return (Message(role=Role.SYSTEM, parts=(Text(text="\n\n".join(pieces)),)),) if pieces else ()


async def select(
    *,
    system: tuple[Message, ...],
    history: Sequence[Message],
    message_count: int,
    new: tuple[Message, ...],
    context_window: int,
    answer_tokens: int | None,
    truncate: bool,
    count: CountTokens | None,
    tools: Sequence[Tool] = (),
    must_fit: bool = True,
) -> Selection:
    """Choose what a model is shown.

    Args:
        system: what goes first.
        history: the end of the session's history, oldest first.
        message_count: the length of the whole history.
        new: the new input.
        context_window: the model's limit in tokens; 0: unknown, and then only the estimate is given.
        answer_tokens: the longest answer asked for.
        truncate: whether old exchanges may be left out.
        count: counts a prompt exactly; without it, lengths are estimates.
        tools: what else the model is shown.
        must_fit: whether to refuse what does not fit; else the fewest messages are shown then.

    Raises:
        ContextTooLong: it does not fit, and no more may be left out.
    """
    starts = _exchange_starts(history)
    if len(history) < message_count:
        if not truncate and 0 < context_window < (tokens := sum(tokens_of_messages(history))):
            raise ContextTooLong(
                f"the last {len(history)} of {message_count} messages have about {tokens} tokens; the context window "
                f"of the model has {context_window}: allow truncation, or use a model with a larger context window",
                metadata={"tokens": str(tokens), "limit": str(context_window)},
            )
        if not truncate:
            raise ContextTooLong(
                f"the history has {message_count} messages, and a turn of this server reads at most {len(history)}: "
                "allow truncation, or fork the session",
                metadata={"limit": str(len(history))},
            )
        # The oldest message that was read may stand in the middle of an exchange.
        starts = [start for start in starts if start > 0 or history[start].role is Role.USER]
    cuts = [*starts, *_last_cut(history, new)]
    if not cuts:
        raise ContextTooLong(
            f"the tool results belong to an exchange of more messages than this server shows a model ({len(history)}): "
            "add a USER message after them, with which a new exchange begins",
            metadata={"limit": str(len(history))},
        )
    conversation = (*history, *new)
    sizes = tokens_of_messages(conversation)
    fixed = sum(tokens_of_messages(system)) + tokens_of_tools(tools)

    def prompt(start: int) -> tuple[Message, ...]:
        return (*system, *conversation[start:])

    def selection(start: int, tokens: int) -> Selection:
        used = max(len(history) - start, 0)
        window = Window(
            first_message=message_count - used,
            used_messages=used,
            dropped_messages=message_count - used,
            input_tokens=tokens,
        )
        return Selection(messages=prompt(start), window=window)

    first = cuts[0]
    if context_window == 0:
        return selection(first, fixed + sum(sizes[first:]))
    reserve = min(answer_tokens or min(DEFAULT_ANSWER_TOKENS, context_window // 4), context_window - 1)
    budget = context_window - reserve

    async def measure(start: int) -> int:
        estimate = fixed + sum(sizes[start:])
        # A token is at least a byte: what is this far below the limit need not be counted.
        if count is None or estimate * BYTES_PER_TOKEN <= budget:
            return estimate
        return await count(prompt(start))

    tokens = await measure(first)
    if tokens <= budget:
        return selection(first, tokens)
    # The fewest exchanges left out that make it fit: the lengths fall with each, so halving finds it.
    fewest = cuts[-1]
    cuts = cuts[1:] if truncate else []
    low, high, best = 0, len(cuts), None
    while low < high:
        middle = (low + high) // 2
        tokens = await measure(cuts[middle])
        if tokens <= budget:
            best, high = (cuts[middle], tokens), middle
        else:
            low = middle + 1
    if best is None and not must_fit:
        best = fewest, tokens
    if best is None:
        raise ContextTooLong(
            f"the prompt has about {tokens} tokens; the context window of the model has {context_window}, {reserve} of "
            f"which are reserved for the answer: send less{'' if truncate else ', allow truncation'}, or use a model "
            "with a larger context window",
            metadata={"tokens": str(tokens), "limit": str(budget)},
        )
    return selection(*best)


def _exchange_starts(history: Sequence[Message]) -> list[int]:
    """Where exchanges begin; what stands before the first USER message counts as one."""
    starts = [index for index, message in enumerate(history) if message.role is Role.USER]
    return starts if starts and starts[0] == 0 else [0, *starts] if history else []


def _last_cut(history: Sequence[Message], new: Sequence[Message]) -> list[int]:
    """Where the prompt begins that has the fewest messages: behind the history or, if the new input begins with results
    of its calls, at the next USER message; nowhere if there is none."""
    if not history or not new or new[0].role is not Role.TOOL:
        return [len(history)]
    return [index for index, message in enumerate(new, len(history)) if message.role is Role.USER][:1]
