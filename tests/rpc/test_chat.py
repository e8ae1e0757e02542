"""ChatService over the wire: streams, memory, failures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import msgspec
import pytest
from google.protobuf import duration_pb2

from contextprotocol.v1 import chat_pb2, context_pb2, generation_pb2, message_pb2, session_pb2, turn_pb2
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import (
    Finish,
    ProviderEvent,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.settings import TurnSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from mcp_server.values import (
    Capabilities,
    FinishReason,
    Logprob,
    Model,
    Usage,
    UsageSource,
)
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, deltas, text_of, user


async def test_a_stream_tells_a_turn_from_start_to_end(wire: Wire) -> None:
    """Started, a part, its text, completed; numbers only grow; the whole message is the sum of its deltas."""
    session = await wire.create()
    events = await collect(
        wire.chat.StreamChat(chat_pb2.ChatRequest(session=session.name, messages=[user("one two three")]))
    )
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[:2] == ["started", "part_started"]
    assert kinds[-1] == "completed"
    assert set(kinds[2:-1]) == {"delta"}
    numbers = [event.sequence for event in events]
    assert numbers == sorted(set(numbers))
    started, completed = events[0].started, events[-1].completed
    assert started.turn.startswith("sessions/tour/turns/")
    assert (started.model, started.provider) == ("echo/echo", "echo")
    assert started.session_etag == session.etag
    assert events[1].part_started.kind == turn_pb2.PartStarted.KIND_TEXT
    assert text_of(completed.message) == deltas(events) == "one two three"
    assert completed.message.turn == started.turn
    assert completed.message.model == "echo/echo"
    assert completed.finish_reason == message_pb2.FINISH_REASON_STOP
    assert completed.usage == message_pb2.Usage(
        input_tokens=3, output_tokens=3, source=message_pb2.Usage.SOURCE_REPORTED
    )
    assert completed.session_etag != session.etag
    (attempt,) = completed.attempts
    assert (attempt.provider, attempt.model, attempt.outcome) == ("echo", "echo", turn_pb2.TURN_STATE_SUCCEEDED)
    assert attempt.delivered_tokens == 3
    assert 0 < completed.time_to_first_token.ToNanoseconds() < completed.duration.ToNanoseconds()


async def test_the_unary_answer_is_the_stream_folded(wire: Wire) -> None:
    """Its completed is what the stream ends with."""
    response = await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("hello")]))
    assert response.turn.startswith("turns/")
    assert text_of(response.completed.message) == "hello"
    assert response.completed.session_etag == ""


async def test_the_session_supplies_history_and_context(serve: Serve) -> None:
    """Instruction and PROMPT context come first as one system message, then the history, then the new input."""
    provider = ScriptedProvider.saying("Hi, Ada.", "Blue.")
    wire = await serve(providers={"scripted": provider})
    await wire.create(
        system_instruction="Be brief.",
        context={
            "name": context_pb2.ContextEntry(type="text", text="Ada"),
            "hidden": context_pb2.ContextEntry(
                type="text", text="no", visibility=context_pb2.ContextEntry.VISIBILITY_STORED
            ),
        },
    )
    await wire.say("Hello")
    await wire.say("My colour?")
    seen = [(str(message.role), message.text) for message in provider.requests[1].messages]
    assert seen == [
        ("system", "Be brief.\n\nname: Ada"),
        ("user", "Hello"),
        ("assistant", "Hi, Ada."),
        ("user", "My colour?"),
    ]
    assert await wire.history() == [
        ("USER", "Hello"),
        ("ASSISTANT", "Hi, Ada."),
        ("USER", "My colour?"),
        ("ASSISTANT", "Blue."),
    ]


async def test_sessions_do_not_hear_of_one_another(serve: Serve) -> None:
    """Two conversations side by side stay apart."""
    provider = ScriptedProvider.saying("ok")
    wire = await serve(providers={"scripted": provider})
    await wire.create("one")
    await wire.create("two")
    await asyncio.gather(
        *[wire.say(f"{name} {n}", f"sessions/{name}") for name in ("one", "two") for n in range(1)],
    )
    await wire.say("one again", "sessions/one")
    assert [message.text for message in provider.requests[-1].messages] == ["one 0", "ok", "one again"]


async def test_without_a_session_the_call_is_the_whole_conversation(serve: Serve) -> None:
    """System messages are allowed there, and nothing is remembered."""
    provider = ScriptedProvider.saying("ok")
    wire = await serve(providers={"scripted": provider})
    system = message_pb2.Message(role=message_pb2.ROLE_SYSTEM, parts=[message_pb2.Part(text="Be brief.")])
    await wire.chat.Chat(chat_pb2.ChatRequest(messages=[system, user("hello")]))
    await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("hello")]))
    assert [len(request.messages) for request in provider.requests] == [2, 1]


async def test_the_sampling_parameters_reach_the_provider(serve: Serve) -> None:
    """What is set arrives, and what is not set stays unset."""
    provider = ScriptedProvider.saying("ok")
    wire = await serve(providers={"scripted": provider})
    config = generation_pb2.GenerationConfig(temperature=0, max_output_tokens=7, stop=["x"], seed=0)
    request = chat_pb2.ChatRequest(messages=[user("hello")], config=config)
    request.provider_options.update({"top_k": 40, "deep": {"list": [1, None, "a"]}})
    await wire.chat.Chat(request)
    got = provider.requests[0]
    assert (got.config.temperature, got.config.max_output_tokens, got.config.stop, got.config.seed) == (0, 7, ("x",), 0)
    assert got.config.top_p is None
    assert got.provider_options == {"top_k": 40, "deep": {"list": [1, None, "a"]}}


async def test_parts_of_every_kind_stream_and_are_kept(serve: Serve) -> None:
    """Reasoning, text and tool calls, written side by side, come out as the parts of one message."""
    logprob = Logprob(token="4", logprob=-0.5, top=(Logprob(token="5", logprob=-1.0),))
    provider = ScriptedProvider(
        [
            ReasoningDelta(text="Let me "),
            ReasoningDelta(text="see."),
            TextDelta(text="It is 4", logprobs=(logprob,)),
            ToolCallStart(id="a", name="add"),
            ToolCallStart(id="b", name="mul"),
            ToolArgumentsDelta(id="a", text='{"x":'),
            ToolArgumentsDelta(id="b", text="{}"),
            ToolArgumentsDelta(id="a", text="1}"),
            Finish(reason=FinishReason.TOOL_CALLS),
        ]
    )
    wire = await serve(providers={"scripted": provider})
    events = await collect(wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("hello")])))
    kinds = [event.part_started.kind for event in events if event.HasField("part_started")]
    started = turn_pb2.PartStarted
    assert kinds == [started.KIND_REASONING, started.KIND_TEXT, started.KIND_TOOL_CALL, started.KIND_TOOL_CALL]
    arguments: dict[int, str] = {}
    for event in events:
        if event.delta.tool_arguments:
            arguments[event.delta.part] = arguments.get(event.delta.part, "") + event.delta.tool_arguments
    assert arguments == {2: '{"x":1}', 3: "{}"}
    (probable,) = [event.delta.logprobs for event in events if event.delta.logprobs]
    assert (probable[0].token, probable[0].top[0].logprob) == ("4", -1.0)
    completed = events[-1].completed
    assert completed.finish_reason == message_pb2.FINISH_REASON_TOOL_CALLS
    reasoning, text, first, second = completed.message.parts
    assert reasoning.reasoning == "Let me see."
    assert text.text == "It is 4"
    assert (first.tool_call.name, first.tool_call.arguments_json) == ("add", '{"x":1}')
    assert (second.tool_call.id, second.tool_call.arguments_json) == ("b", "{}")


async def test_usage_that_is_not_reported_is_estimated(serve: Serve) -> None:
    """The source says so."""
    wire = await serve(providers={"scripted": ScriptedProvider.saying("x" * 40)})
    completed = (await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("hello")]))).completed
    assert completed.usage.source == message_pb2.Usage.SOURCE_ESTIMATED
    assert completed.usage.output_tokens == 10
    assert completed.usage.input_tokens > 0


async def test_reported_usage_is_passed_on(serve: Serve) -> None:
    """Every count arrives."""
    usage = Usage(
        input_tokens=9,
        cached_input_tokens=4,
        cache_write_tokens=2,
        output_tokens=5,
        reasoning_tokens=3,
        source=UsageSource.REPORTED,
    )
    wire = await serve(providers={"scripted": ScriptedProvider(["x", Finish(usage=usage)])})
    completed = (await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("hello")]))).completed
    assert completed.usage == message_pb2.Usage(
        input_tokens=9,
        cached_input_tokens=4,
        cache_write_tokens=2,
        output_tokens=5,
        reasoning_tokens=3,
        source=message_pb2.Usage.SOURCE_REPORTED,
    )


async def test_a_second_call_on_a_busy_session_is_refused(serve: Serve) -> None:
    """The error names the running turn; when that has ended, the session is free."""
    gate = Gate()
    wire = await serve(providers={"scripted": ScriptedProvider(["one", gate, Finish()], ["two", Finish()])})
    await wire.create()
    stream = wire.chat.StreamChat(chat_pb2.ChatRequest(session="sessions/tour", messages=[user("a")]))
    started = (await stream.read()).started
    await gate.reached.wait()
    with Refused() as refused:
        await wire.say("b")
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "SESSION_BUSY")
    assert refused.metadata["turn"] == started.turn
    gate.open()
    await collect(stream)
    await wire.say("b")
    assert [text for _, text in await wire.history()] == ["a", "one", "b", "two"]


async def test_calls_at_once_on_one_session_never_mix(serve: Serve) -> None:
    """Of twenty calls at once at least one goes through, and the history holds whole exchanges."""
    wire = await serve()
    await wire.create()
    results = await asyncio.gather(*[wire.say(f"call {n}") for n in range(20)], return_exceptions=True)
    answered = [result for result in results if isinstance(result, chat_pb2.ChatResponse)]
    assert answered
    history = await wire.history()
    assert len(history) == 2 * len(answered)
    for question, answer in zip(history[::2], history[1::2], strict=True):
        assert (question[0], answer[0]) == ("USER", "ASSISTANT")
        assert question[1] == answer[1]


@pytest.mark.parametrize(
    ("script", "reason", "code"),
    [
        (["half", ProviderUnavailable("gone")], "PROVIDER_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE),
        (["half"], "PROVIDER_STREAM_CUT", grpc.StatusCode.UNAVAILABLE),
        ([ToolArgumentsDelta(id="x", text="{}")], "PROVIDER_STREAM_CUT", grpc.StatusCode.UNAVAILABLE),
        ([ValueError("the password is hunter2")], "INTERNAL", grpc.StatusCode.INTERNAL),
        ([], "PROVIDER_STREAM_CUT", grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_a_failure_is_a_status_and_changes_nothing(
    serve: Serve, script: Sequence[ProviderEvent], reason: str, code: grpc.StatusCode
) -> None:
    """The history is as it was, the session is free, and nothing internal is told."""
    wire = await serve(providers={"scripted": ScriptedProvider(script, ["fine", Finish()])})
    session = await wire.create()
    with Refused() as refused:
        await wire.say("hello")
    assert (refused.code, refused.reason) == (code, reason)
    assert "hunter2" not in refused.details
    assert refused.metadata["turn"].startswith("sessions/tour/turns/")
    assert await wire.history() == []
    got = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    assert (got.etag, got.active_turn) == (session.etag, "")
    await wire.say("hello again")


async def test_a_turn_ends_at_its_timeout(serve: Serve) -> None:
    """The provider is stopped and the caller learns why."""
    provider = ScriptedProvider(["one", Gate()])
    wire = await serve(providers={"scripted": provider})
    with Refused() as refused:
        await wire.chat.Chat(
            chat_pb2.ChatRequest(messages=[user("a")], timeout=duration_pb2.Duration(nanos=50_000_000))
        )
    assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "TURN_TIMEOUT")
    assert provider.cancelled == 1


async def test_an_old_etag_refuses_the_turn(wire: Wire) -> None:
    """The caller decided on something that is no longer so."""
    old = await wire.create()
    await wire.say("hello", etag=old.etag)
    with Refused() as refused:
        await wire.say("again", etag=old.etag)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert len(await wire.history()) == 2


async def test_the_model_is_chosen_by_call_then_session_then_server(serve: Serve) -> None:
    """The first that is named answers; an alias and a unique short name do as well."""
    one, two, three = (ScriptedProvider.saying(name) for name in ("one", "two", "three"))
    wire = await serve(providers={"one": one, "two": two, "three": three})
    await wire.create()
    assert text_of((await wire.say("x")).completed.message) == "one"
    await wire.create("other", default_model="two/scripted")
    assert text_of((await wire.say("x", "sessions/other")).completed.message) == "two"
    assert text_of((await wire.say("x", "sessions/other", model="three/scripted")).completed.message) == "three"
    with Refused() as refused:
        await wire.say("x", model="scripted")
    assert refused.reason == "MODEL_NOT_FOUND"


async def test_a_model_that_cannot_is_not_asked(serve: Serve) -> None:
    """The error names the capability."""
    provider = ScriptedProvider.saying("x", model=Model(name="m", capabilities=Capabilities(chat=True)))
    wire = await serve(providers={"scripted": provider})
    blob = message_pb2.Part(blob=message_pb2.Blob(mime_type="image/png", data=b"x"))
    with Refused() as refused:
        await wire.chat.Chat(
            chat_pb2.ChatRequest(messages=[message_pb2.Message(role=message_pb2.ROLE_USER, parts=[blob])])
        )
    assert (refused.reason, refused.metadata["capability"]) == ("UNSUPPORTED_BY_MODEL", "images")
    assert not provider.requests


async def test_the_oldest_exchanges_are_left_out_whole(serve: Serve) -> None:
    """The model sees what fits, `started` says what, and without truncation the call is refused."""
    model = Model(name="m", capabilities=Capabilities(chat=True), context_window=400)
    provider = ScriptedProvider(["x" * 100, Finish()], model=model)
    wire = await serve(providers={"scripted": provider})
    await wire.create()
    for n in range(6):
        await wire.say(f"{n} " + "y" * 400)
    events = await collect(wire.chat.StreamChat(chat_pb2.ChatRequest(session="sessions/tour", messages=[user("last")])))
    window = events[0].started.window
    assert window.dropped_messages > 0
    assert window.dropped_messages % 2 == 0
    assert window.first_message == window.dropped_messages
    assert window.used_messages + window.dropped_messages == 12
    seen = provider.requests[-1].messages
    assert len(seen) == window.used_messages + 1
    assert seen[0].text.startswith(f"{window.first_message // 2} ")
    with Refused() as refused:
        await wire.say("last", truncation=generation_pb2.TRUNCATION_DISABLED)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CONTEXT_TOO_LONG")


async def test_open_tool_calls_must_be_answered_first(serve: Serve) -> None:
    """The error names the calls that are missing."""
    model = Model(name="m", capabilities=Capabilities(chat=True, tools=True))
    provider = ScriptedProvider.saying("fine", model=model)
    wire = await serve(providers={"scripted": provider})
    await wire.create()
    call = message_pb2.ToolCall(id="a", name="add", arguments_json="{}")
    asked = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=[message_pb2.Part(tool_call=call)])
    await wire.sessions.AppendMessages(
        session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user("1+1?"), asked])
    )
    with Refused() as refused:
        await wire.say("well?")
    assert (refused.reason, refused.metadata["tool_call_ids"]) == ("TOOL_RESULTS_MISSING", "a")
    result = message_pb2.ToolResult(tool_call_id="a", parts=[message_pb2.Part(text="2")])
    answer = message_pb2.Message(role=message_pb2.ROLE_TOOL, parts=[message_pb2.Part(tool_result=result)])
    await wire.chat.Chat(chat_pb2.ChatRequest(session="sessions/tour", messages=[answer]))
    assert len(await wire.history()) == 4


async def test_a_slow_reader_gets_fewer_and_larger_deltas(serve: Serve) -> None:
    """What a burst leaves waiting is merged, no piece is lost, and no delta exceeds 64 KiB."""
    pieces = [f"{n:06d}" + "é" * 50 for n in range(3000)]
    wire = await serve(providers={"scripted": ScriptedProvider([*pieces, Finish()])})
    events = await collect(wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("go")])))
    assert deltas(events) == "".join(pieces)
    sizes = [len(event.delta.text.encode()) for event in events if event.HasField("delta")]
    assert len(sizes) < 100
    assert max(sizes) <= 64 * 1024


async def test_an_answer_ends_at_its_size_limit(serve: Serve) -> None:
    """1 MiB, then LENGTH; the provider is stopped, and the answer is kept."""
    provider = ScriptedProvider(["é" * 300_000, "é" * 300_000, "never", Finish()])
    wire = await serve(providers={"scripted": provider})
    await wire.create()
    response = await wire.say("go")
    assert response.completed.finish_reason == message_pb2.FINISH_REASON_LENGTH
    assert len(text_of(response.completed.message).encode()) == 1024 * 1024
    assert provider.cancelled == 1
    assert len((await wire.history())[1][1]) == 512 * 1024


async def test_half_characters_of_a_provider_do_no_harm(serve: Serve) -> None:
    """A pair of surrogates cut in two is joined, a lone one becomes U+FFFD; everything else arrives."""
    pieces = ["a\ud83d", "\udca9b", "\ud83dc", "\udca9", "\U0001f600\x00", "\ud83d"]
    wire = await serve(providers={"scripted": ScriptedProvider([*pieces, Finish()])})
    await wire.create()
    assert text_of((await wire.say("go")).completed.message) == "a\U0001f4a9b\ufffdc\ufffd\U0001f600\x00\ufffd"


async def test_a_silent_stream_shows_signs_of_life(serve: Serve) -> None:
    """A heartbeat repeats the last number that was sent."""
    gate = Gate()
    config = msgspec.structs.replace(
        settings(default_model="scripted/scripted"), turns=TurnSettings(heartbeat_interval=0.02)
    )
    wire = await serve(config, providers={"scripted": ScriptedProvider(["one", gate, Finish()])})
    stream = wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("go")]))
    last = 0
    while True:
        event = await stream.read()
        if event.HasField("heartbeat"):
            assert event.sequence == last
            break
        last = event.sequence
    gate.open()
    assert (await collect(stream))[-1].HasField("completed")


async def test_a_draining_server_lets_turns_end_and_takes_no_new_ones(serve: Serve) -> None:
    """New work is told to come back, health says NOT_SERVING, and what runs is finished."""
    gate = Gate()
    wire = await serve(providers={"scripted": ScriptedProvider(["one", gate, " two", Finish()])})
    stream = wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("go")]))
    await gate.reached.wait()
    stopping = asyncio.create_task(wire.server.stop(grace=30))
    await asyncio.sleep(0)
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("go")]))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert refused.retry_after == 1
    assert refused.trailers["grpc-retry-pushback-ms"] == "1000"
    gate.open()
    assert deltas(await collect(stream)) == "one two"
    await stopping


async def test_a_stop_without_grace_ends_turns_as_interrupted(serve: Serve) -> None:
    """The reader ends DRAINING, so that it sends the same request again elsewhere."""
    provider = ScriptedProvider(["one", Gate()])
    wire = await serve(providers={"scripted": provider})
    stream = wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("go")]))
    await stream.read()
    await wire.server.stop(grace=0)
    with Refused() as refused:
        await collect(stream)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert provider.cancelled == 1


class SlowModels(EchoProvider):
    """Fails to say what it has."""

    async def models(self) -> Sequence[Model]:
        raise ProviderUnavailable("no list")


async def test_a_provider_without_a_list_disturbs_no_other(serve: Serve) -> None:
    """The others answer."""
    wire = await serve(providers={"echo": EchoProvider(), "broken": SlowModels()})
    assert text_of((await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("hi")]))).completed.message) == "hi"
