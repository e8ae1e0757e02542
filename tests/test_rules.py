"""What a valid request is, on our own values: what is right passes, what is wrong is named by its field."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from mcp_server import rules
from mcp_server.errors import InvalidArgument, Violation
from mcp_server.rules import Violations
from mcp_server.rules.limits import (
    MAX_CONTEXT_BYTES,
    MAX_EMBEDDING_INPUT_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_SCHEMA_BYTES,
    MAX_STRUCT_BYTES,
    MAX_SYSTEM_INSTRUCTION_BYTES,
    MAX_TIMEOUT,
    MAX_TOOLS,
    MAX_TTL,
    MIN_TIMEOUT,
    MIN_TTL,
)
from mcp_server.sessions.context_types import BUILT_IN
from mcp_server.values import (
    SECOND,
    Blob,
    ContextEntry,
    GenerationConfig,
    IfBusy,
    Message,
    Part,
    Reasoning,
    Refusal,
    ResponseFormat,
    Role,
    SessionDraft,
    SessionUpdate,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

TYPES = BUILT_IN


def message(role: Role, *parts: Part, name: str = "") -> Message:
    return Message(role=role, parts=parts, name=name)


def user(text: str = "x") -> Message:
    return message(Role.USER, Text(text=text))


def fields(rule: Callable[..., None], *arguments: Any, **options: Any) -> list[str]:
    """The fields that a rule finds fault with."""
    found = Violations()
    rule(found, *arguments, **options)
    assert all(violation.description for violation in found)
    return [violation.field for violation in found]


IMAGE = Blob(mime_type="image/png", data=b"x")
CALL = ToolCall(id="c", name="add", arguments_json="{}")
LONG = "x" * (64 * 1024 + 1)
RESULT = ToolResult(tool_call_id="c", parts=(Text(text="3"), IMAGE))


@pytest.mark.parametrize(
    "conversation",
    [
        [user()],
        [user()] * MAX_MESSAGES,
        [message(Role.USER, *[Text(text="x")] * MAX_PARTS)],
        [message(Role.USER, Text(text="x"), IMAGE, Blob(mime_type="image/png", uri="https://x"), name="n" * 64)],
        [message(Role.SYSTEM, Text(text="x")), user()],
        [
            message(Role.ASSISTANT, Text(text=""), Reasoning(text=""), Refusal(text=""), IMAGE, CALL),
            message(Role.TOOL, RESULT, ToolResult(tool_call_id="d")),
        ],
        [user("é" * (MAX_MESSAGE_BYTES // 2 - 100))],
    ],
)
def test_a_valid_conversation_passes(conversation: list[Message]) -> None:
    """Every role with every part that it may have, up to the limits."""
    assert fields(rules.chat_messages, conversation, in_session=False) == []


@pytest.mark.parametrize(
    ("conversation", "where"),
    [
        ([], "messages"),
        ([user()] * (MAX_MESSAGES + 1), "messages"),
        ([user(), user("")], "messages[1].parts[0].text"),
        ([message(Role.SYSTEM, Text(text="")), user()], "messages[0].parts[0].text"),
        ([message(Role.USER)], "messages[0].parts"),
        ([message(Role.USER, *[Text(text="x")] * (MAX_PARTS + 1))], "messages[0].parts"),
        ([message(Role.USER, Text(text="x"), name="n" * 65)], "messages[0].name"),
        ([user("x" * (MAX_MESSAGE_BYTES + 1))], "messages[0]"),
        ([user("é" * (MAX_MESSAGE_BYTES // 2))], "messages[0]"),
        ([message(Role.USER, *[Blob(mime_type="a/b", data=b"x" * 2**20)] * 3)], "messages[0]"),
        ([message(Role.USER, Text(text="x"), Reasoning(text="x"))], "messages[0].parts[1]"),
        ([message(Role.USER, CALL)], "messages[0].parts[0]"),
        ([message(Role.SYSTEM, IMAGE), user()], "messages[0].parts[0]"),
        ([message(Role.TOOL, Text(text="x"))], "messages[0].parts[0]"),
        ([message(Role.ASSISTANT, RESULT), user()], "messages[0].parts[0]"),
        ([message(Role.ASSISTANT, Text(text="x"))], "messages[0].role"),
        ([user(), message(Role.SYSTEM, Text(text="x"))], "messages[1].role"),
        ([message(Role.USER, Blob(mime_type="png", data=b"x"))], "messages[0].parts[0].blob.mime_type"),
        ([message(Role.USER, Blob(mime_type="a/b/c", data=b"x"))], "messages[0].parts[0].blob.mime_type"),
        ([message(Role.USER, Blob(mime_type="a/b", uri="file:///x"))], "messages[0].parts[0].blob.uri"),
        ([message(Role.USER, Blob(mime_type="a/b", uri="data:" + "x" * 9000))], "messages[0].parts[0].blob.uri"),
        ([message(Role.USER, Blob(mime_type="a/b", uri="data:x", data=b"x"))], "messages[0].parts[0].blob"),
        ([message(Role.ASSISTANT, ToolCall(id=LONG, name="a")), user()], "messages[0].parts[0].tool_call.id"),
        ([message(Role.ASSISTANT, ToolCall(id="c", name=LONG)), user()], "messages[0].parts[0].tool_call.name"),
        ([message(Role.TOOL, ToolResult(tool_call_id=LONG))], "messages[0].parts[0].tool_result.tool_call_id"),
        (
            [message(Role.TOOL, ToolResult(tool_call_id="c", parts=(IMAGE, Text(text=""))))],
            "messages[0].parts[0].tool_result.parts[1].text",
        ),
        (
            [message(Role.TOOL, ToolResult(tool_call_id="c", parts=(Blob(mime_type="", data=b"x"),)))],
            "messages[0].parts[0].tool_result.parts[0].blob.mime_type",
        ),
    ],
)
def test_what_is_wrong_with_a_conversation_is_named(conversation: list[Message], where: str) -> None:
    """By one field, as the caller wrote it."""
    assert fields(rules.chat_messages, conversation, in_session=False) == [where]


def test_a_session_takes_no_system_messages() -> None:
    """It has a system instruction; what is appended to it may end with any other role."""
    assert fields(rules.messages, [message(Role.SYSTEM, Text(text="x"))], in_session=True) == ["messages[0].role"]
    assert fields(rules.messages, [message(Role.ASSISTANT, Text(text="x"))], in_session=True) == []


ADD = Tool(name="add", description="Adds.", parameters_json='{"type": "object"}')


@pytest.mark.parametrize(
    ("offered", "where"),
    [
        ([], []),
        ([ADD, Tool(name="A-b_9")], []),
        ([Tool(name=f"t{number}") for number in range(MAX_TOOLS)], []),
        ([Tool(name=f"t{number}") for number in range(MAX_TOOLS + 1)], ["tools"]),
        ([ADD, ADD], ["tools[1].name"]),
        ([Tool(name="")], ["tools[0].name"]),
        ([Tool(name="a" * 129)], ["tools[0].name"]),
        ([Tool(name="a.b")], ["tools[0].name"]),
        ([Tool(name="a", description="x" * 33_000)], ["tools[0].description"]),
        ([Tool(name="a", parameters_json="[]")], ["tools[0].parameters_json"]),
        ([Tool(name="a", parameters_json=f'{{"a": "{"x" * MAX_SCHEMA_BYTES}"}}')], ["tools[0].parameters_json"]),
    ],
)
def test_tools(offered: list[Tool], where: list[str]) -> None:
    """Unique names that match the pattern, and schemas that are JSON objects."""
    assert fields(rules.tools, offered) == where


@pytest.mark.parametrize(
    ("choice", "offered", "where"),
    [
        (ToolChoice(), [], []),
        (ToolChoice(mode="none"), [ADD], []),
        (ToolChoice(mode="required"), [ADD], []),
        (ToolChoice(mode="required", name="add"), [ADD], []),
        (ToolChoice(mode="any"), [ADD], ["tool_choice.mode"]),
        (ToolChoice(mode="required"), [], ["tool_choice.mode"]),
        (ToolChoice(mode="auto", name="add"), [ADD], ["tool_choice.name"]),
        (ToolChoice(mode="required", name="sub"), [ADD], ["tool_choice.name"]),
    ],
)
def test_tool_choice(choice: ToolChoice, offered: list[Tool], where: list[str]) -> None:
    """A tool can be required only if there is one."""
    assert fields(rules.tool_choice, choice, offered) == where


def turn(**options: Any) -> list[str]:
    defaults: dict[str, Any] = {
        "session": "",
        "model": "",
        "key": "",
        "after_sequence": None,
        "etag": "",
        "if_busy": IfBusy.REJECT,
        "timeout": None,
        "config": GenerationConfig(),
        "provider_options": {},
        "call_labels": {},
    }
    return fields(rules.turn, **{**defaults, **options})


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({}, []),
        ({"session": "a", "model": "m" * 256, "key": "~" * 128, "after_sequence": 0, "etag": "e"}, []),
        ({"timeout": MIN_TIMEOUT, "provider_options": {"a": [1, None, {"b": "c"}]}}, []),
        ({"timeout": MAX_TIMEOUT}, []),
        ({"model": "m" * 257}, ["model"]),
        ({"key": "x" * 129}, ["request_id"]),
        ({"key": "é"}, ["request_id"]),
        ({"key": "a\nb"}, ["request_id"]),
        ({"after_sequence": 3}, ["after_sequence"]),
        ({"etag": "e"}, ["etag"]),
        ({"etag": "e", "session": "a", "if_busy": IfBusy.QUEUE}, ["etag"]),
        ({"etag": "e", "session": "a", "if_busy": IfBusy.CANCEL_RUNNING}, []),
        ({"timeout": MIN_TIMEOUT - 1}, ["timeout"]),
        ({"timeout": MAX_TIMEOUT + 1}, ["timeout"]),
        ({"provider_options": {"a": "x" * MAX_STRUCT_BYTES}}, ["provider_options"]),
        ({"provider_options": {"a": [1] * MAX_STRUCT_BYTES}}, ["provider_options"]),
        ({"call_labels": {f"l{number}": "x" for number in range(16)}}, []),
        ({"call_labels": {f"l{number}": "x" for number in range(17)}}, ["labels"]),
        ({"call_labels": {"Up": "x"}}, ["labels['Up']"]),
    ],
)
def test_how_a_turn_runs(options: Mapping[str, Any], where: list[str]) -> None:
    """What chats and completions have in common."""
    assert turn(**options) == where


@pytest.mark.parametrize(
    ("config", "where"),
    [
        (GenerationConfig(temperature=0, top_p=1, max_output_tokens=1, stop=("x" * 256,) * 16, logprobs=20), ""),
        (GenerationConfig(temperature=2, top_p=0.001, frequency_penalty=-2, presence_penalty=2, seed=-1), ""),
        (GenerationConfig(response_format=ResponseFormat.JSON), ""),
        (GenerationConfig(response_format=ResponseFormat.JSON_SCHEMA, json_schema="{}"), ""),
        (GenerationConfig(temperature=-0.1), "temperature"),
        (GenerationConfig(temperature=math.nan), "temperature"),
        (GenerationConfig(temperature=math.inf), "temperature"),
        (GenerationConfig(top_p=0), "top_p"),
        (GenerationConfig(top_p=1.1), "top_p"),
        (GenerationConfig(max_output_tokens=0), "max_output_tokens"),
        (GenerationConfig(stop=("x",) * 17), "stop"),
        (GenerationConfig(stop=("x", "")), "stop[1]"),
        (GenerationConfig(stop=("x" * 257,)), "stop[0]"),
        (GenerationConfig(frequency_penalty=2.1), "frequency_penalty"),
        (GenerationConfig(presence_penalty=math.nan), "presence_penalty"),
        (GenerationConfig(logprobs=21), "logprobs"),
        (GenerationConfig(logprobs=-1), "logprobs"),
        (
            GenerationConfig(response_format=ResponseFormat.JSON_SCHEMA, json_schema="{"),
            "response_format.json_schema.schema_json",
        ),
        (GenerationConfig(response_format=ResponseFormat.JSON_SCHEMA), "response_format.json_schema.schema_json"),
    ],
)
def test_sampling_parameters(config: GenerationConfig, where: str) -> None:
    """Each within its range, limits included."""
    assert turn(config=config) == ([f"config.{where}"] if where else [])


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"prompt": "x"}, []),
        ({"prompt": "x", "session": "a", "include_context": True, "save_as": "A.b-c_9"}, []),
        ({}, ["prompt"]),
        ({"prompt": "x" * (MAX_MESSAGE_BYTES + 1)}, ["prompt"]),
        ({"prompt": "x", "suffix": "x" * (MAX_MESSAGE_BYTES + 1)}, ["suffix"]),
        ({"prompt": "x", "include_context": True}, ["include_context"]),
        ({"prompt": "x", "save_as": "a"}, ["save_as"]),
        ({"prompt": "x", "session": "a", "save_as": "a b"}, ["save_as"]),
        ({"prompt": "x", "session": "a", "save_as": "a", "commit": False}, ["save_as"]),
        ({"prompt": "x", "session": "a", "include_context": True, "commit": False}, []),
    ],
)
def test_completions(options: Mapping[str, Any], where: list[str]) -> None:
    """A prompt, and a session for what concerns one."""
    defaults: dict[str, Any] = {
        "prompt": "",
        "suffix": "",
        "session": "",
        "include_context": False,
        "save_as": "",
        "commit": True,
    }
    assert fields(rules.completion, **{**defaults, **options}) == where


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"inputs": ("a", "b"), "dimensions": 1}, []),
        ({"inputs": ()}, ["inputs"]),
        ({"inputs": ("a", "")}, ["inputs[1]"]),
        ({"inputs": ("x" * (MAX_EMBEDDING_INPUT_BYTES + 1),)}, ["inputs[0]"]),
        ({"inputs": ("a",), "model": "m" * 257}, ["model"]),
        ({"inputs": ("a",), "dimensions": 0}, ["dimensions"]),
        ({"inputs": ("a",), "call_labels": {"a": "x" * 129}}, ["labels['a']"]),
        ({"inputs": ("a",), "options": {"a": "x" * MAX_STRUCT_BYTES}}, ["provider_options"]),
    ],
)
def test_embeddings(options: Mapping[str, Any], where: list[str]) -> None:
    """At least one text, none of them empty."""
    defaults: dict[str, Any] = {"model": "", "dimensions": None, "options": {}, "call_labels": {}}
    assert fields(rules.embedding, **{**defaults, **options}) == where


@pytest.mark.parametrize("chosen", ["", "a", "a-1", "a" * 63])
def test_valid_session_ids_pass(chosen: str) -> None:
    """Lower case, digits and hyphens; empty lets the server choose."""
    assert fields(rules.session_id, chosen) == []


@pytest.mark.parametrize("chosen", ["A", "1a", "-a", "a-", "a" * 64, "a/b", "a\n", "é"])
def test_other_session_ids_are_refused(chosen: str) -> None:
    """They would not fit a resource name."""
    assert fields(rules.session_id, chosen) == ["session_id"]


def entry(text: str = "x", **changes: Any) -> ContextEntry:
    return ContextEntry(**{"type": "text", "kind": "text", "text": text, **changes})


PARTS_OF_A_SESSION: list[tuple[str, Any, str]] = [
    ("ttl", None, ""),
    ("ttl", MIN_TTL, ""),
    ("ttl", MAX_TTL, ""),
    ("ttl", MIN_TTL - 1, "session.ttl"),
    ("ttl", MAX_TTL + SECOND, "session.ttl"),
    ("labels", {"a.b/c-d_9": "x" * 128}, ""),
    ("labels", {f"k{number}": "" for number in range(64)}, ""),
    ("labels", {f"k{number}": "" for number in range(65)}, "session.labels"),
    ("labels", {"Bad": "x"}, "session.labels['Bad']"),
    ("labels", {"k": "x" * 129}, "session.labels['k']"),
    ("metadata", {"a": {"b": [None, True, 1.5, "x"]}}, ""),
    ("metadata", {"a": "x" * MAX_STRUCT_BYTES}, "session.metadata"),
    ("system_instruction", "é" * (MAX_SYSTEM_INSTRUCTION_BYTES // 2), ""),
    ("system_instruction", "é" * (MAX_SYSTEM_INSTRUCTION_BYTES // 2 + 1), "session.system_instruction"),
    ("default_model", "m" * 256, ""),
    ("default_model", "m" * 257, "session.default_model"),
    ("context", {"a": entry(), "b": entry(type="json", kind="json", json=[1])}, ""),
    ("context", {"a": ContextEntry(type="document", kind="data", data=b"x", mime_type="text/plain")}, ""),
    ("context", {"a b": entry()}, "session.context['a b']"),
    ("context", {"a": entry(type="poem")}, "session.context['a'].type"),
    ("context", {"a": entry(kind="")}, "session.context['a']"),
    ("context", {"a": entry(type="json")}, "session.context['a']"),
]


@pytest.mark.parametrize(("field", "value", "where"), PARTS_OF_A_SESSION)
def test_a_field_of_a_session_is_judged_alike_when_it_is_set_and_when_it_is_changed(
    field: str, value: Any, where: str
) -> None:
    """By the same field path."""
    expected = [where] if where else []
    assert fields(rules.session_draft, SessionDraft(**{field: value}), TYPES) == expected
    assert fields(rules.session_update, SessionUpdate(fields={field: value}), TYPES) == expected


@pytest.mark.parametrize(
    ("update", "where"),
    [
        (SessionUpdate(set_context={"a": entry()}, remove_context=("b",)), []),
        (SessionUpdate(), ["update_mask"]),
        (SessionUpdate(fields={"context": {}}, set_context={"a": entry()}), ["update_mask"]),
        (SessionUpdate(fields={"context": {}}, remove_context=("a",)), ["update_mask"]),
        (SessionUpdate(set_context={"a": entry(type="poem")}), ["set_context['a'].type"]),
        (SessionUpdate(remove_context=("a", "b c")), ["remove_context[1]"]),
    ],
)
def test_changes_to_sessions(update: SessionUpdate, where: list[str]) -> None:
    """Something must change, and the context in one way only."""
    assert fields(rules.session_update, update, TYPES) == where


def test_a_sessions_whole_context_is_limited() -> None:
    """By entries and by bytes; the error is raised where the context is about to be stored."""
    rules.check_context({f"n{number}": entry() for number in range(256)}, "set_context")
    for context in ({f"n{number}": entry() for number in range(257)}, {"a": entry("x" * MAX_CONTEXT_BYTES)}):
        with pytest.raises(InvalidArgument) as refused:
            rules.check_context(context, "set_context")
        assert [violation.field for violation in refused.value.violations] == ["set_context"]


def test_what_the_edge_could_not_convert_is_not_judged_again() -> None:
    """A rule that saw a placeholder is left out; everything else is reported, in order."""
    reported = [Violation(field="messages[1]", description="a"), Violation(field="config.stop", description="b")]
    found = Violations()
    for field in ("messages[1]", "messages[1].parts", "messages[10]", "messages", "config.stop[2]", "config", "model"):
        found.add(field, "c")
    with pytest.raises(InvalidArgument) as refused:
        rules.refuse(reported, found)
    assert [violation.field for violation in refused.value.violations] == [
        "messages[1]",
        "config.stop",
        "messages[10]",
        "messages",
        "config",
        "model",
    ]


def test_a_request_of_errors_alone_is_cheap_to_refuse() -> None:
    """Fifty violations are kept, the next ones are counted, and after a thousand the rest is not judged."""
    conversation = [message(Role.USER, *[Text(text="")] * MAX_PARTS)] * MAX_MESSAGES
    with pytest.raises(InvalidArgument) as refused:
        rules.messages(Violations(), conversation, in_session=False)
    assert len(refused.value.violations) == 50
    assert refused.value.violations[-1].field == "messages[0].parts[49].text"
    assert refused.value.more == 950
    assert refused.value.message.endswith("; and 950 more")


def test_nothing_wrong_is_no_error() -> None:
    """Nothing is raised."""
    rules.refuse([])
    rules.refuse([], Violations())


@pytest.mark.parametrize(
    ("judge", "most"),
    [
        (lambda found, name: rules.session_id(found, name), 63),
        (lambda found, name: rules.labels(found, "labels", {name: ""}), 63),
        (lambda found, name: rules.tools(found, [Tool(name=name)]), 128),
        (lambda found, name: rules.session_draft(found, SessionDraft(context={name: entry()}), TYPES), 128),
        (lambda found, name: rules.model_name(found, "model", name), 256),
    ],
)
def test_a_name_that_is_too_long_gets_its_limit(judge: Callable[[Violations, str], None], most: int) -> None:
    """Not a pattern to compare it with."""
    found = Violations()
    judge(found, "a" * most)
    assert not found
    judge(found, "a" * (most + 1))
    (violation,) = found
    assert violation.description == f"must have at most {most} characters, not {most + 1}"


def test_many_tool_results_are_matched_at_once() -> None:
    """Each result is looked up, whatever the order: not compared with all calls, whose ids may be long and alike."""
    ids = ["x" * 10_000 + str(number) for number in range(MAX_PARTS)]
    calls = message(Role.ASSISTANT, *[ToolCall(id=one, name="t", arguments_json="{}") for one in ids])
    results = message(Role.TOOL, *[ToolResult(tool_call_id=one, parts=(Text(text="r"),)) for one in reversed(ids)])
    begin = time.thread_time()
    rules.check_tool_results([], [calls, results] * 10, complete=True)
    assert rules.open_calls([calls, results]) == []
    assert rules.open_calls([calls]) == ids
    assert time.thread_time() - begin < 0.5
