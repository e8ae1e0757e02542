"""The provider ``demo`` through the front door: everything that its page says can be tried."""

from __future__ import annotations

import json
import math
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from mcp_client import (
    Blob,
    ContextTooLong,
    InternalError,
    InvalidArgument,
    MCPClient,
    MCPError,
    Message,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStreamCut,
    ProviderTimeout,
    ProviderUnavailable,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    UnsupportedByModel,
)
from mcp_server.providers.demo.commands import COMMANDS
from mcp_server.providers.demo.failures import KINDS
from mcp_server.providers.demo.settings import DemoSettings
from mcp_server.settings import DEMO_FILE, Config, ModelSettings, RouteSettings, RoutingSettings, load
from mcp_server.settings import testing_config as plain_config
from mcp_server.testing import running
from tests.providers.test_llama_schemas import check, schema_of

replace = msgspec.structs.replace

PAGE = Path(__file__).parents[2] / "docs" / "providers" / "demo.md"
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(92)
WEATHER = Tool(
    name="get_weather",
    description="Tells the weather.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 10}},
        "required": ["city", "days"],
    },
)
BOOK = Tool(name="book", description="Books a room.", parameters={"type": "object"})


def settings(**tables: DemoSettings) -> Config:
    """A server with these demo providers, by default one without delays, which call no provider twice."""
    return replace(
        plain_config(default_model=f"{next(iter(tables), 'demo')}/demo"),
        providers=tables or {"demo": DemoSettings(tokens_per_second=0)},
    )


@pytest.fixture
async def client() -> AsyncIterator[MCPClient]:
    """A client of a server with one demo provider without delays."""
    async with running(settings()) as server, MCPClient(server.address, retry=None) as client:
        yield client


def user(text: str) -> Message:
    """A message of the caller."""
    return Message.user(text)


async def test_an_answer_says_that_it_is_a_demo_and_repeats_the_message(client: MCPClient) -> None:
    """Nobody takes it for a model's."""
    reply = await client.chat("Hello!", temperature=0)
    assert reply.text.startswith("This is the demo, not a model. You wrote: “Hello!”.")
    assert "/help" in reply.text


async def test_a_session_remembers_and_a_rewind_forgets(client: MCPClient) -> None:
    """The message that has words in common comes back, until it is not in the history any more."""
    session = await client.create_session()
    await client.chat("The secret word is banana.", session=session)
    asked = "What is the secret word?"
    assert "“The secret word is banana.”" in (await client.chat(asked, session=session)).text
    assert "user: “The secret word is banana.”" in (await client.chat("What did I say?", session=session)).text
    await client.rewind_session(session, 0)
    assert "banana" not in (await client.chat(asked, session=session)).text


async def test_the_context_of_a_session_is_shown(client: MCPClient) -> None:
    """The instruction and the entries, as a model is shown them."""
    session = await client.create_session(system_instruction="Be brief.", context={"user": "Ada"})
    text = (await client.chat("/context", session=session)).text
    assert text.endswith("Be brief.\n\nuser: Ada")
    assert (await client.chat("/context")).text == "There is none."


async def test_help_lists_every_command_and_kind_of_failure(client: MCPClient) -> None:
    """It is the reference of the language."""
    text = (await client.chat("/help")).text
    assert not [name for name in COMMANDS if f"\n/{name}" not in text]
    assert not [kind for kind in KINDS if f"\n{kind} – " not in text]


def test_the_page_lists_every_command_and_kind_of_failure() -> None:
    """As the help does."""
    page = PAGE.read_text()
    usages = [f"/{name} {command.usage}".strip() for name, command in COMMANDS.items() if name != "fail"]
    assert not [usage for usage in usages if f"| `{usage}` |" not in page]
    assert f"`/fail {COMMANDS['fail'].usage}`" in page
    assert not [kind for kind in KINDS if f"| `{kind}` |" not in page]


@pytest.mark.parametrize("text", ["/nonsense", "/fail nonsense", "/fail after x", "/long x", "/say", "/call book"])
async def test_a_command_that_is_not_understood_is_answered_with_the_way_to_the_help(
    client: MCPClient, text: str
) -> None:
    """It is no failure."""
    assert (await client.chat(text)).text.endswith(("for those that it has.", "for all commands of the demo."))


