"""Where spans are sent, by the environment variables of OpenTelemetry."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Final, cast

from opentelemetry.environment_variables import OTEL_TRACES_EXPORTER
from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from mcp_server.errors import ConfigError
from mcp_server.trace_context import new_span_id

SERVICE: Final = "contextprotocol"
"""The name of the service, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has another."""
_PROTOCOLS: Final = {"": "otlp", "grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
"""The names under which the exporters of OTLP are registered, by protocol; the first is OpenTelemetry's own default."""


class PlannedIds:
    """Gives the next span the ids that were chosen for it before, and other spans random ones."""

    def __init__(self) -> None:
        self._trace_id = self._span_id = 0

    def plan(self, trace_id: int, span_id: int) -> None:
        """Choose the ids of the next span; that of the trace counts if the span has no parent."""
        self._trace_id, self._span_id = trace_id, span_id

    def forget(self) -> None:
        """Choose none."""
        self._trace_id = self._span_id = 0

    def generate_span_id(self) -> int:
        """The id of a span."""
        return self._span_id or new_span_id()

    def generate_trace_id(self) -> int:
        """The id of a trace."""
        return self._trace_id or random.getrandbits(128) or 1  # identifies, and guards nothing

    def is_trace_id_random(self) -> bool:
        """Whether ids of traces are random: chosen ones come from callers."""
        return not self._trace_id


def tracer_provider(ids: PlannedIds) -> TracerProvider:
    """A provider of tracers that sends what it makes where the environment says. It is not the global one.

    Raises:
        ConfigError: the environment names an exporter or a protocol that does not exist.
    """
    resource = Resource.create()
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": SERVICE}))
    provider = TracerProvider(
        resource=resource,
        id_generator=cast(IdGenerator, ids),  # which has its methods
        shutdown_on_exit=False,
    )
    for exporter in _exporters():
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporters() -> Iterator[SpanExporter]:
    names = os.environ.get(OTEL_TRACES_EXPORTER) or "otlp"
    for name in [name.strip() for name in names.split(",")]:
        if name == "none":
            continue
        entry = name
        if name == "otlp":
            protocol = os.environ.get(OTEL_EXPORTER_OTLP_TRACES_PROTOCOL) or os.environ.get(
                OTEL_EXPORTER_OTLP_PROTOCOL, ""
            )
            if protocol not in _PROTOCOLS:
                raise ConfigError(
                    f"{OTEL_EXPORTER_OTLP_PROTOCOL}: {protocol!r} is not a protocol; allowed: grpc, http/protobuf"
                )
            entry = _PROTOCOLS[protocol]
        found = tuple(entry_points(group="opentelemetry_traces_exporter", name=entry))
        if not found:
            raise ConfigError(f"{OTEL_TRACES_EXPORTER}: no exporter named {name!r} is installed")
        exporter: SpanExporter = found[0].load()()
        yield exporter
