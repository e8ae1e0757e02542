"""Traces as a collector receives them from a whole server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, embedding_pb2
from mcp_server.errors import ConfigError, ProviderUnavailable
from mcp_server.interfaces import Call, Finish
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
from mcp_server.settings import (
    Config,
    ModelOverrides,
    ModelSettings,
    PriceSettings,
    RouteSettings,
    RoutingSettings,
    TracingSettings,
)
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, running
from mcp_server.values import Usage, UsageSource
from tests.conftest import Serve
from tests.middleware.collector import Collector
from tests.middleware.test_access import Stream, stream
from tests.upstream.server import Upstream
from tests.wire import Refused, user

__all__ = ["stream"]  # a fixture

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
CALLER = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "vendor=1"))
CHAT = "contextprotocol.v1.ChatService/Chat"


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector to which the environment leads."""
    async with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


def traced(default_model: str = "echo/echo", **fields: object) -> Config:
    """Settings with traces."""
    return msgspec.structs.replace(
        settings(default_model=default_model), tracing=TracingSettings(enabled=True), **fields
    )


async def test_a_turn_is_a_trace(collector: Collector, serve: Serve) -> None:
    """The call is the parent of the turn, and the turn of the call to the provider."""
    wire = await serve(traced(), providers={"echo": EchoProvider()})
    await wire.create()
    answer = await wire.say("one two three")
    await wire.server.stop()
    call, turn, attempt = collector.one(CHAT), collector.one("turn chat"), collector.one("chat echo")
    assert (call.kind, turn.kind, attempt.kind) == ("SERVER", "INTERNAL", "CLIENT")
    assert call.trace_id == turn.trace_id == attempt.trace_id
    assert (call.parent, turn.parent, attempt.parent) == ("", call.id, turn.id)
    assert call.attributes["contextprotocol.turn"] == turn.attributes["contextprotocol.turn"] == answer.turn
    assert (call.attributes["rpc.method"], call.attributes["rpc.response.status_code"]) == (CHAT, "OK")
    assert call.attributes["network.peer.address"] == "127.0.0.1"
    assert turn.attributes["contextprotocol.state"] == "succeeded"
    assert turn.attributes["gen_ai.conversation.id"] == "sessions/tour"
    assert turn.attributes["contextprotocol.window.input_tokens"] > 0
    assert attempt.attributes["gen_ai.operation.name"] == "chat"
    assert (attempt.attributes["gen_ai.provider.name"], attempt.attributes["gen_ai.request.model"]) == ("echo", "echo")
    assert attempt.attributes["gen_ai.usage.input_tokens"] == attempt.attributes["gen_ai.usage.output_tokens"] == 3
    assert attempt.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert attempt.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert call.start <= turn.start <= attempt.start <= attempt.end <= turn.end <= call.end
    assert not (call.error or turn.error or attempt.error)
    assert call.resource["service.name"] == "contextprotocol"


async def test_the_trace_of_the_caller_goes_on_upstream(collector: Collector, serve: Serve) -> None:
    """The call belongs to the span of the caller, and the provider receives that of the call to it."""
    async with Upstream() as upstream:
        table = OpenAISettings(base_url=upstream.url, models={"m": OpenAIModel()})
        wire = await serve(traced("far/m", providers={"far": table}))
        request = chat_pb2.ChatRequest(messages=[user("Hello")])
        await wire.chat.Chat(request, metadata=CALLER)
        await wire.server.stop()
        headers = (await upstream.called()).headers
    call, attempt = collector.one(CHAT), collector.one("chat m")
    assert (call.trace_id, call.parent) == (TRACE, PARENT)
    assert attempt.trace_id == TRACE
    assert headers["traceparent"] == f"00-{TRACE}-{attempt.id}-01"
    assert headers["tracestate"] == "vendor=1"


