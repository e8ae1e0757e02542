"""Odd answers of servers with OpenAI's protocol, each with what a caller must get.

One table, and longer than most files for that: a new answer is one entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_server.errors import (
    ContextTooLong,
    InvalidArgument,
    MCPError,
    ModelNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStreamCut,
    ProviderUnavailable,
)
from mcp_server.values import FinishReason

EVENTS: Final = "text/event-stream"
JSON: Final = "application/json"
COUNTS: Final = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A success."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: Sequence[tuple[str, Any]] = ()
    """The names and arguments of the tool calls, in order."""
    reason: FinishReason = FinishReason.STOP
    usage: tuple[int, int] | None = None
    """The reported tokens of the prompt and of the answer."""
    logprobs: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error."""

    type: type[MCPError]
    cause: str = ""
    words: str = ""
    """What of the vendor's words the caller reads."""
    hidden: Sequence[str] = ()
    """What the caller does not read."""
    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """An answer."""

    body: bytes
    expected: Whole | Failure
    status: int = 200
    content_type: str = EVENTS
    headers: Mapping[str, str] = field(default_factory=dict)
    open: bool = False
    """Whether the server leaves the connection open behind the body."""
    tools: Sequence[str] = ()
    """The tools that the call offers."""
    logprobs: bool = False
    """Whether the call asks for log probabilities."""


