# Generated from tests/client/test_turns.py by scripts/generate: edit that file.

"""Chat, completion and embedding, from Python."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from mcp_client import (
    Blob,
    ContextTooLong,
    DeadlineExceeded,
    Delta,
    EtagMismatch,
    FinishReason,
    InvalidArgument,
    MCPSyncClient,
    Message,
    ModelNotFound,
    PartStarted,
    ProviderState,
    ProviderStatePart,
    ProviderStreamCut,
    Reasoning,
    RequestError,
    Role,
    SessionBusy,
    Text,
    TokenCount,
    Tool,
    ToolCall,
    ToolResult,
    TurnCompleted,
    TurnStarted,
    TurnTimeout,
    UnsupportedByModel,
)
from mcp_server import values as core
from mcp_server.interfaces import Finish, PartState, ReasoningDelta, TextDelta, ToolArgumentsDelta, ToolCallStart
from mcp_server.testing import Step
from mcp_server.values import Capabilities, Model
from tests.client.blocking.beside import Gate, ScriptedProvider, gather, sleep
from tests.client.blocking.conftest import Connect


def test_a_reply_says_all_that_is_known(client: MCPSyncClient) -> None:
    """Text, why it ended, what it took, and by whom."""
    session = client.create_session("tour")
    reply = client.chat("Hello there", session=session)
    assert reply.text == str(reply) == reply.message.text == "Hello there"
    assert reply.finish_reason is FinishReason.STOP
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.estimated) == (2, 2, False)
    assert reply.turn.startswith("sessions/tour/turns/")
    assert reply.session_etag == (client.get_session("tour")).etag != session.etag
    assert reply.time_to_first_token is not None
    assert 0 < reply.time_to_first_token <= reply.duration < 10
    (attempt,) = reply.attempts
    assert (attempt.provider, attempt.model, attempt.outcome, attempt.reason) == ("echo", "echo", "succeeded", "")
    assert attempt.usage == reply.usage


def test_a_session_remembers(client: MCPSyncClient, connect: Connect) -> None:
    """What was said before reaches the model with what is said now."""
    provider = ScriptedProvider.saying("Noted.", "Banana.")
    client = connect(provider)
    session = client.create_session(system_instruction="Be brief.", context={"note": "ripe"})
    client.chat("The word is banana.", session=session)
    reply = client.chat("What is the word?", session=session.id)
    assert reply.text == "Banana."
    sent = [(message.role, message.text) for message in provider.requests[1].messages]
    assert [text for _, text in sent[1:]] == ["The word is banana.", "Noted.", "What is the word?"]
    assert "Be brief." in sent[0][1] and "ripe" in sent[0][1]
    history = list(client.list_messages(session))
    assert [message.role for message in history] == ["user", "assistant", "user", "assistant"]
    assert history[3].turn == reply.turn
    assert history[3].model == "scripted/scripted"
    assert history[3].finish_reason is FinishReason.STOP
    assert history[3].usage == reply.usage


def test_a_conversation_without_a_session_is_what_is_given(connect: Connect) -> None:
    """Nothing is kept."""
    provider = ScriptedProvider.saying("Rome.")
    client = connect(provider)
    reply = client.chat([Message.system("One word."), "Capital of Italy?"])
    assert reply.text == "Rome."
    assert reply.turn.startswith("turns/")
    assert reply.session_etag == ""
    assert [str(message.role) for message in provider.requests[0].messages] == ["system", "user"]


def test_every_sampling_parameter_reaches_the_provider(connect: Connect) -> None:
    """And what is not set stays unset."""
    able = Capabilities(chat=True, completion=True, json_schema=True)
    provider = ScriptedProvider.saying("x", model=Model(name="scripted", capabilities=able))
    client = connect(provider)
    client.chat(
        "Hi",
        model="scripted/scripted",
        temperature=0.0,
        top_p=0.5,
        max_output_tokens=7,
        stop=["a", "b"],
        seed=0,
        frequency_penalty=0.25,
        presence_penalty=-0.25,
        logprobs=0,
        json_schema={"type": "object"},
        provider_options={"mirostat": 2},
    )
    request = provider.requests[0]
    config = request.config
    assert (config.temperature, config.top_p, config.max_output_tokens, config.seed) == (0.0, 0.5, 7, 0)
    assert (list(config.stop), config.frequency_penalty, config.presence_penalty) == (["a", "b"], 0.25, -0.25)
    assert (config.logprobs, config.response_format, config.json_schema) == (0, "json_schema", '{"type": "object"}')
    assert request.provider_options == {"mirostat": 2}

    client.chat("Hi", model=None, temperature=None, stop=None, json=True)
    config = provider.requests[1].config
    assert (config.temperature, config.max_output_tokens, config.seed, list(config.stop)) == (None, None, None, [])
    assert config.response_format == "json"


def test_a_stream_gives_the_text_piece_by_piece(connect: Connect) -> None:
    """Each piece when it is there, and all of it at the end."""
    gate = Gate()
    client = connect(ScriptedProvider(["Hel", gate, "lo", Finish()]))
    with client.stream_chat("Hi") as stream:
        assert (stream.text, stream.turn, stream.model, stream.usage) == ("", "", "", None)
        assert next(stream) == "Hel"
        assert stream.text == "Hel"
        assert stream.turn.startswith("turns/")
        assert stream.model == "scripted/scripted"
        gate.open()
        assert list(stream) == ["lo"]
    assert stream.text == "Hello"
    assert stream.finish_reason is FinishReason.STOP
    assert stream.usage is not None
    assert (stream.reply()).text == "Hello"


def test_a_loop_can_be_left_and_gone_on_with(connect: Connect) -> None:
    """Nothing is lost between two loops, and the reply is whole."""
    client = connect(ScriptedProvider(["a", Gate(), "b", Finish()], ["a", "b", "c", Finish()]))
    with client.stream_chat("Hi") as stream:
        for token in stream:
            assert token == "a"
            break
    with client.stream_chat("Hi") as stream:
        read = [next(stream)]
        for token in stream:
            read.append(token)
            break
        reply = stream.reply()
    assert reply.text == stream.text == "abc"
    assert "abc".startswith("".join(read))


def test_a_stream_gives_its_events(connect: Connect) -> None:
    """Typed and numbered, with reasoning and tool calls."""
    script: list[Step] = [
        ReasoningDelta(text="Hm."),
        TextDelta(text="Let me see."),
        ToolCallStart(id="c1", name="weather"),
        ToolArgumentsDelta(id="c1", text='{"city":'),
        ToolArgumentsDelta(id="c1", text=' "Rome"}'),
        Finish(reason=core.FinishReason.TOOL_CALLS),
    ]
    client = connect(ScriptedProvider(script))
    session = client.create_session("tour")
    with client.stream_chat("Hi", session=session) as stream:
        events = list(stream.events())
    numbers = [event.sequence for event in events]
    assert numbers == sorted(set(numbers))
    started, completed = events[0], events[-1]
    assert isinstance(started, TurnStarted)
    assert (started.turn, started.session_etag) == (stream.turn, session.etag)
    assert (started.window.used_messages, started.window.dropped_messages) == (0, 0)
    parts = [event for event in events if isinstance(event, PartStarted)]
    assert [(part.part, part.kind, part.tool_name, part.tool_call_id) for part in parts] == [
        (0, "reasoning", "", ""),
        (1, "text", "", ""),
        (2, "tool_call", "weather", "c1"),
    ]
    pieces = [event for event in events if isinstance(event, Delta)]
    assert "".join(piece.reasoning for piece in pieces) == "Hm."
    assert "".join(piece.text for piece in pieces) == "Let me see." == stream.text
    assert "".join(piece.tool_arguments for piece in pieces) == '{"city": "Rome"}'
    assert isinstance(completed, TurnCompleted)
    assert completed.reply.finish_reason is FinishReason.TOOL_CALLS
    assert completed.reply.message.parts == (
        Reasoning(text="Hm."),
        Text(text="Let me see."),
        ToolCall(id="c1", name="weather", arguments_json='{"city": "Rome"}'),
    )


def test_the_states_of_a_provider_are_passed_on_as_they_came(connect: Connect) -> None:
    """In events, in messages, and back to the provider in another conversation; no text shows them."""
    script: list[Step] = [
        ReasoningDelta(text="Hm."),
        PartState(data=b"sign\x00ature"),
        PartState(data=b"hidden", own_part=True),
        ToolCallStart(id="c1", name="weather"),
        PartState(data=b"call"),
        "Yes.",
        PartState(data=b"end"),
        Finish(),
    ]
    provider = ScriptedProvider(script, model=Model(name="scripted", capabilities=Capabilities(chat=True, tools=True)))
    client = connect(provider)
    session = client.create_session("tour")
    with client.stream_chat("Hi", session=session) as stream:
        events = list(stream.events())
    states = [event for event in events if isinstance(event, Delta) and event.provider_state is not None]
    assert [(event.part, event.text + event.reasoning + event.tool_arguments) for event in states] == [
        (part, "") for part in range(4)
    ]
    assert "provider_state" in [event.kind for event in events if isinstance(event, PartStarted)]
    message = list(client.list_messages(session))[1]
    signature = ProviderState(provider="scripted", model="scripted", data=b"sign\x00ature")
    assert message.parts[:2] == (
        Reasoning(text="Hm.", provider_state=signature),
        ProviderStatePart(provider_state=replace(signature, data=b"hidden")),
    )
    assert message.text == "Yes."
    assert "ature" not in repr(message)
    result = Message.tool(ToolResult(tool_call_id="c1", parts=(Text(text="Rain."),)))
    client.chat(["Hi", message, result])
    sent = provider.requests[1].messages[1].parts
    assert [part.provider_state.data for part in sent] == [b"sign\x00ature", b"hidden", b"call", b"end"]  # type: ignore[union-attr]  # each has one


@pytest.mark.parametrize("leave", ["break", "raise"])
def test_leaving_a_stream_stops_the_model(connect: Connect, leave: str) -> None:
    """However it is left; and the session is free for the next call."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()], ["again", Finish()])
    client = connect(provider)
    session = client.create_session("tour")
    with pytest.raises(LookupError) if leave == "raise" else nullcontext():
        with client.stream_chat("Hi", session=session) as stream:
            for _ in stream:
                if leave == "break":
                    break
                raise LookupError
    provider.stopped.wait()
    assert (provider.cancelled, provider.active) == (1, 0)
    assert (client.chat("Hi", session=session)).text == "again"
    assert [message.text for message in client.list_messages(session)] == ["Hi", "again"]


