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
    thinks: bool | None = None
    if isinstance(rate, bool) or not (rate is None or (isinstance(rate, int | float) and 0 <= rate <= 100_000)):
        raise _wrong("tokens_per_second", "must be a number from 0 to 100000")
    if effort is not None:
        if effort not in _EFFORTS:
            raise _wrong("reasoning_effort", f"must be one of {', '.join(_EFFORTS)}")
        thinks = _EFFORTS[effort]
    if thinking is not None:
        kind = thinking.get("type") if isinstance(thinking, Mapping) else None
        if kind not in ("enabled", "disabled"):
            raise _wrong("thinking.type", "must be enabled or disabled")
        thinks = kind == "enabled"
    return Options(tokens_per_second=rate, thinks=thinks)


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
