"""Metrics of the server as a whole: its store, its event loop, its settings, and what it refuses."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest
from prometheus_client import generate_latest

from mcp_server.errors import BadCredentials, ProviderUnavailable, QuotaExceeded
from mcp_server.interfaces import Call, Finish, Permit, Work
from mcp_server.middleware.metrics import Metrics
from mcp_server.middleware.metrics.families import Families
from mcp_server.middleware.metrics.server import MAX_REASONS, ServerMetrics
from mcp_server.principal import Principal
from mcp_server.settings import ModelSettings, RouteSettings, RoutingSettings
from mcp_server.stores.sqlite.store import SQLiteStore
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from mcp_server.values import Attempt, Usage, UsageSource
from tests.conftest import Serve
from tests.middleware.scrape import ECHO, key, read, read_text, served
from tests.wire import Refused

GEN_AI = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "echo",
    "gen_ai_request_model": "echo",
}
MILLISECOND = 1_000_000


class Strict:
    """Refuses everything by one limit."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def admit(self, principal: Principal, work: Work, /) -> Permit:
        raise self.error


async def test_the_store_is_measured(serve: Serve, tmp_path: Path) -> None:
    """How long its operations take, and how many changes are committed together."""
    wire = await serve(served(), providers={"echo": EchoProvider()}, store=SQLiteStore(tmp_path / "sessions.db"))
    await wire.create()
    await wire.say("hello")
    await wire.history()
    samples = await read(wire)
    changes = samples[key("contextprotocol_store_operation_seconds_count", operation="change")]
    assert changes >= 3
    assert samples[key("contextprotocol_store_operation_seconds_count", operation="read")] >= 1
    assert 0 < samples[key("contextprotocol_store_operation_seconds_sum", operation="change")] < 10
    assert samples[key("contextprotocol_store_batch_changes_sum")] == changes
    assert 1 <= samples[key("contextprotocol_store_commit_seconds_count")] <= changes
    assert samples[key("contextprotocol_store_waiting", operation="change")] == 0
    assert samples[key("contextprotocol_store_failures_total", operation="change")] == 0


async def test_turns_are_counted_by_state(serve: Serve) -> None:
    """One runs, one waits for its session; afterwards the time that it waited is observed."""
    gate = Gate()
    usage = Usage(output_tokens=1, source=UsageSource.REPORTED)
    slow = ScriptedProvider(["a", gate, Finish(usage=usage)], ["b", Finish(usage=usage)])
    wire = await serve(served("slow/scripted"), providers={"slow": slow})
    await wire.create()
    first = asyncio.ensure_future(wire.say("one"))
    await gate.reached.wait()
    second = asyncio.ensure_future(wire.say("two", if_busy="IF_BUSY_QUEUE"))
    samples = await read(wire)
    while not samples[key("contextprotocol_turns", state="queued")]:
        samples = await read(wire)
    assert samples[key("contextprotocol_turns", state="running")] == 1
    gate.open()
    await asyncio.gather(first, second)
    samples = await read(wire)
    assert samples[key("contextprotocol_turns", state="queued")] == 0
    assert samples[key("contextprotocol_turns", state="running")] == 0
    assert samples[key("contextprotocol_turn_queue_seconds_count", service="chat")] == 1
    assert 0 < samples[key("contextprotocol_turn_queue_seconds_sum", service="chat")] < 30
    # The turn that waited says nothing about the server's own speed.
    assert samples[key("contextprotocol_turn_own_seconds_count", service="chat")] == 1


async def test_retries_and_fallbacks_are_counted(serve: Serve) -> None:
    """By the model that failed, and the reason."""
    models = ModelSettings(routes={"both": RouteSettings(targets=("bad/scripted", "echo/echo"))})
    config = msgspec.structs.replace(served(), models=models, routing=RoutingSettings(max_attempts=3, backoff=0))
    wire = await serve(
        config, providers={"bad": ScriptedProvider([ProviderUnavailable("away")]), "echo": EchoProvider()}
    )
    await wire.say("hello", session="", model="both")
    samples = await read(wire)
    failed = {"provider": "bad", "model": "scripted", "reason": "PROVIDER_UNAVAILABLE"}
    assert samples[key("contextprotocol_retries_total", **failed)] == 2
    assert samples[key("contextprotocol_fallbacks_total", **failed)] == 1
    operation = {**GEN_AI, "gen_ai_provider_name": "bad", "gen_ai_request_model": "scripted"}
    duration = "gen_ai_client_operation_duration_seconds_count"
    assert samples[key(duration, **operation, error_type="PROVIDER_UNAVAILABLE")] == 3
    assert samples[key(duration, **GEN_AI, error_type="")] == 1