def test_a_detached_stream_leaves_its_turn_to_others(connect: Connect) -> None:
    """Who comes next goes on where the first has left it, and the model hears of nothing."""
    gate = Gate()
    provider = ScriptedProvider(["Hel", gate, "lo", Finish()])
    client = connect(provider)
    with client.stream_chat("Hi", session=client.create_session("tour")) as stream:
        stream.detach()
        assert next(stream) == "Hel"
    with client.stream_turn(stream.turn, after_sequence=stream.sequence) as rest:
        gate.open()
        assert next(rest) == "lo"
        assert (rest.reply()).text == "Hello"
    assert (len(provider.requests), provider.cancelled) == (1, 0)


def test_a_turn_that_somebody_else_may_wait_for_is_left_to_the_server(connect: Connect) -> None:
    """With a key of the caller's own another process can have made the same call: giving up does not stop its turn."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()])
    client = connect(provider)
    with client.stream_chat("Hi", request_id="job") as first:
        assert next(first) == "one "
        with pytest.raises(DeadlineExceeded):
            client.chat("Hi", request_id="job", timeout=0.1)
        with client.stream_chat("Hi", request_id="job") as second:
            for _ in second:
                break
        gate.open()
        assert (first.reply()).text == "one two"
    assert (len(provider.requests), provider.cancelled) == (1, 0)


def test_a_call_that_is_stopped_as_it_begins_stops_its_turn(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request may have gone out, though the block was never entered."""
    provider = ScriptedProvider(["one ", Gate(), Finish()])
    client = connect(provider)
    begin = client._transport.stream

    def stopped(*arguments: Any) -> Any:
        monkeypatch.setattr(client._transport, "stream", begin)
        responses = begin(*arguments)
        for _ in responses:
            raise KeyboardInterrupt
        raise AssertionError

    session = client.create_session()
    monkeypatch.setattr(client._transport, "stream", stopped)
    with pytest.raises(KeyboardInterrupt):
        with client.stream_chat("Hi", session=session):
            raise AssertionError
    assert (client.get_session(session)).active_turn == ""
    assert provider.cancelled == 1


