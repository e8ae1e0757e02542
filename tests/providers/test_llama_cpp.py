"""What the provider ``llama_cpp`` does beyond the contract of all providers, with the embedded model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mcp_server.errors import ContextTooLong, InvalidArgument, ModelNotFound, UnsupportedByModel
from mcp_server.interfaces import EmbedRequest, Finish, GenerateRequest, TextDelta
from mcp_server.model_files import CATALOGUE
from mcp_server.providers.llama_cpp import translate
from mcp_server.providers.llama_cpp.options import OPTIONS
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.values import (
    Blob,
    FinishReason,
    GenerationConfig,
    Message,
    ResponseFormat,
    Role,
    Text,
    Tool,
)
from tests.providers.conftest import MODEL, events_of, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

INSTRUCTION = CATALOGUE[MODEL].system_instruction


def message_of(text: str, role: Role = Role.USER) -> Message:
    """A message of one text."""
    return Message(role=role, parts=(Text(text=text),))


def chat(*messages: Message | str, options: dict[str, Any] | None = None, **config: Any) -> GenerateRequest:
    """A conversation."""
    conversation = tuple([message_of(message) if isinstance(message, str) else message for message in messages])
    config = {"max_output_tokens": 40, **config}
    return GenerateRequest(
        model=MODEL, messages=conversation, config=GenerationConfig(**config), provider_options=options or {}
    )


def prompt(text: str, **config: Any) -> GenerateRequest:
    """A prompt to go on from."""
    config = {"max_output_tokens": 40, **config}
    return GenerateRequest(model=MODEL, prompt=text, config=GenerationConfig(**config))


async def test_it_recalls_what_was_said(provider: LlamaCppProvider) -> None:
    """The history reaches the model by its own template."""
    conversation = (
        message_of("The secret word is banana."),
        message_of("Okay.", Role.ASSISTANT),
        message_of("What is the secret word?"),
    )
    assert "banana" in text_of(await events_of(provider, chat(*conversation)))


async def test_a_conversation_without_instruction_gets_the_models_own(provider: LlamaCppProvider) -> None:
    """The default instruction stands in for a system message, and only for a missing one."""
    without = await provider.count_tokens(chat("Hi"))
    spelled_out = await provider.count_tokens(chat(message_of(INSTRUCTION, Role.SYSTEM), "Hi"))
    other = await provider.count_tokens(chat(message_of("Rhyme.", Role.SYSTEM), "Hi"))
    assert without == spelled_out
    assert other < without


async def test_it_is_greedy_unless_told_otherwise(provider: LlamaCppProvider) -> None:
    """The model's default temperature makes answers repeatable; one that is asked for, with a seed, is honoured."""
    texts = [text_of(await events_of(provider, chat("Tell me about rivers."))) for _ in range(2)]
    assert texts[0] == texts[1]
    seeded = [
        text_of(await events_of(provider, chat("Tell me about rivers.", temperature=1.5, seed=seed)))
        for seed in (1, 1, -2)
    ]
    assert seeded[0] == seeded[1] != seeded[2]


async def test_it_goes_on_from_the_beginning_of_an_answer(provider: LlamaCppProvider) -> None:
    """A conversation that ends with words of the assistant is gone on with, as the capability says."""
    (model,) = await provider.models()
    assert model.capabilities.prefill
    beginning = message_of("The capital of France is the city of", Role.ASSISTANT)
    answer = text_of(await events_of(provider, chat("What is the capital of France?", beginning)))
    assert answer.strip().startswith("Paris")


async def test_no_character_is_torn(provider: LlamaCppProvider) -> None:
    """Characters of several tokens arrive whole."""
    fixed = "🦊 crosses the 🌉, 日本 and Ωmega; 👩‍👩‍👧‍👦!"
    schema = json.dumps({"const": fixed})
    request = prompt("JSON: ", response_format=ResponseFormat.JSON_SCHEMA, json_schema=schema, max_output_tokens=200)
    events = await events_of(provider, request)
    assert json.loads(text_of(events)) == fixed
    pieces = [event for event in events if isinstance(event, str)]
    assert len(pieces) > 10
    assert not [piece for piece in pieces if "\ufffd" in piece]


@pytest.mark.parametrize("length", range(1, 9))
async def test_a_limit_in_the_middle_of_a_character_leaves_it_out(provider: LlamaCppProvider, length: int) -> None:
    """An answer that is cut after any number of tokens is still text."""
    schema = json.dumps({"const": "🦊🌉👩‍👩‍👧‍👦"})
    request = prompt("JSON: ", response_format=ResponseFormat.JSON_SCHEMA, json_schema=schema, max_output_tokens=length)
    events = await events_of(provider, request)
    assert json.loads(schema)["const"].startswith(text_of(events).strip('"'))
    assert events[-1] == Finish(reason=FinishReason.LENGTH, usage=getattr(events[-1], "usage", None))


