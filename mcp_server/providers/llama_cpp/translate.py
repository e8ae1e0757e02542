"""Between this project's values and llama.cpp's JSON: requests one way, answers and errors the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mcp_server.errors import ContextTooLong, MCPError, ProviderUnavailable, UnsupportedByModel
from mcp_server.interfaces import GenerateRequest, ReasoningDelta, TextDelta, ToolArgumentsDelta, ToolCallStart
from mcp_server.providers.json_schema.constraint import JSON_OBJECT, BadSchema, Constraint, constraint
from mcp_server.providers.llama_cpp import options
from mcp_server.providers.llama_cpp.settings import LlamaCppModel
from mcp_server.providers.llama_cpp.tool_calls import Piece, ToolCalls
from mcp_server.values import FinishReason, GenerationConfig, Logprob, ResponseFormat, Usage, UsageSource

MAX_SEED: Final = 2**32 - 1
"""llama.cpp takes this for no seed at all, so that seeds lie below it."""


# -- what llama.cpp answers -------------------------------------------------------------------------------------------


_REASONS: Final = {"length": FinishReason.LENGTH, "tool_calls": FinishReason.TOOL_CALLS}


class Token(msgspec.Struct):
    """One token and how likely it was."""

    token: str
    logprob: float
    top_logprobs: list[Token] = []

    def value(self, top: int) -> Logprob:
        """As this project says it, with the ``top`` likeliest."""
        best = tuple([Logprob(token=other.token, logprob=other.logprob) for other in self.top_logprobs[:top]])
        return Logprob(token=self.token, logprob=self.logprob, top=best)


class Logprobs(msgspec.Struct):
    content: list[Token] | None = None


class Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Piece] = []


class Choice(msgspec.Struct):
    text: str | None = None
    delta: Delta = msgspec.field(default_factory=Delta)
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Counted(msgspec.Struct):
    cached_tokens: int = 0


class Tokens(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: Counted = msgspec.field(default_factory=Counted)

    def value(self) -> Usage:
        """As this project says it."""
        return Usage(
            input_tokens=self.prompt_tokens,
            cached_input_tokens=self.prompt_tokens_details.cached_tokens,
            output_tokens=self.completion_tokens,
            source=UsageSource.REPORTED,
        )


class Fault(msgspec.Struct):
    """Why llama.cpp did not answer."""

    message: str = ""
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class Timings(msgspec.Struct):
    prompt_n: int = 0


class PromptSlice(msgspec.Struct):
    """What llama.cpp answers when it has read the beginning of a prompt."""

    tokens_evaluated: int
    timings: Timings

    @property
    def cached(self) -> int:
        """How many tokens of it had been read before."""
        return self.tokens_evaluated - self.timings.prompt_n


class PromptProgress(msgspec.Struct):
    """How much of the prompt has been read."""

    processed: int = 0


class Chunk(msgspec.Struct):
    """A piece of an answer. Where text goes on between a prompt and a suffix, it has a form of its own."""

    choices: list[Choice] = []
    usage: Tokens | None = None
    error: Fault | None = None
    content: str = ""
    stop_type: str = ""
    tokens_evaluated: int = 0
    tokens_predicted: int = 0
    prompt_progress: PromptProgress | None = None

    @property
    def text(self) -> str:
        """The text in it."""
        if not self.choices:
            return self.content
        return self.choices[0].text or self.choices[0].delta.content or ""

    @property
    def reasoning(self) -> str:
        """The thoughts in it."""
        return self.choices[0].delta.reasoning_content or "" if self.choices else ""

    @property
    def calls(self) -> list[Piece]:
        """The pieces of tool calls in it."""
        return self.choices[0].delta.tool_calls if self.choices else []

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped, if it did."""
        reason = self.choices[0].finish_reason if self.choices else None
        if self.stop_type not in ("", "none"):
            reason = "length" if self.stop_type == "limit" else "stop"
        return None if reason is None else _REASONS.get(reason, FinishReason.STOP)

    @property
    def reported(self) -> Usage | None:
        """What the answer took, if this says it."""
        if self.usage is not None:
            return self.usage.value()
        if self.stop_type in ("", "none"):
            return None
        return Tokens(prompt_tokens=self.tokens_evaluated, completion_tokens=self.tokens_predicted).value()

    def logprobs(self, top: int) -> tuple[Logprob, ...]:
        """How likely its tokens were."""
        logprobs = self.choices[0].logprobs if self.choices else None
        return tuple([token.value(top) for token in logprobs.content or ()]) if logprobs is not None else ()