def test_there_is_nothing_after_the_end(client: MCPSyncClient) -> None:
    """An answer that was read to its end is not read again: the turn has it."""
    with client.stream_chat("Hi") as stream:
        stream.reply()
    with client.stream_turn(stream.turn, after_sequence=stream.sequence) as rest:
        assert list(rest) == []
        with pytest.raises(RequestError, match="get_turn"):
            rest.reply()


def test_a_stream_is_read_inside_of_its_block_and_once(connect: Connect) -> None:
    """Anything else is said at once."""
    client = connect(ScriptedProvider(["Hel", Gate()]))
    stream = client.stream_chat("Hi")
    with pytest.raises(RuntimeError, match="with"):
        next(stream)
    with stream:
        next(stream)
        with pytest.raises(RuntimeError, match="once"):
            stream.__enter__()
    with pytest.raises(RuntimeError, match="left before its end"):
        stream.reply()


def test_a_stream_that_failed_stays_failed(connect: Connect) -> None:
    """It never looks like the end of an answer, however often it is read."""
    client = connect(ScriptedProvider(["Hel"]))
    with client.stream_chat("Hi") as stream:
        with pytest.raises(ProviderStreamCut) as first:
            for token in stream:
                assert token == "Hel"
        for again in (lambda: next(stream), stream.reply):
            with pytest.raises(ProviderStreamCut) as caught:
                again()
            assert caught.value is first.value
    assert first.value.turn == stream.turn
    assert stream.text == "Hel"


