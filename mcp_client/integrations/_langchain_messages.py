"""LangChain's messages, tools and answers, and what they are here. No I/O happens here."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    UsageMetadata,
)
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

from mcp_client import (
    AttemptSwitched,
    Blob,
    Delta,
    Details,
    Event,
    Logprob,
    Message,
    Part,
    PartStarted,
    ProviderStreamCut,
    Reasoning,
    Refusal,
    Reply,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    TurnCompleted,
    Usage,
)
from mcp_client.errors import BY_REASON

PROVIDER: Final = "contextprotocol"
"""What tracing calls this."""

_ROLES: Final = ((HumanMessage, Role.USER), (SystemMessage, Role.SYSTEM), (AIMessage, Role.ASSISTANT))
_MEDIA: Final[Mapping[str, str]] = {
    "image": "image/*",
    "audio": "audio/*",
    "video": "video/*",
    "file": "application/octet-stream",
}
"""The blocks that are no text, and what each is as long as neither it nor its address says more."""
_CALLS: Final = ("invalid_tool_call", "tool_use", "function_call")
"""Blocks of calls in the forms of vendors, or broken: what they say stands in fields of the message as well."""
_CHOICES: Final[Mapping[str | bool, str]] = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "required": "required",
    True: "required",
    False: "none",
}


# -- what is said -----------------------------------------------------------------------------------------------------


def said(messages: Sequence[BaseMessage], session: str) -> list[Message]:
    """What a server is told of a conversation.

    Args:
        messages: all of it, or what is new.
        session: the full name of the session that keeps the conversation, or empty. What such a session has answered,
            and all that stands before that, is not told again.

    Raises:
        TypeError, ValueError: a message cannot be sent; which, and why.
    """
    first = 0
    if session:
        turns = [str(message.response_metadata.get("turn", "")).rpartition("/turns/")[0] for message in messages]
        first = max((index + 1 for index, name in enumerate(turns) if name == session), default=0)
        if first == len(messages):
            raise ValueError(f"nothing is said to {session}: the last message is an answer of its own")
    found = []
    for index, message in enumerate(messages[first:], first):
        try:
            found.append(_message(message))
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"messages[{index}]: {error}") from error
    return found


def _message(message: BaseMessage) -> Message:
    if isinstance(message, ToolMessage):
        return Message.tool(_tool_result(message))
    if isinstance(message, ChatMessage):
        role = Role(message.role)
    else:
        role = next((role for kind, role in _ROLES if isinstance(message, kind)), Role.UNKNOWN)
    if role in (Role.UNKNOWN, Role.TOOL):
        raise TypeError(f"a {type(message).__name__} with the role {role.value!r} cannot be sent")
    parts = _parts(message)
    if isinstance(message, AIMessage):
        if refusal := message.additional_kwargs.get("refusal"):
            parts.append(Refusal(text=refusal))
        # One that could not be parsed is in no list of blocks.
        for call in message.invalid_tool_calls:
            parts.append(ToolCall(id=call["id"] or "", name=call["name"] or "", arguments_json=call["args"] or "{}"))
    return Message(role=role, parts=parts or [Text(text="")], name=message.name or "")


def _tool_result(message: ToolMessage) -> ToolResult:
    parts = [part for part in _parts(message) if isinstance(part, Text | Blob)]
    return ToolResult(tool_call_id=message.tool_call_id, parts=parts, is_error=message.status == "error")


def _parts(message: BaseMessage) -> list[Part]:
    return [part for block in message.content_blocks if (part := _part(block)) is not None]


def _part(block: Mapping[str, Any]) -> Part | None:
    """One block in LangChain's standard form; ``None``: there is nothing to send."""
    kind = block["type"]
    if kind == "text":
        return Text(text=block["text"]) if block["text"] else None
    if kind == "text-plain" and "text" in block:
        return Text(text=block["text"])
    if kind == "reasoning":
        return Reasoning(text=block["reasoning"]) if block.get("reasoning") else None
    if kind == "tool_call":
        arguments = json.dumps(block["args"], ensure_ascii=False)
        return ToolCall(id=block["id"] or "", name=block["name"], arguments_json=arguments)
    if kind in _MEDIA:
        return _blob(block)
    if kind == "non_standard":
        kind = block["value"].get("type", "without a type")
    if kind in _CALLS:
        return None
    raise ValueError(f"a block {kind!r} cannot be sent; allowed: text, reasoning, {', '.join(_MEDIA)}")


def _blob(block: Mapping[str, Any]) -> Blob:
    mime_type = block.get("mime_type") or mimetypes.guess_type(block.get("url", ""))[0] or _MEDIA[block["type"]]
    if "base64" in block:
        try:
            return Blob(mime_type=mime_type, data=base64.b64decode(block["base64"], validate=True))
        except ValueError as error:
            raise ValueError(f"the block {block['type']!r} is no base64: {error}") from None
    if "url" in block:
        return Blob(mime_type=mime_type, uri=block["url"])
    raise ValueError(f"the block {block['type']!r} has neither `base64` nor `url`: files of a provider cannot be sent")


