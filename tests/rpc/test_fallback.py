"""What happens when a provider fails: which is asked next, what the caller sees of it, and what is written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import grpc
import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, completion_pb2, embedding_pb2, errors_pb2, message_pb2, model_pb2, turn_pb2
from mcp_server.errors import (
    ContextTooLong,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStreamCut,
    ProviderUnavailable,
)
from mcp_server.interfaces import Finish, GenerateRequest, Provider, ProviderEvent, ToolCallStart
from mcp_server.settings import (
    Config,
    ModelOverrides,
    ModelSettings,
    PriceSettings,
    RouteSettings,
    RoutingSettings,
)
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, Step
from mcp_server.values import Capabilities, Model, Usage, UsageSource
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, user

CHAT = Capabilities(chat=True, completion=True)
PREFILL = Capabilities(chat=True, completion=True, prefill=True)
DOWN = ProviderUnavailable("it is down")
CUT = ProviderStreamCut("the line went dead")
_TIMEOUT = errors_pb2.ERROR_REASON_PROVIDER_TIMEOUT
_CUT = errors_pb2.ERROR_REASON_PROVIDER_STREAM_CUT
Replies = list[Sequence[Step]]


def config(
    *targets: str,
    overrides: Mapping[str, ModelOverrides] | None = None,
    weights: tuple[float, ...] = (),
    **routing: Any,
) -> Config:
    """One route, ``smart``, over the ``targets``, which is the default; it does not wait between calls."""
    route = RouteSettings(targets=targets, weights=weights)
    models = ModelSettings(
        default="smart", default_embedding="smart", routes={"smart": route}, settings=overrides or {}
    )
    return msgspec.structs.replace(
        settings(), models=models, routing=RoutingSettings(**{"backoff": 0.0, "max_attempts": 2, **routing})
    )


def scripted(*replies: Sequence[Step], can: Capabilities = CHAT, window: int = 0) -> ScriptedProvider:
    """A provider whose model is ``m``."""
    return ScriptedProvider(*replies, model=Model(name="m", capabilities=can, context_window=window))


def ask(**fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(messages=[user("Tell me.")], **fields)


def rows(turn: turn_pb2.TurnCompleted | turn_pb2.Turn) -> list[tuple[str, str]]:
    """The provider and the outcome of each attempt."""
    return [
        (row.provider, turn_pb2.TurnState.Name(row.outcome).removeprefix("TURN_STATE_").lower())
        for row in turn.attempts
    ]


async def the_turn(wire: Wire, refused: Refused) -> turn_pb2.Turn:
    turn: turn_pb2.Turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=refused.metadata["turn"]))
    return turn


async def test_a_model_is_asked_again_and_then_the_next(serve: Serve) -> None:
    """Each gets its calls, one after the other; the caller sees who answers, and each call has its row."""
    a, b = scripted([DOWN]), scripted([DOWN], ["fine", Finish()])
    wire = await serve(config("a/m", "b/m"), providers={"a": a, "b": b})
    events = await collect(wire.chat.StreamChat(ask()))
    assert [event.WhichOneof("event") for event in events] == [
        "started",
        "switched",
        "part_started",
        "delta",
        "completed",
    ]
    assert events[0].started.model == "a/m"
    switched = events[1].switched
    assert (switched.from_model, switched.to_model) == ("a/m", "b/m")
    assert switched.mode == turn_pb2.AttemptSwitched.MODE_RESTARTED
    assert switched.reason == errors_pb2.ERROR_REASON_PROVIDER_UNAVAILABLE
    done = events[-1].completed
    assert rows(done) == [("a", "failed"), ("a", "failed"), ("b", "failed"), ("b", "succeeded")]
    assert done.message.model == "b/m"
    assert [row.usage.input_tokens + row.usage.output_tokens for row in done.attempts[:3]] == [0, 0, 0]


async def test_when_all_fail_the_last_error_is_told(serve: Serve) -> None:
    """The turn has failed, with a row for each call."""
    wire = await serve(config("a/m", "b/m"), providers={"a": scripted([DOWN]), "b": scripted([CUT])})
    with Refused() as refused:
        await wire.chat.Chat(ask())
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_STREAM_CUT")
    turn = await the_turn(wire, refused)
    assert turn.state == turn_pb2.TURN_STATE_FAILED
    assert rows(turn) == [("a", "failed"), ("a", "failed"), ("b", "failed"), ("b", "failed")]


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "folded"])
async def test_a_cut_answer_begins_anew_with_the_next(serve: Serve, streams: bool) -> None:
    """RESTARTED drops what was said; what is stored is the second answer alone."""
    wire = await serve(
        config("a/m", "b/m"),
        providers={"a": scripted(["Once ", "upon", CUT]), "b": scripted(["A whole ", "answer.", Finish()])},
    )
    await wire.create()
    if streams:
        events = await collect(wire.chat.StreamChat(ask(session="sessions/tour")))
        kinds = [event.WhichOneof("event") for event in events]
        assert kinds[0] == "started"
        assert kinds.index("delta") < kinds.index("switched") < kinds.index("completed")
        assert [event.part_started.part for event in events if event.WhichOneof("event") == "part_started"] == [0, 0]
        done = events[-1].completed
    else:
        done = (await wire.chat.Chat(ask(session="sessions/tour"))).completed
    assert rows(done) == [("a", "failed"), ("b", "succeeded")]
    assert done.attempts[0].delivered_tokens == 3
    assert await wire.history() == [("USER", "Tell me."), ("ASSISTANT", "A whole answer.")]


async def test_a_cut_answer_goes_on_where_the_next_can(serve: Serve) -> None:
    """CONTINUED keeps what was said: the next model is shown it, and the whole is one part."""
    b = scripted(["upon a time.", Finish()], can=PREFILL)
    wire = await serve(config("a/m", "b/m", on_cut="continue"), providers={"a": scripted(["Once ", CUT]), "b": b})
    await wire.create()
    events = await collect(wire.chat.StreamChat(ask(session="sessions/tour")))
    assert [event.WhichOneof("event") for event in events] == [
        *["started", "part_started", "delta"],
        *["switched", "delta"],
        "completed",
    ]
    assert events[3].switched.mode == turn_pb2.AttemptSwitched.MODE_CONTINUED
    assert [message.role.value for message in b.requests[0].messages] == ["user", "assistant"]
    assert b.requests[0].messages[-1].text == "Once "
    assert await wire.history() == [("USER", "Tell me."), ("ASSISTANT", "Once upon a time.")]
    done = events[-1].completed
    assert [row.delivered_tokens for row in done.attempts] == [2, 3]


@pytest.mark.parametrize(
    ("output", "can"),
    [
        (["Once "], CHAT),
        ([ToolCallStart(id="c", name="add")], Capabilities(chat=True, tools=True, prefill=True)),
    ],
    ids=["takes no prefill", "has called a tool"],
)
async def test_where_none_can_go_on_the_answer_begins_anew(
    serve: Serve, output: Sequence[ProviderEvent], can: Capabilities
) -> None:
    """``continue`` is no promise."""
    wire = await serve(
        config("a/m", "b/m", on_cut="continue"),
        providers={"a": scripted([*output, CUT], can=can), "b": scripted(["All of it.", Finish()], can=can)},
    )
    events = await collect(wire.chat.StreamChat(ask()))
    (switched,) = [event.switched for event in events if event.WhichOneof("event") == "switched"]
    assert switched.mode == turn_pb2.AttemptSwitched.MODE_RESTARTED
    assert events[-1].completed.message.parts[0].text == "All of it."


async def test_a_completion_goes_on_from_its_prompt(serve: Serve) -> None:
    """What was said becomes a part of the prompt."""
    b = scripted(["three", Finish()], can=PREFILL)
    wire = await serve(config("a/m", "b/m", on_cut="continue"), providers={"a": scripted(["two ", CUT]), "b": b})
    answer = await wire.completion.Complete(completion_pb2.CompleteRequest(prompt="one "))
    assert b.requests[0].prompt == "one two "
    assert answer.completed.message.parts[0].text == "two three"


async def test_fail_keeps_what_was_said(serve: Serve) -> None:
    """Nobody else is asked; the turn has the text, the history has not."""
    b = scripted(["never", Finish()])
    wire = await serve(config("a/m", "b/m", on_cut="fail"), providers={"a": scripted(["Once ", DOWN]), "b": b})
    await wire.create()
    with Refused() as refused:
        await collect(wire.chat.StreamChat(ask(session="sessions/tour")))
    assert refused.reason == "PROVIDER_STREAM_CUT"
    turn = await the_turn(wire, refused)
    assert turn.message.parts[0].text == "Once "
    assert not b.requests
    assert await wire.history() == []


@pytest.mark.parametrize(
    ("error", "reason", "asked"),
    [
        (ProviderRejected("no", metadata={"cause": "content"}), "PROVIDER_REJECTED", (1, 0)),
        (ProviderRejected("no", metadata={"cause": "credentials"}), "", (1, 1)),
        (ContextTooLong("long"), "CONTEXT_TOO_LONG", (1, 0)),
        (ValueError("a bug"), "", (1, 1)),
    ],
    ids=["content", "credentials", "too long", "bug"],
)
async def test_what_cannot_succeed_is_not_tried_again(
    serve: Serve, error: Exception, reason: str, asked: tuple[int, int]
) -> None:
    """Refused content goes nowhere else, bad credentials go to another provider, a long prompt to a longer window."""
    a, b = scripted([error], window=1000), scripted(["fine", Finish()], window=1000)
    wire = await serve(config("a/m", "b/m"), providers={"a": a, "b": b})
    with suppress(grpc.aio.AioRpcError) if not reason else Refused() as refused:
        await wire.chat.Chat(ask())
    assert (len(a.requests), len(b.requests)) == asked
    if reason:
        assert isinstance(refused, Refused)
        assert refused.reason == reason


async def test_a_long_prompt_goes_to_the_longer_window(serve: Serve) -> None:
    """By what the models say of themselves, and by what they say when asked."""
    a, b, c = (
        scripted(["a", Finish()], window=300),
        scripted([ContextTooLong("long")], window=600),
        scripted(["c", Finish()], window=2000),
    )
    wire = await serve(config("a/m", "b/m", "c/m"), providers={"a": a, "b": b, "c": c})
    done = (await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("word " * 300)]))).completed
    assert rows(done) == [("b", "failed"), ("c", "succeeded")]
    assert not a.requests


async def test_a_call_that_was_never_made_tells_nothing_of_a_provider(serve: Serve) -> None:
    """A prompt that is refused before anybody is asked does not close a circuit."""
    a = scripted([DOWN], window=300)
    wire = await serve(config("a/m", max_attempts=1, circuit_failures=1, circuit_seconds=0.2), providers={"a": a})
    with Refused():
        await wire.chat.Chat(ask())
    while len(a.requests) < 2:  # the circuit is open, then a call is let through on trial
        with Refused() as long:
            await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("word " * 300)]))
        if long.reason == "CONTEXT_TOO_LONG":
            with Refused():
                await wire.chat.Chat(ask())
    with Refused() as refused:
        await wire.chat.Chat(ask())
    assert "circuit breaker open" in refused.details


async def test_calls_go_only_where_they_can_be_answered(serve: Serve) -> None:
    """A call with an image passes over the model that sees none; with none left it is refused."""
    sees = Capabilities(chat=True, images=True)
    a, b = scripted(["a", Finish()]), scripted(["b", Finish()], can=sees)
    wire = await serve(config("a/m", "b/m"), providers={"a": a, "b": b})
    blob = message_pb2.Part(blob=message_pb2.Blob(mime_type="image/png", data=b"x"))
    picture = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[blob])
    assert rows((await wire.chat.Chat(chat_pb2.ChatRequest(messages=[picture]))).completed) == [("b", "succeeded")]
    assert rows((await wire.chat.Chat(ask())).completed) == [("a", "succeeded")]
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[picture], model="a/m"))
    assert (refused.reason, refused.metadata["capability"]) == ("UNSUPPORTED_BY_MODEL", "images")


async def test_another_key_is_tried_at_once(serve: Serve) -> None:
    """``retry_after=0`` asks the same provider again, more often than ``max_attempts``."""
    keys: Replies = [
        [ProviderRateLimited("slow down", retry_after=0)],
        [ProviderRejected("bad key", metadata={"cause": "credentials"}, retry_after=0)],
        [ProviderRateLimited("slow down", retry_after=0)],
        ["fine", Finish()],
    ]
    wire = await serve(config("a/m", "b/m"), providers={"a": scripted(*keys), "b": scripted(["b", Finish()])})
    done = (await wire.chat.Chat(ask())).completed
    assert rows(done) == [("a", "failed")] * 3 + [("a", "succeeded")]


async def test_who_asks_for_peace_is_left_alone(serve: Serve) -> None:
    """With Retry-After the turn goes to the next provider, and so do those after it; alone, it waits."""
    busy = ProviderRateLimited("slow down", retry_after=60)
    a, b = scripted([busy], ["a", Finish()]), scripted(["b", Finish()])
    wire = await serve(config("a/m", "b/m"), providers={"a": a, "b": b})
    assert rows((await wire.chat.Chat(ask())).completed) == [("a", "failed"), ("b", "succeeded")]
    assert rows((await wire.chat.Chat(ask())).completed) == [("b", "succeeded")]
    soon = ProviderRateLimited("slow down", retry_after=0.05)
    wire = await serve(config("c/m"), providers={"c": scripted([soon], ["c", Finish()])})
    assert rows((await wire.chat.Chat(ask())).completed) == [("c", "failed"), ("c", "succeeded")]
    wire = await serve(config("d/m"), providers={"d": scripted([busy])})
    request = ask()
    request.timeout.FromSeconds(10)
    with Refused() as refused:
        await wire.chat.Chat(request)
    assert (refused.reason, refused.retry_after) == ("PROVIDER_RATE_LIMITED", 60)


async def test_a_provider_that_is_down_is_asked_no_more(serve: Serve) -> None:
    """The circuit opens after so many failures; then one call decides whether it closes again."""
    a = scripted([DOWN], [DOWN], [DOWN], ["a", Finish()])
    b = scripted(["b", Finish()])
    wire = await serve(
        config("a/m", "b/m", max_attempts=1, circuit_failures=2, circuit_seconds=0.3), providers={"a": a, "b": b}
    )
    seen = [rows((await wire.chat.Chat(ask())).completed) for _ in range(4)]
    assert seen == [[("a", "failed"), ("b", "succeeded")]] * 2 + [[("b", "succeeded")]] * 2
    with Refused() as refused:
        await wire.chat.Chat(ask(model="a/m"))
    assert refused.reason == "PROVIDER_UNAVAILABLE"
    assert refused.retry_after is not None
    assert len(a.requests) == 2
    await _passes(wire, a, 3)  # on trial, and failed: it is open again
    assert rows((await wire.chat.Chat(ask())).completed) == [("b", "succeeded")]
    await _passes(wire, a, 4)  # on trial, and well
    assert rows((await wire.chat.Chat(ask())).completed) == [("a", "succeeded")]


async def _passes(wire: Wire, provider: ScriptedProvider, calls: int) -> None:
    """Chat until the provider has been asked so often."""
    while len(provider.requests) < calls:
        await wire.chat.Chat(ask())


async def test_an_open_circuit_shows(serve: Serve) -> None:
    """The models of a provider whose circuit is open are UNAVAILABLE, and say why."""
    wire = await serve(config("a/m", max_attempts=1, circuit_failures=1), providers={"a": scripted([DOWN])})
    with Refused():
        await wire.chat.Chat(ask())
    request = model_pb2.GetModelRequest(name="models/a/m")
    while (model := await wire.models.GetModel(request)).state != model_pb2.Model.STATE_UNAVAILABLE:  # noqa: ASYNC110  # nobody tells of it
        await asyncio.sleep(0.05)  # what is known of models may be a second old
    assert "circuit breaker open" in model.state_reason


class Stubborn:
    """A provider that says one word, and then does not stop whatever happens."""

    def __init__(self, word: str = "") -> None:
        self.word = word
        self.going = asyncio.Event()
        self.release = asyncio.Event()

    async def models(self) -> Sequence[Model]:
        return [Model(name="m", capabilities=CHAT)]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        if self.word:
            yield self.word
        self.going.set()
        while not self.release.is_set():
            with suppress(asyncio.CancelledError):
                await self.release.wait()
        yield "too late"
        yield Finish()

    async def close(self) -> None:
        self.release.set()


@pytest.mark.parametrize(
    ("word", "limits", "reason"),
    [
        ("", ModelOverrides(first_token_timeout=0.05), _TIMEOUT),
        ("Once", ModelOverrides(silence_timeout=0.05), _CUT),
        ("", ModelOverrides(attempt_timeout=0.05), _TIMEOUT),
        ("Once", ModelOverrides(attempt_timeout=0.05), _CUT),
    ],
    ids=["first token", "silence", "whole, silent", "whole, begun"],
)
@pytest.mark.parametrize("stubborn", [True, False], ids=["does not stop", "stops"])
async def test_a_provider_that_says_nothing_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, word: str, limits: ModelOverrides, reason: int, stubborn: bool
) -> None:
    """Its limit is up, the next one answers, and what comes too late goes nowhere."""
    monkeypatch.setattr("mcp_server.models.provider_call.CLEANUP_SECONDS", 0.05)
    hanging: Sequence[Step] = [word, Gate()] if word else [Gate()]
    a: Provider = Stubborn(word) if stubborn else scripted(hanging)
    b = scripted([0.1, "fine", Finish()])
    overrides = {"a/*": limits}
    wire = await serve(config("a/m", "b/m", overrides=overrides, max_attempts=1), providers={"a": a, "b": b})
    call = asyncio.create_task(collect(wire.chat.StreamChat(ask())))
    if isinstance(a, Stubborn):
        await a.going.wait()
        while not b.requests:  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.01)
        a.release.set()
    done = (await call)[-1].completed
    assert rows(done) == [("a", "failed"), ("b", "succeeded")]
    assert done.attempts[0].error.reason == reason
    assert done.message.parts[0].text == "fine"


async def test_a_stubborn_provider_holds_nobody_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """CancelTurn returns, and the session is free."""
    monkeypatch.setattr("mcp_server.models.provider_call.CLEANUP_SECONDS", 0.05)
    a = Stubborn("Once")
    wire = await serve(config("a/m", "b/m"), providers={"a": a, "b": scripted(["fine", Finish()])})
    await wire.create()
    call = wire.chat.StreamChat(ask(session="sessions/tour"))
    name = (await call.read()).started.turn
    await a.going.wait()
    turn = await wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=name))
    assert turn.state == turn_pb2.TURN_STATE_CANCELLED
    assert rows(turn) == [("a", "cancelled")]
    assert (await wire.say("again", model="b/m")).completed.message.parts[0].text == "fine"


async def test_a_cancel_ends_a_wait_between_two_calls(serve: Serve) -> None:
    """Nobody is asked again, and the turn is CANCELLED with the row of the call that failed."""
    a = scripted(["Once", DOWN])
    wire = await serve(config("a/m", backoff=60.0, max_backoff=60.0), providers={"a": a})
    call = wire.chat.StreamChat(ask())
    name = (await call.read()).started.turn
    while not (turn := await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))).attempts[-1].HasField("error"):  # noqa: ASYNC110  # nobody tells of it
        await asyncio.sleep(0.01)
    assert turn.state == turn_pb2.TURN_STATE_RUNNING
    turn = await wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=name))
    assert turn.state == turn_pb2.TURN_STATE_CANCELLED
    assert rows(turn) == [("a", "failed")]
    assert turn.message.parts[0].text == "Once"
    assert len(a.requests) == 1


async def test_the_first_is_drawn_by_weight(serve: Serve) -> None:
    """A model of weight 0 is only asked when others fail."""
    a, b, c = scripted(["a", Finish()]), scripted(["b", Finish()]), scripted(["c", Finish()])
    wire = await serve(config("a/m", "b/m", "c/m", weights=(0, 1, 1)), providers={"a": a, "b": b, "c": c})
    for _ in range(40):
        await wire.chat.Chat(ask())
    assert not a.requests
    assert len(b.requests) + len(c.requests) == 40
    assert b.requests and c.requests  # by chance with a probability of 2 ** -39 not


async def test_costs_are_added_up(serve: Serve) -> None:
    """Each row has its cost, and what a failed call took counts."""
    usage = Usage(input_tokens=1000, cached_input_tokens=400, output_tokens=50, source=UsageSource.REPORTED)
    price = PriceSettings(input=2.0, output=8.0, cached_input=0.5, currency="EUR")
    a, b = scripted(["one two", CUT]), scripted(["fine", Finish(usage=usage)])
    wire = await serve(
        config("a/m", "b/m", overrides={"b/*": ModelOverrides(price=price)}, max_attempts=1),
        providers={"a": a, "b": b},
    )
    cut, done = (completed := (await wire.chat.Chat(ask())).completed).attempts
    assert (done.cost_nanos, done.currency) == (600 * 2000 + 400 * 500 + 50 * 8000, "EUR")
    assert (cut.cost_nanos, cut.currency) == (0, "")
    assert cut.usage.output_tokens == 2
    assert completed.usage.output_tokens == 52


async def test_embeddings_fall_back_too(serve: Serve) -> None:
    """With a row for each call."""

    class Broken(EchoProvider):
        async def embed(self, request: Any, /) -> Any:
            raise DOWN

    wire = await serve(config("a/echo", "b/echo"), providers={"a": Broken(), "b": EchoProvider()})
    made = await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["abc"]))
    assert made.model == "b/echo"
    assert rows(made) == [("a", "failed"), ("a", "failed"), ("b", "succeeded")]
    wire = await serve(config("a/echo"), providers={"a": Broken()})
    with Refused() as refused:
        await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["abc"]))
    assert refused.reason == "PROVIDER_UNAVAILABLE"


async def test_a_wildcard_names_many_models(serve: Serve) -> None:
    """The same text stands in the name and in the targets."""
    route = RouteSettings(targets=("a/*", "b/*"))
    models = ModelSettings(routes={"any-*": route, "*": RouteSettings(targets=("b/m",))})
    wire = await serve(
        msgspec.structs.replace(settings(), models=models),
        providers={"a": scripted([DOWN]), "b": scripted(["fine", Finish()])},
    )
    assert rows((await wire.chat.Chat(ask(model="any-m"))).completed) == [("a", "failed"), ("b", "succeeded")]
    assert rows((await wire.chat.Chat(ask(model="whatever"))).completed) == [("b", "succeeded")]
    with Refused() as refused:
        await wire.chat.Chat(ask(model="any-other"))
    assert refused.reason == "MODEL_NOT_FOUND"
