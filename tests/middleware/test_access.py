"""The access log: one line for each call, one for each turn, no prompt and no answer."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
import structlog
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import chat_pb2, completion_pb2, embedding_pb2
from mcp_server import logs
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Call, Finish
from mcp_server.principal import Principal
from mcp_server.settings import LogSettings, ModelSettings, RouteSettings, RoutingSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from tests.conftest import Serve
from tests.wire import Refused, user


class Stream(io.TextIOWrapper):
    """Standard error that can be read back."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def text(self) -> str:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]


@pytest.fixture
def stream() -> Iterator[Stream]:
    """The log of a server, at the level ``debug``, as JSON."""
    handlers = list(logging.getLogger().handlers)
    stream = Stream()
    logs.configure(level="debug", format="json", stream=stream)
    yield stream
    structlog.get_config()["processors"][0].flush()
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


async def test_each_call_is_one_line_with_its_facts(stream: Stream, serve: Serve) -> None:
    """Method, status, time, caller, tenant and turn; the reason only where it says more than the status."""
    wire = await serve()
    await wire.create()
    answer = await wire.say("hello")
    with Refused():
        await wire.say("hello", session="sessions/none")
    created, chat, refused = stream.events("call")
    assert created["method"] == "contextprotocol.v1.SessionService/CreateSession"
    assert (chat["method"], chat["code"], chat["level"]) == ("contextprotocol.v1.ChatService/Chat", "OK", "info")
    assert chat["turn"] == answer.turn
    assert chat["tenant"] == "default"
    assert chat["peer"].startswith("ipv4:127.0.0.1:")
    assert 0 < chat["duration_ms"] < 5000
    assert "reason" not in chat
    assert (refused["code"], refused["reason"], refused["level"]) == ("NOT_FOUND", "SESSION_NOT_FOUND", "info")
    assert list(chat)[:3] == ["time", "level", "event"]


async def test_each_turn_is_one_line_with_its_facts(stream: Stream, serve: Serve) -> None:
    """State, model, attempts, tokens and times."""
    wire = await serve()
    await wire.create()
    answer = await wire.say("one two")
    (turn,) = stream.events("turn")
    assert turn["turn"] == answer.turn
    assert (turn["state"], turn["service"], turn["model"]) == ("succeeded", "chat", "echo/echo")
    assert (turn["attempts"], turn["input_tokens"], turn["output_tokens"]) == (1, 2, 2)
    assert 0 < turn["first_token_ms"] <= turn["duration_ms"] < 5000
    assert turn["level"] == "info"


async def test_a_turn_that_failed_is_a_warning_with_its_reason(stream: Stream, serve: Serve) -> None:
    """An operator looks for these."""
    wire = await serve(providers={"bad": ScriptedProvider([ProviderUnavailable("away")])})
    with Refused():
        await wire.say("hello", session="")
    (turn,) = stream.events("turn")
    assert (turn["level"], turn["state"], turn["reason"]) == ("warning", "failed", "PROVIDER_UNAVAILABLE")


async def test_a_fault_of_the_server_is_an_error(stream: Stream, serve: Serve) -> None:
    """The caller gets an id, and the log has the traceback under it."""
    wire = await serve(providers={"bad": ScriptedProvider([RuntimeError("a bug")])})
    with Refused() as refused:
        await wire.say("hello", session="")
    (call,) = stream.events("call")
    assert (call["code"], call["level"]) == ("INTERNAL", "error")
    faults = [line for line in stream.lines if line.get("error_id") == refused.metadata["error_id"]]
    assert "RuntimeError: a bug" in faults[0]["exception"]


async def test_no_prompt_and_no_answer_is_logged(stream: Stream, serve: Serve) -> None:
    """Not even at the level ``debug``, and not when the call fails."""
    wire = await serve(providers={"model": ScriptedProvider(["the-answer", ProviderUnavailable("away")])})
    await wire.create(system_instruction="the-instruction")
    with Refused():
        await wire.say("the-prompt")
    assert stream.events("turn")
    for word in ("the-instruction", "the-prompt", "the-answer"):
        assert word not in stream.text


async def test_lines_name_the_key_and_the_trace(stream: Stream, serve: Serve) -> None:
    """The public id of the key, the trace of the caller, and for whom the call was made."""

    @contextlib.asynccontextmanager
    async def authenticate(call: Call) -> AsyncIterator[None]:
        call.principal = Principal(tenant="acme", key="k123")
        yield

    wire = await serve(middleware=[authenticate])
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    request = chat_pb2.ChatRequest(messages=[user("hello")], labels={"team": "\x1b[2Jone"})
    await wire.chat.Chat(request, metadata=(("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"),))
    (call,), (turn,) = stream.events("call"), stream.events("turn")
    assert (call["tenant"], call["key"], call["trace_id"]) == ("acme", "k123", trace_id)
    assert (turn["tenant"], turn["key"], turn["labels"]) == ("acme", "k123", {"team": "\x1b[2Jone"})
    assert "\x1b" not in stream.text


