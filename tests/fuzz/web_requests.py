"""HTTP requests of all kinds: of every route, with valid bodies, with errors in them, and with random bytes."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from google.protobuf.json_format import MessageToDict

from tests.auth.rpcs import Names
from tests.costly import path_of
from tests.fuzz.requests import MAX_BODY, RPCS, broken
from tests.fuzz.values import FLOATS, INTEGERS, TEXTS

Headers = tuple[tuple[str, str], ...]

TOOL: Final = {"type": "object", "properties": {"city": {"type": "string"}}}
PNG: Final = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
CHAT: Final = {
    "model": "echo/echo",
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": PNG}}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "b"},
        {"role": "user", "content": "c"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": TOOL, "strict": True}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": TOOL, "strict": True}},
    "max_completion_tokens": 9,
    "temperature": 1,
    "top_p": 0.5,
    "stop": ["z"],
    "seed": 1,
    "n": 1,
    "logprobs": True,
    "top_logprobs": 1,
    "logit_bias": {"1": 1},
    "metadata": {"a": "b"},
    "reasoning_effort": "low",
    "stream_options": {"include_usage": True},
}
RESPONSE: Final = {
    "model": "echo/echo",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": PNG}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "b"},
        {"type": "message", "role": "user", "content": "c"},
    ],
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": TOOL, "strict": True}],
    "tool_choice": "auto",
    "text": {"format": {"type": "json_schema", "name": "a", "schema": TOOL, "strict": True}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "max_output_tokens": 9,
    "include": ["message.output_text.logprobs"],
    "metadata": {"a": "b"},
    "store": True,
    "truncation": "auto",
    "temperature": 1,
    "top_p": 0.5,
    "parallel_tool_calls": True,
}
MESSAGES: Final = {
    "model": "echo/echo",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "b", "is_error": False}]},
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": TOOL}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 5,
    "stop_sequences": ["z"],
    "thinking": {"type": "disabled"},
    "metadata": {"user_id": "u"},
}
ITEMS: Final = [{"type": "message", "role": "user", "content": "a"}]
NONE: Final = object()
"""A request without a body."""


class Operation(NamedTuple):
    """What can be asked of a path."""

    method: str
    path: str
    """With ``{}`` for the id of a response, a conversation or an item."""
    body: Any = NONE
    """A valid one, as JSON has it; or ``NONE``."""
    headers: Headers = ()


_ANTHROPIC: Final = (("anthropic-version", "2023-06-01"),)
OPERATIONS: Final = (
    Operation("POST", "/v1/chat/completions", CHAT),
    Operation(
        "POST", "/v1/completions", {"model": "echo/echo", "prompt": "a", "suffix": "b", "max_tokens": 9, "stop": "z"}
    ),
    Operation("POST", "/v1/embeddings", {"model": "echo/echo", "input": ["a", "b"], "encoding_format": "base64"}),
    Operation("GET", "/v1/models"),
    Operation("GET", "/v1/models/{model:path}"),
    Operation("POST", "/v1/responses", RESPONSE),
    Operation("POST", "/v1/responses", {"input": "a", "previous_response_id": "{response_id}"}),
    Operation("POST", "/v1/responses", {"input": "a", "conversation": {"id": "{conversation_id}"}}),
    Operation("POST", "/v1/responses/input_tokens", RESPONSE),
    Operation("POST", "/v1/responses/compact", {"model": "echo/echo", "input": "a"}),
    Operation("GET", "/v1/responses/{response_id}"),
    Operation("DELETE", "/v1/responses/{response_id}"),
    Operation("POST", "/v1/responses/{response_id}/cancel", {}),
    Operation("GET", "/v1/responses/{response_id}/input_items"),
    Operation("POST", "/v1/conversations", {"metadata": {"a": "b"}, "items": ITEMS}),
    Operation("GET", "/v1/conversations/{conversation_id}"),
    Operation("POST", "/v1/conversations/{conversation_id}", {"metadata": {"a": "c"}}),
    Operation("DELETE", "/v1/conversations/{conversation_id}"),
    Operation("GET", "/v1/conversations/{conversation_id}/items"),
    Operation("POST", "/v1/conversations/{conversation_id}/items", {"items": ITEMS}),
    Operation("GET", "/v1/conversations/{conversation_id}/items/{item_id}"),
    Operation("DELETE", "/v1/conversations/{conversation_id}/items/{item_id}"),
    Operation("POST", "/v1/messages", MESSAGES, _ANTHROPIC),
    Operation("POST", "/v1/messages/count_tokens", MESSAGES, _ANTHROPIC),
    Operation("GET", "/v1/models", NONE, _ANTHROPIC),
    Operation("GET", "/v1/models/{model:path}", NONE, _ANTHROPIC),
    Operation("GET", "/healthz"),
    Operation("GET", "/readyz"),
)
"""All but those of the services, which every RPC is one of, and the files of the console."""


class Request(NamedTuple):
    """One request."""

    method: str
    target: str
    headers: Headers
    body: bytes

    def __str__(self) -> str:
        """The request, so that it can be sent again."""
        return f"{self.method} {self.target} {self.headers[1:]} {self.body!r}"


class Known(NamedTuple):
    """What exists of one tenant."""

    names: Names
    ids: dict[str, str]
    """By the parameters of the paths."""


def make(generator: Random, blue: Known, red: Known, secret: str) -> Request:
    """Make a request.

    Args:
        generator: of the choices.
        blue: what belongs to the caller.
        red: what belongs to somebody else.
        secret: of the caller.
    """
    known = blue if generator.random() < 0.75 else red
    of = _of_a_service if generator.random() < 0.35 else _of_an_api
    method, target, headers, body = of(generator, known)
    draw = generator.random()
    if draw < 0.05:
        body = generator.randbytes(generator.choice((0, 1, 5, 100)))
    elif draw < 0.15:
        body = broken(generator, body)
    if generator.random() < 0.03:
        method = generator.choice(("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"))
    if generator.random() < 0.2:
        headers = _odd(generator, headers)
    if dict(headers).get("content-encoding") == "gzip" and generator.random() < 0.7:
        body = gzip.compress(body)
    return Request(method, target, (("authorization", f"Bearer {secret}"), *headers), body[:MAX_BODY])


def _of_an_api(generator: Random, known: Known) -> Request:
    """A request of OpenAI's or Anthropic's API."""
    operation = generator.choice(OPERATIONS)
    ids = {key: value if generator.random() < 0.9 else generator.choice(_IDS) for key, value in known.ids.items()}
    target = operation.path
    for key, value in ids.items():
        target = target.replace(f"{{{key}}}", quote(value))
    if generator.random() < 0.3:
        target += "?" + "&".join([_parameter(generator, known) for _ in range(generator.randrange(1, 4))])
    if operation.body is NONE:
        return Request(operation.method, target, operation.headers, b"")
    value = _filled(operation.body, ids)
    if isinstance(value, dict) and "model" in value and generator.random() < 0.3:
        value["stream"] = True
    for _ in range(generator.choice((0, 1, 1, 1, 2, 4))):
        value = _changed(generator, value, [*known.names, *ids.values()])
    body = json.dumps(value, ensure_ascii=generator.random() < 0.5).encode(errors="surrogatepass")
    return Request(operation.method, target, (*operation.headers, ("content-type", "application/json")), body)


def _of_a_service(generator: Random, known: Known) -> Request:
    """A request of an RPC, by Connect or gRPC-Web."""
    method, case = generator.choice(RPCS)
    message = case.request(known.names)
    if generator.random() < 0.5:
        value: Any = MessageToDict(message)
        for _ in range(generator.choice((0, 1, 1, 2))):
            value = _changed(generator, value, known.names)
        kind, body = "json", json.dumps(value).encode()
    else:
        kind, body = "proto", message.SerializeToString()
    framed = bytes(1) + len(body).to_bytes(4, "big") + body
    headers: Headers = (("connect-protocol-version", "1"),) if generator.random() < 0.8 else ()
    draw = generator.random()
    if draw < 0.15:
        media_type, body, headers = "grpc-web", framed, ()
    elif draw < 0.3:
        media_type, body, headers = "grpc-web-text", base64.b64encode(framed), ()
    elif method.client_streaming or method.server_streaming:
        media_type, body = "connect", framed
    else:
        media_type = ""
    content_type = f"application/{media_type}{'+' if media_type else ''}{kind}"
    return Request("POST", path_of(method), (("content-type", content_type), *headers), body)


def _filled(value: Any, ids: dict[str, str]) -> Any:
    """A body with the ids that exist."""
    if isinstance(value, str):
        for key, id in ids.items():
            value = value.replace(f"{{{key}}}", id)
        return value
    if isinstance(value, dict):
        return {key: _filled(inner, ids) for key, inner in value.items()}
    return [_filled(inner, ids) for inner in value] if isinstance(value, list) else value


def _changed(generator: Random, value: Any, names: Sequence[str]) -> Any:
    """JSON with something in it replaced, left out, or repeated."""
    if not isinstance(value, dict | list) or not value or generator.random() < 0.15:
        return _anything(generator, names)
    key = generator.choice(list(value)) if isinstance(value, dict) else generator.randrange(len(value))
    draw = generator.random()
    if draw < 0.15:
        del value[key]
    elif draw < 0.2:
        if isinstance(value, list):
            value += [copy.deepcopy(value[key]) for _ in range(generator.choice((1, 2, 100)))]
        else:
            value[generator.choice(TEXTS)[:300]] = value[key]
    else:
        value[key] = _changed(generator, value[key], names)
    return value


def _anything(generator: Random, names: Sequence[str]) -> Any:
    draw = generator.random()
    if draw < 0.35:
        return generator.choice(TEXTS)
    if draw < 0.45:
        return generator.choice(names)
    if draw < 0.6:
        return generator.choice((*INTEGERS, 10**400))
    if draw < 0.7:
        return generator.choice(FLOATS)
    if draw < 0.75:
        return "\ud800"
    if draw < 0.8:
        nested: Any = 1
        for _ in range(generator.choice((3, 30, 90, 300))):
            nested = [nested] if generator.random() < 0.5 else {"x": nested}
        return nested
    return generator.choice((None, True, False, [], {}, [None], {"type": "x"}, {"type": None}, [[]], {"": ""}))


_IDS: Final = (
    "",
    "x",
    "resp_",
    "resp_x",
    "conv_x",
    "msg_x",
    "..",
    ".",
    "a/b",
    "%",
    "*",
    "\x00",
    "é" * 50,
    "a" * 200,
    "-1",
)
_PARAMETERS: Final = (
    "limit",
    "after",
    "order",
    "include[]",
    "include",
    "stream",
    "starting_after",
    "before_id",
    "after_id",
    "x",
)


def _parameter(generator: Random, known: Known) -> str:
    values = ("1", "0", "-1", "true", "asc", "desc", "", "NaN", "9" * 30, *known.ids.values(), *_IDS, *TEXTS)
    return f"{generator.choice(_PARAMETERS)}={quote(generator.choice(values)[:300], safe='')}"


_NUMBERS: Final = ("", "0", "-1", "1", "1.5", "abc", "9" * 12, "9" * 400)
_HEADERS: Final[dict[str, Sequence[str]]] = {
    "content-type": (
        "",
        "text/plain",
        "application/json; charset=utf-16",
        "application/json;",
        "multipart/form-data",
        "/",
    ),
    "content-encoding": ("gzip", "br", "identity", "gzip, gzip", "zstd", "x"),
    "connect-content-encoding": ("gzip", "br", "x"),
    "grpc-encoding": ("gzip", "identity", "x"),
    "accept-encoding": ("gzip", "*", "x;q=y", ""),
    "accept": ("text/event-stream", "image/png", "", "*/*;q=0"),
    "connect-protocol-version": ("2", "", "x"),
    "connect-timeout-ms": _NUMBERS,
    "grpc-timeout": ("1S", "1", "S", "-1S", "9" * 9 + "H", "1n", "x"),
    "x-stainless-timeout": _NUMBERS,
    "x-stainless-retry-count": _NUMBERS,
    "idempotency-key": ("", "a", "a" * 300, "a b", "../x"),
    "x-request-id": ("", "a" * 600, "a b"),
    "last-event-id": _NUMBERS,
    "anthropic-version": ("", "2023-06-01", "x"),
    "anthropic-beta": ("", "x", "a,b,,"),
    "x-api-key": ("", "x"),
    "authorization": ("", "Bearer", "Bearer x", "Basic eDp5"),
    "host": ("", "evil.example", "127.0.0.1:99999"),
    "origin": ("null", "https://evil.example", "x"),
    "range": ("bytes=0-1",),
    "expect": ("x",),
    "cookie": ("a=b; " * 50,),
    "traceparent": ("x", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
    "openai-beta": ("x",),
    "x-http-method-override": ("DELETE",),
    "upgrade": ("websocket", "h2c"),
}
"""Headers, and what may stand in them."""


def _odd(generator: Random, headers: Headers) -> Headers:
    """The headers with some of others, in place of the same or beside them."""
    for _ in range(generator.randrange(1, 4)):
        name = generator.choice(list(_HEADERS))
        if generator.random() < 0.7:
            headers = tuple([header for header in headers if header[0] != name])
        headers = (*headers, (name, generator.choice(_HEADERS[name])))
    return headers
