"""Log probabilities in the form of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_server.values import Logprob


def chat_logprobs(logprobs: Sequence[Logprob]) -> dict[str, Any]:
    """The object ``logprobs`` of a chat."""
    return {"content": token_objects(logprobs), "refusal": None}


def token_objects(logprobs: Sequence[Logprob]) -> list[dict[str, Any]]:
    """The tokens, each with its alternatives, in chats and in responses."""
    return [{**_token(one), "top_logprobs": [_token(other) for other in one.top]} for one in logprobs]


def _token(one: Logprob) -> dict[str, Any]:
    return {"token": one.token, "logprob": one.logprob, "bytes": list(one.token.encode())}


def completion_logprobs(logprobs: Sequence[Logprob], offset: int) -> dict[str, Any]:
    """The object ``logprobs`` of a completion.

    Args:
        logprobs: those of some tokens.
        offset: how many characters precede them, those of the prompt included.
    """
    offsets = []
    for one in logprobs:
        offsets.append(offset)
        offset += len(one.token)
    return {
        "tokens": [one.token for one in logprobs],
        "token_logprobs": [one.logprob for one in logprobs],
        "top_logprobs": [{other.token: other.logprob for other in one.top} for one in logprobs],
        "text_offset": offsets,
    }
