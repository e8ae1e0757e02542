"""Times and durations."""

from __future__ import annotations

from google.protobuf import duration_pb2, timestamp_pb2

from mcp_server.values import SECOND


def timestamp(time: int) -> timestamp_pb2.Timestamp:
    """A time in nanoseconds since the Unix epoch."""
    return timestamp_pb2.Timestamp(seconds=time // SECOND, nanos=time % SECOND)


def duration(nanoseconds: int) -> duration_pb2.Duration:
    """A duration of nanoseconds, never negative."""
    return duration_pb2.Duration(seconds=nanoseconds // SECOND, nanos=nanoseconds % SECOND)
