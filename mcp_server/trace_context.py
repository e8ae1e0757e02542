"""The trace to which the work at hand belongs, by W3C Trace Context.

The middleware that traces sets it. Log lines show its id, and calls to providers pass it on upstream. Without tracing
there is none, and everything here costs one look-up.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextvars import ContextVar, Token


class Trace:
    """A call or a turn as a part of a trace.

    Args:
        trace_id: the id of the trace, 128 bits.
        span_id: the id of the span of the call or turn, 64 bits.
        sampled: whether its spans are recorded.
        state: the header ``tracestate``, or empty.
        call: of a turn, the call that began it.
    """

    __slots__ = ("attempts", "call", "ended", "sampled", "span_id", "state", "trace_id")

    def __init__(
        self, *, trace_id: int, span_id: int, sampled: bool, state: str = "", call: Trace | None = None
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled
        self.state = state
        self.call = call
        self.attempts: list[int] = []
        """The ids of the spans of its calls to providers, in the order in which they began."""
        self.ended = False
        """Whether the call has ended."""

    def of_turn(self) -> Trace:
        """A turn that this call begins."""
        return Trace(trace_id=self.trace_id, span_id=new_span_id(), sampled=self.sampled, state=self.state, call=self)

    def headers(self) -> Mapping[str, str]:
        """The headers for the call to a provider that began last."""
        span_id = self.attempts[-1] if self.attempts else self.span_id
        found = {"traceparent": f"00-{self.trace_id:032x}-{span_id:016x}-{self.sampled:02x}"}
        if self.state:
            found["tracestate"] = self.state
        return found


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def enter(trace: Trace) -> Token[Trace | None]:
    """Make ``trace`` the current one of this task, and of those that it creates."""
    return _current.set(trace)


def leave(token: Token[Trace | None]) -> None:
    """Undo :func:`enter`, in the same task."""
    _current.reset(token)


def current() -> Trace | None:
    """The trace of the work at hand; ``None`` if nothing traces it."""
    return _current.get()


def trace_id() -> str:
    """Its id as 32 hexadecimal digits, or empty."""
    trace = _current.get()
    return "" if trace is None else f"{trace.trace_id:032x}"


def attempt_begins() -> None:
    """Note that a call to a provider begins."""
    trace = _current.get()
    if trace is not None:
        trace.attempts.append(new_span_id())


def upstream_headers() -> Mapping[str, str]:
    """The headers by which a provider that speaks HTTP passes the trace on: ``traceparent`` and ``tracestate``."""
    trace = _current.get()
    return {} if trace is None else trace.headers()


def new_span_id() -> int:
    """The id of a new span."""
    return random.getrandbits(64) or 1  # identifies, and guards nothing
