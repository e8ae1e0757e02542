"""Sampling parameters, tools and options of a call."""

from __future__ import annotations

import enum

from mcp_server.values.base import Struct


class ResponseFormat(enum.StrEnum):
    """The format of an answer."""

    TEXT = "text"
    JSON = "json"
    JSON_SCHEMA = "json_schema"


class GenerationConfig(Struct):
    """Sampling parameters, and the format of the answer; the model's own defaults apply to ``None``."""

    temperature: float | None = None
    """The sampling temperature, 0 to 2; 0 is greedy decoding."""
    top_p: float | None = None
    """Nucleus sampling: the cumulative probability of the most likely tokens to sample from, 0 to 1."""
    max_output_tokens: int | None = None
    """The maximum length of the answer in tokens; at least 1."""
    stop: tuple[str, ...] = ()
    """Stop sequences: the answer ends before the first of them."""
    seed: int | None = None
    """The seed of the sampling, which makes it reproducible if the provider supports that."""
    frequency_penalty: float | None = None
    """-2 to 2: penalizes tokens in proportion to how often they have occurred."""
    presence_penalty: float | None = None
    """-2 to 2: penalizes tokens that have occurred at least once."""
    logprobs: int | None = None
    """How many of the most likely tokens to report at each position, 0 to 20; 0 reports only the generated token."""
    response_format: ResponseFormat = ResponseFormat.TEXT
    """The format of the answer."""
    json_schema: str = ""
    """The JSON Schema of the answer, as JSON text; only with ``ResponseFormat.JSON_SCHEMA``."""


class Tool(Struct):
    """A function that the model may call, and that the caller executes."""

    name: str
    """Its name, ``[a-zA-Z0-9_-]{1,64}``."""
    description: str = ""
    """A description for the model."""
    parameters_json: str = ""
    """The JSON Schema of its arguments, as JSON text."""
    strict: bool = False
    """Whether the arguments must follow the schema; providers that cannot see to that refuse it."""


class ToolChoice(Struct):
    """Whether the model must call a tool."""

    mode: str = "auto"
    """``auto``, ``none`` or ``required``."""
    name: str = ""
    """The name of the only tool that the model may call, or empty; only with ``required``."""
    parallel: bool = True
    """Whether one answer may have several calls; providers that cannot prevent that refuse ``False``."""


class IfBusy(enum.StrEnum):
    """What happens to a call on a session on which a turn is running."""

    REJECT = "reject"
    """The call is rejected."""
    QUEUE = "queue"
    """The call waits in the queue of the session, in order of arrival."""
    CANCEL_RUNNING = "cancel_running"
    """The running turn is cancelled, and this call goes to the head of the queue."""


class OnDisconnect(enum.StrEnum):
    """What happens to a turn when its last reader disconnects."""

    CANCEL_AFTER_GRACE = "cancel_after_grace"
    """The turn is cancelled unless a reader attaches within the configured grace period."""
    CANCEL = "cancel"
    """The turn is cancelled immediately."""
    CONTINUE = "continue"
    """The turn continues to its end."""


class OnCut(enum.StrEnum):
    """What happens to a turn when a provider fails after the first piece of an answer."""

    RESTART = "restart"
    """The next model begins the answer anew."""
    CONTINUE = "continue"
    """The next model continues the answer if it can, else begins it anew."""
    CONTINUE_OR_FAIL = "continue_or_fail"
    """The next model that can continue the answer does so. If there is none, the turn fails."""
    FAIL = "fail"
    """The turn fails."""


class Logprob(Struct):
    """The log probability of one token."""

    token: str
    """The text of the token, which may be a part of a character."""
    logprob: float
    """The natural logarithm of the probability."""
    top: tuple[Logprob, ...] = ()
    """The most likely tokens at this position, if the request asks for them."""
