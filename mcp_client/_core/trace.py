"""The trace of the program, by W3C Trace Context: sent with each call if OpenTelemetry is in use."""

from __future__ import annotations

import sys

from mcp_client._core.channel import Headers


def traced(headers: Headers) -> Headers:
    """The headers of a call, with ``traceparent`` and ``tracestate`` of the span that is active.

    Nothing is added if there is none, if the program does not use OpenTelemetry, or if it sets ``traceparent`` itself.
    """
    # Where a span is active, the module was imported: the client itself does not need it.
    opentelemetry = sys.modules.get("opentelemetry.trace")
    if opentelemetry is None:
        return headers
    span = opentelemetry.get_current_span().get_span_context()
    if not span.is_valid or any(name == "traceparent" for name, _ in headers):
        return headers
    headers += (("traceparent", f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"),)
    state = span.trace_state.to_header()
    return (*headers, ("tracestate", state)) if state else headers
