"""What the provider ``huggingface`` does beyond the contract of all providers, with a tiny model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from mcp_server.errors import ContextTooLong, InvalidArgument, ModelNotFound, UnsupportedByModel
from mcp_server.interfaces import (
    EmbedRequest,
    Finish,
    GenerateRequest,
    Progress,
    ProviderEvent,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.providers.huggingface import options, translate
from mcp_server.providers.huggingface.provider import HuggingFaceProvider
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
from mcp_server.values import (
    Blob,
    FinishReason,
    GenerationConfig,
    Message,
    ModelState,
    Reasoning,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.providers.conftest import events_of
from tests.small_models.tiny import ANSWERS, TOOL, WINDOW

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Path(__file__).parent.parent.parent / "docs" / "providers" / "huggingface.md"
FRANCE = "What is the capital of France?"
WEATHER = Tool(
    name=str(TOOL["name"]), description=str(TOOL["description"]), parameters_json=json.dumps(TOOL["parameters"])
)
REQUIRED = ToolChoice(mode="required", name="weather")


def message_of(text: str, role: Role = Role.USER) -> Message:
    """A message of one text."""
    return Message(role=role, parts=(Text(text=text),))


def chat(*messages: Message | str, **fields: Any) -> GenerateRequest:
    """A conversation; ``config`` as keyword arguments, and ``tools``, ``tool_choice``, ``options``."""
    request = {name: fields.pop(name) for name in ("tools", "tool_choice") if name in fields}
    options = fields.pop("options", {})
    conversation = tuple([message_of(message) if isinstance(message, str) else message for message in messages])
    config = GenerationConfig(**{"max_output_tokens": 200, **fields})
    return GenerateRequest(model="tiny", messages=conversation, config=config, provider_options=options, **request)


def prompt(text: str, *, options: dict[str, Any] | None = None, **config: Any) -> GenerateRequest:
    """A prompt to go on from."""
    return GenerateRequest(model="tiny", prompt=text, config=GenerationConfig(**config), provider_options=options or {})


def text_of(events: Sequence[ProviderEvent]) -> str:
    """All the text in it."""
    texts = [event for event in events if isinstance(event, str | TextDelta)]
    return "".join([event if isinstance(event, str) else event.text for event in texts])


def finish_of(events: Sequence[ProviderEvent]) -> Finish:
    """Its end."""
    assert isinstance(events[-1], Finish)
    return events[-1]


async def test_the_template_and_the_weights_are_the_models_own(huggingface: HuggingFaceProvider) -> None:
    """It answers as it was taught, which it does only if each token of the prompt is right."""
    events = await events_of(huggingface, chat(FRANCE))
    assert text_of(events) == ANSWERS[FRANCE]
    assert finish_of(events).reason is FinishReason.STOP


async def test_what_it_can_do_is_read_from_its_files(huggingface: HuggingFaceProvider) -> None:
    """The capabilities and the window are known before the model is loaded."""
    (model,) = await huggingface.models()
    can = model.capabilities
    assert (can.chat, can.completion, can.tools, can.prefill) == (True, True, True, True)
    assert (can.embedding, can.images, can.json_schema) == (False, False, False)
    assert model.context_window == WINDOW


async def test_no_character_is_torn(huggingface: HuggingFaceProvider) -> None:
    """Characters of several tokens arrive whole."""
    events = await events_of(huggingface, chat("Draw."))
    assert text_of(events) == ANSWERS["Draw."]
    assert not [event for event in events if "\ufffd" in str(event)]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
async def test_a_limit_in_the_middle_of_a_character_leaves_it_out(
    huggingface: HuggingFaceProvider, length: int
) -> None:
    """An answer that is cut after any number of tokens is still text."""
    events = await events_of(huggingface, chat("Draw.", max_output_tokens=length))
    assert ANSWERS["Draw."].startswith(text_of(events))
    finish = finish_of(events)
    assert finish.reason is FinishReason.LENGTH
    assert finish.usage is not None
    assert finish.usage.output_tokens == length


async def test_it_is_as_random_as_it_is_told_to_be(huggingface: HuggingFaceProvider) -> None:
    """Unless told otherwise it is greedy, as its files say; with a temperature it varies, and a seed repeats it."""
    texts = [text_of(await events_of(huggingface, chat("Tell me more."))) for _ in range(2)]
    assert texts[0] == texts[1]
    seeded = [
        text_of(await events_of(huggingface, chat("Tell me more.", temperature=1.8, seed=seed))) for seed in (1, 1, -2)
    ]
    assert seeded[0] == seeded[1] != seeded[2]


@pytest.mark.parametrize(
    "parameters",
    [{"top_p": 0.001}, {"options": {"top_k": 1.0}}, {"options": {"min_p": 1.0}}],
    ids=["top_p", "top_k", "min_p"],
)
async def test_with_one_token_to_choose_from_no_temperature_matters(
    huggingface: HuggingFaceProvider, parameters: dict[str, Any]
) -> None:
    """What narrows the choice is honoured."""
    assert text_of(await events_of(huggingface, chat(FRANCE, temperature=2.0, **parameters))) == ANSWERS[FRANCE]


@pytest.mark.parametrize(
    "parameters",
    [{"frequency_penalty": 2.0}, {"presence_penalty": 2.0}, {"options": {"repetition_penalty": 100.0}}],
    ids=["frequency", "presence", "repetition"],
)
async def test_penalties_drive_it_away_from_what_it_said(
    huggingface: HuggingFaceProvider, parameters: dict[str, Any]
) -> None:
    """Of two answers without an end, the one with a penalty has more different letters in it."""
    endless = {"ignore_eos": True}
    options = {**endless, **parameters.pop("options", {})}
    plain = text_of(await events_of(huggingface, prompt("1, 1, 1, 1,", options=endless, max_output_tokens=60)))
    varied = text_of(
        await events_of(huggingface, prompt("1, 1, 1, 1,", options=options, max_output_tokens=60, **parameters))
    )
    assert len(set(varied)) > len(set(plain))


async def test_settings_are_the_defaults_of_options() -> None:
    """A call that sets an option itself wins over the settings of its model."""
    model = HuggingFaceModel(repetition_penalty=1.5, no_repeat_ngram_size=3)
    assert translate.generate(chat("x"), model).provider_options == {
        "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 3,
    }
    chosen = translate.generate(chat("x", options={"no_repeat_ngram_size": 0}), model).provider_options
    assert chosen == {"repetition_penalty": 1.5, "no_repeat_ngram_size": 0}
    assert translate.generate(chat("x"), HuggingFaceModel()).provider_options == {}


async def test_no_sequence_is_written_twice(huggingface: HuggingFaceProvider) -> None:
    """Of an answer without an end, no two characters in a row come twice, if a call says so."""
    options = {"ignore_eos": True, "no_repeat_ngram_size": 2}
    text = text_of(await events_of(huggingface, prompt("1, 1, 1, 1,", options=options, max_output_tokens=60)))
    assert "1, 1" not in text


async def test_it_goes_on_from_the_beginning_of_an_answer(huggingface: HuggingFaceProvider) -> None:
    """A conversation that ends with words of the assistant is gone on with."""
    beginning = message_of("The capital of France is", Role.ASSISTANT)
    events = await events_of(huggingface, chat(FRANCE, beginning))
    assert "The capital of France is" + text_of(events) == ANSWERS[FRANCE]


async def test_thoughts_are_told_apart(huggingface: HuggingFaceProvider) -> None:
    """What stands between the marks of thoughts is reasoning, and counted as that."""
    events = await events_of(huggingface, chat("Think."))
    thoughts = "".join([event.text for event in events if isinstance(event, ReasoningDelta)])
    assert thoughts.strip() == "Two and two."
    assert text_of(events) == "It is four."
    usage = finish_of(events).usage
    assert usage is not None
    assert usage.output_tokens > usage.reasoning_tokens > len("Two and two.") // 4


async def test_thoughts_that_the_prompt_begins_are_thoughts(huggingface: HuggingFaceProvider) -> None:
    """Where a template opens the thoughts itself, the answer begins inside of them."""
    request = chat("Think.", options={"chat_template_kwargs": {"thinking": True}})
    events = await events_of(huggingface, request)
    assert isinstance(events[0], ReasoningDelta)
    assert text_of(events) == "It is four."


async def test_tools_are_called(huggingface: HuggingFaceProvider) -> None:
    """The tools reach the template, and a call in the model's form becomes a call in ours."""
    events = await events_of(huggingface, chat("Weather?", tools=(WEATHER,)))
    (start,) = [event for event in events if isinstance(event, ToolCallStart)]
    arguments = "".join([event.text for event in events if isinstance(event, ToolArgumentsDelta)])
    assert (start.name, json.loads(arguments)) == ("weather", {"city": "Oslo"})
    assert text_of(events) == "I look.\n"
    assert finish_of(events).reason is FinishReason.TOOL_CALLS