async def test_each_call_to_a_provider_is_a_span(collector: Collector, serve: Serve) -> None:
    """With its reason if it failed, and its price."""
    usage = Usage(input_tokens=1_000_000, output_tokens=5, cached_input_tokens=7, source=UsageSource.REPORTED)
    models = ModelSettings(
        routes={"both": RouteSettings(targets=("bad/scripted", "good/scripted"))},
        settings={"good/*": ModelOverrides(price=PriceSettings(input=2.0))},
    )
    providers = {
        "bad": ScriptedProvider([ProviderUnavailable("away")]),
        "good": ScriptedProvider(["fine", Finish(usage=usage)]),
    }
    config = traced(models=models, routing=RoutingSettings(max_attempts=2, backoff=0))
    wire = await serve(config, providers=providers)
    await wire.say("hello", session="", model="both")
    await wire.server.stop()
    *failed, good = collector.spans("chat scripted")
    assert [span.attributes["error.type"] for span in failed] == ["PROVIDER_UNAVAILABLE"] * 2
    assert all(span.error for span in failed)
    assert "error.type" not in good.attributes
    assert (good.attributes["contextprotocol.cost"], good.attributes["contextprotocol.currency"]) == (2.0, "USD")
    assert good.attributes["gen_ai.usage.cache_read.input_tokens"] == 7
    assert len({span.id for span in collector.spans()}) == 5
    assert collector.one("turn chat").attributes["contextprotocol.attempts"] == 3


async def test_a_turn_that_outlives_its_call_is_linked(collector: Collector, serve: Serve) -> None:
    """It has no parent, for that has ended; what went upstream stays in the trace."""
    gate, ended = Gate(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def watch(call: Call) -> AsyncIterator[None]:
        try:
            yield
        finally:
            ended.set()

    provider = ScriptedProvider(["a", gate, "b", Finish()])
    wire = await serve(traced("slow/scripted"), providers={"slow": provider}, middleware=[watch])
    request = chat_pb2.ChatRequest(messages=[user("Hello")], on_disconnect="ON_DISCONNECT_CONTINUE")
    stream = wire.chat.StreamChat(request, metadata=CALLER)
    await gate.reached.wait()
    stream.cancel()
    await ended.wait()
    gate.open()
    await wire.server.idle()
    await wire.server.stop()
    call, turn = collector.one("contextprotocol.v1.ChatService/StreamChat"), collector.one("turn chat")
    assert call.attributes["rpc.response.status_code"] == "CANCELLED"
    assert call.end < turn.end
    assert turn.parent == ""
    assert turn.links == [(call.trace_id, call.id)]
    assert collector.one("chat scripted").parent == turn.id
    assert {span.trace_id for span in (call, turn, collector.one("chat scripted"))} == {TRACE}


async def test_an_embedding_is_a_part_of_its_call(collector: Collector, serve: Serve) -> None:
    """It is no turn: the call to the provider belongs to the call itself."""
    wire = await serve(traced(), providers={"echo": EchoProvider()})
    await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["one two"], model="echo/echo"))
    await wire.server.stop()
    call, attempt = collector.one("contextprotocol.v1.EmbeddingService/Embed"), collector.one("embeddings echo")
    assert (attempt.parent, attempt.kind) == (call.id, "CLIENT")
    assert not collector.spans("turn")


async def test_what_fails_is_an_error_with_its_reason(collector: Collector, serve: Serve) -> None:
    """A fault of the caller is no error of the server."""
    wire = await serve(traced("bad/scripted"), providers={"bad": ScriptedProvider([RuntimeError("a bug")])})
    with Refused():
        await wire.say("hello", session="sessions/none")
    with Refused():
        await wire.say("hello", session="")
    await wire.server.stop()
    missing, fault = collector.spans(CHAT)
    assert (missing.error, missing.attributes["error.type"]) == (False, "SESSION_NOT_FOUND")
    assert (fault.error, fault.attributes["error.type"]) == (True, "INTERNAL")
    assert collector.one("turn chat").error