def test_a_busy_session_says_which_turn_runs(connect: Connect) -> None:
    """So that the caller can watch it."""
    gate = Gate()
    client = connect(ScriptedProvider(["Hel", gate, "lo", Finish()]))
    session = client.create_session("tour")
    with client.stream_chat("Hi", session=session) as stream:
        next(stream)
        with pytest.raises(SessionBusy) as caught:
            client.chat("Me too", session=session)
        assert caught.value.turn == stream.turn == (client.get_session(session)).active_turn
        gate.open()
        assert (stream.reply()).text == "Hello"


def test_deadlines_end_the_call_or_the_turn(connect: Connect) -> None:
    """``timeout`` is the call's, ``turn_timeout`` the turn's."""
    client = connect(ScriptedProvider(["Hel", Gate()]))
    with pytest.raises(DeadlineExceeded) as call:
        client.chat("Hi", timeout=0.2)
    assert (call.value.code, call.value.reason) == ("DEADLINE_EXCEEDED", "")
    with pytest.raises(TurnTimeout) as turn:
        client.chat("Hi", turn_timeout=0.2)
    assert turn.value.reason == "TURN_TIMEOUT"
    with client.stream_chat("Hi", timeout=0.2) as stream:
        assert next(stream) == "Hel"
        with pytest.raises(DeadlineExceeded):
            next(stream)


def test_a_long_answer_comes_whole(connect: Connect) -> None:
    """Far more pieces than any buffer holds, to a reader that is slower than the model."""
    pieces = [f"{number:05d} " for number in range(20_000)]
    client = connect(ScriptedProvider([*pieces, Finish()]))
    read = []
    with client.stream_chat("Count.") as stream:
        for token in stream:
            read.append(token)
            if len(read) % 50 == 1:
                sleep(0.005)
    assert "".join(read) == "".join(pieces)


def test_a_picture_for_a_model_that_sees_none_is_refused(client: MCPSyncClient) -> None:
    """By name."""
    picture = Message(role=Role.USER, parts=[Text(text="What is this?"), Blob(mime_type="image/png", data=b"x")])
    with pytest.raises(UnsupportedByModel) as caught:
        client.chat(picture)
    assert caught.value.metadata["model"] == "echo/echo"


def test_many_calls_at_once_do_not_mix(client: MCPSyncClient) -> None:
    """A hundred streams on one connection, each with its own words."""

    def say(number: int) -> None:
        text = f"this is number {number} " * 20
        with client.stream_chat(text, session=sessions[number].id) as stream:
            assert "".join(list(stream)) == text
            assert (stream.reply()).text == text

    sessions = [client.create_session() for _ in range(100)]
    gather(*[functools.partial(say, number) for number in range(100)])