async def test_a_turn_has_the_metrics_of_opentelemetry(serve: Serve) -> None:
    """By the names of its conventions for generative AI, beside those of the server."""
    wire = await serve(served(), providers={"echo": EchoProvider()})
    await wire.say("one two three", session="")
    samples = await read(wire)
    tokens = "gen_ai_client_token_usage"
    assert samples[key(f"{tokens}_sum", **GEN_AI, gen_ai_token_type="input")] == 3
    assert samples[key(f"{tokens}_bucket", **GEN_AI, gen_ai_token_type="output", le="4.0")] == 1
    for name in ("request_duration", "time_to_first_token", "time_per_output_token"):
        assert samples[key(f"gen_ai_server_{name}_seconds_count", **GEN_AI)] == 1


def test_the_time_between_tokens_is_the_mean_of_a_call() -> None:
    """101 tokens in ten seconds after the first are a tenth of a second apart."""
    metrics = Metrics()
    usage = Usage(output_tokens=101)
    call = Attempt(
        provider="p", model="m", start_time=0, first_token_duration=500 * MILLISECOND, duration=10_500 * MILLISECOND
    )
    alone = msgspec.structs.replace(call, usage=Usage(output_tokens=1), delivered_tokens=1)
    metrics.attempts_ended("chat", [msgspec.structs.replace(call, usage=usage, delivered_tokens=101), alone])
    text = generate_latest(metrics.registry).decode()
    labels = '{model="m",provider="p"}'
    assert f"contextprotocol_token_interval_seconds_sum{labels} 0.1" in text
    assert f"contextprotocol_token_interval_seconds_count{labels} 1.0" in text


async def test_the_event_loop_is_measured(serve: Serve) -> None:
    """What holds it up is seen."""
    wire = await serve(served(), providers={"echo": EchoProvider()})
    count, total = [key(f"contextprotocol_event_loop_lag_seconds_{part}") for part in ("count", "sum")]
    time.sleep(0.4)  # noqa: ASYNC251  # holds the event loop up
    samples = await read(wire)
    while not samples[count]:
        samples = await read(wire)
    assert samples[total] > 0.1


async def test_what_is_refused_is_counted_by_its_limit(serve: Serve) -> None:
    """The limit that the error names."""
    error = QuotaExceeded("used up", metadata={"limit": "requests_per_minute"})
    wire = await serve(served(), providers={"echo": EchoProvider()}, admission=Strict(error))
    with Refused():
        await wire.say("hello", session="")
    samples = await read(wire)
    assert samples[key("contextprotocol_admission_refusals_total", limit="requests_per_minute")] == 1


async def test_callers_that_are_refused_are_counted(serve: Serve) -> None:
    """By the reason of the error, whichever part refuses them."""

    def refuse(call: Call) -> AbstractAsyncContextManager[None]:
        raise BadCredentials("the key is not valid")

    wire = await serve(served(), providers={"echo": EchoProvider()}, middleware=[refuse])
    with Refused():
        await wire.say("hello", session="")
    samples = await read(wire)
    assert samples[key("contextprotocol_authentication_failures_total", reason="BAD_CREDENTIALS")] == 1


def test_the_reasons_are_bounded() -> None:
    """Whatever plug-ins raise, the number of time series is."""
    families = Families()
    metrics = ServerMetrics(families)
    for number in range(2 * MAX_REASONS):
        metrics.caller_refused(f"reason-{number}")
    (family,) = [family for family in families if family.name == "contextprotocol_authentication_failures"]
    assert len(family.collect().samples) == 2 * (MAX_REASONS + 1)  # with the time of its creation


async def test_the_version_and_the_settings_are_shown(serve: Serve) -> None:
    """At the start the first settings are in use."""
    wire = await serve(served(), providers={"echo": EchoProvider()})
    samples = await read(wire)
    assert samples[key("contextprotocol_config_version")] == 1
    assert samples[key("contextprotocol_config_reloads_total", outcome="failed")] == 0
    (version,) = [labels for name, labels in samples if name == "contextprotocol_build_info"]
    assert dict(version)["version"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
async def test_promtool_has_nothing_to_say(serve: Serve, tmp_path: Path) -> None:
    """Names, units and help texts are as Prometheus asks for, of every metric that a busy server has."""
    bad = ScriptedProvider([ProviderUnavailable("away")])
    wire = await serve(
        served(), providers={"echo": EchoProvider(), "bad": bad}, store=SQLiteStore(tmp_path / "sessions.db")
    )
    await wire.create()
    await wire.say("hello")
    with Refused():
        await wire.say("hello", session="", model="bad/scripted")
    text = await read_text(wire)
    assert f'contextprotocol_turn_seconds_count{{model="{ECHO["model"]}"' in text
    promtool = await asyncio.create_subprocess_exec(
        *("promtool", "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await promtool.communicate(text.encode())
    assert (promtool.returncode, out.decode()) == (0, "")
