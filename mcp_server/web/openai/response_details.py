"""The parameters of a response as they are kept with it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mcp_server.web.openai.response_parameters import CreateParameters, TextOptions

MAX_DETAILS: Final = 16 * 1024
"""The most bytes of them; beyond it, those are left out that can be large."""


def details_of(parameters: CreateParameters) -> dict[str, Any]:
    """The parameters as the response shows them, without instructions, which are not kept."""
    kept: dict[str, Any] = {
        "background": parameters.background,
        "conversation": None if parameters.conversation is None else {"id": parameters.conversation_id},
        "max_output_tokens": parameters.max_output_tokens,
        "metadata": parameters.metadata,
        "parallel_tool_calls": parameters.parallel_tool_calls,
        "previous_response_id": parameters.previous_response_id,
        "prompt_cache_key": parameters.prompt_cache_key,
        "reasoning": _plain(parameters.reasoning),
        "safety_identifier": parameters.safety_identifier,
        "store": parameters.store,
        "temperature": parameters.temperature,
        "text": _shown_text(parameters.text),
        "tool_choice": _plain(parameters.tool_choice),
        "tools": [_shown_tool(raw) for raw in parameters.tools or ()] or None,
        "top_logprobs": parameters.top_logprobs,
        "top_p": parameters.top_p,
        "truncation": parameters.truncation,
        "user": parameters.user,
    }
    kept = {name: value for name, value in kept.items() if value is not None}
    for name in ("tools", "text", "tool_choice"):
        if not _can_be_kept(kept):
            kept.pop(name, None)
    return kept


def _can_be_kept(details: dict[str, Any]) -> bool:
    try:
        msgspec.msgpack.encode(details)
    except OverflowError:
        return False  # stores have no integers of more than 64 bits, which a schema may have
    return len(msgspec.json.encode(details)) <= MAX_DETAILS


def _plain(value: Any) -> Any:
    """JSON without what is not set."""
    if value is None or isinstance(value, str):
        return value
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return {name: each for name, each in decoded.items() if each is not None} or None


def _shown_text(text: TextOptions | None) -> Any:
    shown = _plain(text)
    if shown is not None and shown.get("format", {}).get("type") == "json_schema":
        given = {name: value for name, value in shown["format"].items() if value is not None}
        shown["format"] = {"description": None, "strict": False, **given}
    return shown


def _shown_tool(raw: msgspec.Raw) -> dict[str, Any]:
    given: Any = msgspec.json.decode(raw)
    return {"description": None, "parameters": None, "strict": False, **(given if isinstance(given, dict) else {})}
