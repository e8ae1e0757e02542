"""Messages in pieces, through Anthropic's own client and on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import msgspec
import pytest

from mcp_server.errors import ProviderStreamCut, ProviderUnavailable
from mcp_server.interfaces import (
    Finish,
    PartState,
    ReasoningDelta,
    RefusalDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.settings import testing_config as plain_config
from mcp_server.settings.tables import RouteSettings
from mcp_server.testing import Gate, ScriptedProvider
from mcp_server.values import Capabilities, FinishReason, Model
from tests.web.anthropic.conftest import HELLO, MODEL, StartAPI, able
from tests.web.anthropic.test_messages import THINKING, USAGE, WEATHER

replace = msgspec.structs.replace
ASKED: Any = {"model": MODEL, "max_tokens": 99, "messages": HELLO, "stream": True}


def events_of(text: str) -> list[tuple[str, Any]]:
    """The events of a stream: names and data."""
    found = []
    for event in text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append((name.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: "))))
    assert [name for name, _ in found] == [data["type"] for _, data in found]
    return found


_FIELDS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


def outline(events: list[tuple[str, Any]]) -> list[Any]:
    """What is in the content blocks; neighbouring pieces are joined."""
    found: list[Any] = []
    for name, data in events:
        if name == "content_block_start":
            found.append((data["index"], data["content_block"]["type"]))
        elif name == "content_block_delta":
            kind = data["delta"]["type"]
            piece = data["delta"][_FIELDS[kind]]
            if found[-1][:2] == (data["index"], kind):
                piece = found.pop()[2] + piece
            found.append((data["index"], kind, piece))
        elif name == "content_block_stop":
            found.append((data["index"], "stop"))
    return found


async def test_the_events_come_in_the_order_of_the_protocol(start_api: StartAPI) -> None:
    """The message, its blocks one after the other, the reason of its end with the usage, and the end."""
    api = await start_api(p=able(THINKING))
    status, headers, text = await api.send("/v1/messages", {**ASKED, "tools": [WEATHER]})
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["request-id"] == headers["x-request-id"]
    events = events_of(text)
    assert [name for name, _ in events[:3]] == ["message_start", "ping", "content_block_start"]
    message = events[0][1]["message"]
    assert message["id"].startswith("msg_t")
    assert (message["role"], message["model"], message["content"]) == ("assistant", MODEL, [])
    assert message["stop_reason"] is None
    assert message["usage"]["input_tokens"] > 0
    blocks = outline(events)
    assert [(*block[:2], "") if block[1] == "signature_delta" else block for block in blocks] == [
        (0, "thinking"),
        (0, "thinking_delta", "Rome, I think."),
        (0, "signature_delta", ""),
        (0, "stop"),
        (1, "redacted_thinking"),
        (1, "stop"),
        (2, "text"),
        (2, "text_delta", "Let me see."),
        (2, "stop"),
        (3, "tool_use"),
        (3, "input_json_delta", '{"city":"Rome"}'),
        (3, "stop"),
    ]
    (name, end), last = events[-2], events[-1]
    assert (name, end["delta"]["stop_reason"], end["usage"]["output_tokens"]) == ("message_delta", "tool_use", 7)
    assert last == ("message_stop", {"type": "message_stop"})


async def test_alternating_pieces_of_calls_come_one_call_after_the_other(start_api: StartAPI) -> None:
    """A call's block ends when its arguments are whole; what belongs to later blocks waits for that."""
    script = [
        ToolCallStart(id="a", name="weather"),
        ToolArgumentsDelta(id="a", text='{"city":'),
        ToolCallStart(id="b", name="weather"),
        ToolArgumentsDelta(id="b", text="{"),
        ToolArgumentsDelta(id="a", text='"Rome"}'),
        ToolArgumentsDelta(id="b", text="}"),
        ToolCallStart(id="c", name="weather"),
        RefusalDelta(text="No."),
        Finish(reason=FinishReason.TOOL_CALLS),
    ]
    api = await start_api(p=able(script))
    _, _, text = await api.send("/v1/messages", {**ASKED, "tools": [WEATHER]})
    assert outline(events_of(text)) == [
        (0, "tool_use"),
        (0, "input_json_delta", '{"city":"Rome"}'),
        (0, "stop"),
        (1, "tool_use"),
        (1, "input_json_delta", "{}"),
        (1, "stop"),
        (2, "tool_use"),
        (2, "stop"),
        (3, "text"),
        (3, "text_delta", "No."),
        (3, "stop"),
    ]


async def test_a_stream_has_what_the_whole_answer_has(start_api: StartAPI) -> None:
    """The client puts the same message together."""
    api = await start_api(p=able(THINKING))
    whole = await api.client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, tools=[WEATHER])
    async with api.client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO, tools=[WEATHER]) as stream:
        final = await stream.get_final_message()
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content]
    assert (final.stop_reason, final.model) == (whole.stop_reason, whole.model)
    assert final.usage.output_tokens_details == whole.usage.output_tokens_details
    assert (final.usage.input_tokens, final.usage.output_tokens) == (6, USAGE.output_tokens)


