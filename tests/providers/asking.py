"""Asks the provider ``openai``, and a server of the tests through it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mcp_server.interfaces import (
    GenerateRequest,
    ProviderEvent,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
)
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAISettings
from mcp_server.settings import Secret
from mcp_server.values import (
    GenerationConfig,
    Message,
    Part,
    Role,
    Text,
)
from tests.upstream.replies import Body, End, Head, Reply, Steps, in_turn, sse
from tests.upstream.server import Upstream


def message_of(*parts: str | Part, role: Role = Role.USER, name: str = "") -> Message:
    """A message."""
    return Message(
        role=role, parts=tuple([Text(text=part) if isinstance(part, str) else part for part in parts]), name=name
    )


def chat(*messages: str | Message, config: Mapping[str, Any] | None = None, **fields: Any) -> GenerateRequest:
    """A conversation with the model ``m``."""
    conversation = tuple(
        [message_of(message) if isinstance(message, str) else message for message in messages or ("hi",)]
    )
    return GenerateRequest(model="m", messages=conversation, config=GenerationConfig(**(config or {})), **fields)


def completion(prompt: str = "Once", config: Mapping[str, Any] | None = None, **fields: Any) -> GenerateRequest:
    """A prompt for the model ``m`` to go on from."""
    return GenerateRequest(model="m", prompt=prompt, config=GenerationConfig(**(config or {})), **fields)


@asynccontextmanager
async def asking(*answers: Reply, **options: Any) -> AsyncIterator[tuple[OpenAIProvider, Upstream]]:
    """A provider and its server, which gives these answers in turn."""
    async with Upstream(in_turn(*answers) if answers else None) as upstream:
        provider = OpenAIProvider(OpenAISettings(**{"base_url": upstream.url, "api_key": Secret("sk-test"), **options}))
        try:
            yield provider, upstream
        finally:
            await provider.close()


async def body_of(request: GenerateRequest, **options: Any) -> Any:
    """What is sent for a request."""
    async with asking(**options) as (provider, upstream):
        _ = [event async for event in provider.generate(request)]
        return upstream.calls[0].body


def lines(*choices: Mapping[str, Any], **more: Any) -> Steps:
    """A stream with a chunk for each choice, and a last one with ``more``."""
    chunks = [sse({"choices": [{"index": 0, **choice}]}) for choice in choices]
    last = [sse({"choices": [], **more})] if more else []
    return Steps((Head(), *[Body(chunk) for chunk in [*chunks, *last]], Body(b"data: [DONE]\n\n"), End()))


def pieces(*given: Mapping[str, Any], finish: str = "stop", **more: Any) -> Steps:
    """A stream with a chunk for each delta, and a finish reason."""
    return lines(*[{"delta": delta} for delta in given], {"delta": {}, "finish_reason": finish}, **more)


async def events_of(reply: Reply, request: GenerateRequest | None = None, **options: Any) -> list[ProviderEvent]:
    """What becomes of an answer. Pieces of one kind are put together: how they came together is up to the network."""
    async with asking(reply, **options) as (provider, _):
        events = [event async for event in provider.generate(request or chat())]
    return joined(events)


def joined(events: list[ProviderEvent]) -> list[ProviderEvent]:
    """With neighbours of one kind put together."""
    whole: list[ProviderEvent] = []
    for event in events:
        last = whole[-1] if whole else None
        if isinstance(event, str) and isinstance(last, str):
            whole[-1] = last + event
        elif isinstance(event, TextDelta) and isinstance(last, TextDelta):
            whole[-1] = TextDelta(text=last.text + event.text, logprobs=last.logprobs + event.logprobs)
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
            whole[-1] = ReasoningDelta(text=last.text + event.text)
        elif isinstance(event, ToolArgumentsDelta) and isinstance(last, ToolArgumentsDelta) and last.id == event.id:
            whole[-1] = ToolArgumentsDelta(id=last.id, text=last.text + event.text)
        else:
            whole.append(event)
    return whole
