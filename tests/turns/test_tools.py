"""Tool calls as every provider takes them."""

from __future__ import annotations

import json

import pytest

from mcp_server.interfaces import Finish, ToolArgumentsDelta, ToolCallStart
from mcp_server.models.usage import Meter
from mcp_server.turns.answer import Answer
from mcp_server.turns.tools import fit_name, for_provider
from mcp_server.values import (
    Blob,
    Event,
    Message,
    Part,
    PartStarted,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)


def shown(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """What the provider ``p`` is shown."""
    return for_provider(messages, "p")


def user(text: str = "Go on.") -> Message:
    return Message(role=Role.USER, parts=(Text(text=text),))


def asking(*ids: str, name: str = "look", arguments: str = "{}") -> Message:
    return Message(
        role=Role.ASSISTANT, parts=tuple([ToolCall(id=id, name=name, arguments_json=arguments) for id in ids])
    )


def answering(*ids: str, text: str = "r") -> Message:
    return Message(role=Role.TOOL, parts=tuple([ToolResult(tool_call_id=id, parts=(Text(text=text),)) for id in ids]))


def ids_of(messages: tuple[Message, ...]) -> list[list[str]]:
    """The ids of the calls and results of each message that has some."""
    found = [
        [
            part.id if isinstance(part, ToolCall) else part.tool_call_id
            for part in message.parts
            if isinstance(part, ToolCall | ToolResult)
        ]
        for message in messages
    ]
    return [ids for ids in found if ids]


def test_what_fits_stays_as_it_is() -> None:
    """The caller's ids and arguments, to the letter."""
    history = (user(), asking("functions.look:0", arguments='{"a":  1.0}'), answering("functions.look:0"), user())
    assert shown(history) == history


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("", {}),
        (" \n", {}),
        ('{"zone": "Eu', {"invalid_arguments": '{"zone": "Eu'}),
        ("{zone: Europe}", {"invalid_arguments": "{zone: Europe}"}),
        ("[1]", {"invalid_arguments": "[1]"}),
        ("null", {"invalid_arguments": "null"}),
        ('{"a": NaN}', {"invalid_arguments": '{"a": NaN}'}),
        ('{"a": "\\ud800"}', {"invalid_arguments": '{"a": "\\ud800"}'}),
        ('{"a":' * 5000, {"invalid_arguments": '{"a":' * 5000}),
    ],
)
def test_arguments_are_an_object(written: str, sent: object) -> None:
    """What the model wrote instead of one can be read in it."""
    _, asked, *_ = shown((user(), asking("a", arguments=written), answering("a"), user()))
    (call,) = asked.parts
    assert isinstance(call, ToolCall)
    assert json.loads(call.arguments_json) == sent


def test_ids_are_short_and_unique() -> None:
    """The results follow them, each that of its own call, and the same history gives the same ids."""
    long = "x" * 200
    history = (user(), asking("", "", long), answering(long, ""), answering(""), asking(long), answering(long), user())
    fit = shown(history)
    (first, second, third), (of_third, of_first), (of_second,), (fourth,), (of_fourth,) = ids_of(fit)
    assert len({first, second, third, fourth}) == 4
    assert all(1 <= len(id) <= 40 for id in (first, second, third, fourth))
    assert (of_first, of_second, of_third, of_fourth) == (first, second, third, fourth)
    assert shown((*history, user())) == (*fit, user())


def test_names_have_only_what_names_may_have() -> None:
    """Any other character becomes a line, and the rest of a long one is left out."""
    names = ["functions.look", "a b\n", "é", "", "n" * 200]
    assert [fit_name(name) for name in names] == ["functions_look", "a_b_", "_", "_", "n" * 128]
    _, asked, *_ = shown((user(), asking("a", name="functions.look"), answering("a"), user()))
    assert asked == asking("a", name="functions_look")


def test_a_provider_reads_a_long_name_only_if_it_was_offered_that_tool() -> None:
    """Not every provider takes more than 64 characters; one that got such a tool does."""
    name = "n" * 100
    history = (user(), asking("a", name=name), answering("a"), user())
    _, short, *_ = for_provider(history, "p")
    assert short == asking("a", name="n" * 64)
    assert for_provider(history, "p", [Tool(name=name)]) == history


def test_each_call_has_one_result() -> None:
    """A missing one is supplied as an error, and what answers nothing is left out."""
    history = (answering("a"), user(), asking("a", "b"), answering("b", "b"), answering("c"), user())
    fit = shown(history)
    assert [message.role.value for message in fit] == ["user", "assistant", "tool", "tool", "user"]
    assert ids_of(fit) == [["a", "b"], ["b"], ["a"]]
    (supplied,) = fit[3].parts
    assert isinstance(supplied, ToolResult)
    assert supplied.is_error


def test_answers_without_content_are_left_out() -> None:
    """Providers refuse them; a beginning that is to be continued stays."""
    empty: list[tuple[Part, ...]] = [
        (),
        (Text(text=""),),
        (Text(text=" \n"),),
        (Reasoning(text="Hm."),),
        (Refusal(text=""),),
    ]
    for parts in empty:
        answer = Message(role=Role.ASSISTANT, parts=parts)
        assert shown((user(), answer, user())) == (user(), user())
    whole: list[Part] = [Text(text="a"), Refusal(text="No."), Blob(mime_type="image/png", data=b"x")]
    for part in whole:
        answer = Message(role=Role.ASSISTANT, parts=(Reasoning(text="Hm."), part))
        assert shown((user(), answer, user())) == (user(), answer, user())
    beginning = Message(role=Role.ASSISTANT, parts=(Text(text=" "),))
    assert shown((user(), beginning)) == (user(), beginning)


def test_an_answer_begins_its_calls_with_ids_and_names_that_fit() -> None:
    """An id that is empty, too long, unprintable or taken is replaced, and the arguments still find their call."""
    events: list[Event] = []
    answer = Answer(events.append, Meter(), call_ids=["old"])
    proposed = ["", "x" * 41, "a\n", "é", "old", "new", "new"]
    for number, id in enumerate(proposed):
        answer.add(ToolCallStart(id=id, name="functions.look"))
        answer.add(ToolArgumentsDelta(id=id, text=str(number)))
    answer.add(Finish())
    started = [event for event in events if isinstance(event, PartStarted)]
    ids = [event.tool_call_id for event in started]
    assert ids[5] == "new"
    assert len({*ids, "old"}) == len(proposed) + 1
    assert all(id.isascii() and id.isprintable() and 1 <= len(id) <= 40 for id in ids)
    assert {event.tool_name for event in started} == {"functions_look"}
    assert answer.parts() == tuple(
        [ToolCall(id=id, name="functions_look", arguments_json=str(number)) for number, id in enumerate(ids)]
    )