async def test_no_content_is_sent(collector: Collector, serve: Serve) -> None:
    """Neither what is asked nor what is answered."""
    wire = await serve(traced("s/scripted"), providers={"s": ScriptedProvider.saying("the-answer")})
    await wire.create(system_instruction="the-instruction")
    await wire.say("the-prompt")
    await wire.server.stop()
    assert collector.spans("turn")
    for word in ("the-instruction", "the-prompt", "the-answer"):
        assert word not in collector.text


async def test_content_is_sent_where_that_is_switched_on(collector: Collector, serve: Serve) -> None:
    """With the call to the provider that gave the answer."""
    config = msgspec.structs.replace(traced("s/scripted"), tracing=TracingSettings(enabled=True, content=True))
    wire = await serve(config, providers={"s": ScriptedProvider.saying("the-answer")})
    await wire.say("the-prompt", session="")
    await wire.server.stop()
    attributes = collector.one("chat scripted").attributes
    (asked,) = json.loads(attributes["gen_ai.input.messages"])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": "the-prompt"}]}
    (answered,) = json.loads(attributes["gen_ai.output.messages"])
    assert (answered["parts"], answered["finish_reason"]) == ([{"type": "text", "content": "the-answer"}], "stop")


async def test_lines_of_the_log_have_the_id_of_the_trace(collector: Collector, serve: Serve, stream: Stream) -> None:
    """Those of the call, of the turn, and of calls to providers that fail."""
    wire = await serve(traced("bad/scripted"), providers={"bad": ScriptedProvider([ProviderUnavailable("away")])})
    with Refused():
        await wire.say("hello", session="")
    await wire.server.stop()
    trace_id = collector.one("turn chat").trace_id
    for event in ("call", "turn", "attempt"):
        assert {line["trace_id"] for line in stream.events(event)} == {trace_id}


async def test_what_the_caller_does_not_sample_is_not_sent(collector: Collector, serve: Serve) -> None:
    """And providers are told so."""
    async with Upstream() as upstream:
        table = OpenAISettings(base_url=upstream.url, models={"m": OpenAIModel()})
        wire = await serve(traced("far/m", providers={"far": table}))
        metadata = (("traceparent", f"00-{TRACE}-{PARENT}-00"),)
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("Hello")]), metadata=metadata)
        await wire.server.stop()
        headers = (await upstream.called()).headers
    assert not collector.spans()
    assert headers["traceparent"].startswith(f"00-{TRACE}-")
    assert headers["traceparent"].endswith("-00")


async def test_the_variables_of_opentelemetry_count(
    collector: Collector, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTLP over HTTP, and a name of the service."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    wire = await serve(traced(), providers={"echo": EchoProvider()})
    await wire.say("hello", session="")
    await wire.server.stop()
    assert collector.one("turn chat").resource["service.name"] == "mine"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OTEL_TRACES_EXPORTER", "nonsense", "no exporter named 'nonsense' is installed"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon", "'pigeon' is not a protocol; allowed: grpc, http/protobuf"),
    ],
)
async def test_a_wrong_variable_is_an_error_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    """It names the variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name}: {message}"):
        async with running(traced(), providers={"echo": EchoProvider()}):
            pass


async def test_a_collector_that_is_away_does_not_keep_the_server_from_stopping(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be sent is lost."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("mcp_server.middleware.tracing.FLUSH_SECONDS", 0.1)
    wire = await serve(traced(), providers={"echo": EchoProvider()})
    await wire.say("hello", session="")
    async with asyncio.timeout(5):
        await wire.server.stop()


async def test_opentelemetry_is_imported_only_if_it_is_used() -> None:
    """It takes time and memory that most servers do not need."""
    program = """
import asyncio, sys
from mcp_server.testing import running

async def main():
    async with running():
        print([name for name in sys.modules if name.startswith("opentelemetry")])

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.decode().splitlines()[-1] == "[]"


async def test_without_opentelemetry_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "mcp_server.middleware.tracing", None)
    with pytest.raises(ConfigError, match=r"^tracing\.enabled: .* pip install 'contextprotocol\[otel\]'"):
        async with running(traced(), providers={"echo": EchoProvider()}):
            pass
