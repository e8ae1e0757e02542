"""The events of responses: their order, and what becomes of them when a connection is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import openai
import pytest

from mcp_client import MCPClient
from mcp_server.errors import ProviderStreamCut, ProviderUnavailable
from mcp_server.interfaces import (
    Finish,
    PartState,
    ReasoningDelta,
    RefusalDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.settings import TurnSettings
from mcp_server.settings import testing_config as plain_config
from mcp_server.settings.tables import RouteSettings
from mcp_server.testing import Gate
from mcp_server.values import FinishReason
from mcp_server.web.openai.identifiers import parse_conversation_id, response_id, turn_of_name
from tests.web.openai.conftest import API, StartAPI
from tests.web.openai.test_chat import MODEL, able
from tests.web.openai.test_responses import WEATHER, responses

Events = list[Any]
LONG: Any = [
    ReasoningDelta(text="Hm."),
    ReasoningDelta(text=" Yes."),
    "Let ",
    "me see.",
    RefusalDelta(text="Not "),
    RefusalDelta(text="that."),
    ToolCallStart(id="c1", name="weather"),
    ToolArgumentsDelta(id="c1", text='{"city":'),
    ToolCallStart(id="c2", name="weather"),
    ToolArgumentsDelta(id="c2", text="{"),
    ToolArgumentsDelta(id="c1", text='"Rome"}'),
    ToolArgumentsDelta(id="c2", text="}"),
    Finish(reason=FinishReason.TOOL_CALLS),
]
BEGIN = ["response.created", "response.in_progress"]
TEXT = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


async def stream(api: API, **fields: Any) -> Any:
    """A response as it comes."""
    return await responses(api).create(model=MODEL, input="Hello", stream=True, **fields)


async def all_of(api: API, **fields: Any) -> Events:
    """All events of a response."""
    return [event async for event in await stream(api, **fields)]


def kinds(events: Events) -> list[str]:
    """What the events are, neighbours of one kind once."""
    found: list[str] = []
    for event in events:
        if found[-1:] != [event.type]:
            found.append(event.type)
    return found


def text_of(events: Events) -> str:
    """The text in the pieces."""
    return "".join([event.delta for event in events if event.type == "response.output_text.delta"])


async def test_text_has_its_events(start_api: StartAPI) -> None:
    """In the order of this API, and the client puts them together."""
    api = await start_api(p=able(["Good ", "day", Finish()]))
    events = await all_of(api)
    assert kinds(events) == [*BEGIN, *TEXT, "response.completed"]
    assert text_of(events) == "Good day"
    assert events[0].response.status == events[1].response.status == "in_progress"
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    assert events[-1].response == await responses(api).retrieve(events[0].response.id)


async def test_every_kind_of_part_has_its_events(start_api: StartAPI) -> None:
    """Reasoning, text, refusals and parallel tool calls; each is closed before the next, and calls at the end."""
    api = await start_api(p=able(LONG))
    events = await all_of(api, tools=[WEATHER])
    assert kinds(events) == [
        *BEGIN,
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.content_part.added",
        "response.refusal.delta",
        "response.refusal.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == events[-1].response.output
    assert [item.arguments for item in done[2:]] == ['{"city":"Rome"}', "{}"]
    assert [event.output_index for event in events if event.type == "response.output_item.added"] == [0, 1, 2, 3]
    assert events[-1].response == await responses(api).retrieve(events[0].response.id)


async def test_a_summary_has_its_own_events(start_api: StartAPI) -> None:
    """If the request asks for one."""
    api = await start_api(p=able([ReasoningDelta(text="Hm."), "Yes", Finish()]))
    events = await all_of(api, reasoning={"summary": "auto"})
    assert kinds(events)[2:8] == [
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
    ]


async def test_hidden_reasoning_is_an_item(start_api: StartAPI) -> None:
    """Without a text; what its provider needs back is in its end."""
    hidden = [PartState(data=b"sealed", own_part=True), "Yes", PartState(data=b"of the text"), Finish()]
    api = await start_api(p=able(hidden))
    include: Any = ["reasoning.encrypted_content"]
    events = await all_of(api, include=include)
    output = events[-1].response.output
    assert [item.type for item in output] == ["reasoning", "message"]
    assert output[0].encrypted_content
    assert [event.item for event in events if event.type == "response.output_item.done"] == output
    assert (await responses(api).retrieve(events[0].response.id, include=include)).output == output


async def test_the_helper_of_the_client_follows(start_api: StartAPI) -> None:
    """It keeps the whole response while it comes."""
    api = await start_api(p=able(LONG))
    async with responses(api).stream(model=MODEL, input="Hello", tools=[WEATHER]) as following:
        async for _ in following:
            pass
        final = await following.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]


async def test_an_empty_answer_is_complete(start_api: StartAPI) -> None:
    """It has no items."""
    api = await start_api(p=able([Finish()]))
    events = await all_of(api)
    assert kinds(events) == [*BEGIN, "response.completed"]
    assert events[-1].response.output == []


async def test_a_stream_on_the_wire(start_api: StartAPI) -> None:
    """Each event has a name, and a mark is the end."""
    api = await start_api(p=able(["Good day", Finish()]))
    _, headers, text = await api.send("/responses", {"model": MODEL, "input": "Hello", "stream": True})
    assert headers["content-type"].startswith("text/event-stream")
    events = text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    for event in events[:-1]:
        name, data = event.split("\n")
        assert msgspec.json.decode(data.removeprefix("data: "))["type"] == name.removeprefix("event: ")


async def test_a_response_is_resumed_after_every_event(start_api: StartAPI) -> None:
    """Whatever the last number was, the same events follow, with the same numbers and texts in all."""
    api = await start_api(p=able(LONG))
    events = await all_of(api, tools=[WEATHER])
    id = events[0].response.id
    for position in range(len(events) + 1):
        after = events[position - 1].sequence_number if position else 0
        rest = [e async for e in await responses(api).retrieve(id, stream=True, starting_after=after)]
        assert _flat(rest) == _flat(events[position:])


def _flat(events: Events) -> list[Any]:
    """What merging of pieces does not change."""
    found: list[Any] = []
    for event in events:
        if event.type.endswith(".delta"):
            if found and isinstance(found[-1], tuple) and found[-1][0] == (event.type, event.item_id):
                found[-1] = (found[-1][0], event.sequence_number, found[-1][2] + event.delta)
            else:
                found.append(((event.type, event.item_id), event.sequence_number, event.delta))
        else:
            found.append(event)
    return found


async def test_a_lost_connection_is_resumed(start_api: StartAPI) -> None:
    """In the middle of a word, while the response goes on; to its end, and nothing comes twice."""
    gate, second = Gate(), Gate()
    provider = able(["Go", gate, "od ", "d", second, "ay", Finish()])
    api = await start_api(p=provider)
    seen: Events = []
    async with await stream(api) as first:
        async for event in first:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
    gate.open()
    await second.reached.wait()
    rest = await responses(api).retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
    async for event in rest:
        seen.append(event)
        second.open()
    assert text_of(seen) == "Good day"
    assert kinds(seen) == [*BEGIN, *TEXT, "response.completed"]
    assert len(provider.requests) == 1


async def test_a_number_that_was_never_sent_is_refused(start_api: StartAPI) -> None:
    """Nothing can follow it."""
    api = await start_api(p=able(["ok", Finish()]))
    response = await responses(api).create(model=MODEL, input="Hello")
    with pytest.raises(openai.BadRequestError) as caught:
        await responses(api).retrieve(response.id, stream=True, starting_after=10_000)
    assert caught.value.param == "starting_after"


async def test_a_failure_is_the_last_event(start_api: StartAPI) -> None:
    """After a piece of the answer; with it, the response says what went wrong."""
    api = await start_api(p=able(["Good ", ProviderStreamCut("the connection broke")]))
    events = await all_of(api)
    assert events[-1].type == "response.failed"
    failed = events[-1].response
    assert (failed.status, failed.error.code) == ("failed", "provider_stream_cut")
    again = await responses(api).retrieve(failed.id)
    assert (again.status, again.error) == ("failed", failed.error)
    replayed = [e async for e in await responses(api).retrieve(failed.id, stream=True)]
    assert _flat(replayed) == _flat(events)


async def test_a_response_that_never_began(start_api: StartAPI) -> None:
    """Its stream says at once that it has failed."""
    api = await start_api(p=able(["ok", Finish()]))
    conversation = await api.client.conversations.create(
        items=[{"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}]
    )
    with pytest.raises(openai.BadRequestError):
        await responses(api).create(model=MODEL, input="Hello", conversation=conversation.id)
    async with MCPClient(api.server.address) as client:
        (turn,) = [turn async for turn in client.list_turns(f"sessions/{parse_conversation_id(conversation.id)}")]
    following = await responses(api).retrieve(response_id(turn_of_name(turn.name)), stream=True)
    events = [event async for event in following]
    assert kinds(events) == ["response.created", "response.failed"]
    assert events[-1].response.error.code == "tool_results_missing"


_PLAIN = plain_config(default_model="both")
_ROUTES = {"both": RouteSettings(targets=("p/able", "q/able"), on_cut="restart")}
ROUTED = msgspec.structs.replace(_PLAIN, models=msgspec.structs.replace(_PLAIN.models, routes=_ROUTES))


async def test_a_fallback_before_the_first_piece_is_invisible(start_api: StartAPI) -> None:
    """The stream is that of the second provider."""
    api = await start_api(ROUTED, p=able([ProviderUnavailable("down")]), q=able(["Good day", Finish()]))
    events = [e async for e in await responses(api).create(model="both", input="Hello", stream=True)]
    assert kinds(events) == [*BEGIN, *TEXT, "response.completed"]
    assert events[-1].response.model == "q/able"


async def test_a_model_continues_or_the_response_fails(start_api: StartAPI) -> None:
    """What was sent is never taken back."""
    cut = ProviderStreamCut("the connection broke")
    api = await start_api(ROUTED, p=able(["Good ", cut]), q=able(["Something else", Finish()]))
    events = [e async for e in await responses(api).create(model="both", input="Hello", stream=True)]
    assert events[-1].type == "response.failed"
    assert text_of(events) == "Good "


async def test_a_response_runs_in_the_background(start_api: StartAPI) -> None:
    """It is answered at once, can be watched from its beginning, and is complete in the end."""
    gate = Gate()
    api = await start_api(p=able(["Good ", gate, "day", Finish()]))
    response = await responses(api).create(model=MODEL, input="Hello", background=True)
    assert (response.status, response.background) == ("in_progress", True)
    await gate.reached.wait()
    now = await responses(api).retrieve(response.id)
    assert (now.status, now.output_text, now.output[0].status) == ("in_progress", "Good ", "in_progress")
    watched = await responses(api).retrieve(response.id, stream=True)
    gate.open()
    events = [event async for event in watched]
    assert text_of(events) == "Good day"
    assert (await responses(api).retrieve(response.id)).status == "completed"


async def test_what_follows_when_nobody_reads(start_api: StartAPI) -> None:
    """In the background a response goes on; another one, left later, is cancelled after the grace."""
    config = msgspec.structs.replace(plain_config(default_model="p/able"), turns=TurnSettings(disconnect_grace=0.05))
    gate = Gate()
    provider = able(["Good ", gate, "day", Finish()])
    api = await start_api(config, p=provider)
    ids = []
    for background in (True, False):
        following = await stream(api, background=background)
        ids.append((await anext(following)).response.id)
        async for event in following:
            if event.type == "response.output_text.delta":
                break
        await following.close()
    await asyncio.wait_for(provider.stopped.wait(), 5)
    gate.open()
    assert [(await _ended(api, id)).status for id in ids] == ["completed", "cancelled"]
    assert provider.cancelled == 1


async def _ended(api: API, id: str) -> Any:
    """The response when it has ended."""
    return [event async for event in await responses(api).retrieve(id, stream=True)][-1].response


async def test_a_response_is_cancelled(start_api: StartAPI) -> None:
    """Whoever waits for it or follows it learns of it; a second time changes nothing."""
    gate = Gate()
    provider = able(["Good ", gate, Finish()])
    api = await start_api(p=provider)
    following = await stream(api, background=True)
    events: Events = [await anext(following)]
    await gate.reached.wait()
    for _ in range(2):
        cancelled = await responses(api).cancel(events[0].response.id)
        assert (cancelled.status, cancelled.output_text) == ("cancelled", "Good ")
    events += [event async for event in following]
    assert (events[-1].type, events[-1].response.status) == ("response.failed", "cancelled")
    assert provider.cancelled == 1
