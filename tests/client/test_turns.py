"""Chat, completion and embedding, from Python."""

from __future__ import annotations

import asyncio
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
    MCPClient,
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
from tests.client.beside import Gate, ScriptedProvider, gather, sleep
from tests.client.conftest import Connect


async def test_a_reply_says_all_that_is_known(client: MCPClient) -> None:
    """Text, why it ended, what it took, and by whom."""
    session = await client.create_session("tour")
    reply = await client.chat("Hello there", session=session)
    assert reply.text == str(reply) == reply.message.text == "Hello there"
    assert reply.finish_reason is FinishReason.STOP
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.estimated) == (2, 2, False)
    assert reply.turn.startswith("sessions/tour/turns/")
    assert reply.session_etag == (await client.get_session("tour")).etag != session.etag
    assert reply.time_to_first_token is not None
    assert 0 < reply.time_to_first_token <= reply.duration < 10
    (attempt,) = reply.attempts
    assert (attempt.provider, attempt.model, attempt.outcome, attempt.reason) == ("echo", "echo", "succeeded", "")
    assert attempt.usage == reply.usage


async def test_a_session_remembers(client: MCPClient, connect: Connect) -> None:
    """What was said before reaches the model with what is said now."""
    provider = ScriptedProvider.saying("Noted.", "Banana.")
    client = await connect(provider)
    session = await client.create_session(system_instruction="Be brief.", context={"note": "ripe"})
    await client.chat("The word is banana.", session=session)
    reply = await client.chat("What is the word?", session=session.id)
    assert reply.text == "Banana."
    sent = [(message.role, message.text) for message in provider.requests[1].messages]
    assert [text for _, text in sent[1:]] == ["The word is banana.", "Noted.", "What is the word?"]
    assert "Be brief." in sent[0][1] and "ripe" in sent[0][1]
    history = [message async for message in client.list_messages(session)]
    assert [message.role for message in history] == ["user", "assistant", "user", "assistant"]
    assert history[3].turn == reply.turn
    assert history[3].model == "scripted/scripted"
    assert history[3].finish_reason is FinishReason.STOP
    assert history[3].usage == reply.usage


async def test_a_conversation_without_a_session_is_what_is_given(connect: Connect) -> None:
    """Nothing is kept."""
    provider = ScriptedProvider.saying("Rome.")
    client = await connect(provider)
    reply = await client.chat([Message.system("One word."), "Capital of Italy?"])
    assert reply.text == "Rome."
    assert reply.turn.startswith("turns/")
    assert reply.session_etag == ""
    assert [str(message.role) for message in provider.requests[0].messages] == ["system", "user"]


