"""The object ``response``, as a turn shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_server.errors import MCPError
from mcp_server.values import (
    SECOND,
    Attempt,
    Completed,
    FinishReason,
    Message,
    Turn,
    TurnError,
    TurnState,
    Usage,
)
from mcp_server.web.openai.identifiers import TurnId, response_id
from mcp_server.web.openai.items import Form, Item, answer_items
from mcp_server.web.openai.response_parameters import form_of

Response = dict[str, Any]
"""A response in JSON."""

_STATES = {
    TurnState.QUEUED: "queued",
    TurnState.RUNNING: "in_progress",
    TurnState.SUCCEEDED: "completed",
    TurnState.FAILED: "failed",
    TurnState.CANCELLED: "cancelled",
    TurnState.INTERRUPTED: "failed",
}
_INCOMPLETE = {FinishReason.LENGTH: "max_output_tokens", FinishReason.CONTENT_FILTER: "content_filter"}


def response_of(turn: Turn, *, include: Sequence[str] | None = None, instructions: str | None = None) -> Response:
    """A turn as it is now.

    Args:
        turn: the turn, with the parts of its message so far.
        include: what its items are to contain.
        instructions: its instructions, if they are known: they are not kept.
    """
    response = begun(turn, instructions=instructions)
    status = _STATES[turn.state]
    message = turn.message
    form = form_of(include, response["reasoning"])
    if message is not None:
        response["output"] = answer_items(turn.id, message.parts, form, _status_of_item(status, turn.finish_reason))
    if turn.state is TurnState.SUCCEEDED:
        end(response, turn.finish_reason, turn.usage, turn.end_time)
    elif turn.state in (TurnState.FAILED, TurnState.INTERRUPTED, TurnState.CANCELLED):
        fail(response, turn.error, turn.usage, cancelled=turn.state is TurnState.CANCELLED)
    else:
        response["status"] = status
    return response


def begun(turn: Turn, *, instructions: str | None = None) -> Response:
    """A response that has no output yet: ``in_progress``, with the parameters of its request."""
    details = turn.details
    reasoning = {"effort": None, "summary": None, **(details.get("reasoning") or {})}
    text = {"format": {"type": "text"}, **(details.get("text") or {})}
    return {
        "id": response_id(TurnId(turn.session, turn.id)),
        "object": "response",
        "created_at": turn.create_time // SECOND,
        "completed_at": None,
        "status": "in_progress",
        "background": details.get("background", False),
        "conversation": details.get("conversation"),
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": instructions,
        "max_output_tokens": details.get("max_output_tokens"),
        "max_tool_calls": None,
        "metadata": details.get("metadata", {}),
        "model": model_of(turn.attempts),
        "output": [],
        "parallel_tool_calls": details.get("parallel_tool_calls", True),
        "presence_penalty": 0.0,
        "previous_response_id": details.get("previous_response_id"),
        "prompt_cache_key": details.get("prompt_cache_key"),
        "reasoning": reasoning,
        "safety_identifier": details.get("safety_identifier"),
        "service_tier": "default",
        "store": details.get("store", True),
        "temperature": details.get("temperature", 1.0),
        "text": text,
        "tool_choice": details.get("tool_choice", "auto"),
        "tools": details.get("tools", []),
        "top_logprobs": details.get("top_logprobs", 0),
        "top_p": details.get("top_p", 1.0),
        "truncation": details.get("truncation", "disabled"),
        "usage": None,
        "user": details.get("user"),
    }


def model_of(attempts: Sequence[Attempt]) -> str:
    """The model that answers, ``provider/model``; empty before the first is asked."""
    return f"{attempts[-1].provider}/{attempts[-1].model}" if attempts else ""


def end(response: Response, reason: FinishReason | None, usage: Usage, end_time: int | None) -> None:
    """Complete a response that succeeded, and whose output is in it."""
    incomplete = _INCOMPLETE.get(reason) if reason is not None else None
    response["usage"] = usage_object(usage)
    if incomplete is None:
        response["status"] = "completed"
        response["completed_at"] = None if end_time is None else end_time // SECOND
    else:
        response["status"] = "incomplete"
        response["incomplete_details"] = {"reason": incomplete}


def complete(response: Response, completed: Completed, output: list[Item], create_time: int) -> None:
    """The same by the last event of a turn."""
    response["output"] = output
    response["model"] = model_of(completed.attempts)
    end(response, completed.finish_reason, completed.usage, create_time + completed.duration)


def fail(response: Response, error: TurnError | MCPError | None, usage: Usage, *, cancelled: bool) -> None:
    """Complete a response that did not succeed."""
    response["status"] = "cancelled" if cancelled else "failed"
    if usage != Usage():
        response["usage"] = usage_object(usage)
    if error is not None and not cancelled:
        response["error"] = {"code": error.reason.lower(), "message": error.message}


def stored_response(turn: TurnId, message: Message) -> Response:
    """A response whose turn is past its retention, by its message in the history."""
    kept = Turn(
        tenant="",
        id=turn.turn,
        service="chat",
        state=TurnState.SUCCEEDED,
        create_time=message.create_time,
        session=turn.session,
        end_time=message.create_time,
        message=message,
        finish_reason=message.finish_reason,
        usage=message.usage or Usage(),
    )
    return {**response_of(kept), "model": message.model}


def usage_object(usage: Usage) -> dict[str, Any]:
    """The object ``usage``."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _status_of_item(status: str, reason: FinishReason | None) -> str:
    """The status of the last item of an answer."""
    if status == "completed":
        return "incomplete" if reason in _INCOMPLETE else "completed"
    return "in_progress" if status in ("queued", "in_progress") else "incomplete"


def last_item_status(reason: FinishReason) -> str:
    """The status of the last item of an answer that ended."""
    return _status_of_item("completed", reason)


def output_of(turn: str, completed: Completed, form: Form) -> list[Item]:
    """The items of an answer that ended."""
    return answer_items(turn, completed.message.parts, form, last_item_status(completed.finish_reason))