def test_a_conversation_that_is_too_long_is_cut_or_refused(connect: Connect) -> None:
    """As ``truncation`` says."""
    small = Model(name="scripted", capabilities=Capabilities(chat=True), context_window=64)
    provider = ScriptedProvider.saying("ok", model=small)
    client = connect(provider)
    session = client.create_session("tour")
    client.append_messages(session, [Message.user("old " * 60), Message.assistant("older " * 60)])
    with pytest.raises(ContextTooLong) as caught:
        client.chat("new", session=session, truncation="disabled")
    assert caught.value.metadata.keys() >= {"tokens", "limit"}
    with client.stream_chat("new", session=session) as stream:
        started = next(stream.events())
    assert isinstance(started, TurnStarted)
    assert (started.window.used_messages, started.window.dropped_messages) == (0, 2)


def test_an_etag_guards_a_turn(client: MCPSyncClient) -> None:
    """The conversation is still as it was read, or nothing happens."""
    session = client.create_session("tour")
    reply = client.chat("one", session=session, etag=session.etag)
    with pytest.raises(EtagMismatch):
        client.chat("two", session=session, etag=session.etag)
    client.chat("two", session=session, etag=reply.session_etag)


def test_completion_goes_on_from_a_prompt(client: MCPSyncClient) -> None:
    """Whole and as a stream, and an answer can become context."""
    session = client.create_session("tour", context={"note": "ripe"})
    reply = client.complete("one two three", max_output_tokens=2)
    assert (reply.text, reply.finish_reason) == ("one two ", FinishReason.LENGTH)
    with client.stream_complete(
        "a summary", session=session, include_context=True, save_as="summary", stop="mmary"
    ) as stream:
        text = "".join(list(stream))
    assert "ripe" in text and text.endswith("a su")
    assert (client.get_session(session)).context["summary"].text == text
    assert not list(client.list_messages(session))


def test_embeddings_come_in_order(client: MCPSyncClient) -> None:
    """One vector for each text."""
    found = client.embed(["ab", "bb", "z"])
    assert [vector[:2].tolist() for vector in found.vectors] == [[1.0, 1.0], [0.0, 2.0], [0.0, 0.0]]
    assert found.model == "echo/echo"
    assert found.usage.input_tokens == 3
    assert (client.embed("ab", session=client.create_session())).vectors[0][0] == 1.0


def test_tokens_are_counted(client: MCPSyncClient, connect: Connect) -> None:
    """Of a conversation, and of a session with what it has."""
    assert client.count_tokens(["one two", Message.assistant("three")]) == TokenCount(
        input_tokens=3, exact=True, model="echo/echo"
    )
    session = client.create_session(system_instruction="Be brief.")
    client.chat("one two", session=session)
    assert (client.count_tokens(session=session)).input_tokens == 6
    assert (client.count_tokens("three", session=session.id, model="echo/echo")).input_tokens == 7
    with pytest.raises(UnsupportedByModel):
        client.count_tokens("Hi", tools=[Tool(name="weather", parameters={"type": "object"})])
    with pytest.raises(InvalidArgument):
        client.count_tokens()
    scripted = connect(ScriptedProvider.saying("yes"))
    assert not (scripted.count_tokens("Hi")).exact


def test_models_are_listed_and_found(client: MCPSyncClient) -> None:
    """By their names."""
    (model,) = client.list_models()
    assert (model.name, model.provider, model.state, model.is_default) == ("echo/echo", "echo", "ready", True)
    assert {"chat", "completion", "embedding"} <= model.capabilities
    assert (model.context_window, model.embedding_dimensions) == (100_000, 26)
    assert client.get_model("echo/echo") == model
    for missing in (
        lambda: client.get_model("no/such"),
        lambda: client.chat("Hi", model="no/such"),
        lambda: client.embed("x", model="no/x"),
    ):
        with pytest.raises(ModelNotFound):
            missing()


def test_empty_and_huge_texts_have_clear_answers(client: MCPSyncClient) -> None:
    """A megabyte arrives whole; nothing, and what no server takes, is refused by name."""
    with pytest.raises(InvalidArgument) as caught:
        client.chat("")
    assert "messages[0].parts[0].text" in caught.value.violations
    for empty in (lambda: client.chat([]), lambda: client.complete(""), lambda: client.embed([])):
        with pytest.raises(InvalidArgument):
            empty()
    text = "word " * 100_000
    assert (client.complete(text)).text == text
    with pytest.raises(ValueError, match=r"16,777,216"):
        client.chat("x" * 17_000_000)
    with pytest.raises(InvalidArgument):
        client.chat("x" * 10_000_000)
