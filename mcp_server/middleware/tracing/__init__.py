"""Traces by OpenTelemetry: a span for each call, turn and call to a provider. Imported only if switched on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Token
from importlib import metadata
from types import TracebackType
from typing import Final

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from mcp_server import trace_context
from mcp_server.interfaces import Call
from mcp_server.middleware.content import as_json, shown
from mcp_server.middleware.operations import OPERATIONS
from mcp_server.middleware.tracing import spans
from mcp_server.middleware.tracing.export import PlannedIds, tracer_provider
from mcp_server.trace_context import Trace
from mcp_server.values import Attempt, Message, Turn

FLUSH_SECONDS: Final = 5.0
"""How long the last spans may take to be sent when the server stops."""
_NOT_TRACED: Final = frozenset({"grpc.health.v1.Health"})
"""Services that machines call all day."""


class Tracing:
    """Makes the spans: a :data:`~mcp_server.interfaces.Middleware` and a :class:`~mcp_server.interfaces.TurnObserver`.

    The span of a call is the parent of that of the turn that it begins, and that one is the parent of a span for each
    call to a provider. A turn that is still running when its call has ended is linked to the call instead. The spans of
    turns and of calls to providers are made at the end of the turn from its record; only their ids are chosen before,
    since providers pass them on upstream.

    What is sent where, and how much, is up to the environment variables of OpenTelemetry.

    Raises:
        ConfigError: these name what is not there.
    """

    def __init__(self) -> None:
        self._ids = PlannedIds()
        self._provider: TracerProvider = tracer_provider(self._ids)
        self._tracer = self._provider.get_tracer("contextprotocol", metadata.version("contextprotocol"))
        self._propagator = TraceContextTextMapPropagator()
        self._contents: dict[int, spans.Found] = {}

    async def close(self) -> None:
        """Send the last spans, for at most :data:`FLUSH_SECONDS`."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop was not waiting any more
                loop.call_soon_threadsafe(sent.set)

        # No thread of the event loop's own: the process would not end before it.
        threading.Thread(target=shut_down, name="tracing", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), FLUSH_SECONDS)

    # -- calls --------------------------------------------------------------------------------------------------------

    def __call__(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Make a span of one call, as a part of the caller's trace if it sends ``traceparent``."""
        return contextlib.nullcontext() if call.service in _NOT_TRACED else _TracedCall(self, call)

    def start_call(self, call: Call) -> Span:
        """The span of a call that begins."""
        return self._tracer.start_span(
            f"{call.service}/{call.method}",
            self._propagator.extract(call.metadata, Context()),
            SpanKind.SERVER,
            spans.of_call(call),
        )

    # -- turns --------------------------------------------------------------------------------------------------------

    def turn_started(self, turn: Turn, /) -> None:
        """Let everything that the turn does belong to it."""
        if (call := trace_context.current()) is not None:
            trace = call.of_turn()
            trace_context.enter(trace)
            # For plug-ins that trace by themselves.
            contexts.attach(set_span_in_context(NonRecordingSpan(_span_context(trace, trace.span_id))))

    def turn_content(self, turn: Turn, input: Sequence[Message], answer: Message | None, /) -> None:
        """Keep what the span of the last call to a provider is to show."""
        if (trace := trace_context.current()) is not None and trace.sampled:
            found: spans.Found = {"gen_ai.input.messages": as_json(shown(input))}
            if answer is not None:
                found["gen_ai.output.messages"] = as_json(shown([answer]))
            self._contents[trace.span_id] = found

    def turn_ended(self, turn: Turn, /) -> None:
        """Make the spans of a turn and of its calls to providers."""
        trace = trace_context.current()
        if trace is None or trace.call is None or not trace.sampled:
            return
        content = self._contents.pop(trace.span_id, {})
        call = _span_context(trace, trace.call.span_id)
        outlived = trace.call.ended
        self._ids.plan(trace.trace_id, trace.span_id)
        self._span(
            f"turn {turn.service}",
            None if outlived else call,
            SpanKind.INTERNAL,
            spans.of_turn(turn),
            times=(turn.create_time, turn.end_time or turn.create_time),
            error=turn.error.reason if turn.error is not None else "",
            links=[Link(call)] if outlived else [],
        )
        made_here = turn.attempts[-len(trace.attempts) :] if trace.attempts else ()
        last = turn.attempts[-1] if turn.attempts else None
        for attempt in made_here:
            more = {**spans.of_answer(turn), **content} if attempt is last else {}
            self._attempt(trace, turn.service, attempt, {**more, **spans.of_session(turn)})

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Make the spans of the calls to providers of an embedding request; those of a turn are made at its end."""
        trace = trace_context.current()
        if service == "embedding" and trace is not None and trace.sampled:
            for attempt in attempts:
                self._attempt(trace, service, attempt, {})

    def _attempt(self, trace: Trace, service: str, attempt: Attempt, more: spans.Found) -> None:
        """Make the span of the next call to a provider of a call or turn."""
        self._ids.plan(trace.trace_id, trace.attempts.pop(0) if trace.attempts else trace_context.new_span_id())
        operation = OPERATIONS[service]
        self._span(
            f"{operation} {attempt.model}",
            _span_context(trace, trace.span_id),
            SpanKind.CLIENT,
            {**spans.of_attempt(operation, attempt), **more},
            times=(attempt.start_time, attempt.start_time + attempt.duration),
            error=attempt.error.reason if attempt.error is not None else "",
        )

    def _span(
        self,
        name: str,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        *,
        times: tuple[int, int],
        error: str,
        links: Sequence[Link] = (),
    ) -> None:
        """Make a span of what has ended, with the planned ids."""
        context = Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())
        span = self._tracer.start_span(name, context, kind, attributes, links, start_time=times[0])
        self._ids.forget()
        if error:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(times[1])


class _TracedCall:
    """Entered around one call."""

    __slots__ = ("_attached", "_call", "_entered", "_span", "_trace", "_tracing")

    def __init__(self, tracing: Tracing, call: Call) -> None:
        self._tracing = tracing
        self._call = call
        self._trace: Trace | None = None

    async def __aenter__(self) -> None:
        self._span = self._tracing.start_call(self._call)
        self._attached: Token[Context] = contexts.attach(set_span_in_context(self._span))
        span = self._span.get_span_context()
        if span.is_valid:
            self._trace = Trace(
                trace_id=span.trace_id,
                span_id=span.span_id,
                sampled=span.trace_flags.sampled,
                state=span.trace_state.to_header(),
            )
            self._entered = trace_context.enter(self._trace)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._trace is not None:
            self._trace.ended = True
            trace_context.leave(self._entered)
        contexts.detach(self._attached)
        spans.end_call(self._span, self._call)


def _span_context(trace: Trace, span_id: int) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(trace.trace_id, span_id, is_remote=False, trace_flags=flags, trace_state=state)