async def test_every_sampling_parameter_reaches_the_provider(connect: Connect) -> None:
    """And what is not set stays unset."""
    able = Capabilities(chat=True, completion=True, json_schema=True)
    provider = ScriptedProvider.saying("x", model=Model(name="scripted", capabilities=able))
    client = await connect(provider)
    await client.chat(
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

    await client.chat("Hi", model=None, temperature=None, stop=None, json=True)
    config = provider.requests[1].config
    assert (config.temperature, config.max_output_tokens, config.seed, list(config.stop)) == (None, None, None, [])
    assert config.response_format == "json"


async def test_a_stream_gives_the_text_piece_by_piece(connect: Connect) -> None:
    """Each piece when it is there, and all of it at the end."""
    gate = Gate()
    client = await connect(ScriptedProvider(["Hel", gate, "lo", Finish()]))
    async with client.stream_chat("Hi") as stream:
        assert (stream.text, stream.turn, stream.model, stream.usage) == ("", "", "", None)
        assert await anext(stream) == "Hel"
        assert stream.text == "Hel"
        assert stream.turn.startswith("turns/")
        assert stream.model == "scripted/scripted"
        gate.open()
        assert [token async for token in stream] == ["lo"]
    assert stream.text == "Hello"
    assert stream.finish_reason is FinishReason.STOP
    assert stream.usage is not None
    assert (await stream.reply()).text == "Hello"


async def test_a_loop_can_be_left_and_gone_on_with(connect: Connect) -> None:
    """Nothing is lost between two loops, and the reply is whole."""
    client = await connect(ScriptedProvider(["a", Gate(), "b", Finish()], ["a", "b", "c", Finish()]))
    async with client.stream_chat("Hi") as stream:
        async for token in stream:
            assert token == "a"
            break
    async with client.stream_chat("Hi") as stream:
        read = [await anext(stream)]
        async for token in stream:
            read.append(token)
            break
        reply = await stream.reply()
    assert reply.text == stream.text == "abc"
    assert "abc".startswith("".join(read))


async def test_a_stream_gives_its_events(connect: Connect) -> None:
    """Typed and numbered, with reasoning and tool calls."""
    script: list[Step] = [
        ReasoningDelta(text="Hm."),
        TextDelta(text="Let me see."),
        ToolCallStart(id="c1", name="weather"),
        ToolArgumentsDelta(id="c1", text='{"city":'),
        ToolArgumentsDelta(id="c1", text=' "Rome"}'),
        Finish(reason=core.FinishReason.TOOL_CALLS),
    ]
    client = await connect(ScriptedProvider(script))
    session = await client.create_session("tour")
    async with client.stream_chat("Hi", session=session) as stream:
        events = [event async for event in stream.events()]
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


async def test_the_states_of_a_provider_are_passed_on_as_they_came(connect: Connect) -> None:
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
    client = await connect(provider)
    session = await client.create_session("tour")
    async with client.stream_chat("Hi", session=session) as stream:
        events = [event async for event in stream.events()]
    states = [event for event in events if isinstance(event, Delta) and event.provider_state is not None]
    assert [(event.part, event.text + event.reasoning + event.tool_arguments) for event in states] == [
        (part, "") for part in range(4)
    ]
    assert "provider_state" in [event.kind for event in events if isinstance(event, PartStarted)]
    message = [message async for message in client.list_messages(session)][1]
    signature = ProviderState(provider="scripted", model="scripted", data=b"sign\x00ature")
    assert message.parts[:2] == (
        Reasoning(text="Hm.", provider_state=signature),
        ProviderStatePart(provider_state=replace(signature, data=b"hidden")),
    )
    assert message.text == "Yes."
    assert "ature" not in repr(message)
    result = Message.tool(ToolResult(tool_call_id="c1", parts=(Text(text="Rain."),)))
    await client.chat(["Hi", message, result])
    sent = provider.requests[1].messages[1].parts
    assert [part.provider_state.data for part in sent] == [b"sign\x00ature", b"hidden", b"call", b"end"]  # type: ignore[union-attr]  # each has one


@pytest.mark.parametrize("leave", ["break", "raise"])
async def test_leaving_a_stream_stops_the_model(connect: Connect, leave: str) -> None:
    """However it is left; and the session is free for the next call."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()], ["again", Finish()])
    client = await connect(provider)
    session = await client.create_session("tour")
    with pytest.raises(LookupError) if leave == "raise" else nullcontext():
        async with client.stream_chat("Hi", session=session) as stream:
            async for _ in stream:
                if leave == "break":
                    break
                raise LookupError
    await provider.stopped.wait()
    assert (provider.cancelled, provider.active) == (1, 0)
    assert (await client.chat("Hi", session=session)).text == "again"
    assert [message.text async for message in client.list_messages(session)] == ["Hi", "again"]


async def test_a_detached_stream_leaves_its_turn_to_others(connect: Connect) -> None:
    """Who comes next goes on where the first has left it, and the model hears of nothing."""
    gate = Gate()
    provider = ScriptedProvider(["Hel", gate, "lo", Finish()])
    client = await connect(provider)
    async with client.stream_chat("Hi", session=await client.create_session("tour")) as stream:
        stream.detach()
        assert await anext(stream) == "Hel"
    async with client.stream_turn(stream.turn, after_sequence=stream.sequence) as rest:
        gate.open()
        assert await anext(rest) == "lo"
        assert (await rest.reply()).text == "Hello"
    assert (len(provider.requests), provider.cancelled) == (1, 0)


async def test_a_turn_that_somebody_else_may_wait_for_is_left_to_the_server(connect: Connect) -> None:
    """With a key of the caller's own another process can have made the same call: giving up does not stop its turn."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()])
    client = await connect(provider)
    async with client.stream_chat("Hi", request_id="job") as first:
        assert await anext(first) == "one "
        with pytest.raises(DeadlineExceeded):
            await client.chat("Hi", request_id="job", timeout=0.1)
        async with client.stream_chat("Hi", request_id="job") as second:
            async for _ in second:
                break
        gate.open()
        assert (await first.reply()).text == "one two"
    assert (len(provider.requests), provider.cancelled) == (1, 0)


async def test_a_call_that_is_stopped_as_it_begins_stops_its_turn(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request may have gone out, though the block was never entered."""
    provider = ScriptedProvider(["one ", Gate(), Finish()])
    client = await connect(provider)
    begin = client._transport.stream

    async def stopped(*arguments: Any) -> Any:
        monkeypatch.setattr(client._transport, "stream", begin)
        responses = await begin(*arguments)
        async for _ in responses:
            raise asyncio.CancelledError
        raise AssertionError

    session = await client.create_session()
    monkeypatch.setattr(client._transport, "stream", stopped)
    with pytest.raises(asyncio.CancelledError):
        async with client.stream_chat("Hi", session=session):
            raise AssertionError
    assert (await client.get_session(session)).active_turn == ""
    assert provider.cancelled == 1


async def test_there_is_nothing_after_the_end(client: MCPClient) -> None:
    """An answer that was read to its end is not read again: the turn has it."""
    async with client.stream_chat("Hi") as stream:
        await stream.reply()
    async with client.stream_turn(stream.turn, after_sequence=stream.sequence) as rest:
        assert [token async for token in rest] == []
        with pytest.raises(RequestError, match="get_turn"):
            await rest.reply()


async def test_a_stream_is_read_inside_of_its_block_and_once(connect: Connect) -> None:
    """Anything else is said at once."""
    client = await connect(ScriptedProvider(["Hel", Gate()]))
    stream = client.stream_chat("Hi")
    with pytest.raises(RuntimeError, match="async with"):
        await anext(stream)
    async with stream:
        await anext(stream)
        with pytest.raises(RuntimeError, match="once"):
            await stream.__aenter__()
    with pytest.raises(RuntimeError, match="left before its end"):
        await stream.reply()


async def test_a_stream_that_failed_stays_failed(connect: Connect) -> None:
    """It never looks like the end of an answer, however often it is read."""
    client = await connect(ScriptedProvider(["Hel"]))
    async with client.stream_chat("Hi") as stream:
        with pytest.raises(ProviderStreamCut) as first:
            async for token in stream:
                assert token == "Hel"
        for again in (lambda: anext(stream), stream.reply):
            with pytest.raises(ProviderStreamCut) as caught:
                await again()
            assert caught.value is first.value
    assert first.value.turn == stream.turn
    assert stream.text == "Hel"


async def test_a_busy_session_says_which_turn_runs(connect: Connect) -> None:
    """So that the caller can watch it."""
    gate = Gate()
    client = await connect(ScriptedProvider(["Hel", gate, "lo", Finish()]))
    session = await client.create_session("tour")
    async with client.stream_chat("Hi", session=session) as stream:
        await anext(stream)
        with pytest.raises(SessionBusy) as caught:
            await client.chat("Me too", session=session)
        assert caught.value.turn == stream.turn == (await client.get_session(session)).active_turn
        gate.open()
        assert (await stream.reply()).text == "Hello"


async def test_deadlines_end_the_call_or_the_turn(connect: Connect) -> None:
    """``timeout`` is the call's, ``turn_timeout`` the turn's."""
    client = await connect(ScriptedProvider(["Hel", Gate()]))
    with pytest.raises(DeadlineExceeded) as call:
        await client.chat("Hi", timeout=0.2)
    assert (call.value.code, call.value.reason) == ("DEADLINE_EXCEEDED", "")
    with pytest.raises(TurnTimeout) as turn:
        await client.chat("Hi", turn_timeout=0.2)
    assert turn.value.reason == "TURN_TIMEOUT"
    async with client.stream_chat("Hi", timeout=0.2) as stream:
        assert await anext(stream) == "Hel"
        with pytest.raises(DeadlineExceeded):
            await anext(stream)


async def test_a_long_answer_comes_whole(connect: Connect) -> None:
    """Far more pieces than any buffer holds, to a reader that is slower than the model."""
    pieces = [f"{number:05d} " for number in range(20_000)]
    client = await connect(ScriptedProvider([*pieces, Finish()]))
    read = []
    async with client.stream_chat("Count.") as stream:
        async for token in stream:
            read.append(token)
            if len(read) % 50 == 1:
                await sleep(0.005)
    assert "".join(read) == "".join(pieces)


async def test_a_picture_for_a_model_that_sees_none_is_refused(client: MCPClient) -> None:
    """By name."""
    picture = Message(role=Role.USER, parts=[Text(text="What is this?"), Blob(mime_type="image/png", data=b"x")])
    with pytest.raises(UnsupportedByModel) as caught:
        await client.chat(picture)
    assert caught.value.metadata["model"] == "echo/echo"


async def test_many_calls_at_once_do_not_mix(client: MCPClient) -> None:
    """A hundred streams on one connection, each with its own words."""

    async def say(number: int) -> None:
        text = f"this is number {number} " * 20
        async with client.stream_chat(text, session=sessions[number].id) as stream:
            assert "".join([token async for token in stream]) == text
            assert (await stream.reply()).text == text

    sessions = [await client.create_session() for _ in range(100)]
    await gather(*[functools.partial(say, number) for number in range(100)])


async def test_a_conversation_that_is_too_long_is_cut_or_refused(connect: Connect) -> None:
    """As ``truncation`` says."""
    small = Model(name="scripted", capabilities=Capabilities(chat=True), context_window=64)
    provider = ScriptedProvider.saying("ok", model=small)
    client = await connect(provider)
    session = await client.create_session("tour")
    await client.append_messages(session, [Message.user("old " * 60), Message.assistant("older " * 60)])
    with pytest.raises(ContextTooLong) as caught:
        await client.chat("new", session=session, truncation="disabled")
    assert caught.value.metadata.keys() >= {"tokens", "limit"}
    async with client.stream_chat("new", session=session) as stream:
        started = await anext(stream.events())
    assert isinstance(started, TurnStarted)
    assert (started.window.used_messages, started.window.dropped_messages) == (0, 2)


async def test_an_etag_guards_a_turn(client: MCPClient) -> None:
    """The conversation is still as it was read, or nothing happens."""
    session = await client.create_session("tour")
    reply = await client.chat("one", session=session, etag=session.etag)
    with pytest.raises(EtagMismatch):
        await client.chat("two", session=session, etag=session.etag)
    await client.chat("two", session=session, etag=reply.session_etag)


async def test_completion_goes_on_from_a_prompt(client: MCPClient) -> None:
    """Whole and as a stream, and an answer can become context."""
    session = await client.create_session("tour", context={"note": "ripe"})
    reply = await client.complete("one two three", max_output_tokens=2)
    assert (reply.text, reply.finish_reason) == ("one two ", FinishReason.LENGTH)
    async with client.stream_complete(
        "a summary", session=session, include_context=True, save_as="summary", stop="mmary"
    ) as stream:
        text = "".join([token async for token in stream])
    assert "ripe" in text and text.endswith("a su")
    assert (await client.get_session(session)).context["summary"].text == text
    assert not [message async for message in client.list_messages(session)]


async def test_embeddings_come_in_order(client: MCPClient) -> None:
    """One vector for each text."""
    found = await client.embed(["ab", "bb", "z"])
    assert [vector[:2].tolist() for vector in found.vectors] == [[1.0, 1.0], [0.0, 2.0], [0.0, 0.0]]
    assert found.model == "echo/echo"
    assert found.usage.input_tokens == 3
    assert (await client.embed("ab", session=await client.create_session())).vectors[0][0] == 1.0


async def test_tokens_are_counted(client: MCPClient, connect: Connect) -> None:
    """Of a conversation, and of a session with what it has."""
    assert await client.count_tokens(["one two", Message.assistant("three")]) == TokenCount(
        input_tokens=3, exact=True, model="echo/echo"
    )
    session = await client.create_session(system_instruction="Be brief.")
    await client.chat("one two", session=session)
    assert (await client.count_tokens(session=session)).input_tokens == 6
    assert (await client.count_tokens("three", session=session.id, model="echo/echo")).input_tokens == 7
    with pytest.raises(UnsupportedByModel):
        await client.count_tokens("Hi", tools=[Tool(name="weather", parameters={"type": "object"})])
    with pytest.raises(InvalidArgument):
        await client.count_tokens()
    scripted = await connect(ScriptedProvider.saying("yes"))
    assert not (await scripted.count_tokens("Hi")).exact


async def test_models_are_listed_and_found(client: MCPClient) -> None:
    """By their names."""
    (model,) = await client.list_models()
    assert (model.name, model.provider, model.state, model.is_default) == ("echo/echo", "echo", "ready", True)
    assert {"chat", "completion", "embedding"} <= model.capabilities
    assert (model.context_window, model.embedding_dimensions) == (100_000, 26)
    assert await client.get_model("echo/echo") == model
    for missing in (
        lambda: client.get_model("no/such"),
        lambda: client.chat("Hi", model="no/such"),
        lambda: client.embed("x", model="no/x"),
    ):
        with pytest.raises(ModelNotFound):
            await missing()


async def test_empty_and_huge_texts_have_clear_answers(client: MCPClient) -> None:
    """A megabyte arrives whole; nothing, and what no server takes, is refused by name."""
    with pytest.raises(InvalidArgument) as caught:
        await client.chat("")
    assert "messages[0].parts[0].text" in caught.value.violations
    for empty in (lambda: client.chat([]), lambda: client.complete(""), lambda: client.embed([])):
        with pytest.raises(InvalidArgument):
            await empty()
    text = "word " * 100_000
    assert (await client.complete(text)).text == text
    with pytest.raises(ValueError, match=r"16,777,216"):
        await client.chat("x" * 17_000_000)
    with pytest.raises(InvalidArgument):
        await client.chat("x" * 10_000_000)
