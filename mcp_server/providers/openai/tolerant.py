"""Reads pieces of answers that are not of the usual form: one odd field never costs an answer that was paid for.

Slower than the typed decoder, which is tried first. What carries nothing of the answer may have any type; text or tool
calls of a form that cannot be read make a piece unreadable, for an incomplete answer is never taken for a whole one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from mcp_server.providers.openai.chunks import (
    MAX_TOKENS,
    Call,
    Choice,
    Chunk,
    Delta,
    Function,
    Logprobs,
    OutputDetails,
    PromptDetails,
    Token,
    Tokens,
)
from mcp_server.values.surrogates import repaired

_TEXT: Final = ("text", "content", "thinking", "reasoning", "summary", "refusal", "value", "parts")
"""The fields of an object that may hold a text."""
_THOUGHTS: Final = ("thinking", "reasoning", "thought", "redacted_thinking")
"""The types of parts that are reasoning."""

T = TypeVar("T")


def chunks(data: bytes, error: bool) -> list[Chunk]:
    """The pieces that the data of one event holds; none if it is empty, ``null``, or no JSON at all.

    Args:
        data: the data of an event, or a document.
        error: whether the event is an error, whatever its data is.

    Raises:
        ValueError, RecursionError: it is cut or broken, or its content is of a form that is unknown.
    """
    text = data.decode("utf-8", "surrogatepass").lstrip("\ufeff").strip()
    if not error and text[:1] not in ("{", "["):
        return []
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        if not error:
            raise
        value = text
    if error:
        return [Chunk(error=value or "an error without a text")]
    values = value if isinstance(value, list) else [value]
    return [_chunk(one) for one in values if isinstance(one, dict)]


def vectors(data: bytes) -> tuple[list[tuple[int | None, Any]], Tokens | None, Any]:
    """What an answer with embeddings holds: the vectors with their indices, usage, and an error object or ``None``.

    Raises:
        ValueError, RecursionError: it is no JSON object.
    """
    value = json.loads(data.decode("utf-8-sig"), strict=False)
    if isinstance(value, list):
        value = {"data": value} if value and _is_vector(value[0]) else next(iter(value), None)
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004  # its type is that of JSON
    listed = value.get("data")
    items = listed if isinstance(listed, list) else [listed]
    found = [(_integer(item.get("index")), item.get("embedding")) for item in items if isinstance(item, dict)]
    error = None if found else _chunk({key: value[key] for key in value if key != "data"}).fault()
    return found, _usage(value.get("usage")), error


def _is_vector(value: Any) -> bool:
    return isinstance(value, dict) and "embedding" in value


def _chunk(value: dict[str, Any]) -> Chunk:
    listed = value.get("choices")
    if isinstance(listed, dict):
        listed = [listed]
    choices = [_choice(one) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else None
    return Chunk(
        choices=choices,
        usage=_usage(value.get("usage")),
        error=value.get("error"),
        message=value.get("message"),
        detail=value.get("detail"),
        msg=value.get("msg"),
        errors=value.get("errors"),
        code=value.get("code"),
        type=value.get("type"),
    )


def _choice(value: dict[str, Any]) -> Choice:
    return Choice(
        index=_integer(value.get("index")),
        delta=_delta(value.get("delta")),
        message=_delta(value.get("message")),
        text=_text(value.get("text")),
        finish_reason=_reason(value.get("finish_reason")),
        logprobs=_logprobs(value.get("logprobs")),
        usage=_usage(value.get("usage")),
        error=value.get("error"),
    )


def _delta(value: Any) -> Delta | None:
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        value = {"content": value}
    if not isinstance(value, dict):
        return None
    content, thoughts = _content(value.get("content"))
    reasoning = _loose_text(value.get("reasoning_content")) or _loose_text(value.get("reasoning"))
    return Delta(
        content=content,
        reasoning_content=(reasoning or "") + thoughts or None,
        refusal=_loose_text(value.get("refusal")),
        tool_calls=_calls(value.get("tool_calls")),
        function_call=_function(value.get("function_call")),
    )


# -- text -------------------------------------------------------------------------------------------------------------


def _content(value: Any) -> tuple[str | None, str]:
    """The text and the reasoning of a content, which may be one part or several."""
    if not isinstance(value, list | dict):
        return _text(value), ""
    texts, thoughts = "", ""
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, dict) and part.get("type") in _THOUGHTS:
            thoughts += _loose_text(part) or ""
        elif isinstance(part, dict) and "thinking" in part:
            thoughts += _loose_text(part["thinking"]) or ""
            texts += _text(part.get("text")) or ""
        else:
            texts += _text(part) or ""
    return texts, thoughts


def _text(value: Any) -> str | None:
    """A text in any form.

    Raises:
        ValueError: it is something else.
    """
    if value is None or value is False or value == [] or value == {}:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        return "".join([_text(part) or "" for part in value])
    if isinstance(value, dict):
        for name in _TEXT:
            if name in value:
                return _text(value[name])
        if isinstance(value.get("type"), str) and "text" not in value["type"]:
            return None  # a picture, say
    raise ValueError("a text of an unknown form")


def _loose_text(value: Any) -> str | None:
    """A text in any form but that of a number, or ``None``."""
    if not isinstance(value, str | list | dict):
        return None
    try:
        return _text(value)
    except ValueError:
        return None


def _clean(value: Any) -> str | None:
    """A name or an id: a text in one piece."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return repaired(value) if isinstance(value, str) else None


