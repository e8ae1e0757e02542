"""Sending a call again and going on with a stream, unasked, against a server that fails on demand."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

from contextprotocol.v1 import turn_pb2
from mcp_client import (
    DeadlineExceeded,
    Draining,
    MCPClient,
    MCPError,
    Overloaded,
    ProviderUnavailable,
    Retry,
    RetryNotice,
    ServerUnavailable,
    StoreUnavailable,
    TurnInterrupted,
    TurnNotFound,
)
from tests.client.beside import Gate, Moment, StandIn, sleep, spawn
from tests.client.stand_in import OK, STARTED, Failure, Step, text

Event = turn_pb2.TurnEvent
Code = grpc.StatusCode

LOST = Failure()
QUICK = Retry(initial_delay=0.01, max_delay=0.02)


async def test_a_stream_continues_after_the_last_event_that_was_seen() -> None:
    """However often it is cut: the same request, the same id, and no token twice."""
    heartbeat = Event(heartbeat=turn_pb2.Heartbeat())
    server = StandIn(
        [STARTED, LOST],
        [text(2, "a"), text(3, "b"), heartbeat, LOST],
        [LOST],
        [text(4, "c"), LOST],
        [text(7, "d"), OK, LOST],
    )
    async with server, MCPClient(server.address, retry=QUICK) as client, client.stream_chat("Hi") as stream:
        assert [token async for token in stream] == ["a", "b", "c", "d"]
        assert (stream.text, stream.turn, stream.sequence) == ("ok", "turns/t", 9)
    first, *others = server.requests  # after the last, nothing was missing
    assert not first.HasField("after_sequence")
    assert [request.after_sequence for request in others] == [1, 3, 3, 4]
    assert stream.request_id == first.request_id
    for request in others:
        request.ClearField("after_sequence")
        assert request == first


async def test_a_stream_that_saw_nothing_is_sent_again_as_it_was() -> None:
    """Nobody may know its id yet."""
    server = StandIn([LOST], [Event(sequence=0, heartbeat=turn_pb2.Heartbeat()), LOST], [OK])
    async with server, MCPClient(server.address, retry=QUICK) as client, client.stream_chat("Hi") as stream:
        assert (await stream.reply()).text == "ok"
    assert server.requests[0] == server.requests[1] == server.requests[2]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure.of(Code.UNAVAILABLE, "NEWER_THAN_US"), ServerUnavailable),
        (Failure.of(Code.UNAVAILABLE, "DRAINING"), Draining),
        (Failure.of(Code.RESOURCE_EXHAUSTED, "OVERLOADED"), Overloaded),
        (Failure.of(Code.UNAVAILABLE, "TURN_INTERRUPTED"), TurnInterrupted),
        (Failure.of(Code.UNAVAILABLE, "STORE_UNAVAILABLE"), StoreUnavailable),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value.message,
)
async def test_what_may_pass_is_tried_again_unless_it_is_final(failure: Failure, kind: type[MCPError]) -> None:
    """Unary and streamed; a turn that has ended so says that there is no use."""
    final = Failure(failure.code, failure.message, failure.details, pushback="-1")
    server = StandIn([failure], [OK], [failure], [OK], [final])
    async with server, MCPClient(server.address, retry=QUICK) as client:
        assert (await client.chat("Hi")).text == "ok"
        async with client.stream_chat("Hi") as stream:
            assert (await stream.reply()).text == "ok"
        first, again, *_ = server.requests
        assert first == again
        with pytest.raises(kind) as caught:
            await client.chat("Hi")
        assert caught.value.details.final
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (Code.UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
        (Code.UNAVAILABLE, "PROVIDER_RATE_LIMITED"),
        (Code.UNAVAILABLE, "PROVIDER_STREAM_CUT"),
        (Code.DEADLINE_EXCEEDED, "TURN_TIMEOUT"),
        (Code.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"),
        (Code.CANCELLED, "TURN_CANCELLED"),
        (Code.ABORTED, "SESSION_BUSY"),
        (Code.NOT_FOUND, "SESSION_NOT_FOUND"),
        (Code.INTERNAL, "INTERNAL"),
    ],
)
async def test_what_needs_another_request_is_raised_as_it_is(code: Code, reason: str) -> None:
    """At once."""
    async with StandIn([Failure.of(code, reason)]) as server, MCPClient(server.address) as client:
        with pytest.raises(MCPError) as caught:
            await client.chat("Hi")
        with pytest.raises(MCPError):
            async with client.stream_chat("Hi") as stream:
                await stream.reply()
        assert caught.value.reason == reason
    assert len(server.requests) == 2


async def test_a_stream_whose_turn_nobody_knows_any_more_ends() -> None:
    """After a restart of a server that forgets, for example. What had come stays."""
    server = StandIn([STARTED, text(2, "a"), LOST], [Failure.of(Code.NOT_FOUND, "TURN_NOT_FOUND")])
    async with server, MCPClient(server.address, retry=QUICK) as client, client.stream_chat("Hi") as stream:
        assert await anext(stream) == "a"
        for _ in range(2):
            with pytest.raises(TurnNotFound):
                await anext(stream)
        assert stream.text == "a"
    assert server.cancelled == []  # there is nothing to stop


async def test_every_call_that_changes_something_has_an_id_of_its_own() -> None:
    """Random, and the caller's if there is one."""
    async with StandIn() as server, MCPClient(server.address) as client:
        for _ in range(3):
            await client.chat("Hi")
        await client.chat("Hi", request_id="mine")
        async with client.stream_chat("Hi", request_id="mine too") as stream:
            assert stream.request_id == "mine too"
            await stream.reply()
    *random, mine, mine_too = [request.request_id for request in server.requests]
    assert len(set(random)) == 3
    assert all(len(request_id) > 32 for request_id in random)
    assert (mine, mine_too) == ("mine", "mine too")


