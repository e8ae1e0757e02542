"""The responses to browsers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

from mcp_client import MCPError, Message
from mcp_client.integrations._web.frames import OPENING, AsyncFrames, SyncFrames
from mcp_client.integrations._web.problems import RequestRefused, problem, turn_id
from mcp_client.integrations._web.requests import EVENT_STREAM, ChatRequest

Frames = TypeVar("Frames", bound=AsyncFrames | SyncFrames)

NO_SNIFFING: Final = {"X-Content-Type-Options": "nosniff"}
"""Browsers do not guess another type than the one of the response: an answer of a model can look like HTML."""


@dataclass(frozen=True, slots=True)
class ChatResponse(Generic[Frames]):
    """The response of a route.

    Attributes:
        status: of the response.
        headers: of the response.
        body: the whole body, or its first chunk if there are ``frames``.
        frames: the further chunks of a streaming response. The framework has to close them.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    frames: Frames | None = None


END_OF_STREAM: Final[ChatResponse[Any]] = ChatResponse(
    HTTPStatus.NO_CONTENT, {**NO_SNIFFING, "Cache-Control": "no-store"}
)
"""The browser has received the whole answer. Browsers do not reconnect after this status."""


def json_response(data: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK, **headers: str) -> ChatResponse[Any]:
    """A response in JSON."""
    headers |= {**NO_SNIFFING, "Content-Type": "application/json", "Cache-Control": "no-store"}
    return ChatResponse(status, headers, json.dumps(data, ensure_ascii=False).encode())


def accepted_response(request: ChatRequest, turn: str) -> ChatResponse[Any]:
    """The turn has started; the header ``Location`` says where to read its answer."""
    return json_response({"turn": turn_id(turn)}, HTTPStatus.ACCEPTED, Location=request.turn_path(turn))


def stream_response(request: ChatRequest, turn: str, rest: Frames) -> ChatResponse[Frames]:
    """The stream of an answer."""
    headers = {
        **NO_SNIFFING,
        "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx would buffer the tokens
    }
    if not request.turn:
        headers["Content-Location"] = request.turn_path(turn)
    return ChatResponse(HTTPStatus.OK, headers, OPENING, rest)


def problem_response(error: MCPError | RequestRefused) -> ChatResponse[Any]:
    """An error in JSON, as RFC 9457 defines it."""
    data = problem(error)
    headers = {**NO_SNIFFING, "Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    if "retry_after" in data:
        headers["Retry-After"] = str(math.ceil(data["retry_after"]))
    return ChatResponse(data["status"], headers, json.dumps(data, ensure_ascii=False).encode())


def history(messages: Sequence[Message], active: str, *, with_tools: bool = False) -> dict[str, Any]:
    """What a page shows when it is opened again.

    Args:
        messages: in their order.
        active: the full name of the running turn, or empty.
        with_tools: whether functions may run for the last message, if it calls some: its turn is not over for the page.
    """
    if with_tools and messages and messages[-1].tool_calls:
        *messages, last = messages
        running = last.turn
    else:
        # The turn may have ended while the messages were listed, which then include its answer.
        running = active if not any(message.turn == active for message in messages) else ""
    entries = [
        {"role": message.role, "text": message.text, "turn": turn_id(message.turn)}
        for message in messages
        if message.text
    ]
    return {"messages": entries, "turn": turn_id(running) if running else None}