async def test_answers_are_as_long_as_they_are_asked_to_be(client: MCPClient) -> None:
    """By command, by the limit of the call, by a stop string, and by the context window."""
    reply = await client.chat("/long 500")
    assert (reply.usage.output_tokens, reply.finish_reason) == (500, "stop")
    reply = await client.chat("/loop", max_output_tokens=7)
    assert (reply.usage.output_tokens, reply.finish_reason) == (7, "length")
    reply = await client.chat("/say one two three", stop=["o th"])
    assert (reply.text, reply.finish_reason) == ("one tw", "stop")
    reply = await client.chat("/loop", model="demo/demo-small")
    assert reply.usage.input_tokens + reply.usage.output_tokens == 1024
    assert reply.finish_reason == "length"


async def test_text_that_only_begins_like_a_stop_string_is_not_lost(client: MCPClient) -> None:
    """It is held back until it is clear what follows, also at the end."""
    assert (await client.chat("/say aab aab aa", stop=["aabb", "aaa"])).text == "aab aab aa"


async def test_a_prompt_is_counted_as_it_is_charged(client: MCPClient) -> None:
    """And refused if it does not fit."""
    count = await client.count_tokens("How long is this, Ada?")
    assert count.input_tokens == (await client.chat("How long is this, Ada?")).usage.input_tokens
    with pytest.raises(ContextTooLong):
        await client.chat("word " * 2000, model="demo/demo-small")


async def test_the_same_call_has_the_same_answer_and_seeds_vary_it(client: MCPClient) -> None:
    """Greedy calls always open alike."""
    answers = {(await client.chat("Hi", seed=seed)).text for seed in range(20)}
    again = {(await client.chat("Hi", seed=seed)).text for seed in range(20)}
    assert len(answers) > 1
    assert answers == again
    assert len({(await client.chat("Hi", seed=seed, temperature=0)).text for seed in range(20)}) == 1
    assert len({(await client.chat("Hi", seed=seed, top_p=0.5)).text for seed in range(20)}) == 1


async def test_log_probabilities_are_those_of_what_is_drawn(client: MCPClient) -> None:
    """The first token is drawn by weights that add up to 1; all others are certain."""
    first, second, *_ = (await client.chat("Hi", logprobs=3)).logprobs
    assert sum(math.exp(each.logprob) for each in first.top) == pytest.approx(1)
    assert first.logprob in [each.logprob for each in first.top if each.token == first.token]
    assert second.logprob == 0


async def test_thoughts_come_before_the_answer(client: MCPClient) -> None:
    """From the model that thinks, by command, or by the options of the call."""
    ways: list[dict[str, Any]] = [
        {"content": "Hi", "model": "demo/demo-thinking"},
        {"content": "/think Hi"},
        {"content": "Hi", "provider_options": {"reasoning_effort": "high"}},
        {"content": "Hi", "provider_options": {"thinking": {"type": "enabled", "budget_tokens": 2000}}},
    ]
    for way in ways:
        reply = await client.chat(way.pop("content"), **way)
        thoughts, _ = reply.message.parts
        assert isinstance(thoughts, Reasoning)
        assert thoughts.text.startswith("A demo has no thoughts")
        assert 0 < reply.usage.reasoning_tokens < reply.usage.output_tokens
    options = {"thinking": {"type": "enabled", "budget_tokens": 3}}
    assert (await client.chat("Hi", provider_options=options)).usage.reasoning_tokens == 3
    quiet = await client.chat("Hi", model="demo/demo-thinking", provider_options={"reasoning_effort": "none"})
    assert [type(part) for part in quiet.message.parts] == [Text]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"top_k": 3}, UnsupportedByModel),
        ({"tokens_per_second": -1}, InvalidArgument),
        ({"tokens_per_second": "fast"}, InvalidArgument),
        ({"reasoning_effort": "some"}, InvalidArgument),
        ({"reasoning_effort": ["high"]}, InvalidArgument),
        ({"thinking": True}, InvalidArgument),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, InvalidArgument),
        ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, InvalidArgument),
        ({"thinking": {"type": "enabled", "depth": 3}}, InvalidArgument),
    ],
)
async def test_options_that_it_does_not_know_are_refused(
    client: MCPClient, options: dict[str, Any], error: type[MCPError]
) -> None:
    """None is ignored."""
    with pytest.raises(error):
        await client.chat("Hi", provider_options=options)