async def test_a_connection_that_dies_in_the_trailers_is_no_end() -> None:
    """The pushback came, and the error that it belongs to did not."""
    server = StandIn([Failure(pushback="-1")], [OK])
    async with server, MCPClient(server.address, retry=QUICK) as client:
        assert (await client.chat("Hi")).text == "ok"
    assert server.requests[0] == server.requests[1]


async def test_a_call_that_reaches_a_server_as_it_stops_is_sent_again() -> None:
    """gRPC's servers end it CANCELLED, with nothing that says why: nobody has seen it."""
    gone = Failure(Code.CANCELLED, "CANCELLED")
    server = StandIn([gone], [OK], [text(2, "a"), gone], [text(3, "b"), OK])
    async with server, MCPClient(server.address, retry=QUICK) as client:
        assert (await client.chat("Hi")).text == "ok"
        async with client.stream_chat("Hi") as stream:
            assert [token async for token in stream] == ["a", "b"]
    assert server.requests[0] == server.requests[1]
    server = StandIn([gone])
    async with server, MCPClient(server.address, retry=None) as client:
        with pytest.raises(ServerUnavailable) as caught:
            await client.chat("Hi")
    assert caught.value.code == "UNAVAILABLE"


async def test_the_time_that_the_server_asks_for_is_waited() -> None:
    """By its details, or by the trailer for gRPC's own retries alone."""
    notices: list[RetryNotice] = []
    overloaded = Failure.of(Code.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after=0.3)
    server = StandIn([overloaded], [Failure(pushback="200")], [OK])
    async with server, MCPClient(server.address, retry=QUICK, on_retry=notices.append) as client:
        begun = time.monotonic()
        await client.chat("Hi")
        assert time.monotonic() - begun >= 0.5
    assert [notice.delay >= asked for notice, asked in zip(notices, (0.3, 0.2), strict=True)] == [True, True]


async def test_a_server_that_asks_for_too_much_is_not_waited_for() -> None:
    """If the call will be over by then, by its own timeout or for want of patience, the error comes at once."""
    failure = Failure.of(Code.UNAVAILABLE, "DRAINING", retry_after=0.9)
    async with StandIn([failure]) as server, MCPClient(server.address, retry=Retry(patience=0.5)) as client:
        begun = time.monotonic()
        with pytest.raises(Draining) as caught:
            await client.chat("Hi")
        assert caught.value.retry_after == 0.9
    async with StandIn([failure]) as server, MCPClient(server.address) as client:
        with pytest.raises(Draining):
            await client.chat("Hi", timeout=0.5)
        assert time.monotonic() - begun < 0.9


