"""What a provider needs to receive back is kept with its part, and given to that provider alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, message_pb2, session_pb2, turn_pb2
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import (
    Finish,
    GenerateRequest,
    PartState,
    ReasoningDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.rules.limits import MAX_STATE_BYTES
from mcp_server.settings import Config, LogSettings, RouteSettings
from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import ScriptedProvider
from mcp_server.values import Capabilities, FinishReason, Model, ProviderState, ProviderStatePart, Role
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, user

SIGNED = [
    ReasoningDelta(text="hm"),
    PartState(data=b"sign\x00ature"),
    PartState(data=b"hidden", own_part=True),
    "yes",
    Finish(),
]
"""Reasoning with a signature, reasoning that is hidden, and a text."""


def scripted(*scripts: Any, context_window: int = 0) -> ScriptedProvider:
    can = Capabilities(chat=True, tools=True)
    return ScriptedProvider(*scripts, model=Model(name="scripted", capabilities=can, context_window=context_window))


def state(data: bytes, provider: str = "scripted") -> ProviderState:
    return ProviderState(provider=provider, model="scripted", data=data)


def state_of(part: message_pb2.Part) -> tuple[str, str, bytes]:
    return part.provider_state.provider, part.provider_state.model, part.provider_state.data


def assistant(*parts: message_pb2.Part) -> message_pb2.Message:
    return message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=parts)


def signed(provider: str = "scripted", data: bytes = b"s", text: str = "yes") -> message_pb2.Part:
    return message_pb2.Part(
        text=text, provider_state=message_pb2.ProviderState(provider=provider, model="scripted", data=data)
    )


def hidden(provider: str = "scripted", data: bytes = b"h") -> message_pb2.Part:
    return message_pb2.Part(provider_state=message_pb2.ProviderState(provider=provider, data=data))


def answers(request: GenerateRequest) -> list[tuple[Any, ...]]:
    """The parts of the answers in a request, each with its text and the data of its state."""
    return [
        (type(part).__name__, getattr(part, "text", ""), own.data if (own := part.provider_state) else b"")  # type: ignore[union-attr]  # an answer has no results
        for message in request.messages
        if message.role is Role.ASSISTANT
        for part in message.parts
    ]


async def test_states_are_delivered_stored_and_given_back(serve: Serve, config: Config) -> None:
    """In events of their own, in the message, and to the provider in the next turn."""
    provider = scripted(SIGNED)
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    request = chat_pb2.ChatRequest(session="sessions/tour", messages=[user("go")], request_id="r")
    events = await collect(wire.chat.StreamChat(request))
    kinds = [turn_pb2.PartStarted.Kind.Name(e.part_started.kind) for e in events if e.HasField("part_started")]
    assert kinds == ["KIND_REASONING", "KIND_PROVIDER_STATE", "KIND_TEXT"]
    states = [(e.delta.part, e.delta.provider_state) for e in events if e.delta.HasField("provider_state")]
    assert [(part, own.provider, own.model, own.data) for part, own in states] == [
        (0, "scripted", "scripted", b"sign\x00ature"),
        (1, "scripted", "scripted", b"hidden"),
    ]
    assert all(e.delta.WhichOneof("piece") is None for e in events if e.delta.HasField("provider_state"))
    listed = await wire.sessions.ListMessages(session_pb2.ListMessagesRequest(parent="sessions/tour"))
    message = listed.messages[1]
    assert message == events[-1].completed.message
    assert [part.WhichOneof("part") for part in message.parts] == ["reasoning", None, "text"]
    assert [state_of(part) for part in message.parts] == [
        ("scripted", "scripted", b"sign\x00ature"),
        ("scripted", "scripted", b"hidden"),
        ("", "", b""),
    ]
    assert [e.sequence for e in await collect(wire.chat.StreamChat(request))] == [e.sequence for e in events]
    await wire.say("on")
    assert answers(provider.requests[1]) == [
        ("Reasoning", "hm", b"sign\x00ature"),
        ("ProviderStatePart", "", b"hidden"),
        ("Text", "yes", b""),
    ]


async def test_a_caller_passes_them_through(serve: Serve) -> None:
    """The parts of an answer are sent back as they came, without a session."""
    provider = scripted(SIGNED)
    wire = await serve(settings(default_model="scripted/scripted"), providers={"scripted": provider})
    first = await wire.say("go", session="")
    request = chat_pb2.ChatRequest(messages=[user("go"), first.completed.message, user("on")])
    await wire.chat.Chat(request)
    assert [data for _, _, data in answers(provider.requests[1])] == [b"sign\x00ature", b"hidden", b""]
    assert provider.requests[1].messages[1].parts[1] == ProviderStatePart(provider_state=state(b"hidden"))


async def test_no_other_provider_gets_them(serve: Serve) -> None:
    """Neither in the same session nor as a fallback; parts that are states alone are left out."""
    other = scripted(["no", Finish()])
    down = scripted(SIGNED, [ProviderUnavailable("away")])
    config = settings(default_model="both")
    routes = {"both": RouteSettings(targets=("scripted/scripted", "other/scripted"), max_attempts=1)}
    config = msgspec.structs.replace(config, models=msgspec.structs.replace(config.models, routes=routes))
    wire = await serve(config, providers={"scripted": down, "other": other})
    await wire.create()
    await wire.say("go")
    await wire.say("on", model="other/scripted")
    await wire.say("on")
    assert [data for _, _, data in answers(down.requests[1])] == [b"sign\x00ature", b"hidden", b"", b""]
    for request in other.requests:
        assert answers(request)[:2] == [("Reasoning", "hm", b""), ("Text", "yes", b"")]
    assert len(other.requests) == 2


async def test_an_answer_of_states_alone_is_left_out_for_others(serve: Serve) -> None:
    """No provider is shown an empty answer."""
    other = scripted(["no", Finish()])
    wire = await serve(settings(default_model="other/scripted"), providers={"other": other})
    await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("go"), assistant(hidden()), user("on")]))
    assert [message.text for message in other.requests[0].messages] == ["go", "on"]


async def test_a_tool_call_has_its_state(serve: Serve) -> None:
    """Which may come before its arguments, and goes back with it."""
    script = [
        ToolCallStart(id="a", name="look"),
        ToolCallStart(id="b", name="look"),
        PartState(data=b"of a", tool_call_id="a"),
        ToolArgumentsDelta(id="a", text="{}"),
        Finish(reason=FinishReason.TOOL_CALLS),
    ]
    provider = scripted(script, ["done", Finish()])
    wire = await serve(settings(default_model="scripted/scripted"), providers={"scripted": provider})
    await wire.create()
    first = await wire.say("go")
    assert [(part.tool_call.id, state_of(part)[2]) for part in first.completed.message.parts] == [
        ("a", b"of a"),
        ("b", b""),
    ]
    results = [
        message_pb2.Message(
            role=message_pb2.ROLE_TOOL, parts=[message_pb2.Part(tool_result=message_pb2.ToolResult(tool_call_id=id))]
        )
        for id in "ab"
    ]
    await wire.chat.Chat(chat_pb2.ChatRequest(session="sessions/tour", messages=results))
    asked = provider.requests[1].messages[1]
    assert [part.provider_state for part in asked.parts] == [state(b"of a"), None]  # type: ignore[union-attr]  # they are calls


async def test_text_after_a_state_is_a_part_of_its_own(serve: Serve) -> None:
    """So that each part has one state."""
    script = [ReasoningDelta(text="a"), PartState(data=b"1"), ReasoningDelta(text="b"), PartState(data=b"2"), Finish()]
    wire = await serve(settings(default_model="s/scripted"), providers={"s": scripted(script)})
    answer = (await wire.say("go", session="")).completed.message
    assert [(part.reasoning, part.provider_state.data) for part in answer.parts] == [("a", b"1"), ("b", b"2")]


@pytest.mark.parametrize(
    "event",
    [
        PartState(data=b""),
        PartState(data=b"x" * (MAX_STATE_BYTES + 1)),
        PartState(data=b"x", tool_call_id="none"),
        PartState(data="text"),  # type: ignore[arg-type]  # not every provider was type-checked
    ],
    ids=["empty", "too large", "of no call", "no bytes"],
)
async def test_a_bad_state_fails_the_attempt(serve: Serve, event: PartState) -> None:
    """Nothing of it is stored."""
    wire = await serve(settings(default_model="s/scripted"), providers={"s": scripted(["yes", event, Finish()])})
    await wire.create()
    with Refused() as refused:
        await wire.say("go")
    assert refused.reason in ("PROVIDER_STREAM_CUT", "INTERNAL")
    assert await wire.history() == []


@pytest.mark.parametrize("script", [[PartState(data=b"x")], ["a", PartState(data=b"x"), PartState(data=b"y")]])
async def test_a_state_belongs_to_one_part(serve: Serve, script: list[Any]) -> None:
    """It needs a part, and no part has two."""
    wire = await serve(settings(default_model="s/scripted"), providers={"s": scripted([*script, Finish()])})
    with Refused() as refused:
        await wire.say("go", session="")
    assert refused.reason == "PROVIDER_STREAM_CUT"


async def test_states_count_as_output(serve: Serve) -> None:
    """An answer that reaches its longest length ends before a further one."""
    largest = PartState(data=b"x" * MAX_STATE_BYTES, own_part=True)
    wire = await serve(
        settings(default_model="s/scripted"), providers={"s": scripted(["yes", *[largest] * 4, "no", Finish()])}
    )
    completed = (await wire.say("go", session="")).completed
    assert completed.finish_reason == message_pb2.FINISH_REASON_LENGTH
    assert len(completed.message.parts) == 1 + 3
    assert completed.attempts[0].usage.output_tokens == 1


async def test_a_state_is_no_difference_between_two_requests(serve: Serve, config: Config) -> None:
    """With the same request_id, a caller may leave it out."""
    provider = scripted(["yes", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    plain = message_pb2.Part(text="yes")
    for answer in (assistant(signed(), hidden()), assistant(plain), assistant(signed(data=b"other"))):
        request = chat_pb2.ChatRequest(messages=[user("go"), answer, user("on")], request_id="r")
        await wire.chat.Chat(request)
        append = session_pb2.AppendMessagesRequest(
            parent="sessions/tour", messages=[user("go"), answer], request_id="r"
        )
        await wire.sessions.AppendMessages(append)
    assert len(provider.requests) == 1
    assert len(await wire.history()) == 2
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("other")], request_id="r"))
    assert refused.reason == "REQUEST_ID_REUSED"


async def test_what_is_wrong_with_states_is_reported(wire: Wire) -> None:
    """By the paths of the fields."""
    too_long = message_pb2.ProviderState(provider="p" * 257, model="m" * 257, data=b"x" * (MAX_STATE_BYTES + 1))
    asked = user("go")
    asked.parts[0].provider_state.CopyFrom(message_pb2.ProviderState(provider="p", data=b"x"))
    result = message_pb2.Part(
        tool_result=message_pb2.ToolResult(tool_call_id="a", parts=[signed()]),
        provider_state=message_pb2.ProviderState(provider="p", data=b"x"),
    )
    messages = [
        asked,
        assistant(message_pb2.Part(text="a", provider_state=too_long), hidden(provider="", data=b"")),
        message_pb2.Message(role=message_pb2.ROLE_TOOL, parts=[result]),
        message_pb2.Message(role=message_pb2.ROLE_USER, parts=[hidden()]),
    ]
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=messages))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(refused.violations) == {
        "messages[0].parts[0].provider_state",
        "messages[1].parts[0].provider_state.provider",
        "messages[1].parts[0].provider_state.model",
        "messages[1].parts[0].provider_state.data",
        "messages[1].parts[1].provider_state.provider",
        "messages[1].parts[1].provider_state.data",
        "messages[2].parts[0].provider_state",
        "messages[2].parts[0].tool_result.parts[0].provider_state",
        "messages[3].parts[0]",
        "messages[3].parts[0].provider_state",
    }


async def test_states_count_for_the_size_of_a_message(wire: Wire) -> None:
    """As everything else in it does."""
    parts = [hidden(data=b"x" * MAX_STATE_BYTES) for _ in range(13)]
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("go"), assistant(*parts), user("on")]))
    assert list(refused.violations) == ["messages[1]"]


async def test_the_next_server_has_the_states_of_a_turn(serve: Serve, tmp_path: Path) -> None:
    """Its events are replayed from the record, and its message is put together from them."""
    store = SQLiteSettings(path=tmp_path / "sessions.db")
    disk = msgspec.structs.replace(settings(default_model="scripted/scripted"), store=store)
    wire = await serve(disk, providers={"scripted": scripted(SIGNED)})
    answered = await wire.say("go", session="")
    await wire.server.stop()
    wire = await serve(disk, providers={"scripted": scripted([])})
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=answered.turn))
    assert turn.message == answered.completed.message
    events = await collect(wire.turns.StreamTurn(turn_pb2.StreamTurnRequest(name=answered.turn)))
    assert [e.delta.provider_state.data for e in events if e.delta.HasField("provider_state")] == [
        b"sign\x00ature",
        b"hidden",
    ]
    assert events[-1].completed.message == turn.message


async def test_no_log_shows_them(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even where the content of turns is logged."""
    config = msgspec.structs.replace(settings(default_model="s/scripted"), log=LogSettings(content=True))
    wire = await serve(config, providers={"s": scripted(SIGNED)})
    first = await wire.say("go", session="")
    await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("go"), first.completed.message, user("on")]))
    await wire.server.stop()
    written = capsys.readouterr()
    log = written.out + written.err
    assert "yes" in log
    assert "hidden" not in log
    assert "ature" not in log
