"""A collector for traces that runs in the test: it speaks OTLP over gRPC and over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


class Span:
    """A span as it has arrived."""

    def __init__(self, span: trace_pb2.Span, resource: Mapping[str, Any]) -> None:
        self.name = span.name
        self.kind = trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
        self.trace_id = span.trace_id.hex()
        self.id = span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]
        self.attributes = _values(span.attributes)
        self.error = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
        self.start = span.start_time_unix_nano
        self.end = span.end_time_unix_nano
        self.resource = resource


class Collector:
    """The collector: an async context manager.

    Attributes:
        url: of OTLP over gRPC.
        http_url: of OTLP over HTTP.
        text: everything that has arrived, as text.
    """

    def __init__(self) -> None:
        self.text = ""
        self._spans: list[Span] = []

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server()
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Service(self), self._server)  # type: ignore[no-untyped-call]  # generated
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        application = web.Application()
        application.router.add_post("/v1/traces", self._post)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.http_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._server.stop(None)
        await self._runner.cleanup()

    def spans(self, start: str = "") -> Sequence[Span]:
        """The spans whose names begin so, in the order of their beginnings."""
        return sorted([span for span in self._spans if span.name.startswith(start)], key=lambda span: span.start)

    def one(self, start: str) -> Span:
        """The only span whose name begins so."""
        (span,) = self.spans(start)
        return span

    def take(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        """Keep what has arrived."""
        self.text += str(request)
        self._spans += _spans(request)

    async def _post(self, request: web.Request) -> web.Response:
        self.take(trace_service_pb2.ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(body=b"", content_type="application/x-protobuf")


class _Service(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self._collector.take(request)
        await asyncio.sleep(0)
        return trace_service_pb2.ExportTraceServiceResponse()


def _spans(request: trace_service_pb2.ExportTraceServiceRequest) -> Iterator[Span]:
    for group in request.resource_spans:
        resource = _values(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Span(span, resource)


def _values(attributes: Any) -> dict[str, Any]:
    found = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        value = getattr(attribute.value, kind)
        found[attribute.key] = [each.string_value for each in value.values] if kind == "array_value" else value
    return found
