"""The ``provider_options`` of calls, declared once: names, types and bounds. The docs page lists the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from mcp_server.errors import InvalidArgument, UnsupportedByModel, Violation

Object = Annotated[dict[str, Any], Meta(extra={"allowed": "an object"})]
Flag = Annotated[bool, Meta(extra={"allowed": "true or false"})]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1, extra={"allowed": "a whole number, 0 or more"})]
Share = Annotated[float, Meta(ge=0, le=1, extra={"allowed": "a number from 0 to 1"})]
PositiveShare = Annotated[float, Meta(gt=0, le=1, extra={"allowed": "a number above 0, at most 1"})]
Penalty = Annotated[float, Meta(ge=0.01, le=100, extra={"allowed": "a number from 0.01 to 100"})]
Name = Annotated[str, Meta(min_length=1, max_length=256, extra={"allowed": "a name"})]

RESERVED = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "self",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)
"""Names in ``chat_template_kwargs`` that the server itself sets: another template above all, which is a program."""


class GenerateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of chats and completions, by transformers' names for them. Not set: as the model's files say."""

    chat_template_kwargs: Object = {}
    """Variables of the chat template, for example ``{"enable_thinking": false}``."""
    ignore_eos: Flag = False
    """Continue to the output limit: no token that ends an answer is chosen."""
    min_p: Share | None = None
    """The least probability of a token, relative to that of the most likely one."""
    no_repeat_ngram_size: Count | None = None
    """How many tokens in a row of the prompt or the answer are never written again; 0: any may be."""
    repetition_penalty: Penalty | None = None
    """Above 1, tokens of the prompt and the answer become less likely."""
    top_k: Count | None = None
    """Sample from this many of the most likely tokens; 0: from all."""
    typical_p: PositiveShare | None = None
    """Sample from the most typical tokens whose probabilities add up to this."""


class EmbedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of embeddings."""

    prompt_name: Name | None = None
    """The prompt of the model's files that is put before each text, for example ``query``."""


Options = TypeVar("Options", bound=msgspec.Struct)


def decode(kind: type[Options], found: Mapping[str, Any], model: str) -> Options:
    """The options of a call.

    Raises:
        UnsupportedByModel: one is not known.
        InvalidArgument: a value is not what the option takes; all such values are listed.
    """
    hints = get_type_hints(kind, include_extras=True)
    if unknown := next((name for name in found if name not in hints), None):
        raise UnsupportedByModel(
            f"provider_options.{unknown} is not known to the model {model}; known are {', '.join(hints)}",
            metadata={"model": model, "option": unknown},
        )
    values: dict[str, Any] = {}
    violations = []
    for name, value in found.items():
        try:
            values[name] = msgspec.convert(_whole(value), hints[name])
        except msgspec.ValidationError:
            description = f"must be {allowed(hints[name])}, not {_shown(value)}"
            violations.append(Violation(field=f"provider_options.{name}", description=description))
    for name in RESERVED & values.get("chat_template_kwargs", {}).keys():
        description = "is set by the server and cannot be set by a call"
        violations.append(Violation(field=f"provider_options.chat_template_kwargs.{name}", description=description))
    if violations:
        raise InvalidArgument(violations)
    return kind(**{name: value for name, value in values.items() if value is not None})


def allowed(hint: Any) -> str:
    """What a type of an option allows, in words."""
    for part in (hint, *getattr(hint, "__args__", ())):
        for meta in getattr(part, "__metadata__", ()):
            if isinstance(meta, Meta) and meta.extra:
                return str(meta.extra["allowed"])
    raise TypeError(f"{hint} has no words for what it allows")


def _whole(value: Any) -> Any:
    """JSON has one kind of number, and some senders write 20 as 20.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
