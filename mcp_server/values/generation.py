"""What a call asks of a model."""

from __future__ import annotations

import enum

from mcp_server.values.base import Struct


class ResponseFormat(enum.StrEnum):
    """The shape of the answer."""

    TEXT = "text"
    JSON = "json"
    JSON_SCHEMA = "json_schema"


class GenerationConfig(Struct):
    """The knobs of a generation; what is ``None`` is left to the model's own default."""

    temperature: float | None = None
    """Randomness, 0 to 2; 0 is greedy."""
    top_p: float | None = None
    """Sample only from the likeliest tokens that make up this share, 0 to 1."""
    max_output_tokens: int | None = None
    """The longest answer, in tokens; at least 1."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""
    seed: int | None = None
    """Makes sampling repeatable where the provider can."""
    frequency_penalty: float | None = None
    """-2 to 2: discourages repeating in proportion to how often."""
    presence_penalty: float | None = None
    """-2 to 2: discourages repeating at all."""
    logprobs: int | None = None
    """How many of the likeliest tokens to report at each position, 0 to 20; 0 reports the chosen token alone."""
    response_format: ResponseFormat = ResponseFormat.TEXT
    """The shape of the answer."""
    json_schema: str = ""
    """The JSON Schema that the answer must fit, as JSON text; only with ``ResponseFormat.JSON_SCHEMA``."""


class Tool(Struct):
    """A function that the model may ask the caller to run."""

    name: str
    """Its name, ``[a-zA-Z0-9_-]{1,64}``."""
    description: str = ""
    """What it does, for the model to read."""
    parameters_json: str = ""
    """The JSON Schema of its arguments, as JSON text."""


class ToolChoice(Struct):
    """Whether the model must call a tool."""

    mode: str = "auto"
    """``auto``, ``none`` or ``required``."""
    name: str = ""
    """The one tool to call, or empty; only with ``required``."""


class IfBusy(enum.StrEnum):
    """What happens to a call whose session has a turn already."""

    REJECT = "reject"
    """It is refused."""
    QUEUE = "queue"
    """It waits, in the order of arrival."""
    CANCEL_RUNNING = "cancel_running"
    """The turn that runs is cancelled, and this one goes ahead of those that wait."""


class OnDisconnect(enum.StrEnum):
    """What happens to a turn when its last reader has left."""

    CANCEL_AFTER_GRACE = "cancel_after_grace"
    """It is cancelled unless a reader comes within the configured grace."""
    CANCEL = "cancel"
    """It is cancelled at once."""
    CONTINUE = "continue"
    """It runs to its end."""


class Logprob(Struct):
    """How likely one token was."""

    token: str
    """The token's text; may be part of a character."""
    logprob: float
    """The natural logarithm of its probability."""
    top: tuple[Logprob, ...] = ()
    """The likeliest tokens at this position, if asked for."""
