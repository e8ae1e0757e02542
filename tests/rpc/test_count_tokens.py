"""CountTokens: the length of a prompt before it is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from contextprotocol.v1 import context_pb2, generation_pb2, message_pb2, model_pb2, session_pb2
from mcp_server.interfaces import GenerateRequest
from mcp_server.testing import EchoProvider, ScriptedProvider
from mcp_server.turns import counting
from mcp_server.values import Capabilities, Model
from tests.conftest import Serve
from tests.wire import Refused, Wire, user

WEATHER = generation_pb2.Tool(name="weather", description="The weather of a city.")
CALLING = message_pb2.Message(
    role=message_pb2.ROLE_ASSISTANT,
    parts=[message_pb2.Part(tool_call=message_pb2.ToolCall(id="a", name="weather", arguments_json="{}"))],
)


class Words(ScriptedProvider):
    """A provider of a small model that counts words, and keeps what it has counted."""

    def __init__(self, context_window: int = 2_000) -> None:
        can = Capabilities(chat=True, tools=True)
        super().__init__([], model=Model(name="words", capabilities=can, context_window=context_window))
        self.counted: list[GenerateRequest] = []

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The number of words of the messages."""
        self.counted.append(request)
        return sum([len(message.text.split()) for message in request.messages])


class Broken(Words):
    """A provider that cannot count what it is asked to."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer  # type: ignore[no-any-return]  # whatever a plug-in returns


class Hanging(Words):
    """A provider that counts without end."""

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        return await asyncio.Future()


class Slow(Words):
    """A provider that takes most of the time for each count."""

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        await asyncio.sleep(0.6 * counting.COUNT_SECONDS)
        return await super().count_tokens(request)


async def count(wire: Wire, *texts: str, **fields: Any) -> model_pb2.CountTokensResponse:
    request = model_pb2.CountTokensRequest(messages=[user(text) for text in texts], **fields)
    response: model_pb2.CountTokensResponse = await wire.models.CountTokens(request)
    return response


async def test_a_provider_counts_the_conversation(wire: Wire) -> None:
    """The result is exact, and says for which model it holds."""
    expected = model_pb2.CountTokensResponse(input_tokens=5, exact=True, model="echo/echo")
    assert await count(wire, "one two", "three four five") == expected
    assert await count(wire, "one two three four five", model="echo") == expected


async def test_a_session_is_counted_as_a_turn_would_show_it(wire: Wire) -> None:
    """With its instruction, its context and its history, and as the turn then reports."""
    await wire.create(
        system_instruction="Be brief.", context={"name": context_pb2.ContextEntry(type="text", text="Ada")}
    )
    await wire.say("one two three")
    counted = await count(wire, "four", session="sessions/tour")
    assert (counted.input_tokens, counted.exact) == (2 + 2 + 3 + 3 + 1, True)
    assert (await count(wire, session="sessions/tour")).input_tokens == 10
    answered = await wire.say("four")
    assert answered.completed.usage.input_tokens == counted.input_tokens


async def test_counting_leaves_the_session_as_it_was(wire: Wire) -> None:
    """Its ttl is not renewed, nothing is added to it, and it has no turn."""
    await wire.create()
    before = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    await count(wire, "one", session="sessions/tour")
    assert await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour")) == before


async def test_tools_are_counted(serve: Serve) -> None:
    """The provider is given them, and a model that cannot use them is refused."""
    words = Words()
    wire = await serve(providers={"words": words, "scripted": ScriptedProvider([])})
    await count(wire, "hello", model="words", tools=[WEATHER])
    assert [tool.name for tool in words.counted[-1].tools] == ["weather"]
    with Refused() as refused:
        await count(wire, "hello", model="scripted", tools=[WEATHER])
    assert refused.reason == "UNSUPPORTED_BY_MODEL"


async def test_without_a_counter_the_tokens_are_estimated(serve: Serve) -> None:
    """The estimate is that of the window."""
    wire = await serve(providers={"scripted": ScriptedProvider.saying("yes")})
    await wire.create()
    counted = await count(wire, "x" * 400, session="sessions/tour")
    assert (counted.input_tokens, counted.exact, counted.model) == (108, False, "scripted/scripted")
    answered = await wire.say("x" * 400)
    turn = answered.completed.attempts[0]
    assert turn.usage.input_tokens == counted.input_tokens


@pytest.mark.parametrize("answer", [RuntimeError("no"), "many", None, -1])
async def test_a_provider_that_cannot_count_leaves_an_estimate(serve: Serve, answer: Any) -> None:
    """Whatever it raises or returns."""
    wire = await serve(providers={"broken": Broken(answer)})
    counted = await count(wire, "x" * 400)
    assert (counted.input_tokens, counted.exact) == (108, False)


async def test_a_provider_that_does_not_end_leaves_an_estimate(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while."""
    monkeypatch.setattr(counting, "COUNT_SECONDS", 0.0)
    wire = await serve(providers={"hanging": Hanging()})
    counted = await count(wire, "x" * 400)
    assert (counted.input_tokens, counted.exact) == (108, False)


