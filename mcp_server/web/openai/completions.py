"""``/completions``: the continuation of a text."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec

from mcp_server.gateway import CompletionInput, Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations
from mcp_server.values import GenerationConfig
from mcp_server.web.body import Convert, Shape, decode, read_body
from mcp_server.web.exchange import Exchange
from mcp_server.web.openai.answers import CompletionChunks, completion_answer
from mcp_server.web.openai.chat import StreamOptions, stops
from mcp_server.web.openai.headers import Timed
from mcp_server.web.openai.names import Names
from mcp_server.web.openai.parameters import labels
from mcp_server.web.parameters import forwarded, request_id, require, turn_options
from mcp_server.web.streams import respond


class CompletionBody(Shape):
    """A request for a completion."""

    model: str
    prompt: str | list[Any]
    best_of: int | None = None
    echo: bool | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: int | None = None
    max_tokens: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None


_BODY: Final = msgspec.json.Decoder(CompletionBody)
_NAMES: Final = Names({"config.max_output_tokens": "max_tokens"})


class _Form(msgspec.Struct):
    """The form of a request, and that of its answer."""

    found: Violations
    stream: bool
    include_usage: bool
    logprobs: bool
    offset: int
    """How many characters the prompt has."""


class Completions:
    """Answers completions.

    Args:
        gateway: carries them out.
        convert: reads large bodies off the event loop.
    """

    def __init__(self, gateway: Gateway, convert: Convert) -> None:
        self._gateway = gateway
        self._convert = convert

    async def create(self, call: Call, exchange: Exchange) -> None:
        """``POST /completions``."""
        timed = Timed(self._gateway)
        key = request_id(exchange)
        completion, form = await read_body(exchange, self._convert, lambda data: _read(data, key))
        with _NAMES.translating():
            reader = await self._gateway.complete(call.principal, completion, violations=form.found)
            del completion  # it may be large, and the turn may take long
            chunks = CompletionChunks(include_usage=form.include_usage, offset=form.offset)
            await respond(
                call,
                exchange,
                reader,
                events=chunks if form.stream else None,
                body=partial(completion_answer, offset=form.offset),
                headers=lambda: timed.headers(call.principal),
                logprobs=form.logprobs,
            )


def _read(data: bytes, key: str) -> tuple[CompletionInput, _Form]:
    body = decode(_BODY, data)
    found = Violations()
    require(found, "n", body.n, 1)
    require(found, "best_of", body.best_of, 1)
    require(found, "echo", body.echo, False)
    if body.stream_options is not None and not body.stream:
        found.add("stream_options", "can only be set with stream")
    streams = bool(body.stream)
    options = turn_options(
        key=key,
        streams=streams,
        model=body.model,
        config=GenerationConfig(
            temperature=body.temperature,
            top_p=body.top_p,
            max_output_tokens=body.max_tokens,
            stop=stops(body.stop),
            seed=body.seed,
            frequency_penalty=body.frequency_penalty,
            presence_penalty=body.presence_penalty,
            logprobs=body.logprobs,
        ),
        provider_options=forwarded(logit_bias=body.logit_bias or None),
        labels=labels(found, None, user=body.user),
    )
    completion = CompletionInput(options=options, prompt=_prompt(found, body.prompt), suffix=body.suffix or "")
    return completion, _Form(
        found=found,
        stream=streams,
        include_usage=body.stream_options is not None and bool(body.stream_options.include_usage),
        logprobs=body.logprobs is not None,
        offset=len(completion.prompt),
    )


def _prompt(found: Violations, prompt: str | list[Any]) -> str:
    """The text to continue: one."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and isinstance(prompt[0], str):
        return prompt[0]
    if all(isinstance(one, str) for one in prompt):
        found.add("prompt", f"must be one text, not {len(prompt)}: send a request for each")
    else:
        found.add("prompt", "must be a text: this server does not take tokens")
    return "-"