def _reason(value: Any) -> str | None:
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):  # SGLang, within
        value = value.get("type") or value.get("reason") or value.get("finish_reason")
    return "stop" if value is True else _clean(value or None)


# -- tool calls -------------------------------------------------------------------------------------------------------


def _calls(value: Any) -> list[Call] | None:
    if isinstance(value, dict):
        value = [value] if "function" in value or "name" in value else list(value.values())
    if not isinstance(value, list):
        if value:
            raise ValueError("tool calls of an unknown form")
        return None
    return [
        Call(
            index=_integer(one.get("index")),
            id=_clean(one.get("id")),
            function=_function(one.get("function")),
            name=_clean(one.get("name")),
            arguments=_arguments(one.get("arguments")),
        )
        for one in value
        if isinstance(one, dict)
    ]


def _function(value: Any) -> Function | None:
    if isinstance(value, str) and value:
        return Function(name=repaired(value))
    if not isinstance(value, dict) or not value:
        return None
    return Function(name=_clean(value.get("name")), arguments=_arguments(value.get("arguments")))


def _arguments(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


# -- what is beside the answer ----------------------------------------------------------------------------------------


def _integer(value: Any) -> int | None:
    """A number, also one that is written as a fraction or as text; ``None`` for all others."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(value) if abs(value) <= MAX_TOKENS else None


def _usage(value: Any) -> Tokens | None:
    if not isinstance(value, dict):
        return None
    prompt, output = _details(value, "prompt_tokens_details"), _details(value, "completion_tokens_details")
    return Tokens(
        prompt_tokens=_integer(value.get("prompt_tokens")),
        completion_tokens=_integer(value.get("completion_tokens")),
        total_tokens=_integer(value.get("total_tokens")),
        prompt_tokens_details=PromptDetails(
            cached_tokens=_integer(prompt.get("cached_tokens")),
            cache_write_tokens=_integer(prompt.get("cache_write_tokens")),
        ),
        completion_tokens_details=OutputDetails(reasoning_tokens=_integer(output.get("reasoning_tokens"))),
        prompt_cache_hit_tokens=_integer(value.get("prompt_cache_hit_tokens")),
        input_tokens=_integer(value.get("input_tokens")),
        output_tokens=_integer(value.get("output_tokens")),
    )


def _details(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _logprobs(value: Any) -> Logprobs | None:
    """The positions that have a log probability."""
    if not isinstance(value, dict):
        return None
    content = _each(value.get("content"), _token)
    tokens, numbers, tops = (_listed(value.get(name)) for name in ("tokens", "token_logprobs", "top_logprobs"))
    rows = [
        (repaired(token), _float(number), tops[index] if index < len(tops) else None)
        for index, (token, number) in enumerate(zip(tokens, numbers, strict=False))
        if isinstance(token, str)
    ]
    return Logprobs(
        content=content if isinstance(value.get("content"), list) else None,
        tokens=[token for token, _, _ in rows],
        token_logprobs=[number for _, number, _ in rows],
        top_logprobs=[
            {repaired(other): float(number) for other, number in top.items() if _float(number) is not None}
            if isinstance(top, dict)
            else None
            for _, _, top in rows
        ],
    )


def _token(value: Any) -> Token | None:
    if not isinstance(value, dict) or not isinstance(value.get("token"), str):
        return None
    logprob = _float(value.get("logprob"))
    if logprob is None:
        return None
    return Token(token=repaired(value["token"]), logprob=logprob, top_logprobs=_each(value.get("top_logprobs"), _token))


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _each(value: Any, read: Callable[[Any], T | None]) -> list[T]:
    return [found for one in _listed(value) if (found := read(one)) is not None]
