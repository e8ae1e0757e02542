# Generated from tests/client/test_trace.py by scripts/generate: edit that file.

"""The client passes the trace of the program on, if the program has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, use_span

from mcp_client import MCPSyncClient
from mcp_server.interfaces import Call
from tests.client.blocking.beside import running

TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID = 0xB7AD6B7169203331
TRACEPARENT = f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-01"


class Watch:
    """Remembers the metadata of each call."""

    def __init__(self) -> None:
        self.metadata: list[Mapping[str, str]] = []

    def __call__(self, call: Call) -> nullcontext[None]:
        self.metadata.append(call.metadata)
        return nullcontext()


@contextmanager
def active_span() -> Iterator[None]:
    """A span of the program."""
    state = TraceState([("vendor", "1")])
    with use_span(NonRecordingSpan(SpanContext(TRACE_ID, SPAN_ID, False, TraceFlags(1), state))):
        yield


def test_the_active_span_is_sent_with_every_call() -> None:
    """Unary calls and streams; a call outside of it has none."""
    watch = Watch()
    with running(middleware=[watch]) as server, MCPSyncClient(server.address) as client:
        with active_span():
            client.chat("Hi")
            with client.stream_chat("Hi") as stream:
                stream.reply()
        client.chat("Hi")
    unary, streamed, outside = watch.metadata
    for metadata in (unary, streamed):
        assert (metadata["traceparent"], metadata["tracestate"]) == (TRACEPARENT, "vendor=1")
    assert "traceparent" not in outside


def test_a_trace_that_the_program_sends_itself_is_left_alone() -> None:
    """Its metadata are sent as they are."""
    watch = Watch()
    own = {"traceparent": TRACEPARENT.replace("-01", "-00")}
    with running(middleware=[watch]) as server, MCPSyncClient(server.address, metadata=own) as client:
        with active_span():
            client.chat("Hi")
    (metadata,) = watch.metadata
    assert metadata["traceparent"] == own["traceparent"]
    assert "tracestate" not in metadata