async def test_the_pauses_grow_and_are_random() -> None:
    """Each below its limit, which doubles up to the greatest; after anything was heard they begin anew."""
    notices: list[RetryNotice] = []
    retry = Retry(initial_delay=0.02, max_delay=0.05)
    server = StandIn(*([[LOST]] * 4), [STARTED, text(2, "a"), LOST], [LOST], [OK])
    async with (
        server,
        MCPClient(server.address, retry=retry, on_retry=notices.append) as client,
        client.stream_chat("Hi") as stream,
    ):
        await stream.reply()
    assert [notice.attempt for notice in notices] == [2, 3, 4, 5, 2, 3]
    assert [notice.sequence for notice in notices] == [0, 0, 0, 0, 2, 2]
    for notice, limit in zip(notices, (0.02, 0.04, 0.05, 0.05, 0.02, 0.04), strict=True):
        assert 0 <= notice.delay <= limit
        assert (notice.method, type(notice.error)) == ("ChatService.StreamChat", ServerUnavailable)
    assert len({notice.delay for notice in notices}) == len(notices)


async def test_patience_has_an_end_and_progress_renews_it() -> None:
    """A call that gets nowhere fails as its last attempt did; one that gets on goes on, for longer than that."""
    retry = Retry(patience=0.4, initial_delay=0.05, max_delay=0.1)
    pieces: list[list[Step]] = [[text(number, "x"), LOST] for number in range(2, 22)]
    server = StandIn([STARTED, LOST], *pieces, [OK])
    async with server, MCPClient(server.address, retry=retry) as client, client.stream_chat("Hi") as stream:
        assert len([token async for token in stream]) == 20
    async with StandIn([LOST]) as server, MCPClient(server.address, retry=retry) as client:
        begun = time.monotonic()
        with pytest.raises(ServerUnavailable):
            await client.chat("Hi")
        assert 0.2 < time.monotonic() - begun < 5
        assert len(server.requests) > 2


async def test_a_timeout_holds_for_all_attempts_together() -> None:
    """Of unary calls and streams; the error is the one that there was no time left to get over."""
    async with StandIn([STARTED, LOST]) as server, MCPClient(server.address) as client:
        begun = time.monotonic()
        with pytest.raises((ServerUnavailable, DeadlineExceeded)):
            await client.chat("Hi", timeout=0.3)
        with pytest.raises((ServerUnavailable, DeadlineExceeded)):
            async with client.stream_chat("Hi", timeout=0.3) as stream:
                await stream.reply()
        assert time.monotonic() - begun < 5


async def test_retries_can_be_turned_off() -> None:
    """Then each failure is raised, and nobody is told of another attempt."""
    notices: list[RetryNotice] = []
    server = StandIn([STARTED, LOST], [OK])
    async with server, MCPClient(server.address, retry=None, on_retry=notices.append) as client:
        with pytest.raises(ServerUnavailable):
            await client.chat("Hi")
    assert (len(server.requests), notices) == (1, [])


async def test_what_can_be_done_once_is_sent_once() -> None:
    """Nobody knows whether a deletion whose answer was lost has happened."""
    async with StandIn([LOST]) as server, MCPClient(server.address) as client:
        with pytest.raises(ServerUnavailable):
            await client.delete_session("tour")
    assert len(server.requests) == 1


async def test_closing_the_client_ends_a_pause() -> None:
    """Who waits for the next attempt is told at once."""
    paused = Moment()
    async with StandIn([Failure(pushback="20000")]) as server:
        client = MCPClient(server.address, on_retry=lambda _: paused.set())
        await client.wait_until_ready()
        chat = spawn(client.chat, "Hi")
        await paused.wait()
        await client.close()
        with pytest.raises(ServerUnavailable, match="the client was closed"):
            await chat.result()


async def test_leaving_early_stops_the_turn() -> None:
    """By its name, which is asked for, without beginning anything, if it was not seen."""
    server = StandIn([STARTED, Gate()])
    async with server, MCPClient(server.address) as client:
        async with client.stream_chat("Hi") as stream:
            await anext(stream.events())
        assert server.cancelled == ["turns/t"]
        async with client.stream_chat("Hi"):
            pass
        assert server.cancelled == ["turns/t"] * 2
        assert server.requests[-1].HasField("after_sequence")
        assert server.requests[-1].after_sequence == 0
        with pytest.raises(DeadlineExceeded):
            await client.chat("Hi", timeout=0.2)
        assert server.cancelled == ["turns/t"] * 3
        with pytest.raises(DeadlineExceeded):
            async with client.stream_chat("Hi", timeout=0.2) as stream:
                await stream.reply()
        assert server.cancelled == ["turns/t"] * 4


