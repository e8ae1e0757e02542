"""What of a history a model is shown."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mcp_server.errors import ContextTooLong
from mcp_server.token_estimates import tokens_of_text
from mcp_server.turns.window import Selection, select
from mcp_server.values import (
    Message,
    Role,
    Text,
    ToolCall,
    ToolResult,
)


def message(role: Role, tokens: int = 10) -> Message:
    return Message(role=role, parts=(Text(text="x" * tokens),))


USER, ASSISTANT = message(Role.USER), message(Role.ASSISTANT)
CALL = Message(role=Role.ASSISTANT, parts=(ToolCall(id="a", name="f"),))
RESULT = Message(role=Role.TOOL, parts=(ToolResult(tool_call_id="a"),))


async def ten_each(messages: Sequence[Message]) -> int:
    """A tokenizer to whom each message is ten tokens."""
    return 10 * len(messages)


async def chosen(
    history: Sequence[Message], *, context_window: int, message_count: int | None = None, truncate: bool = True
) -> Selection:
    return await select(
        system=(message(Role.SYSTEM),),
        history=history,
        message_count=len(history) if message_count is None else message_count,
        new=(USER,),
        context_window=context_window,
        answer_tokens=10,
        truncate=truncate,
        count=ten_each,
    )


async def test_what_fits_is_shown_whole() -> None:
    """Nothing is dropped, and the length is counted only where it matters."""
    selection = await chosen([USER, ASSISTANT] * 2, context_window=1000)
    assert len(selection.messages) == 6
    assert selection.window.used_messages == 4
    assert selection.window.dropped_messages == 0


@pytest.mark.parametrize(("room", "kept"), [(70, 4), (60, 4), (59, 2), (40, 2), (39, 0), (20, 0)])
async def test_whole_exchanges_go_from_the_oldest(room: int, kept: int) -> None:
    """As many as fit stay, the newest ones; system message and input always do."""
    selection = await chosen([USER, ASSISTANT] * 2, context_window=room + 10)
    window = selection.window
    assert (window.used_messages, window.dropped_messages, window.first_message) == (kept, 4 - kept, 4 - kept)
    assert [m.role for m in selection.messages] == [Role.SYSTEM, *[Role.USER, Role.ASSISTANT] * (kept // 2), Role.USER]
    assert window.input_tokens == 10 * (kept + 2) or window.dropped_messages == 0


async def test_a_tool_call_is_never_parted_from_its_result() -> None:
    """An exchange with tools goes or stays as one."""
    history = [USER, CALL, RESULT, ASSISTANT, USER, ASSISTANT]
    for room in range(20, 90, 10):
        selection = await chosen(history, context_window=room + 10)
        assert selection.window.used_messages in (0, 2, 6)


async def test_too_much_is_refused_with_the_numbers() -> None:
    """What cannot be left out must fit."""
    with pytest.raises(ContextTooLong) as refused:
        await chosen([USER, ASSISTANT], context_window=29)
    assert refused.value.metadata == {"tokens": "20", "limit": "19"}


async def test_without_truncation_nothing_may_go() -> None:
    """Neither for length, nor because the server reads no more of the history."""
    with pytest.raises(ContextTooLong):
        await chosen([USER, ASSISTANT] * 2, context_window=69, truncate=False)
    with pytest.raises(ContextTooLong):
        await chosen([USER, ASSISTANT], message_count=4, context_window=1000, truncate=False)


async def test_a_history_that_was_read_in_part_begins_at_an_exchange() -> None:
    """What stands before the first USER message belongs to an exchange whose beginning is missing."""
    selection = await chosen([ASSISTANT, USER, ASSISTANT], message_count=8, context_window=1000)
    window = selection.window
    assert (window.first_message, window.used_messages, window.dropped_messages) == (6, 2, 6)
    selection = await chosen([ASSISTANT], message_count=8, context_window=1000)
    assert (selection.window.used_messages, selection.window.first_message) == (0, 8)


async def test_an_unknown_context_window_drops_nothing() -> None:
    """The provider will say if it is too much."""
    assert (await chosen([USER, ASSISTANT] * 50, context_window=0)).window.dropped_messages == 0


def test_estimates_go_by_bytes() -> None:
    """Other scripts have more bytes, and more tokens, than characters."""
    assert tokens_of_text("abcd") == 1
    assert tokens_of_text("abcde") == 2
    assert tokens_of_text("日本") == 2
    assert tokens_of_text("") == 0


async def select_answering(history: Sequence[Message], *new: Message, context_window: int) -> Selection:
    return await select(
        system=(),
        history=history,
        message_count=len(history),
        new=new,
        context_window=context_window,
        answer_tokens=10,
        truncate=True,
        count=ten_each,
    )


async def test_results_are_not_parted_from_the_calls_of_the_history() -> None:
    """Their exchange stays whole while it goes on, and goes as a whole when another follows it."""
    history = [USER, ASSISTANT, USER, CALL]
    whole = await select_answering(history, RESULT, context_window=60)
    assert whole.messages == (*history, RESULT)
    last = await select_answering(history, RESULT, context_window=50)
    assert last.messages == (USER, CALL, RESULT)
    with pytest.raises(ContextTooLong):
        await select_answering(history, RESULT, context_window=39)
    gone = await select_answering(history, RESULT, USER, context_window=39)
    assert gone.messages == (USER,)
    assert (gone.window.first_message, gone.window.used_messages, gone.window.dropped_messages) == (4, 0, 4)


async def test_results_of_an_exchange_that_was_not_read_whole_are_refused() -> None:
    """However large the context window is."""
    with pytest.raises(ContextTooLong) as refused:
        await select(
            system=(),
            history=[ASSISTANT, CALL],
            message_count=9,
            new=(RESULT,),
            context_window=0,
            answer_tokens=10,
            truncate=True,
            count=None,
        )
    assert refused.value.metadata == {"limit": "2"}
