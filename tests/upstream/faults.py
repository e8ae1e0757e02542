"""Every way in which an upstream fails, by the name that docs/faults.md uses."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Final

from tests.upstream.replies import (
    Answer,
    Body,
    Close,
    End,
    Hang,
    Head,
    Raw,
    Refusal,
    Reply,
    Reset,
    Step,
    Steps,
    Wait,
    sse,
)

WORDS: Final = ("The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", ".")
"""An answer that is long enough to be cut in its middle."""
CUT_AFTER: Final = 4
"""How many of them come before a stream fails."""
ENORMOUS: Final = 64 * 1024
"""How many kilobytes an enormous line has."""
_BOMB: Final = gzip.compress(b"data: " + bytes(16 * 1024 * 1024), 1)
"""A line of 16 MiB in a few kilobytes."""
_TRICKLE: Final[tuple[Step, ...]] = (Raw(b"X-Wait: 1\r\n"), Wait(0.05))
_COMMENT: Final[tuple[Step, ...]] = (Body(b": still there\n\n"), Wait(0.01))
_KILOBYTE: Final = b"x" * 1024


def broken(*failure: Step, after: int = CUT_AFTER, chunked: bool = True) -> Answer:
    """A stream that begins well."""
    return Answer(tokens=WORDS, fails_after=after, failure=failure, chunked=chunked)


RATE_LIMITED: Final = Refusal(status=429, code="rate_limit_exceeded", type="requests", message="slow down")
SERVER_ERROR: Final = Refusal(status=500, type="server_error", message="it was us")

BEFORE_OUTPUT: Final[Mapping[str, Reply]] = {
    "429": RATE_LIMITED,
    "429 with Retry-After": Refusal(status=429, code="rate_limit_exceeded", headers={"Retry-After": "1"}),
    "429 with Retry-After: 0": Refusal(status=429, code="rate_limit_exceeded", headers={"Retry-After": "0"}),
    "429 with a senseless Retry-After": Refusal(
        status=429, code="rate_limit_exceeded", headers={"Retry-After": "1e300"}
    ),
    "500": SERVER_ERROR,
    "502 with a page": Steps((Head(502, "text/html"), Body(b"<html><h1>Bad Gateway</h1></html>"), End())),
    "503": Refusal(status=503, type="server_error", message="overloaded"),
    "504": Refusal(status=504, type="server_error", message="gateway timeout"),
    "reset before headers": Steps((Reset(),)),
    "closed before headers": Steps((Close(),)),
    "garbage instead of HTTP": Steps((Raw(b"\x00\x01\x02 nothing that HTTP knows\r\n\r\n"), Close())),
    "header bomb": Steps(
        (Raw(b"HTTP/1.1 200 OK\r\n"), *[Raw(b"X-%d: %b\r\n" % (n, _KILOBYTE)) for n in range(4096)], Hang())
    ),
    "redirect": Steps((Head(307, "text/html", {"Location": "http://127.0.0.1:9/v1/chat/completions"}), End())),
    "wrong content type": Steps((Head(200, "text/html"), Body(b"<html>Please log in</html>"), End())),
}
"""What comes instead of an answer, and may not come the next time."""

EMPTY: Final[Mapping[str, Reply]] = {
    "stream of nothing": Steps((Head(), End())),
    "stream of nothing but its end": Steps((Head(), Body(b"data: [DONE]\n\n"), End())),
    "error object as the first event": broken(Body(sse({"error": {"message": "no GPU is free"}})), End(), after=0),
    "compressed bomb": Steps((Head(headers={"Content-Encoding": "gzip"}), Body(_BOMB), Hang())),
}
"""A stream that begins, and is over before its first token."""

SILENT: Final[Mapping[str, Reply]] = {
    "no answer at all": Steps((Hang(),)),
    "headers and no token": Steps((Head(), Hang())),
    "headers that trickle": Steps((Raw(b"HTTP/1.1 200 OK\r\n"), *(_TRICKLE * 100), Hang())),
    "nothing but comments": Steps((Head(), *(_COMMENT * 1000), Hang())),
    "nothing but empty pieces": Answer(tokens=("",) * 10_000, pause=0.01),
}
"""Nothing comes, and nobody says so."""

AFTER_OUTPUT: Final[Mapping[str, Reply]] = {
    "stream cut": broken(Reset()),
    "stream closed": broken(Close()),
    "stream that ends early": broken(End()),
    "stream that ends with its connection": broken(Close(), chunked=False),
    "malformed event": broken(Body(b'data: {"choices": [{"delta": {"con\n\n'), End()),
    "event that is not UTF-8": broken(Body(b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n'), End()),
    "event of a wrong shape": broken(Body(b'data: {"choices": "none"}\n\n'), End()),
    "error object in the stream": broken(
        Body(sse({"error": {"message": "out of memory", "type": "server_error", "code": 500}})), End()
    ),
    "no finish reason": Answer(tokens=WORDS, finish=None),
    "enormous line": broken(Body(b'data: {"choices": [{"delta": {"content": "'), *[Body(_KILOBYTE)] * ENORMOUS, Hang()),
}
"""The answer begins and does not end as it should."""

STALLED: Final[Mapping[str, Reply]] = {
    "stalled stream": broken(Hang()),
    "stream that goes on with comments": broken(*(_COMMENT * 1000), Hang()),
}
"""The answer begins, and then nothing comes."""

FINAL: Final[Mapping[str, Reply]] = {
    "400": Refusal(status=400, type="invalid_request_error", code="invalid_value", message="temperature is too high"),
    "401": Refusal(status=401, type="invalid_request_error", code="invalid_api_key", message="Incorrect API key"),
    "402": Refusal(status=402, type="billing", message="Insufficient balance"),
    "403": Refusal(status=403, type="invalid_request_error", message="country not supported"),
    "quota used up": Refusal(status=429, type="insufficient_quota", code="insufficient_quota"),
    "no such model": Refusal(status=404, type="invalid_request_error", code="model_not_found", message="no such model"),
    "context too long": Refusal(
        status=400,
        type="invalid_request_error",
        code="context_length_exceeded",
        message="This model's maximum context length is 8192 tokens",
    ),
    "content refused": Refusal(
        status=400,
        type="invalid_request_error",
        code="content_filter",
        message="The response was filtered due to the prompt triggering our content management policy",
    ),
}
"""What would come again."""

SUCCESSES: Final[Mapping[str, Answer]] = {
    "no [DONE]": Answer(tokens=WORDS, done=False),
    "no [DONE], and the end of the connection": Answer(tokens=WORDS, done=False, chunked=False),
    "no usage": Answer(tokens=WORDS, usage=False),
    "slow first token": Answer(tokens=WORDS, thinks=0.1),
    "slow trickle": Answer(tokens=WORDS, pause=0.02),
}
"""What looks odd, and is a whole answer."""

FAULTS: Final[Mapping[str, Reply]] = {**BEFORE_OUTPUT, **EMPTY, **SILENT, **AFTER_OUTPUT, **STALLED, **FINAL}
"""All of them."""