@pytest.mark.parametrize("form", ["chat", "prompt"])
async def test_an_answer_keeps_to_a_json_schema(provider: LlamaCppProvider, form: str) -> None:
    """What is asked for as JSON is JSON, of the shape that was asked for."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    config: dict[str, Any] = {"response_format": ResponseFormat.JSON_SCHEMA, "json_schema": json.dumps(schema)}
    text = "Describe Ann, who is 30 years old, as JSON: "
    answer = text_of(await events_of(provider, (chat if form == "chat" else prompt)(text, **config)))
    assert {key: type(value) for key, value in json.loads(answer).items()} == {"name": str, "age": int}


async def test_an_answer_is_a_json_object(provider: LlamaCppProvider) -> None:
    """Without a schema it is an object."""
    question = "Describe Ann, who is 30 years old, as a JSON object with name and age."
    request = chat(question, response_format=ResponseFormat.JSON, max_output_tokens=200)
    assert isinstance(json.loads(text_of(await events_of(provider, request))), dict)


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ("{", "not JSON"),
        ("[]", "$ is"),
        ('{"type": "objekt"}', "$.type"),
        ('{"properties": {"a": {"type": "array", "maxItems": 1000000000}}}', "$.properties.a.maxItems"),
        ('{"items": {"pattern": "(a{1000}){1000}"}}', "$.items.pattern"),
        ('{"$ref": "http://example.com/schema"}', "$.$ref"),
        ('{"items":' * 70 + "{}" + "}" * 70, "deeper"),
        ('{"items":' * 5000 + "{}" + "}" * 5000, "deep"),
    ],
)
async def test_a_schema_that_cannot_be_followed_is_refused(provider: LlamaCppProvider, schema: str, place: str) -> None:
    """It is refused with the place of the trouble, rather than left aside or tried at any cost."""
    request = prompt("x", response_format=ResponseFormat.JSON_SCHEMA, json_schema=schema)
    with pytest.raises(UnsupportedByModel) as raised:
        await events_of(provider, request)
    assert place in raised.value.message


@pytest.mark.parametrize("form", ["chat", "prompt"])
@pytest.mark.parametrize("top", [0, 3])
async def test_each_token_has_its_probability(provider: LlamaCppProvider, form: str, top: int) -> None:
    """Asked for, every piece says how likely its tokens were, and the likeliest others."""
    make = chat if form == "chat" else prompt
    events = await events_of(provider, make("The capital of France is", logprobs=top, max_output_tokens=5))
    tokens = [logprob for event in events if isinstance(event, TextDelta) for logprob in event.logprobs]
    assert "".join([token.token for token in tokens]) == text_of(events)
    assert all(token.logprob <= 0 for token in tokens)
    assert {len(token.top) for token in tokens} == {top}


@pytest.mark.parametrize("text", ["word " * 6_000, "a" * 1_000_000, "\x00" * 5_000])
async def test_too_long_a_prompt_is_refused_by_the_numbers(provider: LlamaCppProvider, text: str) -> None:
    """A prompt that does not fit is refused with its length and the limit."""
    for request in (chat(text), prompt(text)):
        with pytest.raises(ContextTooLong) as raised:
            await events_of(provider, request)
        assert raised.value.metadata["limit"] == "4096"
        assert int(raised.value.metadata["tokens"]) > 4096


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (GenerateRequest(model=MODEL, prompt="def f(", suffix="return 1"), "nfill"),
        (GenerateRequest(model=MODEL, prompt="x", tools=(Tool(name="t"),)), "tools"),
        (chat(Message(role=Role.USER, parts=(Blob(mime_type="image/png", data=b"x"),))), "images"),
        (
            chat("x", options={"top_kk": 1}),
            "provider_options.top_kk is not known .*; known are dry_allowed_length, dry_base",
        ),
    ],
    ids=["suffix", "tools", "image", "unknown option"],
)
async def test_what_it_cannot_do_is_said(provider: LlamaCppProvider, request_: GenerateRequest, word: str) -> None:
    """What the model or llama.cpp cannot do is refused by its name."""
    with pytest.raises(UnsupportedByModel, match=word):
        await events_of(provider, request_)


@pytest.mark.parametrize("name", sorted(OPTIONS))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300, 1e300, 10**400, -2, "1", None, [1], {}, 1.5])
async def test_options_are_checked_before_the_model_is_asked(name: str, value: Any) -> None:
    """A value that an option does not take is refused by its path and by what is allowed, without any model."""
    if name in ("dry_base", "dry_multiplier", "repeat_penalty") and value == 1.5:
        return
    model = LlamaCppModel(path=Path("nowhere.gguf"))
    with pytest.raises(InvalidArgument) as raised:
        await events_of(LlamaCppProvider(LlamaCppSettings(models={MODEL: model})), chat("x", options={name: value}))
    (violation,) = raised.value.violations
    assert violation.field == f"provider_options.{name}"
    assert violation.description.startswith(
        ("must be a number from ", "must be an integer from ", "must be true or", "must be an array")
    )


async def test_an_impossible_option_ends_its_own_call_alone(provider: LlamaCppProvider) -> None:
    """The calls beside it are answered."""
    calls = [chat("Hi", options=options) for options in ({}, {"min_p": float("nan")}, {"top_k": 1, "min_p": 1})]
    ended = await asyncio.gather(*[events_of(provider, call) for call in calls], return_exceptions=True)
    assert [isinstance(one, InvalidArgument) for one in ended] == [False, True, False]


async def test_options_of_llama_cpp_are_passed_on(provider: LlamaCppProvider) -> None:
    """With only the likeliest token to choose from, no temperature changes the answer."""
    greedy = text_of(await events_of(provider, chat("Tell me about rivers.")))
    hot = chat("Tell me about rivers.", options={"top_k": 1.0, "min_p": 0.0}, temperature=2.0)
    assert text_of(await events_of(provider, hot)) == greedy


async def test_the_guard_against_repetition_is_left_off_json() -> None:
    """The settings hold for every text but JSON, which repeats its names; a call's own options hold for both."""
    model = LlamaCppModel().resolved(MODEL)
    guard = {"dry_multiplier", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"}
    assert guard <= translate.generate_body(chat("x"), MODEL, model, None).keys()
    request = chat("x", response_format=ResponseFormat.JSON, options={"dry_multiplier": 1})
    body = translate.generate_body(request, MODEL, model, translate.constraint_of(request.config, MODEL))
    assert body.keys() & guard == {"dry_multiplier"}
    off = LlamaCppModel(dry_multiplier=0.0).resolved(MODEL)
    assert translate.generate_body(chat("x"), MODEL, off, None)["dry_multiplier"] == 0


async def test_the_cache_is_used_and_reported(provider: LlamaCppProvider) -> None:
    """A conversation that goes on reads only what is new."""
    first = (message_of("My name is Ann and I live in Oslo, where it rains."), message_of("Hello Ann.", Role.ASSISTANT))
    await events_of(provider, chat(*first, "Where do I live?"))
    (*_, finish) = await events_of(
        provider, chat(*first, "Where do I live?", message_of("Oslo.", Role.ASSISTANT), "Why?")
    )
    assert isinstance(finish, Finish)
    assert finish.usage is not None
    assert finish.usage.input_tokens > finish.usage.cached_input_tokens > finish.usage.input_tokens // 2


async def test_an_unknown_model_is_not_found(provider: LlamaCppProvider) -> None:
    """The error lists the known ones."""
    with pytest.raises(ModelNotFound, match=MODEL):
        await events_of(provider, GenerateRequest(model="other", prompt="x"))


async def test_near_meanings_have_near_vectors(provider: LlamaCppProvider) -> None:
    """Vectors have length 1, and texts on one matter lie nearer than others."""
    texts = ("The cat sleeps on the sofa.", "A kitten is napping on the couch.", "Shares fell on Wall Street today.")
    cat, kitten, shares = (await provider.embed(EmbedRequest(model=MODEL, inputs=texts))).vectors

    def near(one: Sequence[float], other: Sequence[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert near(cat, cat) == pytest.approx(1, abs=1e-3)
    assert near(cat, kitten) > near(cat, shares)


async def test_embeddings_say_what_they_cannot_do(provider: LlamaCppProvider) -> None:
    """A text that is too long is refused by the numbers, and so are other dimensions than the model's."""
    with pytest.raises(ContextTooLong) as raised:
        await provider.embed(EmbedRequest(model=MODEL, inputs=("short", "word " * 2_000)))
    assert raised.value.metadata["limit"] == "1024"
    with pytest.raises(UnsupportedByModel, match="576"):
        await provider.embed(EmbedRequest(model=MODEL, inputs=("short",), dimensions=8))
    made = await provider.embed(EmbedRequest(model=MODEL, inputs=("short",), dimensions=576))
    assert len(made.vectors[0]) == 576
