"""The options of a turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

Seconds = float | timedelta
"""A time span: a number of seconds, or a timedelta."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Whether a model must call a tool."""

    mode: str = "auto"
    """``"auto"``: the model decides; ``"none"``: it calls no tool; ``"required"``: it calls at least one."""
    name: str = ""
    """The tool that the model must call; only with ``"required"``."""


class TurnOptions(TypedDict, total=False):
    """The options that every call to a model takes. Omitted options use the default of the session or the server."""

    model: str | None
    """An alias or ``provider/model``; by default the session's model, then the server's."""
    temperature: float | None
    """0 to 2; 0 is greedy decoding."""
    top_p: float | None
    """Nucleus sampling: above 0, up to 1."""
    max_output_tokens: int | None
    """The maximum length of the answer."""
    stop: str | Sequence[str] | None
    """Stop sequences: the answer ends before the first of them."""
    seed: int | None
    """Makes sampling reproducible where the provider supports it."""
    frequency_penalty: float | None
    """-2 to 2."""
    presence_penalty: float | None
    """-2 to 2."""
    logprobs: int | None
    """How many likely tokens to report at each position, in ``logprobs`` of the reply and in the events of a stream."""
    json: bool
    """The answer is a JSON object."""
    json_schema: str | Mapping[str, Any] | None
    """The answer conforms to this JSON Schema. A schema that is given as JSON text is sent unchanged."""
    etag: str | None
    """The call fails with :class:`EtagMismatch` unless the session still has this etag."""
    turn_timeout: Seconds | None
    """How long the turn may take on the server, in seconds, including the time in the queue."""
    request_id: str | None
    """An idempotency key, 1 to 128 printable ASCII characters: calls with the same key are one turn, also from another
    process. By default the client generates a random key for each call."""
    if_busy: str | None
    """What to do if a turn is running on the session: ``"reject"``, the default, raises :class:`SessionBusy`;
    ``"queue"`` waits; ``"cancel_running"`` cancels that turn and starts this one."""
    on_disconnect: str | None
    """What happens to the turn when its last reader disconnects: ``"cancel_after_grace"``, the default, ``"cancel"``,
    or ``"continue"``."""
    provider_options: Mapping[str, Any] | None
    """Passed to the provider unchanged."""
    labels: Mapping[str, str] | None
    """For whom or what the call is made: up to 16. The turn and its usage carry them."""