class Vector(msgspec.Struct):
    embedding: list[float]
    index: int


class Vectors(msgspec.Struct):
    data: list[Vector]
    usage: Tokens


class _Failed(msgspec.Struct):
    error: Fault = msgspec.field(default_factory=Fault)


decode_chunk = msgspec.json.Decoder(Chunk).decode

Said = TextDelta | ReasoningDelta | ToolCallStart | ToolArgumentsDelta | str
"""An event of what a model says."""


def deltas(chunks: Sequence[Chunk], calls: ToolCalls, *, logprobs: int | None, constrained: bool) -> list[Said]:
    """What pieces that have come together say, in few events.

    Args:
        chunks: the pieces.
        calls: the tool calls of the answer.
        logprobs: how many likely tokens the call asks for beside each.
        constrained: whether a grammar holds the answer: then it has no thoughts, and what llama.cpp takes for such,
            because of a prompt that ends in their midst, is the answer.
    """
    events: list[Said] = []
    reasoning = "".join([chunk.reasoning for chunk in chunks])
    if reasoning and not constrained:
        events.append(ReasoningDelta(text=reasoning))
    text = "".join([(chunk.reasoning if constrained else "") + chunk.text for chunk in chunks])
    if text and logprobs is None:
        events.append(text)
    elif text and logprobs is not None:
        likely = tuple([value for chunk in chunks for value in chunk.logprobs(logprobs)])
        events.append(TextDelta(text=text, logprobs=likely))
    # In the templates of all models, the calls come last.
    return [*events, *calls.take([piece for chunk in chunks for piece in chunk.calls])]


def error_of(status: int, body: bytes, *, model: str, reads: bool = False) -> MCPError:
    """The error of an answer that is none.

    Args:
        status: the HTTP status.
        body: the answer.
        model: the name of the model.
        reads: whether llama.cpp was only to read a request: it is then at fault, whatever llama.cpp says.
    """
    try:
        fault = msgspec.json.decode(body, type=_Failed).error
    except msgspec.MsgspecError:
        fault = Fault(message=f"status {status}")
    if reads and fault.type == "server_error":
        fault.type = "invalid_request_error"
    return error_from(fault, model=model)


def error_from(fault: Fault, *, model: str) -> MCPError:
    """The error that a fault of llama.cpp is."""
    if fault.type == "exceed_context_size_error":
        return context_too_long(fault.n_prompt_tokens, fault.n_ctx, model=model)
    text = " ".join(fault.message.split())[:300]
    if fault.type in ("invalid_request_error", "not_supported_error"):
        return UnsupportedByModel(f"the model {model} cannot do this: {text}", metadata={"model": model})
    return ProviderUnavailable(f"the model {model} failed: {text}", metadata={"model": model})


def context_too_long(tokens: int, limit: int, *, model: str) -> ContextTooLong:
    """The error of a prompt of ``tokens`` where ``limit`` fit."""
    return ContextTooLong(
        f"the prompt has {tokens} tokens, and the model {model} reads {limit}: send less, or use a model with a larger "
        "context window",
        metadata={"model": model, "tokens": str(tokens), "limit": str(limit)},
    )


# -- what llama.cpp is asked ------------------------------------------------------------------------------------------


def generate_path(request: GenerateRequest) -> str:
    """Where llama.cpp takes such a request."""
    if request.prompt is None:
        return "/v1/chat/completions"
    return "/infill" if request.suffix else "/v1/completions"