def event(value: Any, name: str = "") -> bytes:
    """One event."""
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def choice(delta: Any = None, finish: Any = None, **fields: Any) -> bytes:
    """One event with a choice."""
    return event(
        {"choices": [{"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish, **fields}]}
    )


def usage(counts: Any = COUNTS) -> bytes:
    """The event with the usage."""
    return event({"choices": [], "usage": counts})


def streamed(*deltas: Any, finish: Any = "stop", counts: Any = COUNTS) -> bytes:
    """A stream with these deltas, a finish reason and usage."""
    return b"".join([choice(delta) for delta in deltas]) + choice(finish=finish) + usage(counts) + DONE


def call(name: Any = None, arguments: Any = None, *, index: Any = 0, id: Any = None, **fields: Any) -> dict[str, Any]:
    """A delta with one piece of a tool call."""
    function = {key: value for key, value in {"name": name, "arguments": arguments}.items() if value is not None}
    piece = {"index": index, "id": id, "function": function, **fields}
    return {"tool_calls": [{key: value for key, value in piece.items() if value is not None}]}


def document(message: Any, finish: Any = "stop", **fields: Any) -> dict[str, Any]:
    """A whole answer."""
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": COUNTS, **fields}


def dumped(value: Any) -> bytes:
    """The JSON of a body."""
    return json.dumps(value).encode()


def refused(status: int, body: Any, expected: Failure, **headers: str) -> Case:
    """An answer with another status than 200."""
    return Case(status=status, body=dumped(body), content_type=JSON, headers=headers, expected=expected)


USED: Final = (12, 3)
FINE: Final = Whole(text="Good day", usage=USED)
PLAIN: Final = streamed({"content": "Good"}, {"content": " day"})
BERLIN: Final = '{"town": "Berlin"}'
ROME: Final = '{"town": "Rome"}'
WEATHER: Final = ("weather", {"town": "Berlin"})
CLOCK: Final = ("clock", {"town": "Rome"})


def called(*calls: tuple[str, Any], text: str = "") -> Whole:
    """An answer with tool calls."""
    return Whole(text=text, calls=calls, reason=FinishReason.TOOL_CALLS, usage=USED)


# -- wrong data that looks like a success -----------------------------------------------------------------------------

CONTENT: Final[Mapping[str, Case]] = {
    "the whole message after its pieces": Case(
        body=choice({"content": "Good"})
        + choice({"content": " day"})
        + event(document({"content": "Good day"}))
        + DONE,
        expected=FINE,
    ),
    "the whole message with more than its pieces": Case(
        body=choice({"content": "Good"}) + event(document({"content": "Good day"})) + DONE, expected=FINE
    ),
    "the whole message with other spaces": Case(
        body=choice({"content": "Good"}) + choice({"content": " day"}) + event(document({"content": "Good day "[1:]})),
        expected=FINE,
    ),
    "messages that grow": Case(
        body=event(document({"content": "Go"}, None))
        + event(document({"content": "Good d"}, None))
        + event(document({"content": "Good day"})),
        expected=FINE,
    ),
    "messages that are pieces": Case(
        body=event(document({"content": "Good"}, None)) + event(document({"content": " day"})), expected=FINE
    ),
    "the whole message with its calls again": Case(
        body=choice(call("weather", BERLIN, id="a"))
        + event(
            document(
                {"content": None, "tool_calls": [{"id": "a", "function": {"name": "weather", "arguments": BERLIN}}]},
                "tool_calls",
            )
        ),
        expected=called(WEATHER),
    ),
    "the whole message with the reasoning again": Case(
        body=choice({"reasoning_content": "Hm"})
        + choice({"content": "Good day"})
        + event(document({"reasoning_content": "Hm", "content": "Good day"})),
        expected=Whole(text="Good day", reasoning="Hm", usage=USED),
    ),
    "the same text in two places": Case(
        body=choice({"content": "Good"}, text="Good")
        + choice({"content": " day"}, text=" day")
        + choice(finish="stop"),
        expected=Whole(text="Good day"),
    ),
    "a byte order mark": Case(body=b"\xef\xbb\xbf" + PLAIN, expected=FINE),
    "a byte order mark before each event": Case(
        body=b"".join([b"\xef\xbb\xbf" + part + b"\n\n" for part in PLAIN.split(b"\n\n") if part]), expected=FINE
    ),
    "a byte order mark before JSON": Case(
        body=b"\xef\xbb\xbf" + dumped(document({"content": "Good day"})), content_type=JSON, expected=FINE
    ),
    "the end of a call without a call": Case(
        body=streamed({"content": "I will look."}, finish="tool_calls"),
        expected=Whole(text="I will look.", usage=USED),
    ),
    "the end of a call with an empty list": Case(
        body=streamed({"content": "x", "tool_calls": []}, {"tool_calls": [{}]}, finish="tool_calls"),
        expected=Whole(text="x", usage=USED),
    ),
    "the end of a call with a call of nothing": Case(
        body=streamed(call("", "", id=""), finish="function_call"), expected=Whole(usage=USED)
    ),
    "an error that is cut": Case(
        body=choice({"content": "Good"}) + b'data: {"choices": [{"delta": {"content": " d\n\n' + choice(finish="stop"),
        expected=Failure(type=ProviderStreamCut),
    ),
    "an answer without an end": Case(body=choice({"content": "Good"}) + DONE, expected=Failure(type=ProviderStreamCut)),
    "text of an unknown form": Case(
        body=choice({"content": {"poem": "x"}}) + choice(finish="stop"), expected=Failure(type=ProviderStreamCut)
    ),
}

CALLS: Final[Mapping[str, Case]] = {
    "two calls of one index without ids": Case(
        body=streamed(call("weather", BERLIN, id=""), call("clock", ROME, id=""), finish="tool_calls"),
        expected=called(WEATHER, CLOCK),
    ),
    "two calls of one tool and one index without ids": Case(
        body=streamed(call("clock", BERLIN), call("clock", ROME), finish="tool_calls"),
        expected=called(("clock", {"town": "Berlin"}), CLOCK),
    ),
    "two calls of one index with late arguments": Case(
        body=streamed(
            call("clock", ""), call(arguments=BERLIN), call("clock", ""), call(arguments=ROME), finish="tool_calls"
        ),
        expected=called(("clock", {"town": "Berlin"}), CLOCK),
    ),
    "two calls without indices or ids": Case(
        body=streamed(
            call("weather", '{"town": ', index=None),
            call(None, '"Berlin"}', index=None),
            call("clock", ROME, index=None),
        ),
        expected=called(WEATHER, CLOCK),
    ),
    "two calls in one piece without indices": Case(
        body=streamed(
            {"tool_calls": [{"function": {"name": "weather"}}, {"function": {"name": "clock", "arguments": ROME}}]}
        ),
        expected=Whole(calls=(("weather", None), CLOCK), reason=FinishReason.TOOL_CALLS, usage=USED),
    ),
    "two calls of one index without arguments": Case(
        body=streamed(call("weather", ""), call("clock", "")),
        tools=("weather", "clock"),
        expected=called(("weather", None), ("clock", None)),
    ),
    "calls side by side without indices": Case(
        body=streamed(
            call("weather", "", index=None, id="a"),
            call("clock", "", index=None, id="b"),
            call(None, BERLIN, index=None, id="a"),
            call(None, ROME, index=None, id="b"),
        ),
        expected=called(WEATHER, CLOCK),
    ),
    "a name in pieces": Case(
        body=streamed(call("wea", "", id="a"), call("ther", ""), call(None, BERLIN)), expected=called(WEATHER)
    ),
    "a name in pieces with the id in each": Case(
        body=streamed(call("wea", id="a"), call("th", id="a"), call("er", BERLIN, id="a")), expected=called(WEATHER)
    ),
    "two names in pieces side by side": Case(
        body=streamed(
            call("wea", "", id="a"),
            call("cl", "", index=1, id="b"),
            call("ther", ""),
            call("ock", "", index=1),
            call(None, BERLIN),
            call(None, ROME, index=1),
        ),
        expected=called(WEATHER, CLOCK),
    ),
    "a piece of a name that is too late": Case(
        body=streamed(call("wea", "", id="a"), call("clock", ROME, index=1, id="b"), call("ther", BERLIN)),
        expected=Failure(type=ProviderStreamCut),
    ),
    "an id in each piece": Case(
        body=streamed(call("weather", '{"to', id="a"), call(None, 'wn": "Ber', id="b"), call(None, 'lin"}', id="c")),
        expected=called(WEATHER),
    ),
    "a name that grows": Case(
        body=streamed(call("wea"), call("weather"), call(None, BERLIN)), expected=called(WEATHER)
    ),
    "a name in each piece": Case(
        body=streamed(call("weather", '{"to'), call("weather", 'wn": "Berlin"'), call("weather", "}")),
        expected=called(WEATHER),
    ),
    "arguments that come again": Case(
        body=streamed(call("weather", BERLIN[:5]), call(None, BERLIN[5:]), call(None, BERLIN)), expected=called(WEATHER)
    ),
    "no arguments and then some": Case(
        body=streamed(call("weather", "{}", id="a"), call(None, BERLIN)), expected=called(WEATHER)
    ),
    "no arguments": Case(body=streamed(call("weather", "{}", id="a")), expected=called(("weather", {}))),
    "arguments as an object": Case(body=streamed(call("weather", {"town": "Berlin"})), expected=called(WEATHER)),
    "arguments that are null": Case(
        body=streamed(
            {"tool_calls": [{"index": 0, "function": {"name": "weather", "arguments": None}}]}, call(None, BERLIN)
        ),
        expected=called(WEATHER),
    ),
    "a call without its object": Case(
        body=streamed({"tool_calls": [{"index": 0, "id": "a", "name": "weather", "arguments": BERLIN}]}),
        expected=called(WEATHER),
    ),
    "a call that is no list": Case(
        body=streamed({"tool_calls": {"id": "a", "function": {"name": "weather", "arguments": BERLIN}}}),
        expected=called(WEATHER),
    ),
    "indices that are text": Case(
        body=streamed(call("weather", "", index="0"), call("clock", ROME, index="1"), call(None, BERLIN, index="0")),
        expected=called(WEATHER, CLOCK),
    ),
    "ids that are numbers": Case(
        body=streamed(call("weather", BERLIN, id=1), call("clock", ROME, id=2)), expected=called(WEATHER, CLOCK)
    ),
    "the older field": Case(
        body=streamed(
            {"function_call": {"name": "weather", "arguments": ""}},
            {"function_call": {"arguments": BERLIN}},
            finish="function_call",
        ),
        expected=called(WEATHER),
    ),
    "the older field in one piece": Case(
        body=dumped(document({"content": None, "function_call": {"name": "weather", "arguments": BERLIN}}, "stop")),
        content_type=JSON,
        expected=called(WEATHER),
    ),
    "the older field beside the newer": Case(
        body=streamed({**call("weather", BERLIN, id="a"), "function_call": {"name": "weather", "arguments": BERLIN}}),
        expected=called(WEATHER),
    ),
    "a text behind a call": Case(
        body=streamed(call("weather", BERLIN, id="a"), {"content": "One moment."}),
        expected=called(WEATHER, text="One moment."),
    ),
}

# -- after the finish reason ------------------------------------------------------------------------------------------

_FINISHED: Final = choice({"content": "Good day"}) + choice(finish="stop")

ENDS: Final[Mapping[str, Case]] = {
    "open after the usage": Case(body=_FINISHED + usage(), open=True, expected=FINE),
    "open after the finish reason": Case(body=_FINISHED, open=True, expected=Whole(text="Good day")),
    "open after JSON": Case(
        body=dumped(document({"content": "Good day"})), content_type=JSON, open=True, expected=FINE
    ),
    "an error after the finish reason": Case(
        body=_FINISHED + event({"error": {"message": "boom", "code": 500}}), expected=Whole(text="Good day")
    ),
    "a broken event after the finish reason": Case(
        body=_FINISHED + b'data: {"choices": [\n\n', expected=Whole(text="Good day")
    ),
    "usage after the end mark": Case(body=_FINISHED + DONE + usage(), expected=Whole(text="Good day")),
    "usage before the finish reason": Case(
        body=choice({"content": "Good day"}) + usage() + choice(finish="stop") + DONE, expected=FINE
    ),
    "an unknown reason after a known one": Case(
        body=_FINISHED + choice(finish="closing") + usage() + DONE, expected=FINE
    ),
}
REASONS: Final[Mapping[FinishReason, Sequence[Any]]] = {
    FinishReason.STOP: (
        *(
            "STOP",
            "Stop",
            "eos",
            "eos_token",
            "EOS",
            "end_turn",
            "END_TURN",
            "endTurn",
            "stop_sequence",
            "stop-sequence",
        ),
        *(
            "FINISH_REASON_STOP",
            "FinishReason.STOP",
            "completed",
            "COMPLETE",
            "done",
            {"type": "stop", "matched": 7},
            True,
        ),
    ),
    FinishReason.LENGTH: (
        *("LENGTH", "max_tokens", "MAX_TOKENS", "maxTokens", "max-tokens", "max_output_tokens", "model_length"),
        *("FINISH_REASON_MAX_TOKENS", "token_limit", {"type": "length", "length": 9}),
    ),
    FinishReason.CONTENT_FILTER: (
        *("content_filter", "content-filter", "ContentFilter", "CONTENT_FILTERED", "safety", "SAFETY", "RECITATION"),
        *("PROHIBITED_CONTENT", "sensitive", "refusal"),
    ),
}
ENDS_IN_WORDS: Final = {
    f"the reason {spelling!r}": Case(
        body=streamed({"content": "Good day"}, finish=spelling),
        expected=Whole(text="Good day", reason=reason, usage=USED),
    )
    for reason, spellings in REASONS.items()
    for spelling in spellings
}

# -- fields that do not matter ----------------------------------------------------------------------------------------

USAGES: Final = {
    f"usage {counts!r}": Case(
        body=streamed({"content": "Good"}, {"content": " day"}, counts=counts),
        expected=Whole(text="Good day", usage=reported),
    )
    for counts, reported in (
        (None, None),
        ({}, None),
        ([], None),
        ("", None),
        ("none", None),
        (7, None),
        (False, None),
        ([{"prompt_tokens": 1}], None),
        ({"prompt_tokens": None, "completion_tokens": None}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        ({"prompt_tokens": -1, "completion_tokens": 3}, None),
        ({"prompt_tokens": 10**30, "completion_tokens": 3}, None),
        ({"prompt_tokens": "many", "completion_tokens": 3}, None),
        ({"prompt_tokens": {"text": 3}, "completion_tokens": 3}, None),
        ({"prompt_tokens": float("nan"), "completion_tokens": 3}, None),
        ({"prompt_tokens": 12}, None),
        ({"prompt_tokens": 12.0, "completion_tokens": 3.0}, USED),
        ({"prompt_tokens": "12", "completion_tokens": "3"}, USED),
        ({"prompt_tokens": 12.2, "completion_tokens": 2.9}, USED),
        ({"input_tokens": 12, "output_tokens": 3}, USED),
        ({"prompt_tokens": 12, "total_tokens": 15}, USED),
        ({**COUNTS, "prompt_tokens_details": [], "completion_tokens_details": "none"}, USED),
        ({**COUNTS, "prompt_tokens_details": {"cached_tokens": -1}}, USED),
        ({**COUNTS, "cost": float("inf")}, USED),
    )
}
NOTHING: Final[Sequence[Any]] = (None, "", {}, [], False, 0)
FIELDS: Final = {
    f"{name} of {value!r}": Case(
        body=streamed({"content": "Good", name: value}, {"content": " day", name: value}), expected=FINE
    )
    for name in ("reasoning", "reasoning_content", "refusal", "tool_calls", "function_call", "audio", "annotations")
    for value in NOTHING
}
CHOICES: Final = {
    f"{name} of {value!r}": Case(
        body=event({"choices": [{"index": 0, "delta": {"content": "Good day"}, "finish_reason": None, name: value}]})
        + choice(finish="stop")
        + usage()
        + DONE,
        expected=FINE,
        logprobs=True,
    )
    for name, values in {
        "index": (None, "0", 0.0, "", {}),
        "logprobs": (*NOTHING, {"content": None}, {"content": [{"token": "x"}]}, {"tokens": "x"}, "none"),
        "finish_reason": NOTHING,
        "message": (None, {}, ""),
        "text": (None, "", []),
        "error": (*NOTHING, {"message": "", "code": None}, {"message": "", "type": "", "param": "", "code": ""}),
        "usage": NOTHING,
    }.items()
    for value in values
}
ERRORS: Final = {
    f"an error of {error!r}": Case(
        body=b"".join(
            [
                event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], "error": error})
                for text, finish in (("Good", None), (" day", "stop"))
            ]
        )
        + event({"choices": [], "usage": COUNTS, "error": error}),
        expected=FINE,
    )
    for error in (*NOTHING, {"message": ""}, {"message": None, "code": 0}, {"message": "", "type": "", "code": None})
}
DATA: Final = {
    f"data of {data!r}": Case(
        body=choice({"content": "Good"}) + b"data: " + data + b"\n\n" + streamed({"content": " day"}), expected=FINE
    )
    for data in (b"null", b"", b"[]", b"{}", b'""', b"0", b"true", b"ping", b"[null]", b'{"object": "ping"}')
}
LIBERAL: Final[Mapping[str, Case]] = {
    **USAGES,
    **FIELDS,
    **CHOICES,
    **ERRORS,
    **DATA,
    "not a number": Case(
        body=streamed({"content": "Good"})
        .replace(b'"delta"', b'"score": NaN, "low": -Infinity, "delta"')[: -len(DONE)]
        .replace(b'"content": "Good"', b'"content": "Good day"')
        + DONE,
        expected=FINE,
    ),
    "reasoning as an object": Case(
        body=streamed({"reasoning": {"content": "Hm"}}, {"content": "Good day"}),
        expected=Whole(text="Good day", reasoning="Hm", usage=USED),
    ),
    "reasoning as a list": Case(
        body=streamed({"reasoning": [{"type": "text", "text": "H"}, "m"]}, {"content": "Good day"}),
        expected=Whole(text="Good day", reasoning="Hm", usage=USED),
    ),
    "an empty field before the other": Case(
        body=streamed({"reasoning_content": "", "reasoning": "Hm"}, {"content": "Good day"}),
        expected=Whole(text="Good day", reasoning="Hm", usage=USED),
    ),
    "a refusal as a list": Case(body=streamed({"refusal": [{"text": "No"}]}), expected=Whole(refusal="No", usage=USED)),
    "content in parts": Case(body=streamed({"content": [{"type": "text", "text": "Good"}, " day"]}), expected=FINE),
    "content as one part": Case(body=streamed({"content": {"type": "text", "text": "Good day"}}), expected=FINE),
    "content that is a number": Case(body=streamed({"content": 5}), expected=Whole(text="5", usage=USED)),
    "a choice that is no list": Case(
        body=event({"choices": {"delta": {"content": "Good day"}, "finish_reason": "stop"}}) + usage(), expected=FINE
    ),
    "a first index of one": Case(
        body=b"".join(
            [event({"choices": [{"index": 1, "delta": {"content": "Good day"}, "finish_reason": "stop"}]}), usage()]
        ),
        expected=FINE,
    ),
    "usage in the choice": Case(
        body=choice({"content": "Good day"}) + choice(finish="stop", usage=COUNTS) + DONE, expected=FINE
    ),
    "usage that grows": Case(
        body=choice({"content": "Good"})
        + usage({"prompt_tokens": 12, "completion_tokens": 1})
        + choice({"content": " day"}, "stop")
        + usage()
        + DONE,
        expected=FINE,
    ),
    "an empty answer": Case(body=streamed({"role": "assistant", "content": ""}), expected=Whole(usage=USED)),
    "log probabilities with null": Case(
        body=choice(
            {"content": "Good day"},
            "stop",
            logprobs={
                "content": [
                    {"token": "Good", "logprob": None, "top_logprobs": []},
                    {"token": " day", "logprob": -0.5, "top_logprobs": [{"token": "x", "logprob": float("nan")}]},
                ]
            },
        ),
        logprobs=True,
        expected=Whole(text="Good day", logprobs=((" day", -0.5),)),
    ),
    "an event of several lines": Case(
        body=b'data: {"choices": [{"delta":\ndata: {"content": "Good day"},\ndata: "finish_reason": "stop"}]}\n\n',
        expected=Whole(text="Good day"),
    ),
    "events without empty lines": Case(body=PLAIN.replace(b"\n\n", b"\n"), expected=FINE),
    "line ends of Windows": Case(body=PLAIN.replace(b"\n", b"\r\n"), expected=FINE),
    "line ends of old": Case(body=PLAIN.replace(b"\n", b"\r"), expected=FINE),
    "another end mark": Case(body=PLAIN.replace(b"[DONE]", b'"[done]"'), expected=FINE),
    **{
        f"a stream as {kind}": Case(body=PLAIN, content_type=kind, expected=FINE)
        for kind in (JSON, "text/plain; charset=utf-8", "text/html", "application/octet-stream", "application/x-ndjson")
    },
    **{
        f"JSON as {kind}": Case(
            body=b"\n" + json.dumps(document({"content": "Good day"}), indent=1).encode(),
            content_type=kind,
            expected=FINE,
        )
        for kind in (EVENTS, JSON, "text/plain", "application/octet-stream", "application/problem+json")
    },
    "lines of JSON": Case(
        body=b"".join([line[6:] + b"\n" for line in PLAIN.split(b"\n\n")[:-2]]),
        content_type="application/x-ndjson",
        expected=FINE,
    ),
    "a comment first": Case(body=b": wait\n\n: wait\n\n" + PLAIN, content_type=JSON, expected=FINE),
    "a page": Case(
        body=b"<html>Please log in</html>", content_type="text/html", expected=Failure(type=ProviderUnavailable)
    ),
}

SURROGATES: Final[Mapping[str, Case]] = {
    "a character in two pieces": Case(
        body=streamed({"content": "Hi \ud83e"}, {"content": "\udd8a!"}), expected=Whole(text="Hi 🦊!", usage=USED)
    ),
    "a character in three pieces": Case(
        body=streamed({"content": "Hi \ud83e"}, {"content": ""}, {"content": "\udd8a!"}),
        expected=Whole(text="Hi 🦊!", usage=USED),
    ),
    "two characters in pieces": Case(
        body=streamed({"content": "\ud83e"}, {"content": "\udd8a\ud83e"}, {"content": "\udd8a"}),
        expected=Whole(text="🦊🦊", usage=USED),
    ),
    "half a character at the end": Case(
        body=streamed({"content": "Hi \ud83e"}), expected=Whole(text="Hi \ufffd", usage=USED)
    ),
    "the second half alone": Case(body=streamed({"content": "\udd8a!"}), expected=Whole(text="\ufffd!", usage=USED)),
    "half a character in the middle": Case(
        body=streamed({"content": "a\ud83eb"}, {"content": "c"}), expected=Whole(text="a\ufffdbc", usage=USED)
    ),
    "half a character before another kind": Case(
        body=streamed({"reasoning": "Hm\ud83e"}, {"content": "\udd8aYes"}),
        expected=Whole(reasoning="Hm\ufffd", text="\ufffdYes", usage=USED),
    ),
    "reasoning in halves": Case(
        body=streamed({"reasoning": "\ud83e"}, {"reasoning": "\udd8a"}), expected=Whole(reasoning="🦊", usage=USED)
    ),
    "arguments in halves": Case(
        body=streamed(call("weather", '{"town": "\ud83e', id="a"), call(None, '\udd8a"}')),
        expected=called(("weather", {"town": "🦊"})),
    ),
    "half a character in a name": Case(
        body=streamed(call("wea\ud83e", "{}", id="\ud83e")), expected=called(("wea\ufffd", {}))
    ),
    "half a character in another field": Case(
        body=choice({"content": "Good day"}, note="\ud83e") + choice(finish="stop"), expected=Whole(text="Good day")
    ),
    "halves as bytes": Case(
        body=b'data: {"choices": [{"delta": {"content": "\xed\xa0\xbe"}}]}\n\n'
        b'data: {"choices": [{"delta": {"content": "\xed\xb6\x8a"}, "finish_reason": "stop"}]}\n\n',
        expected=Whole(text="🦊"),
    ),
}

# -- faults -----------------------------------------------------------------------------------------------------------

KEY: Final = Failure(
    type=ProviderRejected,
    cause="credentials",
    words="the provider refused this server's credentials",
    hidden=("secret", "billing", "balance", "account", "sk-"),
)
LONG: Final = Failure(type=ContextTooLong)


def error_message(message: str, status: int = 400, expected: Failure = LONG, **fields: Any) -> Case:
    """A refusal with these words."""
    return refused(status, {"error": {"message": message, "type": "invalid_request_error", **fields}}, expected)


FAULTS: Final[Mapping[str, Case]] = {
    "a key in a 400": refused(
        400, {"code": "invalid argument", "error": "Incorrect API key provided: sk-***ab of secret.example.com."}, KEY
    ),
    "a key that is not valid": refused(
        400,
        [{"error": {"code": 400, "message": "API key not valid. Please pass one.", "status": "INVALID_ARGUMENT"}}],
        KEY,
    ),
    "a key by its reason": refused(
        400,
        {"error": {"code": 400, "message": "no", "details": [{"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}]}},
        KEY,
    ),
    "a key that has expired": error_message("API key expired. Please renew the API key.", expected=KEY),
    "a key in an event": Case(
        body=event({"error": {"message": "Invalid API key sk-abc123secret", "code": 401}}), expected=KEY
    ),
    "a key after a piece": Case(
        body=choice({"content": "Good"}) + event({"error": {"message": "Insufficient credits", "code": 402}}),
        expected=KEY,
    ),
    "no money": error_message("Your credit balance is too low to access the secret API", expected=KEY),
    "an account that was closed": error_message("This organization has been disabled.", expected=KEY),
    "an account in arrears": refused(400, {"code": "Arrearage", "message": "Access denied, your account"}, KEY),
    "a region": error_message("User location is not supported for the API use.", expected=KEY),
    "a country": refused(403, {"error": {"code": "unsupported_country_region_territory", "message": "no"}}, KEY),
    "an unknown model in a 400": error_message("Model Not Exist", expected=Failure(type=ModelNotFound)),
    "an unknown model by its name": error_message(
        "foo/bar is not a valid model ID", expected=Failure(type=ModelNotFound, words="foo/bar")
    ),
    "a model that is gone": error_message(
        "The model `x` has been decommissioned and is no longer supported", expected=Failure(type=ModelNotFound)
    ),
    "a wait in the body": refused(
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "You exceeded your current quota, please check your account",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}],
                }
            }
        ],
        Failure(type=ProviderRateLimited, retry_after=2.5, hidden=("account",)),
    ),
    "a wait as a duration": refused(
        503,
        {"error": {"message": "busy", "details": [{"retryDelay": {"seconds": 3, "nanos": 500_000_000}}]}},
        Failure(type=ProviderUnavailable, retry_after=3.5, words="busy"),
    ),
    "a wait in words": refused(
        429,
        {"error": {"message": "Limit 30000 in organization org-abc123. Please try again in 1m2.5s.", "code": "x"}},
        Failure(type=ProviderRateLimited, retry_after=62.5, hidden=("org-abc123",)),
    ),
    "a wait in the header and the body": refused(
        429,
        {"error": {"message": "slow down", "retry_after": 9}},
        Failure(type=ProviderRateLimited, retry_after=4),
        **{"Retry-After": "4"},
    ),
    "a limit in an event": Case(
        body=event({"error": {"message": "slow down", "code": 429, "retry_after": 3}}),
        expected=Failure(type=ProviderRateLimited, retry_after=3),
    ),
    "the caller's fault": error_message(
        "Invalid schema for function 'get_api_key': see https://10.0.0.7:8080/docs?x=1, sk-proj-abcdef123456",
        expected=Failure(
            type=InvalidArgument,
            words="Invalid schema for function 'get_api_key'",
            hidden=("10.0.0.7", "sk-proj", "8080"),
        ),
    ),
    **{
        f"the caller's fault: {words}": error_message(words, expected=Failure(type=InvalidArgument, words=words))
        for words in (
            "Unsupported parameter: context_size",
            "Unknown model parameter: top_z",
            "This model takes images, but the image at position 3 was not found",
            "max_tokens must be at least 1",
            "tool call arguments are not a JSON object",
        )
    },
    "the caller's fault in an event": Case(
        body=event({"error": {"message": "bad temperature", "code": 400}}),
        expected=Failure(type=InvalidArgument, words="bad temperature"),
    ),
    "a named event": Case(
        body=choice({"content": "Good"}) + event({"message": "boom: GPU 3 is gone", "code": 500}, "error") + DONE,
        expected=Failure(type=ProviderStreamCut, words="GPU 3 is gone"),
    ),
    "a named event with text": Case(
        body=b"event: error\ndata: the engine has died\n\n",
        expected=Failure(type=ProviderStreamCut, words="the engine has died"),
    ),
    "an error without its field": Case(
        body=event({"object": "error", "message": "out of memory", "code": 500}),
        expected=Failure(type=ProviderStreamCut, words="out of memory"),
    ),
    "an error in the choice": Case(
        body=choice(finish="error", error={"message": "the model has died", "code": 502}),
        expected=Failure(type=ProviderStreamCut, words="the model has died"),
    ),
    "an error as JSON": Case(
        body=dumped({"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}),
        content_type=JSON,
        expected=LONG,
    ),
    "too long in an event": Case(
        body=event(
            {
                "error": {
                    "message": "This model's maximum context length is 8 tokens.",
                    "type": "BadRequest",
                    "code": 400,
                }
            }
        ),
        expected=LONG,
    ),
    "too long in an event without a code": Case(
        body=event({"error": {"message": "Context size has been exceeded."}}), expected=LONG
    ),
    "too long behind another server": refused(
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": '{"error": {"message": "prompt is too long: 9 tokens"}}', "provider_name": "x"},
            }
        },
        LONG,
    ),
    "a region in a 404": error_message("The model is not available in your region", 404, KEY),
    "a region in a 451": refused(451, {"detail": "no"}, KEY),
    "no capacity": refused(498, {"error": {"message": "capacity exceeded"}}, Failure(type=ProviderUnavailable)),
    "an error beside its message": Case(
        body=event({"error": True, "message": "the disk is full"}),
        expected=Failure(type=ProviderStreamCut, words="the disk is full"),
    ),
    "a list of errors": Case(
        body=event({"errors": [{"message": "the disk is full"}]}),
        expected=Failure(type=ProviderStreamCut, words="the disk is full"),
    ),
    "another name of the message": Case(
        body=event({"code": 1234, "msg": "the disk is full"}),
        expected=Failure(type=ProviderStreamCut, words="the disk is full"),
    ),
    "too long in a 500": error_message("Context size has been exceeded.", 500),
    "too long by a number": refused(400, {"object": "error", "message": "no", "code": 3051}, LONG),
    **{
        f"too long: {words}": error_message(words)
        for words in (
            "This model's maximum context length is 4096 tokens. However, you requested 5000.",
            "This model's maximum prompt length is 131072 but the request contains 150000 tokens.",
            "input length and `max_tokens` exceed context limit: 174167 + 64000 > 200000, decrease input length",
            "prompt is too long: 210000 tokens > 200000 maximum",
            "Input is too long for requested model.",
            "Please reduce the length of the messages or completion.",
            "Prompt contains 9 tokens, too large for model with 8 maximum context length",
            "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
            "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
            "Input length (9000 tokens) exceeds the maximum allowed length (8191 tokens)",
            "Requested token count exceeds the model's maximum context length of 8192 tokens",
            "the request exceeds the available context size. try increasing the context size",
            "input is too large to process. increase the physical batch size",
            "the input length exceeds the context length",
            "Trying to keep the first 5000 tokens when context the overflows.",
            "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000",
            "The prompt is too long: 140000, model maximum context length: 131071",
            "litellm.ContextWindowExceededError: no",
            "Invalid request: Your request exceeded model token limit: 8192",
            "Range of input length should be [1, 30720]",
            "Your input exceeds the context window of this model.",
        )
    },
}

CASES: Final[Mapping[str, Case]] = {**CONTENT, **CALLS, **ENDS, **ENDS_IN_WORDS, **LIBERAL, **SURROGATES, **FAULTS}
"""All of them."""