async def test_a_call_can_be_required(huggingface: HuggingFaceProvider) -> None:
    """Then the answer begins inside of one, of that tool or of any."""
    for choice in (REQUIRED, ToolChoice(mode="required")):
        events = await events_of(huggingface, chat("Rain?", tools=(WEATHER,), tool_choice=choice))
        start, arguments, finish = events
        assert isinstance(start, ToolCallStart)
        assert start.name == "weather"
        assert isinstance(arguments, ToolArgumentsDelta)
        assert json.loads(arguments.text) == {"city": "Oslo"}
        assert isinstance(finish, Finish)
        assert finish.reason is FinishReason.TOOL_CALLS


async def test_tools_that_must_not_be_called_do_not_reach_the_template(huggingface: HuggingFaceProvider) -> None:
    """The prompt is then as long as without them, and longer with them."""
    without = await huggingface.count_tokens(chat("Weather?"))
    forbidden = chat("Weather?", tools=(WEATHER,), tool_choice=ToolChoice(mode="none"))
    assert await huggingface.count_tokens(forbidden) == without
    assert await huggingface.count_tokens(chat("Weather?", tools=(WEATHER,))) > without


@pytest.mark.parametrize(
    "refused",
    [
        {"tools": (msgspec.structs.replace(WEATHER, strict=True),)},
        {"tools": (WEATHER,), "tool_choice": ToolChoice(parallel=False)},
    ],
)
async def test_what_tool_calls_cannot_be_held_to_is_refused(
    huggingface: HuggingFaceProvider, refused: dict[str, Any]
) -> None:
    """A schema, or one call at a time."""
    with pytest.raises(UnsupportedByModel, match="cannot be held to"):
        await events_of(huggingface, chat("Weather?", **refused))


