"""Decodes times, amounts of money, JSON and enums."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2

from contextprotocol.v1 import errors_pb2


def time(value: timestamp_pb2.Timestamp) -> datetime:
    """A point in time, in UTC."""
    return datetime.fromtimestamp(value.seconds, UTC).replace(microsecond=value.nanos // 1000)


def seconds(value: duration_pb2.Duration) -> float:
    """A duration in seconds."""
    return value.seconds + value.nanos / 1e9


def cost(nanos: int) -> Decimal:
    """An amount of money that the contract counts in billionths."""
    return Decimal(nanos).scaleb(-9)


def json(value: struct_pb2.Value) -> Any:
    """A JSON value."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {key: json(item) for key, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [json(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= 2**53 else number
    return None if kind in (None, "null_value") else getattr(value, kind)


def reason(value: int) -> str:
    """The name of an error reason; empty if there is none, or if this version of the client does not know it."""
    found = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(value) if value else None
    return found.name.removeprefix("ERROR_REASON_") if found is not None else ""