async def test_all_counts_of_a_prompt_share_the_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history that is counted again and again until it fits takes no longer than a short one."""
    monkeypatch.setattr(counting, "COUNT_SECONDS", 0.5)
    slow = Slow(context_window=1_000)
    wire = await serve(providers={"slow": slow})
    await wire.create()
    request = session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user("a " * 400)] * 8)
    await wire.sessions.AppendMessages(request)
    assert not (await count(wire, "b", session="sessions/tour")).exact
    assert len(slow.counted) < 2


async def test_what_does_not_fit_is_left_out(serve: Serve) -> None:
    """As a turn leaves it out: the oldest exchanges go first."""
    words = Words(context_window=1_000)
    wire = await serve(providers={"words": words})
    await wire.create()
    request = session_pb2.AppendMessagesRequest(
        parent="sessions/tour", messages=[user("a " * 500), user("b " * 300), user("c " * 300)]
    )
    await wire.sessions.AppendMessages(request)
    assert (await count(wire, "d", session="sessions/tour")).input_tokens == 601
    assert [message.text[0] for message in words.counted[-1].messages] == ["b", "c", "d"]


async def test_an_input_that_is_too_long_is_counted_all_the_same(serve: Serve) -> None:
    """Its caller learns by how much to shorten it."""
    wire = await serve(providers={"words": Words(context_window=100)})
    assert (await count(wire, "a " * 500)).input_tokens == 500


async def test_a_conversation_may_end_with_an_answer(wire: Wire) -> None:
    """A caller counts what it has so far."""
    answer = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=[message_pb2.Part(text="two three")])
    request = model_pb2.CountTokensRequest(messages=[user("one"), answer])
    assert (await wire.models.CountTokens(request)).input_tokens == 3


async def test_open_tool_calls_need_their_results(serve: Serve) -> None:
    """As in a chat; the history alone is counted without them."""
    wire = await serve(providers={"words": Words()})
    await wire.create()
    append = session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user("hi"), CALLING])
    await wire.sessions.AppendMessages(append)
    with Refused() as refused:
        await count(wire, "and?", session="sessions/tour")
    assert refused.reason == "TOOL_RESULTS_MISSING"
    assert (await count(wire, session="sessions/tour")).exact


async def test_all_that_is_wrong_is_reported(wire: Wire) -> None:
    """Under the names of the fields of the request."""
    with Refused() as refused:
        await wire.models.CountTokens(model_pb2.CountTokensRequest())
    assert (refused.code, list(refused.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["messages"])
    with Refused() as refused:
        await count(wire, "", session="x", model="m" * 300, tools=[generation_pb2.Tool(name="a b")])
    assert set(refused.violations) == {"session", "model", "tools[0].name", "messages[0].parts[0].text"}


async def test_what_is_not_there_is_not_found(wire: Wire) -> None:
    """The session or the model."""
    with Refused() as refused:
        await count(wire, "hi", session="sessions/none")
    assert refused.reason == "SESSION_NOT_FOUND"
    with Refused() as refused:
        await count(wire, "hi", model="no/such")
    assert refused.reason == "MODEL_NOT_FOUND"


async def test_the_model_of_the_session_counts(serve: Serve) -> None:
    """Unless the request names another."""
    wire = await serve(providers={"echo": EchoProvider(), "words": Words()})
    await wire.create(default_model="words")
    assert (await count(wire, "hi", session="sessions/tour")).model == "words/words"
    assert (await count(wire, "hi", session="sessions/tour", model="echo")).model == "echo/echo"
    assert (await count(wire, "hi")).model == "echo/echo"


async def test_a_large_conversation_is_counted(wire: Wire) -> None:
    """One that is converted in a thread."""
    assert (await count(wire, *["word " * 200] * 200)).input_tokens == 40_000
