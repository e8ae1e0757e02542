"""Converts the answers of a server to those of LangChain."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, UsageMetadata
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from mcp_client import (
    AttemptSwitched,
    Blob,
    Delta,
    Details,
    Event,
    Logprob,
    PartStarted,
    ProviderStreamCut,
    Reasoning,
    Refusal,
    Reply,
    Text,
    ToolCall,
    TurnCompleted,
    Usage,
)
from mcp_client.errors import BY_REASON
from mcp_client.integrations._langchain.input import MEDIA_TYPES

PROVIDER: Final = "contextprotocol"
"""The name of the provider in LangChain's traces."""


def result(reply: Reply, events: Sequence[Event]) -> ChatResult:
    """The complete answer of a turn, with the log probabilities of its events."""
    message = reply.message
    content: list[str | dict[str, Any]] = []
    calls, broken = [], []
    for part in message.parts:
        if isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Blob):
            source = {"url": part.uri} if part.uri else {"base64": base64.b64encode(part.data).decode()}
            kind = part.mime_type.partition("/")[0]
            content.append({"type": kind if kind in MEDIA_TYPES else "file", "mime_type": part.mime_type, **source})
        elif isinstance(part, ToolCall):
            arguments = _object(part.arguments_json)
            if arguments is None:
                error = "the arguments are not a JSON object"
                broken.append(invalid_tool_call(id=part.id, name=part.name, args=part.arguments_json, error=error))
            else:
                calls.append(tool_call(id=part.id, name=part.name, args=arguments))
    answer = AIMessage(
        content=message.text if all(isinstance(part, str) or part["type"] == "text" for part in content) else content,
        tool_calls=calls,
        invalid_tool_calls=broken,
        additional_kwargs=_additional(
            reasoning="".join([part.text for part in message.parts if isinstance(part, Reasoning)]),
            refusal="".join([part.text for part in message.parts if isinstance(part, Refusal)]),
        ),
        usage_metadata=_usage(reply.usage),
        response_metadata=_metadata(reply),
    )
    logprobs: list[Logprob] = []
    for event in events:
        if isinstance(event, Delta):
            logprobs += event.logprobs
        elif isinstance(event, AttemptSwitched) and event.restarted:
            logprobs.clear()
    return ChatResult(generations=[ChatGeneration(message=answer, generation_info=_logprobs(logprobs))])


class Chunks:
    """Converts the events of a turn to LangChain's chunks, which add up to the answer."""

    def __init__(self) -> None:
        self._refusals: set[int] = set()
        self._started = False

    def convert(self, event: Event) -> ChatGenerationChunk | None:
        """The chunk of an event; ``None`` if LangChain has none for it.

        Raises:
            MCPError: another attempt restarts the answer, and LangChain cannot retract earlier chunks.
        """
        chunk = self._chunk(event)
        self._started = self._started or chunk is not None
        return chunk

    def _chunk(self, event: Event) -> ChatGenerationChunk | None:
        if isinstance(event, TurnCompleted):
            return _last(event.reply)
        if isinstance(event, AttemptSwitched) and event.restarted:
            self._refusals.clear()
            if self._started:
                kind = BY_REASON.get(event.reason, ProviderStreamCut)
                raise kind(
                    f"{event.from_model} failed during the answer, and {event.to_model} restarts it. LangChain cannot"
                    " retract what was streamed: call again, or use invoke",
                    Details(code="UNAVAILABLE", reason=event.reason),
                )
        if isinstance(event, PartStarted):
            if event.kind == "refusal":
                self._refusals.add(event.part)
            if event.kind != "tool_call":
                return None
            started = tool_call_chunk(name=event.tool_name, args="", id=event.tool_call_id, index=event.part)
            return _chunk(tool_call_chunks=[started])
        if not isinstance(event, Delta) or event.provider_state is not None:
            return None
        if event.tool_arguments:
            return _chunk(tool_call_chunks=[tool_call_chunk(args=event.tool_arguments, index=event.part)])
        if event.part in self._refusals:
            return _chunk(additional_kwargs=_additional(refusal=event.text))
        return _chunk(event.text, _logprobs(event.logprobs), additional_kwargs=_additional(reasoning=event.reasoning))


def _last(reply: Reply) -> ChatGenerationChunk:
    """The last chunk: everything but the text, which was already streamed."""
    for call in reply.message.tool_calls:
        if _object(call.arguments_json) is None:  # LangChain would repair the streamed arguments, and run the call
            raise OutputParserException(
                f"the arguments of the call of {call.name!r} are not a JSON object; the finish reason of the answer is"
                f" {reply.finish_reason.value!r}",
                llm_output=call.arguments_json,
            )
    return _chunk(usage_metadata=_usage(reply.usage), response_metadata=_metadata(reply), chunk_position="last")


def _chunk(text: str = "", info: dict[str, Any] | None = None, **more: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=text, **more), generation_info=info)


def _additional(*, reasoning: str = "", refusal: str = "") -> dict[str, Any]:
    """The fields in which LangChain looks for reasoning and refusals."""
    fields = {"reasoning_content": reasoning, "refusal": refusal}
    return {name: text for name, text in fields.items() if text}


def _usage(usage: Usage) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        input_token_details=InputTokenDetails(
            cache_read=usage.cached_input_tokens, cache_creation=usage.cache_write_tokens
        ),
        output_token_details=OutputTokenDetails(reasoning=usage.reasoning_tokens),
    )


def _metadata(reply: Reply) -> dict[str, Any]:
    return {
        "model_provider": PROVIDER,
        "model_name": reply.message.model,
        "finish_reason": reply.finish_reason.value,
        "turn": reply.turn,
    }


def _logprobs(tokens: Sequence[Logprob]) -> dict[str, Any] | None:
    if not tokens:
        return None
    content = [_logprob(token) | {"top_logprobs": [*map(_logprob, token.top)]} for token in tokens]
    return {"logprobs": {"content": content}}


def _logprob(token: Logprob) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob}


def _object(text: str) -> dict[str, Any] | None:
    """A JSON object; ``None`` if the text is not one."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
