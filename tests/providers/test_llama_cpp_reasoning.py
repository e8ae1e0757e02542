"""Reasoning with files whose chat template knows it: llama.cpp tells it from the answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mcp_server.errors import InvalidArgument, ProviderUnavailable, UnsupportedByModel
from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent, ReasoningDelta
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.values import GenerationConfig, Message, ModelState, Reasoning, ResponseFormat, Role, Text
from tests.providers.conftest import MODEL, events_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEMPLATE = Path(__file__).parents[1] / "small_models" / "reasoning.jinja"
ALWAYS = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + ('<think>' + message.reasoning_content + '</think>'
    if message.reasoning_content else '') + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"""
"""A template of models that always reason."""
SHOWN = (("1+1?", "1 and 1 make 2.", "2"), ("2+2?", "2 and 2 make 4.", "4"))
"""A model that small has to be shown how."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def reasoner(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaCppProvider]:
    """The embedded model, with chat templates for reasoning: one with a switch, and one that always reasons."""
    always = tmp_path_factory.mktemp("templates") / "always.jinja"
    always.write_text(ALWAYS, encoding="utf-8")
    models = {
        "switched": LlamaCppModel(path=model_file, chat_template=TEMPLATE, temperature=0.0),
        "quiet": LlamaCppModel(path=model_file, chat_template=TEMPLATE, temperature=0.0, reasoning_effort="none"),
        "always": LlamaCppModel(path=model_file, chat_template=always, temperature=0.0),
        "muted": LlamaCppModel(path=model_file, chat_template=always, reasoning_effort="none"),
    }
    provider = LlamaCppProvider(LlamaCppSettings(models=models))
    yield provider
    await provider.close()


def asking(model: str = "switched", *, options: dict[str, Any] | None = None, **config: Any) -> GenerateRequest:
    """A conversation in which the model has reasoned before."""
    messages: list[Message] = []
    for question, thought, answer in SHOWN:
        parts = (Reasoning(text=thought), Text(text=answer))
        messages += [user(question), Message(role=Role.ASSISTANT, parts=parts)]
    config = {"max_output_tokens": 60, **config}
    return GenerateRequest(
        model=model,
        messages=(*messages, user("3+3?")),
        config=GenerationConfig(**config),
        provider_options=options or {},
    )


def user(text: str) -> Message:
    """What the user says."""
    return Message(role=Role.USER, parts=(Text(text=text),))


def split(events: list[ProviderEvent]) -> tuple[str, str]:
    """The reasoning and the answer."""
    thoughts = "".join([event.text for event in events if isinstance(event, ReasoningDelta)])
    return thoughts.strip(), "".join([event for event in events if isinstance(event, str)]).strip()


async def test_reasoning_is_told_from_the_answer(reasoner: LlamaCppProvider) -> None:
    """It comes before the answer, and neither has the marks of the other."""
    for model in ("switched", "always"):
        thoughts, answer = split(await events_of(reasoner, asking(model)))
        assert (thoughts, answer) == ("3 and 3 make 6.", "6")


@pytest.mark.parametrize(
    "options",
    [
        {"reasoning_effort": "none"},
        {"thinking": {"type": "disabled"}},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
async def test_reasoning_can_be_switched_off(reasoner: LlamaCppProvider, options: dict[str, Any]) -> None:
    """By a call, where the template has the switch; the prompt is counted as it is."""
    request = asking(options=options)
    events = await events_of(reasoner, request)
    thoughts, answer = split(events)
    assert not thoughts
    assert "6" in answer
    assert isinstance(events[-1], Finish)
    assert events[-1].usage is not None
    assert await reasoner.count_tokens(request) == events[-1].usage.input_tokens


async def test_the_setting_is_the_default_of_calls(reasoner: LlamaCppProvider) -> None:
    """A call that asks for reasoning gets it all the same."""
    assert not split(await events_of(reasoner, asking("quiet")))[0]
    for options in ({"reasoning_effort": "high"}, {"thinking": {"type": "enabled", "budget_tokens": 100.0}}):
        assert split(await events_of(reasoner, asking("quiet", options=options)))[0]


async def test_a_budget_ends_the_reasoning(reasoner: LlamaCppProvider) -> None:
    """After so many tokens the model goes on with its answer."""
    options = {"thinking": {"type": "enabled", "budget_tokens": 3}}
    thoughts, answer = split(await events_of(reasoner, asking(options=options)))
    assert thoughts == "3 and"
    assert answer


async def test_json_comes_without_reasoning(reasoner: LlamaCppProvider) -> None:
    """The grammar leaves no room for it."""
    schema = json.dumps({"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]})
    request = asking(response_format=ResponseFormat.JSON_SCHEMA, json_schema=schema)
    thoughts, answer = split(await events_of(reasoner, request))
    assert not thoughts
    assert json.loads(answer).keys() == {"sum"}


@pytest.mark.parametrize(
    ("model", "options", "problem"),
    [
        ("always", {"reasoning_effort": "none"}, "always reasons"),
        ("always", {"reasoning_effort": "low"}, "without reasoning efforts"),
        (MODEL, {"reasoning_effort": "low"}, "without reasoning efforts"),
        (MODEL, {"thinking": {"type": "enabled", "budget_tokens": 9}}, "does not reason"),
    ],
)
async def test_what_a_template_cannot_say_is_refused(
    provider: LlamaCppProvider, reasoner: LlamaCppProvider, model: str, options: dict[str, Any], problem: str
) -> None:
    """It is not left out silently."""
    with pytest.raises(UnsupportedByModel, match=problem):
        await events_of(provider if model == MODEL else reasoner, asking(model, options=options))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"reasoning_effort": 3}, "reasoning_effort"),
        ({"reasoning_effort": []}, "reasoning_effort"),
        ({"thinking": True}, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": float("nan")}}, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10**400}}, "thinking"),
        ({"chat_template_kwargs": "x"}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
    ],
)
async def test_options_are_checked_before_a_model_is_loaded(options: dict[str, Any], field: str) -> None:
    """A value that an option does not take is refused by its path, without any model."""
    provider = LlamaCppProvider(LlamaCppSettings(models={MODEL: LlamaCppModel(path=Path("nowhere.gguf"))}))
    with pytest.raises(InvalidArgument) as raised:
        await events_of(provider, asking(MODEL, options=options))
    assert [violation.field for violation in raised.value.violations] == [f"provider_options.{field}"]


async def test_a_setting_that_the_template_cannot_say_is_a_reason(reasoner: LlamaCppProvider) -> None:
    """The model is unavailable, and says which setting it is."""
    (muted,) = [model for model in await reasoner.models() if model.name == "muted"]
    assert muted.state is ModelState.UNAVAILABLE
    assert muted.state_reason.startswith("reasoning_effort: ")
    with pytest.raises(ProviderUnavailable, match="reasoning_effort"):
        await events_of(reasoner, asking("muted"))


async def test_a_template_file_that_is_not_there_is_a_reason(model_file: Path, tmp_path: Path) -> None:
    """The model is unavailable until the file is there."""
    template = tmp_path / "later.jinja"
    model = LlamaCppModel(path=model_file, chat_template=template)
    provider = LlamaCppProvider(LlamaCppSettings(models={"waiting": model}))
    (waiting,) = await provider.models()
    assert waiting.state is ModelState.UNAVAILABLE
    assert "later.jinja cannot be read" in waiting.state_reason
    template.write_text("{{ messages }} {{ tools }}", encoding="utf-8")
    (waiting,) = await provider.models()
    assert waiting.state is ModelState.READY
    assert waiting.capabilities.tools