async def test_each_piece_is_sent_when_it_is_there(start_api: StartAPI) -> None:
    """The provider goes on only after the caller has the first one."""
    gate = Gate()
    api = await start_api(p=able(["Good ", gate, "day", Finish()]))
    texts = []
    async with api.client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO) as stream:
        async for text in stream.text_stream:
            texts.append(text)
            gate.open()
    assert texts == ["Good ", "day"]


async def test_an_empty_answer_is_a_message_without_content(start_api: StartAPI) -> None:
    """The protocol's frame is there all the same."""
    api = await start_api(p=able([Finish()]))
    _, _, text = await api.send("/v1/messages", ASKED)
    assert [name for name, _ in events_of(text)] == ["message_start", "ping", "message_delta", "message_stop"]


async def test_a_silent_provider_does_not_look_like_a_lost_connection(start_api: StartAPI) -> None:
    """While nothing comes, pings do, before the answer and within it."""
    gates = Gate(), Gate()
    config = plain_config(default_model=MODEL)
    config = replace(config, turns=replace(config.turns, heartbeat_interval=0.1))
    api = await start_api(config, p=able([gates[0], "late", gates[1], Finish()]))
    async with api.client.messages.with_streaming_response.create(**ASKED) as stream:
        lines = stream.iter_lines()
        assert [await anext(lines) for _ in range(2)] == ["event: ping", 'data: {"type":"ping"}']
        gates[0].open()
        pinged = 0
        async for line in lines:
            if "text_delta" in line:
                pinged = 1
            elif pinged and line == "event: ping":
                break
        gates[1].open()
        assert '{"type":"message_stop"}' in [line async for line in lines][-2]


async def test_an_error_before_the_answer_has_its_own_status(start_api: StartAPI) -> None:
    """So that clients retry it as they would any other."""
    api = await start_api(p=able([ProviderUnavailable("the provider is down")]))
    with pytest.raises(anthropic.InternalServerError) as caught:
        await api.client.messages.create(**ASKED)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-should-retry"] == "true"


async def test_an_error_within_the_answer_ends_the_stream(start_api: StartAPI) -> None:
    """As an event, which the client raises; there is no ``message_stop``."""
    gate = Gate()
    api = await start_api(p=able(["Good ", gate, ProviderStreamCut("the connection broke off")]))
    texts = []
    with pytest.raises(anthropic.APIError, match="broke off") as caught:
        async with api.client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO) as stream:
            async for text in stream.text_stream:
                texts.append(text)
                gate.open()
    assert texts == ["Good "]
    body: Any = caught.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "api_error")


async def test_another_model_continues_a_broken_answer(start_api: StartAPI) -> None:
    """What was sent stays, whatever the route says."""
    gate = Gate()
    first = able(["Good ", gate, ProviderStreamCut("cut")])
    second = ScriptedProvider(
        ["day", Finish()], model=Model(name="b", capabilities=Capabilities(chat=True, prefill=True))
    )
    config = plain_config(default_model="both")
    routes = {"both": RouteSettings(targets=(MODEL, "q/b"), on_cut="restart")}
    api = await start_api(replace(config, models=replace(config.models, routes=routes)), p=first, q=second)
    texts = []
    async with api.client.messages.stream(model="both", max_tokens=9, messages=HELLO) as stream:
        async for text in stream.text_stream:
            texts.append(text)
            gate.open()
    assert texts == ["Good ", "day"]
    assert (await stream.get_final_message()).content[0].to_dict()["text"] == "Good day"


async def test_a_stream_is_read_again_from_its_beginning(start_api: StartAPI) -> None:
    """A caller that comes back with its key gets the whole answer, and the provider is asked once."""
    gate = Gate()
    provider = able(["Good ", gate, "day", Finish()])
    api = await start_api(p=provider)
    key = {"Idempotency-Key": "k"}
    async with api.client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO, extra_headers=key) as stream:
        async for text in stream.text_stream:
            assert text == "Good "
            break
    gate.open()
    async with api.client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO, extra_headers=key) as stream:
        assert await stream.get_final_text() == "Good day"
    assert len(provider.requests) == 1


async def test_a_caller_that_leaves_stops_the_provider(start_api: StartAPI) -> None:
    """Without an Idempotency-Key nobody can come back."""
    provider = able(["Good ", Gate()])
    api = await start_api(p=provider)
    async with api.client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO) as stream:
        async for _ in stream.text_stream:
            break
    await asyncio.wait_for(provider.stopped.wait(), 10)


async def test_states_that_this_api_has_no_place_for_are_left_out(start_api: StartAPI) -> None:
    """Those of text and of tool calls; a signature alone is no thinking text."""
    script = [ReasoningDelta(text="Hm."), PartState(data=b"s"), "Yes", PartState(data=b"t"), Finish()]
    api = await start_api(p=able(script))
    _, _, text = await api.send("/v1/messages", ASKED)
    kinds = [entry[1] for entry in outline(events_of(text))]
    assert kinds == ["thinking", "thinking_delta", "signature_delta", "stop", "text", "text_delta", "stop"]