def generate_body(
    request: GenerateRequest, name: str, model: LlamaCppModel, constraint: Constraint | None
) -> dict[str, Any]:
    """The request as llama.cpp reads it, without the fields of a chat's prompt.

    Raises:
        UnsupportedByModel: it asks for what llama.cpp cannot do.
        InvalidArgument: an option has a value that it does not take.
    """
    if request.prompt is not None and request.tools:
        raise UnsupportedByModel(f"the model {name} calls tools only in chats", metadata={"model": name})
    # Reporting progress is also when llama.cpp looks whether to stop.
    body: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
    if constraint is None:
        # JSON repeats its names and its punctuation.
        body |= model.repetition
    body |= options.checked(
        request.provider_options, name, chat=request.prompt is None, constrained=constraint is not None
    )
    body |= _sampling(request.config, model)
    logprobs = request.config.logprobs
    if constraint is not None:
        body["grammar"] = constraint.grammar
    if request.prompt is None:
        if logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": max(1, logprobs)}
        return body
    if logprobs is not None:
        body["logprobs"] = max(1, logprobs)
    if request.suffix:
        body |= {"input_prefix": request.prompt, "input_suffix": request.suffix, "prompt": ""}
    else:
        body["prompt"] = request.prompt
    return body


def text_of(body: dict[str, Any]) -> str:
    """The prompt in a form that begins alike for prompts that begin alike."""
    if "messages" in body:
        return msgspec.json.encode([body.get("tools", ()), body["messages"]]).decode()
    return msgspec.json.encode([body.get("input_prefix", ""), body["prompt"]]).decode()


def limit_output(body: dict[str, Any], tokens: int) -> None:
    """Let the answer have at most so many tokens."""
    for name in ("max_tokens", "n_predict"):
        body[name] = min(tokens, body.get(name, tokens))


def slice_body(tokens: Sequence[int], slot: int) -> bytes:
    """A request to read the beginning of a prompt into a slot."""
    # One token is computed all the same, and dropped.
    return msgspec.json.encode({"prompt": tokens, "n_predict": 0, "id_slot": slot})


def constraint_of(config: GenerationConfig, model: str) -> Constraint | None:
    """What the answer is held to; ``None``: any text.

    Raises:
        UnsupportedByModel: the JSON Schema is not supported, or contradicts itself.
    """
    if config.response_format is ResponseFormat.TEXT:
        return None
    if config.response_format is ResponseFormat.JSON:
        return Constraint(JSON_OBJECT)
    try:
        return constraint(config.json_schema)
    except BadSchema as bad:
        raise UnsupportedByModel(
            f"the model {model} cannot follow the JSON schema: {bad}", metadata={"model": model}
        ) from bad


def check_answer(constraint: Constraint, text: str, model: str) -> None:
    """Refuse the whole text of an answer that does not conform.

    Raises:
        UnsupportedByModel: it does not. A stop sequence ended it, or the engine gave the constraint up on its way.
    """
    violation = constraint.violation(text)
    if violation is not None:
        raise UnsupportedByModel(
            f"the answer of the model {model} does not conform to the JSON schema: {violation}",
            metadata={"model": model},
        )


def probe_body(constraint: Constraint, slot: int) -> bytes:
    """A request whose answer begins with :data:`PROBE` if the engine for constrained output accepts the constraint."""
    body = {"prompt": "JSON:", "grammar": constraint.probe, "max_tokens": 1, "temperature": 0, "id_slot": slot}
    return msgspec.json.encode(body)


def _sampling(config: GenerationConfig, model: LlamaCppModel) -> dict[str, Any]:
    limit = config.max_output_tokens if config.max_output_tokens is not None else model.max_output_tokens
    parameters = {
        "temperature": config.temperature if config.temperature is not None else model.temperature,
        "top_p": config.top_p,
        # More does not fit into any context, and it must fit into 32 bits.
        "max_tokens": None if limit is None else min(limit, 2**31 - 1),
        "n_predict": None if limit is None else min(limit, 2**31 - 1),
        "stop": list(config.stop) or None,
        "seed": None if config.seed is None else config.seed % MAX_SEED,
        "frequency_penalty": config.frequency_penalty,
        "presence_penalty": config.presence_penalty,
    }
    return {name: value for name, value in parameters.items() if value is not None}