async def test_a_completion_goes_on(client: MCPClient) -> None:
    """It says what it goes on from, and what it goes before."""
    reply = await client.complete("Once upon a time there was a fox", suffix="The end.")
    assert "“a time there was a fox”" in reply.text
    assert "which is not a model" in reply.text
    assert "“The end.”" in reply.text


async def test_what_a_message_has_besides_text_is_described(client: MCPClient) -> None:
    """By its type and size."""
    reply = await client.chat([Message.user("What is this?", Blob(mime_type="image/png", data=PIXEL))])
    assert "You sent: image/png of 100 bytes." in reply.text


async def test_a_tool_that_is_named_is_called_and_its_result_repeated(client: MCPClient) -> None:
    """With arguments out of the message."""
    session = await client.create_session()
    tools = [BOOK, WEATHER]
    reply = await client.chat("How is the weather in New York in the next 3 days?", session=session, tools=tools)
    (call,) = reply.message.tool_calls
    assert (call.name, json.loads(call.arguments_json)) == ("get_weather", {"city": "New York", "days": 3})
    assert reply.finish_reason == "tool_calls"
    result = ToolResult(tool_call_id=call.id, parts=[Text(text="rain")])
    reply = await client.chat([Message.tool(result)], session=session, tools=tools)
    assert reply.text.startswith("The tool get_weather returned: “rain”.")
    assert reply.finish_reason == "stop"


@pytest.mark.parametrize(
    ("text", "choice", "called"),
    [
        ("Hello.", "auto", []),
        ("get_weather, then book", "auto", ["book", "get_weather"]),
        ("bookshelf", "auto", []),
        ("A room, please.", "auto", ["book"]),
        ("How is the weather?", "none", []),
        ("Hello.", "required", ["book"]),
        ("Hello.", "get_weather", ["get_weather"]),
        ('/call get_weather {"city": 1}', "auto", ["get_weather"]),
    ],
)
async def test_the_choice_of_tools_is_obeyed(client: MCPClient, text: str, choice: str, called: Sequence[str]) -> None:
    """Named ones, described ones, all, none, or the one that must be called."""
    given = ToolChoice(mode="required", name=choice) if choice == "get_weather" else choice
    reply = await client.chat(text, tools=[BOOK, WEATHER], tool_choice=given)
    assert [call.name for call in reply.message.tool_calls] == called


async def test_python_functions_are_called_as_the_guide_shows(client: MCPClient) -> None:
    """A question with one tool is a reason to call it."""
    asked: list[str] = []

    def temperature(city: str) -> str:
        """The current temperature in a city."""
        asked.append(city)
        return "21 C"

    reply = await client.chat_with_tools("How warm is it in Rome?", tools=[temperature])
    assert asked == ["Rome"]
    assert "21 C" in reply.text


SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    {"type": "array", "items": {"type": "integer", "minimum": 5, "multipleOf": 3}, "minItems": 2, "maxItems": 4},
    {"enum": ["red", "green"]},
    {"const": {"a": [1, None]}},
    {"type": "string", "pattern": r"^[A-Z]{2,3}-\d+(x|y)?$", "minLength": 8},
    {"type": "string", "pattern": "^a$|^b$"},
    {"type": "string", "pattern": "[^a-z]+"},
    {"type": "string", "minLength": 30, "maxLength": 31},
    {"type": "string", "maxLength": 2},
    {"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.2},
    {"type": ["null", "boolean"]},
    {"anyOf": [{"type": "integer", "minimum": 7}, {"type": "null"}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"required": ["a"]}], "type": "object"},
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}, "n": {"minimum": 2}},
                "required": ["next"],
            }
        },
        "$ref": "#/$defs/node",
    },
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False, "minItems": 2},
    *[{"type": "string", "format": name} for name in ("date", "date-time", "email", "ipv4", "ipv6", "uuid")],
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
async def test_an_answer_that_is_held_to_a_schema_conforms_to_it(client: MCPClient, schema: dict[str, Any]) -> None:
    """Whatever the schema asks for: jsonschema judges."""
    wrapped = {"type": "object", "properties": {"it": schema}, "required": ["it"], **_definitions(schema)}
    reply = await client.chat("Hello, 12 and 13", json_schema=wrapped)
    checker = jsonschema.FormatChecker()
    jsonschema.Draft202012Validator(wrapped, format_checker=checker).validate(json.loads(reply.text))