async def test_leaving_stops_nothing_that_is_to_go_on_or_is_only_watched() -> None:
    """Nor what has ended."""
    server = StandIn([STARTED, Gate()])
    async with server, MCPClient(server.address) as client:
        async with client.stream_chat("Hi", on_disconnect="continue") as stream:
            await anext(stream.events())
        async with client.stream_turn("turns/t") as stream:
            await anext(stream.events())
        with pytest.raises(DeadlineExceeded):
            await client.chat("Hi", timeout=0.2, on_disconnect="continue")
        server.scripts = [[STARTED, OK]]
        async with client.stream_chat("Hi") as stream:
            await stream.reply()
        async with client.stream_chat("Hi") as stream:
            assert [token async for token in stream] == []
        server.scripts = [[STARTED, Failure.of(Code.UNAVAILABLE, "PROVIDER_UNAVAILABLE")]]
        with pytest.raises(ProviderUnavailable):
            async with client.stream_chat("Hi") as stream:
                await stream.reply()
    assert server.cancelled == []


async def test_a_stop_that_fails_is_not_waited_for_long() -> None:
    """Leaving is not held up by a server that does not answer, nor told of it."""
    server = StandIn([STARTED, Gate()], [Gate()])
    async with server, MCPClient(server.address) as client:
        begun = time.monotonic()
        async with client.stream_chat("Hi", request_id="mine"):
            while not server.requests:  # the server tells of nothing
                await sleep(0.01)
        assert time.monotonic() - begun < 10
    assert server.cancelled == []


async def test_a_viewer_waits_for_an_interrupted_turn_only_if_it_was_cut_off_itself() -> None:
    """The caller of the turn is about to send its request again; of a turn that died long ago, nobody is."""
    interrupted = Failure.of(Code.UNAVAILABLE, "TURN_INTERRUPTED")
    server = StandIn([text(2, "a"), LOST], [interrupted], [text(9, "b"), OK], [text(2, "a"), interrupted])
    async with server, MCPClient(server.address, retry=QUICK) as client:
        async with client.stream_turn("turns/t", after_sequence=1) as stream:
            assert [token async for token in stream] == ["a", "b"]
        assert [request.after_sequence for request in server.requests] == [1, 2, 2]
        with pytest.raises(TurnInterrupted):
            async with client.stream_turn("turns/t") as stream:
                await stream.reply()
    assert len(server.requests) == 4


async def test_a_viewer_does_not_wait_forever_for_another_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the request can only send it again when told that it has to be: a browser's page, for example."""
    monkeypatch.setattr("mcp_client._core.retry.RESUME_WAIT", 0.2)
    server = StandIn([text(2, "a"), LOST], [Failure.of(Code.UNAVAILABLE, "TURN_INTERRUPTED")])
    begun = time.monotonic()
    async with server, MCPClient(server.address, retry=QUICK) as client, client.stream_turn("turns/t") as stream:
        with pytest.raises(TurnInterrupted):
            await stream.reply()
    assert 0.2 <= time.monotonic() - begun < 10
    assert len(server.requests) > 3


@pytest.mark.parametrize("retry", [{"patience": 0}, {"initial_delay": -1}, {"max_delay": "long"}])
def test_a_bad_value_is_named(retry: dict[str, Any]) -> None:
    """When it is made."""
    with pytest.raises((ValueError, TypeError), match=next(iter(retry))):
        Retry(**retry)
    with pytest.raises(TypeError, match="retry"):
        MCPClient(retry=3)  # type: ignore[arg-type]  # wrong on purpose


def test_ids_do_not_repeat() -> None:
    """Not even between the calls of many clients."""
    from mcp_client._core.requests import generation

    made = [generation.chat("x", session=None, truncation="auto", options={}).request_id for _ in range(1000)]
    assert len(set(made)) == 1000