def tools(given: Sequence[Any]) -> list[Tool]:
    """Tools in any of the forms that LangChain has for them.

    Raises:
        TypeError, ValueError: one cannot be described.
    """
    found = []
    for tool in given:
        described = convert_to_openai_tool(tool)
        if "function" not in described:
            raise ValueError(f"a tool {described.get('type')!r} runs at its provider; only functions can be given")
        function = described["function"]
        found.append(
            Tool(
                name=function["name"],
                description=function.get("description", ""),
                parameters=function.get("parameters") or "",
            )
        )
    return found


def tool_choice(given: Any) -> ToolChoice:
    """Which tool a model must ask for: ``"auto"``, ``"none"``, ``"any"``, a tool's name, or as OpenAI has it.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(given, Mapping):
        function = given.get("function")
        given = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(given, str | bool) or given == "":
        raise ValueError('tool_choice: expected "auto", "none", "any", the name of a tool, or a dict with one')
    if mode := _CHOICES.get(given):
        return ToolChoice(mode=mode)
    return ToolChoice(mode="required", name=str(given))


def response_format(given: Mapping[str, Any]) -> dict[str, Any]:
    """The knob for a form of answers that is given as OpenAI has it.

    Raises:
        ValueError: it is none.
    """
    if given.get("type") == "json_object":
        return {"json": True}
    named = given.get("json_schema")
    if given.get("type") == "json_schema" and isinstance(named, Mapping) and "schema" in named:
        return {"json_schema": named["schema"]}
    raise ValueError('response_format: expected {"type": "json_object"} or {"type": "json_schema", "json_schema": …}')


# -- what is answered -------------------------------------------------------------------------------------------------


def result(reply: Reply, events: Sequence[Event]) -> ChatResult:
    """A whole answer, and the events that it came in."""
    message = reply.message
    content: list[str | dict[str, Any]] = []
    calls, broken = [], []
    for part in message.parts:
        if isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Blob):
            source = {"url": part.uri} if part.uri else {"base64": base64.b64encode(part.data).decode()}
            kind = part.mime_type.partition("/")[0]
            content.append({"type": kind if kind in _MEDIA else "file", "mime_type": part.mime_type, **source})
        elif isinstance(part, ToolCall):
            arguments = _object(part.arguments_json)
            if arguments is None:
                error = "the arguments are no JSON object"
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


class Pieces:
    """The events of a turn as the chunks of LangChain, which add up to the answer."""

    def __init__(self) -> None:
        self._refusals: set[int] = set()
        self._begun = False

    def take(self, event: Event) -> ChatGenerationChunk | None:
        """The chunk for an event; ``None``: LangChain has none for it.

        Raises:
            MCPError: another attempt begins the answer anew. What was passed on cannot be taken back.
        """
        chunk = self._chunk(event)
        self._begun = self._begun or chunk is not None
        return chunk

    def _chunk(self, event: Event) -> ChatGenerationChunk | None:
        if isinstance(event, TurnCompleted):
            return _last(event.reply)
        if isinstance(event, AttemptSwitched) and event.restarted:
            self._refusals.clear()
            if self._begun:
                kind = BY_REASON.get(event.reason, ProviderStreamCut)
                raise kind(
                    f"{event.from_model} failed in the middle of the answer, and {event.to_model} begins it anew. What"
                    " LangChain was streamed cannot be taken back: ask again, or use invoke",
                    Details(code="UNAVAILABLE", reason=event.reason),
                )
        if isinstance(event, PartStarted):
            if event.kind == "refusal":
                self._refusals.add(event.part)
            if event.kind != "tool_call":
                return None
            begun = tool_call_chunk(name=event.tool_name, args="", id=event.tool_call_id, index=event.part)
            return _chunk(tool_call_chunks=[begun])
        if not isinstance(event, Delta):
            return None
        if event.tool_arguments:
            return _chunk(tool_call_chunks=[tool_call_chunk(args=event.tool_arguments, index=event.part)])
        if event.part in self._refusals:
            return _chunk(additional_kwargs=_additional(refusal=event.text))
        return _chunk(event.text, _logprobs(event.logprobs), additional_kwargs=_additional(reasoning=event.reasoning))


def _last(reply: Reply) -> ChatGenerationChunk:
    """What ends a stream: all but the text, which has come."""
    for call in reply.message.tool_calls:
        if _object(call.arguments_json) is None:  # LangChain would complete what was streamed, and run it
            raise OutputParserException(
                f"the arguments of the call of {call.name!r} are no JSON object; the answer ended with"
                f" {reply.finish_reason.value!r}",
                llm_output=call.arguments_json,
            )
    return _chunk(usage_metadata=_usage(reply.usage), response_metadata=_metadata(reply), chunk_position="last")


def _chunk(text: str = "", info: dict[str, Any] | None = None, **more: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=text, **more), generation_info=info)


def _additional(*, reasoning: str = "", refusal: str = "") -> dict[str, Any]:
    """Where LangChain looks for what is not the answer itself."""
    found = {"reasoning_content": reasoning, "refusal": refusal}
    return {name: text for name, text in found.items() if text}


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


def _logprobs(found: Sequence[Logprob]) -> dict[str, Any] | None:
    if not found:
        return None
    return {"logprobs": {"content": [_logprob(one) | {"top_logprobs": [*map(_logprob, one.top)]} for one in found]}}


def _logprob(one: Logprob) -> dict[str, Any]:
    return {"token": one.token, "logprob": one.logprob}


def _object(text: str) -> dict[str, Any] | None:
    """A JSON object; ``None``: it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
