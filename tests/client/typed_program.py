"""A small program of a user, for the type checkers: all that both clients do, in the types that they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, assert_type

from mcp_client import (
    TLS,
    AttemptSwitched,
    Delta,
    Embeddings,
    HealthStatus,
    InvalidArgument,
    MCPClient,
    MCPError,
    MCPSyncClient,
    Message,
    Model,
    ParsedReply,
    Reply,
    Retry,
    RetryNotice,
    Session,
    Text,
    TokenCount,
    Tool,
    ToolCall,
    ToolResult,
    ToolRun,
    TryLater,
    Turn,
    TurnOptions,
)


@dataclass
class City:
    """An answer."""

    name: str


class Country(TypedDict):
    """Another answer."""

    capital: str


def temperature(city: str, *, days: int = 0) -> dict[str, float]:
    """How warm it is."""
    return {city: 21.0 + days}


async def renewed() -> Mapping[str, str]:
    """A token that expires."""
    return {"authorization": "Bearer x"}


def report(notice: RetryNotice) -> None:
    """Say what happens."""
    print(notice.method, notice.delay, notice.error.reason)  # noqa: T201  # a program


async def asynchronous() -> None:
    """With an event loop."""
    tls = TLS(ca=Path("ca.pem"), server_name="example.com")
    async with MCPClient(["10.0.0.1:50051"], metadata=renewed, credentials=tls, on_retry=report) as client:
        session = await client.create_session(labels={"a": "b"}, context={"note": "text"}, ttl=60)
        assert_type(session, Session)
        options: TurnOptions = {"temperature": 0, "stop": ["x"]}
        assert_type(await client.chat("Hi", session=session, **options), Reply)
        assert_type((await client.chat({"role": "user", "content": "Hi"}, schema=City)).parsed, City)
        assert_type(await client.chat([{"role": "user", "content": "Hi"}, "you"], schema=City), ParsedReply[City])
        assert_type((await client.with_options(temperature=0).chat("Hi", schema=list[City])).parsed, list[City])
        assert_type((await client.chat("Hi", schema=Country, repair=True)).parsed, Country)
        async with client.stream_chat(["Hi", Message.user("you")], session="tour", if_busy="queue") as stream:
            async for token in stream:
                assert_type(token, str)
            async for event in stream.events():
                if isinstance(event, Delta):
                    assert_type(event.text, str)
                elif isinstance(event, AttemptSwitched):
                    assert_type(event.restarted, bool)
            assert_type(await stream.cancel(), Turn)
        reply = await client.chat("Hi", tools=[Tool.of(temperature)], tool_choice="required")
        for call in reply.message.tool_calls:
            assert_type(call, ToolCall)
            await client.chat(Message.tool(ToolResult(tool_call_id=call.id, parts=[Text(text="21")])))
        async with client.stream_chat_with_tools("Hi", tools=[temperature]) as answer:
            async for happening in answer.events():
                if isinstance(happening, ToolRun):
                    assert_type(happening.result, ToolResult)
        assert_type(await client.embed(["a"]), Embeddings)
        assert_type((await client.list_sessions(page_size=2).page()).items, Sequence[Session])
        assert_type([model async for model in client.list_turns(session)], list[Turn])


def blocking() -> None:
    """The same, without."""
    with MCPSyncClient(metadata=lambda: {"x-key": "y"}, retry=Retry(patience=5)) as client:
        client.wait_until_ready(timeout=1)
        session = client.create_session()
        assert_type(session, Session)
        try:
            with client.stream_chat("Hi", session=session) as stream:
                assert_type("".join(stream), str)
                assert_type(stream.reply(), Reply)
        except InvalidArgument as error:
            assert_type(error.violations, Mapping[str, str])
        except TryLater as error:
            assert_type(error.retry_after, float | None)
        except MCPError as error:
            assert_type(error.reason, str)
        assert_type(client.chat_with_tools("Hi", tools=[temperature], max_rounds=2), Reply)
        assert_type(client.chat_with_tools("Hi", tools=[temperature], schema=City).parsed, City)
        assert_type(client.with_options(session=session, model="large"), MCPSyncClient)
        assert_type([message.text for message in client.list_messages(session)], list[str])
        assert_type([model.name for model in client.list_models()], list[str])
        assert_type(client.get_model("a"), Model)
        assert_type(client.count_tokens("Hi", session=session), TokenCount)
        assert_type(client.health(), HealthStatus)
        for status in client.watch_health("providers/echo", timeout=5):
            assert_type(status, HealthStatus)