async def test_a_trace_that_is_none_is_not_logged(stream: Stream, serve: Serve) -> None:
    """Callers may send anything."""
    wire = await serve()
    await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("hello")]), metadata=(("traceparent", "nonsense"),))
    (call,) = stream.events("call")
    assert "trace_id" not in call


async def test_a_call_to_a_provider_that_fails_is_a_line_at_once(stream: Stream, serve: Serve) -> None:
    """With its turn, which still runs."""
    gate = Gate()
    models = ModelSettings(routes={"both": RouteSettings(targets=("bad/scripted", "good/scripted"))})
    config = msgspec.structs.replace(
        settings(default_model="both"), models=models, routing=RoutingSettings(max_attempts=1)
    )
    providers = {
        "bad": ScriptedProvider([ProviderUnavailable("away")]),
        "good": ScriptedProvider(["a", gate, Finish()]),
    }
    wire = await serve(config, providers=providers)
    call = asyncio.ensure_future(wire.say("hello", session="", model="both"))
    await gate.reached.wait()
    (attempt,) = stream.events("attempt")
    assert not stream.events("turn")
    assert (attempt["model"], attempt["reason"], attempt["error"]) == ("bad/scripted", "PROVIDER_UNAVAILABLE", "away")
    gate.open()
    assert attempt["turn"] == (await call).turn


async def test_an_embedding_is_described_by_its_call(stream: Stream, serve: Serve) -> None:
    """It is no turn: model and tokens stand in the line of the call."""
    wire = await serve()
    await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["one two", "three"], model="echo/echo"))
    (call,) = stream.events("call")
    assert (call["model"], call["attempts"], call["input_tokens"]) == ("echo/echo", 1, 3)


async def test_content_is_logged_where_that_is_switched_on(stream: Stream, serve: Serve) -> None:
    """In a line of its own for each turn, in the form of OpenTelemetry."""
    config = msgspec.structs.replace(settings(default_model="echo/echo"), log=LogSettings(content=True))
    wire = await serve(config, providers={"echo": EchoProvider()})
    answer = await wire.say("the-prompt", session="")
    await wire.completion.Complete(completion_pb2.CompleteRequest(prompt="once"))
    chat, completion = stream.events("content")
    assert chat["turn"] == answer.turn
    assert chat["input"] == [{"role": "user", "parts": [{"type": "text", "content": "the-prompt"}]}]
    (output,) = chat["output"]
    assert (output["role"], output["parts"]) == ("assistant", [{"type": "text", "content": "the-prompt"}])
    assert completion["input"][0]["parts"] == [{"type": "text", "content": "once"}]


async def test_health_checks_are_lines_for_debugging(stream: Stream, serve: Serve) -> None:
    """Machines ask for it all day."""
    wire = await serve()
    await wire.health.Check(health_pb2.HealthCheckRequest())
    (call,) = stream.events("call")
    assert call["level"] == "debug"


def test_lines_below_the_level_are_not_written(stream: Stream) -> None:
    """``warning`` leaves out information."""
    logs.configure(level="warning", format="json", stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in stream.lines] == ["loud"]


def test_a_terminal_gets_lines_for_people(stream: Stream) -> None:
    """``auto`` is the console on a terminal."""
    terminal = Stream(terminal=True)
    logs.configure(level="info", format="auto", stream=terminal)
    structlog.get_logger().info("started", port=1)
    assert "started" in terminal.text
    assert not terminal.text.startswith("{")


def test_what_is_not_a_terminal_gets_json(stream: Stream) -> None:
    """``auto`` is JSON everywhere else, also for what JSON cannot say by itself."""
    logs.configure(level="info", format="auto", stream=stream)
    structlog.get_logger().info("started", thing={1}, broken="a\ud800b")
    (line,) = stream.lines
    assert line["thing"] == "{1}"
    assert line["broken"] == "a?b"


def test_libraries_log_into_the_same_lines(stream: Stream) -> None:
    """Lines of Python's own logging look like all others."""
    logging.getLogger("a.library").warning("watch %s", "out")
    (line,) = stream.lines
    assert (line["event"], line["logger"], line["level"]) == ("watch out", "a.library", "warning")


async def test_a_log_that_nobody_can_write_to_does_not_fail_calls(stream: Stream, serve: Serve) -> None:
    """A full disk behind the log is not the caller's trouble."""
    wire = await serve()
    stream.buffer.close()
    answer = await wire.say("hello", session="")
    assert answer.turn


@pytest.mark.parametrize("format", ["json", "console"])
def test_control_characters_are_shown_and_never_written(stream: Stream, format: str) -> None:
    """Names and messages from elsewhere move no cursor and forge no line, wherever they stand in a line of the log."""
    logs.configure(level="debug", format=format, stream=stream)
    odd = "a\x1b[2J\x7f\x9b31m\u2028b"
    structlog.get_logger().info(f"event {odd}", model=odd)
    try:
        raise ValueError(odd)
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
    assert not any(mark in stream.text for mark in ("\x1b", "\x7f", "\x9b", "\u2028"))
    assert stream.text.count("31m") == 3