async def test_a_history_with_calls_and_results_reaches_the_template(huggingface: HuggingFaceProvider) -> None:
    """Each part of it makes the prompt longer, by the template's own words for it."""
    call = ToolCall(id="call-1", name="weather", arguments_json='{"city": "Oslo"}')
    asked = Message(role=Role.ASSISTANT, parts=(Reasoning(text="Hm."), Text(text="I look."), call))
    answered = Message(role=Role.TOOL, parts=(ToolResult(tool_call_id="call-1", parts=(Text(text="Rain."),)),))
    lengths = [
        await huggingface.count_tokens(chat(*history))
        for history in (("Weather?",), ("Weather?", asked, "And?"), ("Weather?", asked, answered, "And?"))
    ]
    assert lengths[0] < lengths[1] < lengths[2]
    await events_of(huggingface, chat("Weather?", asked, answered, max_output_tokens=2))


@pytest.mark.parametrize("top", [0, 3])
async def test_each_token_has_its_probability(huggingface: HuggingFaceProvider, top: int) -> None:
    """Asked for, every piece says how likely its tokens were, and the likeliest others."""
    events = await events_of(huggingface, chat(FRANCE, logprobs=top, max_output_tokens=12))
    tokens = [logprob for event in events if isinstance(event, TextDelta) for logprob in event.logprobs]
    assert "".join([token.token for token in tokens]) == text_of(events)
    assert all(token.logprob <= 0 for token in tokens)
    assert {len(token.top) for token in tokens} == {top}
    if top:
        assert all(token.top[0].token == token.token for token in tokens), "it is greedy"


