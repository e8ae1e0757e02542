"""What the demo is going to do: everything of an answer before its first token."""

from __future__ import annotations

from collections.abc import Iterable

from mcp_server.providers.demo.failures import Failure
from mcp_server.values import FinishReason, Logprob, Struct, ToolCall


class Plan(Struct):
    """An answer before it is written."""

    why: str = ""
    """Why it is this answer, as a sentence of the reasoning."""
    reasoning: Iterable[str] = ()
    """The tokens of the reasoning that is shown."""
    tokens: Iterable[str] = ()
    """The tokens of the text, which need not end."""
    opening: Logprob | None = None
    """The log probability of the first token, if it was drawn."""
    refuses: bool = False
    """Whether the text is that of a refusal."""
    calls: tuple[ToolCall, ...] = ()
    """The tool calls after the text."""
    reason: FinishReason = FinishReason.STOP
    """Why it ends, unless it is too long or ends with tool calls."""
    wait: float = 0.0
    """How long nothing is written, in seconds."""
    interval: float | None = None
    """The seconds between two tokens; ``None``: as the settings say."""
    thinks: bool = False
    """Whether it was asked to show its reasoning."""
    failure: Failure | None = None
    """How it fails."""
