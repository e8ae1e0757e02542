"""Limits: what exceeds one is refused, says which and until when, and takes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from contextprotocol.v1 import chat_pb2, embedding_pb2, generation_pb2, model_pb2, session_pb2, turn_pb2
from mcp_server.interfaces import Finish, ProviderEvent
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from mcp_server.values import Usage, UsageSource
from tests.limits.conftest import ClockHand, Limited, caller
from tests.wire import Refused, collect, user

USED = Usage(input_tokens=10, output_tokens=20, source=UsageSource.REPORTED)
SHORT = generation_pb2.GenerationConfig(max_output_tokens=20)


def answering(*texts: str) -> ScriptedProvider:
    """A provider that reports :data:`USED` with each answer."""
    scripts: list[list[ProviderEvent]] = [[text, Finish(usage=USED)] for text in texts or ("yes",)]
    return ScriptedProvider(*scripts)


def quota_of(refused: Refused) -> tuple[str, str]:
    """Which limit refused a call, and whom it binds."""
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert refused.quota == refused.metadata["subject"]
    return refused.metadata["limit"], refused.quota


async def test_requests_per_minute(limited: Limited, clock: ClockHand) -> None:
    """A burst, then one each time that its share of a minute has passed; other tenants are not bound."""
    callers = await limited(answering(), {"requests_per_minute": 6, "request_burst": 2})
    await callers.chat()
    await callers.chat()
    with Refused() as refused:
        await callers.chat()
    assert quota_of(refused) == ("requests_per_minute", "tenants/t")
    assert refused.retry_after == 10
    for _ in range(5):
        await callers.chat(tenant="other")
    clock.pass_(9)
    with Refused() as refused:
        await callers.chat()
    assert refused.retry_after == 1
    clock.pass_(1)
    await callers.chat()
    with Refused():
        await callers.chat()


async def test_a_replay_counts_as_a_request_and_takes_no_tokens(limited: Limited) -> None:
    """It is never refused itself: its work is done."""
    callers = await limited(answering(), {"requests_per_minute": 3, "tokens_per_day": 10_000})
    for _ in range(5):
        await callers.chat(request_id="same")
    with Refused() as refused:
        await callers.chat()
    assert quota_of(refused) == ("requests_per_minute", "tenants/t")
    assert await callers.sums() == [(1, 1, 10, 20, 50_000)]


async def test_counting_tokens_is_a_request_and_takes_no_tokens(limited: Limited) -> None:
    """Nor does it need what turns need."""
    gate = Gate()
    provider = ScriptedProvider([gate, "yes", Finish(usage=USED)])
    callers = await limited(provider, {"requests_per_minute": 3, "tokens_per_minute": 5_000, "concurrent_turns": 1})
    request = model_pb2.CountTokensRequest(messages=[user("x" * 100_000)])
    running = asyncio.ensure_future(callers.chat())
    await gate.reached.wait()
    for _ in range(2):
        await callers.wire.models.CountTokens(request, metadata=caller("t"))
    with Refused() as refused:
        await callers.wire.models.CountTokens(request, metadata=caller("t"))
    assert quota_of(refused) == ("requests_per_minute", "tenants/t")
    gate.open()
    await running
    assert await callers.sums() == [(1, 1, 10, 20, 50_000)]


@pytest.mark.parametrize("running", [False, True])
async def test_replays_use_up_no_more_than_the_limit(limited: Limited, clock: ClockHand, running: bool) -> None:
    """However many there are: the other keys of the tenant can go on a minute later."""
    gate = Gate()
    provider = ScriptedProvider(["yes", *([gate] if running else []), Finish(usage=USED)], ["no", Finish(usage=USED)])
    callers = await limited(provider, {"requests_per_minute": 3})
    request = chat_pb2.ChatRequest(messages=[user("abcd")], request_id="same")
    for _ in range(9):
        stream = callers.wire.chat.StreamChat(request, metadata=caller("t", "greedy"))
        if running:
            assert (await stream.read()).HasField("started")
        else:
            await collect(stream)
    with Refused():
        await callers.chat()
    clock.pass_(20)
    await callers.chat()
    gate.open()


async def test_tokens_per_minute_are_given_back_when_less_was_used(limited: Limited, clock: ClockHand) -> None:
    """A call takes what it may use at most; its end gives back what it did not use."""
    callers = await limited(answering(), {"tokens_per_minute": 600, "token_burst": 130})
    config = generation_pb2.GenerationConfig(max_output_tokens=100)
    await callers.chat(config=config)  # holds 9 + 100, uses 30
    with Refused() as refused:
        await callers.chat(config=config)  # 30 + 109 are more than 130
    assert quota_of(refused) == ("tokens_per_minute", "tenants/t")
    assert refused.retry_after == pytest.approx(0.9)
    clock.pass_(1)
    await callers.chat(config=config)


async def test_the_largest_numbers_are_counted(limited: Limited) -> None:
    """What takes longer than can be stored is refused; what a model claims to have used is booked all the same."""
    huge = Usage(input_tokens=10, output_tokens=1 << 40, source=UsageSource.REPORTED)
    provider = ScriptedProvider(["yes", Finish(usage=huge)])
    callers = await limited(provider, {"tokens_per_minute": 1, "token_burst": 10**12})
    with Refused() as refused:
        await callers.chat(config=generation_pb2.GenerationConfig(max_output_tokens=2**31 - 1))
    assert quota_of(refused) == ("tokens_per_minute", "tenants/t")
    await callers.chat(config=SHORT)
    assert (await callers.sums())[0][:4] == (1, 1, 10, 1 << 40)
    with Refused() as refused:
        await callers.chat(config=SHORT)
    assert quota_of(refused) == ("tokens_per_minute", "tenants/t")


async def test_more_than_a_burst_is_never_allowed(limited: Limited) -> None:
    """No time is given after which it would be."""
    callers = await limited(answering(), {"tokens_per_minute": 60})
    with Refused() as refused:
        await callers.chat(config=generation_pb2.GenerationConfig(max_output_tokens=100))
    assert quota_of(refused) == ("tokens_per_minute", "tenants/t")
    assert refused.retry_after is None
    assert "use less" in refused.details


@pytest.mark.parametrize(
    ("limits", "limit", "until"),
    [
        ({"tokens_per_day": 90}, "tokens_per_day", 12 * 3600),
        ({"tokens_per_month": 90}, "tokens_per_month", (12 + 16 * 24) * 3600),
        ({"window_hours": 2, "tokens_per_window": 90}, "tokens_per_window", 3600),
        ({"cost_per_day": 0.00015}, "cost_nanos_per_day", 12 * 3600),
        ({"cost_per_month": 0.00015}, "cost_nanos_per_month", (12 + 16 * 24) * 3600),
        ({"window_hours": 2, "cost_per_window": 0.00015}, "cost_nanos_per_window", 3600),
    ],
)
async def test_budgets(limited: Limited, clock: ClockHand, limits: Any, limit: str, until: int) -> None:
    """Tokens and money by day, month and rolling window, each until its time has passed."""
    callers = await limited(answering(), limits)
    for _ in range(3):  # each holds 9 + 20 tokens or less money than it uses in the end: 30 tokens, 50,000 nanos
        await callers.chat(config=SHORT)
    with Refused() as refused:
        await callers.chat(config=SHORT)
    assert quota_of(refused) == (limit, "tenants/t")
    assert refused.retry_after == until
    clock.pass_(until - 1 if "window" not in limit else 2 * 3600 - 1)
    with Refused():
        await callers.chat(config=SHORT)
    clock.pass_(1 if "window" not in limit else 3601)  # the hour that the window begins in counts as a whole
    await callers.chat(config=SHORT)


async def test_a_running_turn_holds_what_it_may_use(limited: Limited) -> None:
    """Its end frees it, however it ends."""
    gate = Gate()
    callers = await limited(
        ScriptedProvider(["x", gate, Finish(usage=USED)], ["y", Finish(usage=USED)]), {"tokens_per_day": 100}
    )
    config = generation_pb2.GenerationConfig(max_output_tokens=80)
    running = asyncio.ensure_future(callers.chat(config=config))
    await gate.reached.wait()
    with Refused() as refused:
        await callers.chat(config=SHORT)
    assert quota_of(refused) == ("tokens_per_day", "tenants/t")
    gate.open()
    await running
    await callers.chat(config=SHORT)
    assert await callers.sums() == [(2, 2, 20, 40, 100_000)]


async def test_concurrent_turns(limited: Limited) -> None:
    """Counted from those that run, those that wait for their session included."""
    gate = Gate()
    callers = await limited(
        ScriptedProvider(["x", gate, Finish(usage=USED)], ["y", Finish(usage=USED)]), {"concurrent_turns": 2}
    )
    await callers.wire.sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="s"), metadata=caller("t"))
    first = asyncio.ensure_future(callers.chat(session="sessions/s"))
    await gate.reached.wait()
    request = chat_pb2.ChatRequest(messages=[user("b")], session="sessions/s", if_busy=generation_pb2.IF_BUSY_QUEUE)
    queued = callers.wire.chat.StreamChat(request, metadata=caller("t"))
    assert (await queued.read()).HasField("queued")
    with Refused() as refused:
        await callers.chat()
    assert quota_of(refused) == ("concurrent_turns", "tenants/t")
    assert refused.retry_after == 1
    gate.open()
    await first
    assert (await collect(queued))[-1].HasField("completed")
    await callers.chat()


@pytest.mark.parametrize("end", ["fails", "is cancelled", "loses its session"])
async def test_every_end_releases_the_hold(limited: Limited, end: str) -> None:
    """And books what was used until then."""
    gate = Gate()
    stop = ValueError("stop")
    provider = ScriptedProvider(["four", gate, stop], ["y", Finish(usage=USED)])
    callers = await limited(provider, {"tokens_per_day": 200, "concurrent_turns": 1})
    await callers.wire.sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="s"), metadata=caller("t"))
    config = generation_pb2.GenerationConfig(max_output_tokens=100)
    request = chat_pb2.ChatRequest(messages=[user("abcd")], session="sessions/s", config=config)
    stream = callers.wire.chat.StreamChat(request, metadata=caller("t"))
    turn = (await stream.read()).started.turn
    await gate.reached.wait()
    if end == "fails":
        gate.open()
    elif end == "is cancelled":
        await callers.wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=turn), metadata=caller("t"))
    else:
        await callers.wire.sessions.DeleteSession(
            session_pb2.DeleteSessionRequest(name="sessions/s"), metadata=caller("t")
        )
    with Refused():
        await collect(stream)
    await callers.wire.server.idle()
    ((turns, attempts, prompt, answer, _),) = await callers.sums()
    assert (turns, answer) == (1, 1)
    assert attempts >= 1
    assert prompt > 0
    await callers.chat(config=config)


async def test_all_limits_are_checked_before_any_is_taken(limited: Limited) -> None:
    """A call that one limit refuses takes nothing of the others, of its tenant or of its key."""
    callers = await limited(
        answering(), {"requests_per_minute": 2}, {"k": {"tokens_per_day": 50}, "free": {"tokens_per_day": 10_000}}
    )
    for _ in range(5):
        with Refused() as refused:
            await callers.chat(key="k", config=generation_pb2.GenerationConfig(max_output_tokens=100))
        assert quota_of(refused) == ("tokens_per_day", "keys/k")
    await callers.chat(key="free")
    await callers.chat(key="k", config=SHORT)
    with Refused() as refused:
        await callers.chat(key="free")
    assert quota_of(refused) == ("requests_per_minute", "tenants/t")


async def test_a_refused_call_leaves_its_request_id_unused(limited: Limited, clock: ClockHand) -> None:
    """The same call succeeds once the limit allows it."""
    callers = await limited(answering(), {"requests_per_minute": 1})
    await callers.chat()
    with Refused():
        await callers.chat(request_id="r")
    clock.pass_(60)
    await callers.chat(request_id="r")


async def test_the_history_of_a_session_counts(limited: Limited) -> None:
    """What a turn holds includes the prompt that the session brings, but not what a rewind has removed."""
    provider = ScriptedProvider([("long " * 100), Finish(usage=USED)], ["y", Finish(usage=USED)])
    callers = await limited(provider, {"tokens_per_minute": 200})
    await callers.wire.sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="s"), metadata=caller("t"))
    append = session_pb2.AppendMessagesRequest(parent="sessions/s", messages=[user("x" * 1000)])
    await callers.wire.sessions.AppendMessages(append, metadata=caller("t"))
    with Refused() as refused:
        await callers.chat(session="sessions/s", config=SHORT)
    assert quota_of(refused) == ("tokens_per_minute", "tenants/t")
    rewind = session_pb2.RewindSessionRequest(name="sessions/s", message_count=0)
    await callers.wire.sessions.RewindSession(rewind, metadata=caller("t"))
    await callers.chat(session="sessions/s", config=SHORT)


async def test_embeddings_are_limited_and_booked(limited: Limited) -> None:
    """As turns, but that they are no turns."""
    callers = await limited(EchoProvider(), {"tokens_per_day": 10})

    async def embed(*texts: str) -> Any:
        request = embedding_pb2.EmbedRequest(inputs=texts, model="p/echo", labels={"team": "a"})
        return await callers.wire.embedding.Embed(request, metadata=caller("t"))

    response = await embed("one two three")
    (used,) = await callers.sums("label:team", "session")
    assert used[:4] == ("a", "", 0, 1)
    assert used[4] == response.usage.input_tokens > 0
    with Refused() as refused:
        await embed("x" * 40)
    assert quota_of(refused) == ("tokens_per_day", "tenants/t")


async def test_sessions_and_stored_bytes(limited: Limited) -> None:
    """Creating and forking count; deleting and rewinding free. A full store takes no messages, and no turns that bring
    some."""
    callers = await limited(answering(), {"sessions": 2, "stored_bytes": 5000})
    sessions, who = callers.wire.sessions, caller("t")
    create = session_pb2.CreateSessionRequest(session_id="c")
    await sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="a"), metadata=who)
    await sessions.ForkSession(session_pb2.ForkSessionRequest(name="sessions/a", session_id="b"), metadata=who)
    for method, request in (
        (sessions.CreateSession, create),
        (sessions.ForkSession, session_pb2.ForkSessionRequest(name="sessions/a")),
    ):
        with Refused() as refused:
            await method(request, metadata=who)
        assert quota_of(refused) == ("sessions", "tenants/t")
        assert refused.retry_after is None
    await sessions.CreateSession(create, metadata=caller("other"))
    append = session_pb2.AppendMessagesRequest(parent="sessions/a", messages=[user("x" * 6000)])
    await sessions.AppendMessages(append, metadata=who)
    update = session_pb2.UpdateSessionRequest(session=session_pb2.Session(name="sessions/a", labels={"a": "b"}))
    update.update_mask.paths.append("labels")
    chat = chat_pb2.ChatRequest(messages=[user("a")], session="sessions/b")
    refusing: list[tuple[Any, Any]] = [
        (sessions.AppendMessages, append),
        (sessions.UpdateSession, update),
        (callers.wire.chat.Chat, chat),
    ]
    for method, refused_request in refusing:
        with Refused() as refused:
            await method(refused_request, metadata=who)
        assert quota_of(refused) == ("stored_bytes", "tenants/t")
    rewind = session_pb2.RewindSessionRequest(name="sessions/a", message_count=0)
    await sessions.RewindSession(rewind, metadata=who)
    await callers.chat(session="sessions/b")
    await sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/a"), metadata=who)
    await sessions.CreateSession(create, metadata=who)