async def test_too_long_a_prompt_is_refused_by_the_numbers(huggingface: HuggingFaceProvider) -> None:
    """A prompt that does not fit is refused with its length and the limit."""
    for request in (chat("word " * 5_000), prompt("é" * 5_000)):
        with pytest.raises(ContextTooLong) as raised:
            await events_of(huggingface, request)
        assert raised.value.metadata["limit"] == str(WINDOW)
        assert int(raised.value.metadata["tokens"]) > WINDOW


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (prompt("x", response_format=ResponseFormat.JSON), "JSON"),
        (GenerateRequest(model="tiny", prompt="def f(", suffix="return 1"), "suffix"),
        (prompt(""), "empty prompt"),
        (chat(Message(role=Role.USER, parts=(Blob(mime_type="image/png", data=b"x"),))), "images"),
        (chat("x", options={"top_kk": 1}), "top_kk"),
    ],
    ids=[
        "json",
        "suffix",
        "empty",
        "image",
        "unknown option",
    ],
)
async def test_what_it_cannot_do_is_said(
    huggingface: HuggingFaceProvider, request_: GenerateRequest, word: str
) -> None:
    """What the model or transformers cannot do is refused by its name."""
    with pytest.raises(UnsupportedByModel, match=word):
        await events_of(huggingface, request_)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", "many"),
        ("top_k", 1.5),
        ("top_k", -1),
        ("top_k", float("inf")),
        ("top_k", True),
        ("min_p", 1.5),
        ("min_p", float("nan")),
        ("typical_p", 0),
        ("typical_p", -0.5),
        ("repetition_penalty", 0),
        ("repetition_penalty", 1e-30),
        ("repetition_penalty", 1e300),
        ("no_repeat_ngram_size", -1),
        ("ignore_eos", 1),
        ("chat_template_kwargs", []),
    ],
)
async def test_options_are_checked_before_the_model_is_asked(name: str, value: Any) -> None:
    """The error names the option and what it takes; nothing is loaded for that."""
    allowed = options.allowed(get_type_hints(options.GenerateOptions, include_extras=True)[name])
    model = HuggingFaceModel(path=Path("/nowhere"))
    with pytest.raises(InvalidArgument) as raised:
        translate.generate(chat("x", options={name: value}), model)
    (violation,) = raised.value.violations
    assert violation.field == f"provider_options.{name}"
    assert allowed in violation.description


async def test_all_wrong_options_are_listed_at_once() -> None:
    """So that they are corrected at once."""
    request = chat("x", options={"top_k": -1, "min_p": 2, "chat_template_kwargs": {"chat_template": "{{ 1 }}"}})
    with pytest.raises(InvalidArgument) as raised:
        translate.generate(request, HuggingFaceModel())
    assert {violation.field for violation in raised.value.violations} == {
        "provider_options.top_k",
        "provider_options.min_p",
        "provider_options.chat_template_kwargs.chat_template",
    }


async def test_options_at_their_bounds_are_taken(huggingface: HuggingFaceProvider) -> None:
    """Whatever is declared as allowed works, also as JSON senders write it."""
    for chosen in (
        {"top_k": 0, "min_p": 0, "typical_p": 1, "repetition_penalty": 100},
        {"top_k": 2**31 - 1, "min_p": 1.0, "typical_p": 1e-9, "repetition_penalty": 0.01},
        {"top_k": 20.0, "min_p": None, "ignore_eos": False, "chat_template_kwargs": {"enable_thinking": False}},
    ):
        events = await events_of(huggingface, chat(FRANCE, temperature=1.0, options=chosen, max_output_tokens=5))
        assert finish_of(events).reason in (FinishReason.STOP, FinishReason.LENGTH)


