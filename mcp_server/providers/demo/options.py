"""The ``provider_options`` of calls to the demo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_server.errors import InvalidArgument, UnsupportedByModel, Violation
from mcp_server.interfaces import EmbedRequest
from mcp_server.providers.demo.embedding import MOST_DIMENSIONS
from mcp_server.values import Struct

KNOWN: Final = ("reasoning_effort", "thinking", "tokens_per_second")
_EFFORTS: Final = {
    "none": False,
    "minimal": True,
    "low": True,
    "medium": True,
    "high": True,
    "xhigh": True,
    "max": True,
}


class Options(Struct):
    """The options of a call."""

    tokens_per_second: float | None = None
    """How fast the answer is written; ``None``: as the settings say."""
    thinks: bool | None = None
    """Whether the reasoning is shown; ``None``: as the model does."""
    thought_tokens: int | None = None
    """The most tokens of the reasoning."""


def checked(options: Mapping[str, Any], model: str) -> Options:
    """The options of a call.

    Args:
        options: its ``provider_options``.
        model: the name of the model.

    Raises:
        UnsupportedByModel: one is not known.
        InvalidArgument: one does not take its value.
    """
    if unknown := sorted(options.keys() - set(KNOWN)):
        raise UnsupportedByModel(
            f"provider_options.{unknown[0]} is not known to the model {model}; known are {', '.join(KNOWN)}",
            metadata={"model": model, "option": unknown[0]},
        )
    rate, effort, thinking = (options.get(name) for name in ("tokens_per_second", "reasoning_effort", "thinking"))
    if rate is not None and not (_is_number(rate) and 0 <= rate <= 100_000):
        raise _wrong("tokens_per_second", "must be a number from 0 to 100000")
    if effort is not None and (not isinstance(effort, str) or effort not in _EFFORTS):
        raise _wrong("reasoning_effort", f"must be one of {', '.join(_EFFORTS)}")
    if thinking is None:
        return Options(tokens_per_second=rate, thinks=None if effort is None else _EFFORTS[effort])
    thinks, budget = _thinking(thinking)
    return Options(tokens_per_second=rate, thinks=thinks, thought_tokens=budget)


def _thinking(value: Any) -> tuple[bool, int | None]:
    """Whether to think, and with how many tokens at most, in the form of Anthropic's API."""
    if not isinstance(value, Mapping) or value.get("type") not in ("enabled", "disabled"):
        raise _wrong("thinking.type", "must be enabled or disabled")
    if further := sorted(value.keys() - {"type", "budget_tokens"}):
        raise _wrong(f"thinking.{further[0]}", "is not known; known are type and budget_tokens")
    budget = value.get("budget_tokens")
    if budget is not None and not (_is_number(budget) and float(budget).is_integer() and budget >= 1):
        raise _wrong("thinking.budget_tokens", "must be a whole number of at least 1")
    return value["type"] == "enabled", None if budget is None else int(budget)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def checked_for_embedding(request: EmbedRequest, model: str) -> None:
    """Refuse what embeddings have no use for.

    Raises:
        UnsupportedByModel: an option is set, or the vectors would be too long.
    """
    if request.provider_options:
        name = min(request.provider_options)
        raise UnsupportedByModel(
            f"provider_options.{name} is not known to the embeddings of the model {model}",
            metadata={"model": model, "option": name},
        )
    if request.dimensions is not None and request.dimensions > MOST_DIMENSIONS:
        raise UnsupportedByModel(
            f"the model {model} makes vectors of at most {MOST_DIMENSIONS} numbers, not {request.dimensions}",
            metadata={"model": model},
        )


def _wrong(name: str, description: str) -> InvalidArgument:
    return InvalidArgument([Violation(field=f"provider_options.{name}", description=description)])
