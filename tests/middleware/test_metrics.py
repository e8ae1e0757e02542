"""What Prometheus reads over HTTP from a running server."""

from __future__ import annotations

import asyncio

import msgspec
from prometheus_client import generate_latest

from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish
from mcp_server.middleware.metrics import Metrics
from mcp_server.settings import (
    ModelOverrides,
    ModelSettings,
    PriceSettings,
    RouteSettings,
    RoutingSettings,
)
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, running
from mcp_server.values import Attempt, Usage, UsageSource
from tests.conftest import Serve
from tests.middleware.scrape import CHAT, ECHO, key, read, served
from tests.wire import Refused


async def test_calls_are_counted_by_method_and_status(serve: Serve) -> None:
    """Started, handled by code, how long; and none is in flight when all are answered."""
    wire = await serve(served(), providers={"echo": EchoProvider()})
    await wire.create()
    await wire.say("hello")
    with Refused():
        await wire.say("hello", session="sessions/none")
    samples = await read(wire)
    assert samples[key("grpc_server_started_total", **CHAT)] == 2
    assert samples[key("grpc_server_handled_total", **CHAT, grpc_code="OK")] == 1
    assert samples[key("grpc_server_handled_total", **CHAT, grpc_code="NOT_FOUND")] == 1
    assert samples[key("grpc_server_handling_seconds_count", **CHAT)] == 2
    assert samples[key("grpc_server_in_flight", **CHAT)] == 0


async def test_a_turn_is_counted_with_its_tokens_and_times(serve: Serve) -> None:
    """Three words in, three words out, by the model that answered."""
    wire = await serve(served(), providers={"echo": EchoProvider()})
    await wire.say("one two three", session="")
    samples = await read(wire)
    assert samples[key("contextprotocol_turns_started_total", service="chat")] == 1
    assert samples[key("contextprotocol_turns_running", service="chat")] == 0
    assert samples[key("contextprotocol_turns_ended_total", **ECHO, state="succeeded", reason="")] == 1
    assert samples[key("contextprotocol_tokens_total", **ECHO, direction="input")] == 3
    assert samples[key("contextprotocol_tokens_total", **ECHO, direction="output")] == 3
    assert samples[key("contextprotocol_turn_first_token_seconds_count", **ECHO)] == 1
    assert samples[key("contextprotocol_turn_seconds_count", **ECHO)] == 1
    first = samples[key("contextprotocol_turn_first_token_seconds_sum", **ECHO)]
    assert 0 < first <= samples[key("contextprotocol_turn_seconds_sum", **ECHO)] < 5


async def test_what_runs_now_is_seen_while_it_runs(serve: Serve) -> None:
    """A call and its turn are in flight until the model has answered."""
    gate = Gate()
    usage = Usage(output_tokens=1, source=UsageSource.REPORTED)
    wire = await serve(served("slow/scripted"), providers={"slow": ScriptedProvider(["a", gate, Finish(usage=usage)])})
    call = asyncio.ensure_future(wire.say("hello", session=""))
    await gate.reached.wait()
    samples = await read(wire)
    assert samples[key("grpc_server_in_flight", **CHAT)] == 1
    assert samples[key("contextprotocol_turns_running", service="chat")] == 1
    gate.open()
    await call


async def test_a_failed_turn_is_counted_by_its_reason(serve: Serve) -> None:
    """With the reason, and without a time to the first token."""
    provider = ScriptedProvider([ProviderUnavailable("away")])
    wire = await serve(served("bad/scripted"), providers={"bad": provider})
    with Refused():
        await wire.say("hello", session="")
    samples = await read(wire)
    bad = {"provider": "bad", "model": "scripted"}
    ended = key("contextprotocol_turns_ended_total", **bad, state="failed", reason="PROVIDER_UNAVAILABLE")
    assert samples[ended] == 1
    assert samples[key("contextprotocol_turn_first_token_seconds_count", **bad)] == 0


async def test_sessions_and_the_process_are_measured(serve: Serve) -> None:
    """How many sessions there were at the last sweep, and what the process takes."""
    wire = await serve(served(), providers={"echo": EchoProvider()})
    samples = await read(wire)
    assert samples[key("contextprotocol_sessions")] == 0
    assert samples[key("process_resident_memory_bytes")] > 1_000_000


async def test_each_call_to_a_provider_is_counted(serve: Serve) -> None:
    """By outcome, with its tokens and its cost; and an open circuit breaker is shown."""
    usage = Usage(input_tokens=1_000_000, output_tokens=2_000_000, source=UsageSource.REPORTED)
    good = ScriptedProvider(["fine", Finish(usage=usage)])
    price = PriceSettings(input=0.5, output=2.0)
    models = ModelSettings(
        routes={"both": RouteSettings(targets=("bad/scripted", "good/scripted"))},
        settings={"good/*": ModelOverrides(price=price)},
    )
    routing = RoutingSettings(max_attempts=2, backoff=0, circuit_failures=2)
    config = msgspec.structs.replace(served(), models=models, routing=routing)
    bad = ScriptedProvider([ProviderUnavailable("away")])
    wire = await serve(config, providers={"bad": bad, "good": good})
    await wire.say("hello", session="", model="both")
    samples = await read(wire)
    attempts = "contextprotocol_attempts_ended_total"
    one = {"provider": "bad", "model": "scripted", "outcome": "failed", "reason": "PROVIDER_UNAVAILABLE"}
    other = {"provider": "good", "model": "scripted"}
    assert samples[key(attempts, **one)] == 2
    assert samples[key(attempts, **other, outcome="succeeded", reason="")] == 1
    assert samples[key("contextprotocol_tokens_total", **other, direction="output")] == 2_000_000
    assert samples[key("contextprotocol_cost_total", **other, currency="USD")] == 4.5
    assert samples[key("contextprotocol_circuit_open", provider="bad")] == 1
    assert samples[key("contextprotocol_circuit_open", provider="good")] == 0


def test_models_that_callers_make_up_share_a_label() -> None:
    """Names without end do not become labels without end."""
    metrics = Metrics(max_models=3)
    for number in range(10):
        attempt = Attempt(provider="p", model=f"m{number}", start_time=0, cost_nanos=10**9, currency="EUR")
        metrics.attempts_ended("chat", [attempt])
    text = generate_latest(metrics.registry).decode()
    assert (
        'contextprotocol_attempts_ended_total{model="other",outcome="running",provider="other",reason=""} 7.0' in text
    )
    assert 'contextprotocol_cost_total{currency="EUR",model="other",provider="other"} 7.0' in text
    assert '"m2"' in text
    assert '"m3"' not in text


async def test_no_tenant_session_or_peer_becomes_a_label(serve: Serve) -> None:
    """The number of time series must not grow with the number of callers."""
    wire = await serve(served(), providers={"echo": EchoProvider()})
    await wire.create("a-session-of-mine")
    await wire.say("hello", session="sessions/a-session-of-mine")
    samples = await read(wire)
    labels = {name for _, labels in samples for name, _ in labels}
    ours = labels - {"generation", "implementation", "major", "minor", "patchlevel", "version"}
    gen_ai = {"operation_name", "provider_name", "request_model", "token_type"}
    assert ours == {
        *(*CHAT, "grpc_code", "service", "provider", "model", "state", "reason", "direction", "outcome", "le"),
        *("operation", "error_type", *[f"gen_ai_{name}" for name in gen_ai]),
    }
    assert "a-session-of-mine" not in str(samples)


async def test_without_an_address_no_metrics_are_served() -> None:
    """Empty means off."""
    async with running() as server:
        assert server.metrics_port is None
