"""The attributes of spans: by OpenTelemetry's semantic conventions, and ``contextprotocol.…`` for what they lack."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from mcp_server.interfaces import Call
from mcp_server.values import SECOND, Attempt, Turn

Found = dict[str, AttributeValue]

_FAULTS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Status codes that are an error of the server, by the conventions for gRPC."""


def of_call(call: Call) -> Found:
    """The attributes of a call that begins."""
    _, _, address = unquote(call.peer).partition(":")
    host, _, port = address.rpartition(":")
    found: Found = {
        "rpc.system.name": "grpc",
        "rpc.method": f"{call.service}/{call.method}",
        "network.peer.address": host.strip("[]") or address,
    }
    if host and port.isdecimal():
        found["network.peer.port"] = int(port)
    return found


def end_call(span: Span, call: Call) -> None:
    """Add how a call ended, and end its span."""
    span.set_attribute("rpc.response.status_code", call.code)
    span.set_attribute("contextprotocol.tenant", call.tenant)
    if call.principal.key:
        span.set_attribute("contextprotocol.key", call.principal.key)
    if call.turn:
        span.set_attribute("contextprotocol.turn", call.turn)
    if call.reason is not None and call.reason != "OK":
        span.set_attribute("error.type", call.reason)
    if call.code in _FAULTS:
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def of_turn(turn: Turn) -> Found:
    """The attributes of a turn that has ended."""
    window, usage = turn.window, turn.usage
    return {
        "contextprotocol.turn": turn.name,
        "contextprotocol.tenant": turn.tenant,
        "contextprotocol.service": turn.service,
        "contextprotocol.state": turn.state.value,
        "contextprotocol.attempts": len(turn.attempts),
        "contextprotocol.window.first_message": window.first_message,
        "contextprotocol.window.used_messages": window.used_messages,
        "contextprotocol.window.dropped_messages": window.dropped_messages,
        "contextprotocol.window.input_tokens": window.input_tokens,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        **({"contextprotocol.key": turn.key} if turn.key else {}),
        **{f"contextprotocol.label.{name}": value for name, value in turn.labels.items()},
        **of_session(turn),
    }


def of_session(turn: Turn) -> Found:
    """The session of a turn, if it has one."""
    return {"gen_ai.conversation.id": f"sessions/{turn.session}"} if turn.session else {}


def of_answer(turn: Turn) -> Found:
    """What is known of the call that gave the answer of a turn."""
    return {} if turn.finish_reason is None else {"gen_ai.response.finish_reasons": [turn.finish_reason.value]}


def of_attempt(operation: str, attempt: Attempt) -> Found:
    """The attributes of a call to a provider that has ended."""
    usage = attempt.usage
    found: Found = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": attempt.model,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "contextprotocol.usage.source": usage.source.value,
    }
    further = {
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    found |= {name: count for name, count in further.items() if count}
    if attempt.first_token_duration is not None:
        found["gen_ai.response.time_to_first_chunk"] = attempt.first_token_duration / SECOND
    if attempt.currency:
        found["contextprotocol.cost"] = attempt.cost_nanos / SECOND
        found["contextprotocol.currency"] = attempt.currency
    return found
