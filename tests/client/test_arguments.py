"""What cannot be sent is said at once, with the name of the argument, and nothing is sent."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from mcp_client import Blob, ContextEntry, Limits, MCPClient, Message, Role, Text, ToolCall, TurnStream

HALF = "half a pair: \ud83d"

Act = Callable[[MCPClient], Awaitable[Any] | TurnStream]


def nested(depth: int) -> dict[str, Any]:
    """Objects in one another."""
    return {"a": nested(depth - 1)} if depth else {}


async def first(items: Any) -> Any:
    """The first item of a list that is fetched as it is read."""
    return await anext(items)


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("session_id", lambda c: c.create_session(HALF)),
        ("labels", lambda c: c.create_session(labels={"a": HALF})),
        ("labels", lambda c: c.create_session(labels={HALF: "a"})),
        ("metadata", lambda c: c.create_session(metadata={"a": [HALF]})),
        ("metadata", lambda c: c.create_session(metadata={"a": object()})),
        ("metadata", lambda c: c.create_session(metadata={"a": math.nan})),
        ("metadata", lambda c: c.create_session(metadata={"a": 2**53 + 1})),
        ("metadata", lambda c: c.create_session(metadata={"a": {1: 2}})),
        ("metadata", lambda c: c.create_session(metadata=nested(40))),
        ("system_instruction", lambda c: c.create_session(system_instruction=HALF)),
        ("system_instruction", lambda c: c.create_session(system_instruction=7)),
        ("default_model", lambda c: c.create_session(default_model=HALF)),
        ("context['a']", lambda c: c.create_session(context={"a": HALF})),
        ("context['a']", lambda c: c.create_session(context={"a": ContextEntry(type="json", json={"b": HALF})})),
        ("context['a']", lambda c: c.create_session(context={"a": ContextEntry(data="x", mime_type="y")})),  # type: ignore[arg-type]  # wrong on purpose
        (r"context['half a pair: \ud83d']", lambda c: c.create_session(context={HALF: "a"})),
        ("ttl", lambda c: c.create_session(ttl=math.nan)),
        ("ttl", lambda c: c.create_session(ttl=math.inf)),
        ("ttl", lambda c: c.create_session(ttl="soon")),
        ("ttl", lambda c: c.create_session(ttl=1e30)),
        ("ttl", lambda c: c.create_session(ttl="60")),
        ("context", lambda c: c.update_session("a", context=None)),
        ("context['a']", lambda c: c.create_session(context={"a": ContextEntry(text="b", data=b"c")})),
        ("timeout", lambda c: c.create_session(timeout=0)),
        ("timeout", lambda c: c.create_session(timeout=math.nan)),
        ("timeout", lambda c: c.create_session(timeout="soon")),
        ("timeout", lambda c: c.create_session(timeout=timedelta(seconds=-1))),
        ("session", lambda c: c.get_session(HALF)),
        ("session", lambda c: c.get_session(7)),
        ("labels", lambda c: first(c.list_sessions(labels={"a": HALF}))),
        ("labels", lambda c: first(c.list_sessions(labels=7))),
        ("page_size", lambda c: first(c.list_sessions(page_size=2**40))),
        ("page_size", lambda c: first(c.list_messages("a", page_size=2**40))),
        ("etag", lambda c: c.update_session("a", etag=HALF)),
        ("labels", lambda c: c.update_session("a", labels={"a": HALF})),
        ("metadata", lambda c: c.update_session("a", metadata={"a": HALF})),
        ("system_instruction", lambda c: c.update_session("a", system_instruction=HALF)),
        ("set_context['a']", lambda c: c.update_session("a", set_context={"a": HALF})),
        ("remove_context", lambda c: c.update_session("a", remove_context=[HALF])),
        ("etag", lambda c: c.delete_session("a", etag=HALF)),
        ("messages", lambda c: c.append_messages("a", HALF)),
        ("etag", lambda c: c.append_messages("a", "b", etag=HALF)),
        ("messages", lambda c: c.chat(HALF)),
        ("messages", lambda c: c.chat(["fine", HALF])),
        ("messages", lambda c: c.chat(7)),
        ("messages[0].role", lambda c: c.chat([{"role": "model", "content": "Hi"}])),
        ("messages.role", lambda c: c.chat({"content": "Hi"})),
        ("messages[1]", lambda c: c.chat(["Hi", 7])),
        ("messages", lambda c: c.chat(Message(role=Role.USER, parts=[Blob(mime_type="a/b", data=b"c", uri="d:")]))),
        ("messages", lambda c: c.chat(Message(role=Role.UNKNOWN, parts=[Text(text="Hi")]))),
        ("messages", lambda c: c.chat(Message(role=Role.USER, parts="Hi"))),  # type: ignore[arg-type]  # wrong on purpose
        ("messages", lambda c: c.chat(Message(role=Role.USER, parts=[ToolCall(id=HALF, name="x")]))),
        ("truncation", lambda c: c.chat("Hi", truncation="always")),
        ("temperature", lambda c: c.chat("Hi", temperature="hot")),
        ("max_output_tokens", lambda c: c.chat("Hi", max_output_tokens=2**40)),
        ("max_output_tokens", lambda c: c.chat("Hi", max_output_tokens=1.5)),
        ("seed", lambda c: c.chat("Hi", seed=2**70)),
        ("stop", lambda c: c.chat("Hi", stop=[HALF])),
        ("stop", lambda c: c.chat("Hi", stop=7)),
        ("json_schema", lambda c: c.chat("Hi", json_schema={"a": math.nan})),
        ("json_schema", lambda c: c.chat("Hi", json_schema=7)),
        ("provider_options", lambda c: c.chat("Hi", provider_options={"a": object()})),
        ("model", lambda c: c.chat("Hi", model=HALF)),
        ("etag", lambda c: c.chat("Hi", etag=HALF)),
        ("turn_timeout", lambda c: c.chat("Hi", turn_timeout="soon")),
        ("request_id", lambda c: c.chat("Hi", request_id=HALF)),
        ("request_id", lambda c: c.create_session(request_id=HALF)),
        ("if_busy", lambda c: c.chat("Hi", if_busy="wait")),
        ("on_disconnect", lambda c: c.chat("Hi", on_disconnect="stop")),
        ("after_sequence", lambda c: c.stream_chat("Hi", request_id="a", after_sequence=-1)),
        ("after_sequence", lambda c: c.stream_complete("Hi", after_sequence=1)),
        ("after_sequence", lambda c: c.stream_turn("turns/a", after_sequence=2**32)),
        ("turn", lambda c: c.get_turn(HALF)),
        ("turn", lambda c: c.cancel_turn(7)),
        ("page_token", lambda c: first(c.list_turns("a", page_token=HALF))),
        ("page_size", lambda c: first(c.list_turns("a", page_size=2**40))),
        ("session_id", lambda c: c.fork_session("a", HALF)),
        ("message_count", lambda c: c.fork_session("a", message_count="all")),
        ("message_count", lambda c: c.rewind_session("a", "all")),
        ("etag", lambda c: c.rewind_session("a", 0, etag=HALF)),
        ("timeout", lambda c: c.watch_session("a", timeout=-1)),
        ("temprature", lambda c: c.chat("Hi", temprature=1)),
        ("messages", lambda c: c.stream_chat(HALF)),
        ("timeout", lambda c: c.stream_chat("Hi", timeout=-1)),
        ("prompt", lambda c: c.complete(HALF)),
        ("suffix", lambda c: c.stream_complete("Hi", suffix=HALF)),
        ("save_as", lambda c: c.complete("Hi", save_as=HALF)),
        ("inputs", lambda c: c.embed([HALF])),
        ("inputs", lambda c: c.embed(7)),
        ("inputs", lambda c: c.embed({"a": "b"})),
        ("inputs", lambda c: c.embed(b"a")),
        ("dimensions", lambda c: c.embed("a", dimensions="many")),
        ("model", lambda c: c.embed("a", model=HALF)),
        ("model", lambda c: c.get_model(HALF)),
        ("model", lambda c: c.count_tokens("Hi", model=HALF)),
        ("messages", lambda c: c.count_tokens(7)),
        ("tools", lambda c: c.count_tokens("Hi", tools=[print])),
        ("labels", lambda c: c.chat("Hi", labels={"a": HALF})),
        ("labels", lambda c: c.complete("Hi", labels=7)),
        ("labels", lambda c: c.embed("a", labels={"a": 1})),
        ("scopes", lambda c: c.create_key(scopes=[HALF])),
        ("display_name", lambda c: c.create_key(scopes=["chat"], display_name=7)),
        ("tenant", lambda c: c.create_key(scopes=["chat"], tenant=HALF)),
        ("models", lambda c: c.create_key(scopes=["chat"], models=7)),
        ("limits", lambda c: c.create_key(scopes=["chat"], limits={"sessions": 1})),
        ("limits.sessions", lambda c: c.create_key(scopes=["chat"], limits=Limits(sessions=2**70))),
        ("limits.cost_per_day", lambda c: c.create_key(scopes=["chat"], limits=Limits(cost_per_day=0.5))),  # type: ignore[arg-type]  # wrong on purpose
        ("limits.cost_per_day", lambda c: c.update_key("a", limits=Limits(cost_per_day=Decimal("1e-10")))),
        ("limits.cost_per_day", lambda c: c.update_key("a", limits=Limits(cost_per_day=Decimal("nan")))),
        ("limits.window", lambda c: c.update_key("a", limits=Limits(window="1h"))),  # type: ignore[arg-type]  # wrong on purpose
        ("limits.currency", lambda c: c.update_key("a", limits=Limits(currency=HALF))),
        ("labels", lambda c: c.update_key("a", labels={"a": HALF})),
        ("etag", lambda c: c.update_key("a", etag=HALF)),
        ("expire_time", lambda c: c.update_key("a", expire_time=datetime(2026, 1, 1))),  # noqa: DTZ001  # wrong on purpose
        ("expire_time", lambda c: c.update_key("a", expire_time="tomorrow")),
        ("key", lambda c: c.get_key(HALF)),
        ("key", lambda c: c.revoke_key(7)),
        ("page_size", lambda c: first(c.list_keys(page_size=2**40))),
        ("start_time", lambda c: first(c.query_usage(start_time=datetime(2026, 1, 1)))),  # noqa: DTZ001  # wrong on purpose
        ("end_time", lambda c: first(c.query_usage(end_time=7))),
        ("group_by", lambda c: first(c.query_usage(group_by=7))),
        ("key", lambda c: first(c.query_usage(key=7))),
        ("labels", lambda c: first(c.query_usage(labels={"a": HALF}))),
        ("service", lambda c: c.health(HALF)),
        ("timeout", lambda c: c.wait_until_ready(0)),
    ],
)
async def test_a_bad_argument_is_named(name: str, act: Act) -> None:
    """In a ValueError or a TypeError, before anything is sent."""
    async with MCPClient("127.0.0.1:1") as client:
        with pytest.raises((ValueError, TypeError)) as caught:
            await act(client)  # type: ignore[misc]  # a stream is refused when it is made
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("api_key", {"api_key": ""}),
        ("api_key", {"api_key": "ctx_a\n"}),
        ("api_key", {"api_key": "Bearer ctx_a"}),
        ("api_key", {"api_key": b"ctx_a"}),
        ("api_key", {"api_key": "ctx_a", "metadata": {"Authorization": "Basic a"}}),
        ("address", {"address": ""}),
        ("address", {"address": 7}),
        ("address", {"address": HALF}),
        ("timeout", {"timeout": 0}),
        ("timeout", {"timeout": None}),
        ("address: expected IP:port with a port from 1 to 65535", {"address": ["127.0.0.1:99999"]}),
        ("address: expected host:port with a port from 1 to 65535, not '127", {"address": "127.0.0.1:99999"}),
        ("address: expected host:port with a port from 1 to 65535, not '[", {"address": "[::1]:0"}),
        ("address: expected host:port with a port from 1 to 65535, not 'dns", {"address": "dns:///a.test:65536"}),
        ("keepalive", {"keepalive": 9.9}),
        ("keepalive", {"keepalive": 1e7}),
        ("credentials", {"credentials": "tls"}),
        ("max_connections", {"max_connections": 2.5}),
        ("metadata", {"metadata": [("a", "b")]}),
        ("metadata", {"metadata": {"trace-bin": "text"}}),
        ("metadata", {"metadata": {"trace": b"bytes"}}),
        ("metadata", {"metadata": {"a": "b" * 9000}}),
        ("metadata", {"metadata": {"Not a header": "x"}}),
        ("metadata", {"metadata": {"": "x"}}),
        ("metadata", {"metadata": {"authorization": "Bearer \n"}}),
        ("metadata", {"metadata": {"authorization": "Bearer ü"}}),
        ("metadata", {"metadata": {"authorization": 7}}),
    ],
)
def test_a_client_says_what_it_cannot_be_made_with(name: str, options: dict[str, Any]) -> None:
    """At once, and not at the first call."""
    with pytest.raises((ValueError, TypeError)) as caught:
        MCPClient(**options)
    assert str(caught.value).startswith(name)


async def test_a_limit_may_be_as_long_as_you_like(client: MCPClient) -> None:
    """Longer than clocks can tell."""
    assert (await client.chat("Hi", timeout=1e300)).text == "Hi"
    await client.wait_until_ready(timedelta.max)


async def test_deep_and_large_values_arrive(client: MCPClient) -> None:
    """Up to the limits that the errors tell."""
    metadata = {"deep": nested(28), "large": 2**53, "small": -(2**53), "half": 0.5}
    assert (await client.create_session(metadata=metadata)).metadata == metadata


async def test_every_character_arrives(client: MCPClient) -> None:
    """All planes, zero and line ends included."""
    text = "a\x00b\r\n\u2028\ufeff\U0001f34c\U0010ffff é"
    session = await client.create_session(metadata={text: text}, system_instruction=text)
    assert (session.metadata, session.system_instruction) == ({text: text}, text)
    assert (await client.chat(text, session=session)).text == text