def _definitions(schema: dict[str, Any]) -> dict[str, Any]:
    return {"$defs": schema.pop("$defs")} if "$defs" in schema else {}


async def test_random_schemas_are_followed_or_refused(client: MCPClient) -> None:
    """No answer breaks its schema, and most schemas have one."""
    random_ = random.Random(7)  # noqa: S311  # no secret
    conforming = refused = 0
    while conforming + refused < 60:
        schema = schema_of(random_)
        # What jsonschema takes for a time is none by its own specification.
        if not isinstance(schema, dict) or '"time"' in json.dumps(schema):
            continue
        schema = {**schema, "$defs": {"x": {"type": "integer", "minimum": 5}}}
        try:
            reply = await client.chat("Hello, 12", json_schema=schema)
        except UnsupportedByModel:
            refused += 1
        else:
            check(schema, json.loads(reply.text))
            conforming += 1
    assert conforming > refused


async def test_json_is_made_of_the_message(client: MCPClient) -> None:
    """Names, numbers, choices and values by name are found in it; plain JSON says what was written."""
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "people": {"type": "integer"},
            "kind": {"enum": ["town", "city"]},
            "mayor": {"type": "string"},
            "open": {"type": "boolean"},
        },
        "required": ["city", "people", "kind", "mayor"],
    }
    reply = await client.chat('Is "Bern" a city of 134000 people, open=false mayor=Ada?', json_schema=schema)
    assert json.loads(reply.text) == {"city": "Bern", "people": 134000, "kind": "city", "mayor": "Ada", "open": False}
    assert json.loads((await client.chat("Hi", json=True)).text)["you_wrote"] == "Hi"


async def test_a_schema_that_it_cannot_follow_is_refused(client: MCPClient) -> None:
    """With the keyword; nothing invalid is ever the answer."""
    with pytest.raises(UnsupportedByModel, match="uniqueItems"):
        await client.chat("Hi", json_schema={"type": "array", "uniqueItems": True})


async def test_texts_with_words_in_common_have_embeddings_that_are_near(client: MCPClient) -> None:
    """The vectors have length 1, and as many dimensions as asked for."""
    texts = ["The cat sat on the mat.", "A cat was sitting on a mat.", "Interest rates rise in May."]
    for dimensions in (None, 64):
        cat, other_cat, rates = (await client.embed(texts, dimensions=dimensions)).vectors
        assert len(cat) == (dimensions or 256)
        assert math.hypot(*cat) == pytest.approx(1, abs=1e-6)
        assert _near(cat, other_cat) > 0.3 + max(_near(cat, rates), _near(other_cat, rates))
    with pytest.raises(ProviderUnavailable):
        await client.embed(["fine", "/fail unavailable"])
    assert (await client.embed(["/fail in words"])).vectors