async def test_the_page_lists_the_options() -> None:
    """Each with what it takes."""
    page = PAGE.read_text()
    for kind in (options.GenerateOptions, options.EmbedOptions):
        for name, hint in get_type_hints(kind, include_extras=True).items():
            assert f"| `{name}` | {options.allowed(hint)} |" in page


async def test_several_results_in_one_message_are_several_to_the_template(huggingface: HuggingFaceProvider) -> None:
    """The prompt is the same as with one message for each."""
    calls = Message(
        role=Role.ASSISTANT, parts=tuple([ToolCall(id=id, name="weather", arguments_json="{}") for id in ("1", "2")])
    )
    results = [
        ToolResult(tool_call_id=id, parts=(Text(text=text),)) for id, text in (("1", "Rain." * 9), ("2", "Sun."))
    ]
    together = Message(role=Role.TOOL, parts=tuple(results))
    apart = [Message(role=Role.TOOL, parts=(result,)) for result in results]
    history = ("Weather?", calls)
    assert await huggingface.count_tokens(chat(*history, together)) == await huggingface.count_tokens(
        chat(*history, *apart)
    )


async def test_a_template_sees_the_name_of_the_tool_of_each_result() -> None:
    """Some models are shown it instead of the id."""
    from mcp_server.providers.huggingface.worker import conversation

    calls = Message(role=Role.ASSISTANT, parts=(ToolCall(id="1", name="weather"), ToolCall(id="2", name="time")))
    results = Message(role=Role.TOOL, parts=(ToolResult(tool_call_id="2"), ToolResult(tool_call_id="1")))
    shown = conversation._messages([message_of("?"), calls, results])
    assert [(one["tool_call_id"], one["name"]) for one in shown[2:]] == [("2", "time"), ("1", "weather")]


async def test_a_model_that_is_loaded_shows_signs_of_life(tiny_model: Path) -> None:
    """Until it is loaded; a request that it does not take is refused before."""
    provider = HuggingFaceProvider(HuggingFaceSettings(models={"tiny": HuggingFaceModel(path=tiny_model)}))
    try:
        with pytest.raises(InvalidArgument):
            await anext(provider.load(chat(FRANCE, options={"top_k": -1})))
        with pytest.raises(InvalidArgument):
            await anext(provider.load(EmbedRequest(model="tiny", inputs=("x",), provider_options={"prompt_name": 1})))
        (model,) = await provider.models()
        assert model.state is ModelState.READY
        signs = [sign async for sign in provider.load(chat(FRANCE))]
        assert set(signs) == {Progress(stage="loading")}
        assert [sign async for sign in provider.load(chat(FRANCE))] == []
        assert text_of(await events_of(provider, chat(FRANCE))) == ANSWERS[FRANCE]
    finally:
        await provider.close()


async def test_it_makes_no_embeddings(huggingface: HuggingFaceProvider) -> None:
    """A model that writes is not one that embeds."""
    with pytest.raises(UnsupportedByModel, match="embeddings"):
        await huggingface.embed(EmbedRequest(model="tiny", inputs=("x",)))


async def test_an_unknown_model_is_not_found(huggingface: HuggingFaceProvider) -> None:
    """The error lists the known ones."""
    with pytest.raises(ModelNotFound, match="tiny"):
        await events_of(huggingface, GenerateRequest(model="other", prompt="x"))


async def test_the_defaults_of_the_settings_stand_in() -> None:
    """Instruction, temperature and limit of the settings hold for calls that do not say, and only for those."""
    model = HuggingFaceModel(system_instruction="Be brief.", temperature=0.5, max_output_tokens=3)
    instructed = message_of("Be brief.", Role.SYSTEM)
    asked = translate.generate(GenerateRequest(model="tiny", messages=(message_of(FRANCE),)), model)
    assert asked.messages == (instructed, message_of(FRANCE))
    assert asked.config == GenerationConfig(temperature=0.5, max_output_tokens=3)
    request = chat(message_of("Rhyme.", Role.SYSTEM), FRANCE, temperature=0.0, max_output_tokens=9)
    assert translate.generate(request, model) == request