def _near(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(first * second for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("text", "error", "facts"),
    [
        ("/fail", ProviderUnavailable, {}),
        ("/fail unavailable", ProviderUnavailable, {}),
        ("/fail rate_limit 5", ProviderRateLimited, {}),
        ("/fail timeout", ProviderTimeout, {}),
        ("/fail content", ProviderRejected, {"cause": "content"}),
        ("/fail credentials", ProviderRejected, {"cause": "credentials"}),
        ("/fail too_long", ContextTooLong, {}),
        ("/fail load", ProviderUnavailable, {"cause": "load"}),
        ("/fail error", InternalError, {}),
        ("/fail silence 0", ProviderTimeout, {}),
        ("/fail after 3 tokens", ProviderStreamCut, {}),
    ],
)
async def test_it_fails_on_command(client: MCPClient, text: str, error: type[MCPError], facts: dict[str, str]) -> None:
    """With the error that such a failure of a provider has, and the tokens that came before."""
    with pytest.raises(error) as raised:
        await client.chat(text)
    assert facts.items() <= raised.value.metadata.items()
    if "rate_limit" in text:
        assert raised.value.retry_after == pytest.approx(5, abs=0.5)
    turn = await client.get_turn(raised.value.turn)
    assert turn.usage.output_tokens == (3 if "after" in text else 0)


async def test_a_failure_that_comes_once_is_retried() -> None:
    """The answer is that of the second call, and the ledger has both."""
    config = replace(settings(), routing=RoutingSettings(backoff=0.001))
    async with running(config) as server, MCPClient(server.address) as client:
        for text in ("/fail unavailable once", "/fail after 4 tokens once"):
            reply = await client.chat(text)
            assert [attempt.outcome for attempt in reply.attempts] == ["failed", "succeeded"]
            assert reply.text.endswith("Write /help for what I can do.")


@pytest.mark.parametrize(("fail", "continued"), [("unavailable", False), ("after 8 tokens", True)])
async def test_another_demo_takes_over_for_one_that_always_fails(fail: str, continued: bool) -> None:
    """From the beginning, or from where the first one broke off."""
    config = settings(first=DemoSettings(fail=fail, tokens_per_second=0), second=DemoSettings(tokens_per_second=0))
    route = RouteSettings(targets=("first/demo", "second/demo"), on_cut="continue")
    config = replace(config, models=ModelSettings(default="route", routes={"route": route}))
    async with running(config) as server, MCPClient(server.address) as client:
        reply = await client.chat("Hello!")
        assert [attempt.provider for attempt in reply.attempts] == ["first", "second"]
        assert reply.text == (await client.chat("Hello!", model="second/demo")).text
        assert (reply.attempts[0].usage.output_tokens > 0) is continued


async def test_refusals_and_withheld_answers_are_told_apart(client: MCPClient) -> None:
    """One is a part of its own, the other a finish reason."""
    (part,) = (await client.chat("/refuse")).message.parts
    assert isinstance(part, Refusal)
    assert (await client.chat("/filter")).finish_reason == "content_filter"


async def test_the_pace_is_settable() -> None:
    """By the settings, the call and commands; a long read is not a silence."""
    config = replace(
        settings(demo=DemoSettings(tokens_per_second=0.01)),
        routing=RoutingSettings(max_attempts=1, first_token_timeout=1.2),
    )
    async with running(config) as server, MCPClient(server.address, retry=None) as client:
        with pytest.raises(ProviderTimeout):
            await client.chat("Hi")
        reply = await client.chat("/say a b c", provider_options={"tokens_per_second": 10})
        assert reply.duration >= 0.3
        reply = await client.chat("/slow 0.05", max_output_tokens=4)
        assert reply.duration >= 0.2
        reply = await client.chat("/wait 1.5", provider_options={"tokens_per_second": 0})
        assert reply.duration >= 1.5


async def test_a_running_answer_can_be_cancelled(client: MCPClient) -> None:
    """What it wrote so far is kept in the turn."""
    async with client.stream_chat("/loop", provider_options={"tokens_per_second": 500}) as stream:
        async for _ in stream:
            turn = await stream.cancel()
            break
    assert turn.state == "cancelled"
    assert turn.message is not None
    assert turn.message.text.startswith("Line")


async def test_the_settings_of_the_demo_start_and_have_prices() -> None:
    """Those that the command line uses: two routes that fail over, and costs."""
    config = load(DEMO_FILE, environ={})
    server = plain_config().server
    config = replace(config, server=server, metrics=plain_config().metrics)
    async with running(config) as running_server, MCPClient(running_server.address) as client:
        for model in ("demo", "failover", "cut"):
            reply = await client.chat("Hello!", model=model)
            assert reply.model == "demo/demo"
            assert reply.currency == "XTS"
            assert reply.cost


@pytest.mark.parametrize("fail", ["nonsense", "after", "rate_limit x", "unavailable 1 2", "after 3 words"])
def test_a_failure_that_is_none_is_a_problem_with_the_settings(fail: str) -> None:
    """The server does not start with it."""
    ((path, problem),) = DemoSettings(fail=fail).problems()
    assert path == ("fail",)
    assert fail in problem
