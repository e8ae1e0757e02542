"""The chat model for LangChain: what an application sees of it, with blocking calls and with asynchronous ones."""

from __future__ import annotations

import asyncio
import base64
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from copy import deepcopy
from typing import Any

import pytest
from langchain_core import exceptions
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import LanguageModelInput
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import ConfigurableField, Runnable
from msgspec.structs import replace
from pydantic import BaseModel, ValidationError

from mcp_client import MCPClient, MCPError, ProviderUnavailable, SessionNotFound
from mcp_client.integrations.langchain import ChatContextProtocol
from mcp_server import errors
from mcp_server import values as messages
from mcp_server.interfaces import (
    Finish,
    PartState,
    Provider,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.settings import RoutingSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, Step, running
from mcp_server.values import (
    Blob,
    Capabilities,
    FinishReason,
    Logprob,
    Model,
    Role,
    Text,
)

ABLE = Model(name="scripted", capabilities=Capabilities(chat=True, tools=True, images=True, json_schema=True))


class Ways:
    """The two ways to call a model: blocking, in a thread, or asynchronous."""

    def __init__(self, name: str) -> None:
        self.blocking = name == "blocking"

    async def invoke(
        self, model: Runnable[LanguageModelInput, Any], conversation: Any, config: Any = None, **more: Any
    ) -> Any:
        """The whole answer."""
        if self.blocking:
            return await asyncio.to_thread(model.invoke, conversation, config, **more)
        return await model.ainvoke(conversation, config, **more)

    async def stream(self, model: Runnable[LanguageModelInput, Any], conversation: Any) -> AsyncIterator[Any]:
        """Its pieces, as they come. Leaving them early leaves the model's."""
        if not self.blocking:
            async for piece in model.astream(conversation):
                yield piece
            return
        pieces = model.stream(conversation)
        try:
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield piece
        finally:
            await asyncio.to_thread(pieces.close)  # type: ignore[attr-defined]  # it is a generator


@pytest.fixture(params=["blocking", "asynchronous"])
def way(request: pytest.FixtureRequest) -> Ways:
    """Each of them."""
    return Ways(request.param)


Connect = Callable[..., Awaitable[ChatContextProtocol]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Start a server with a provider, and return the model of LangChain that asks it."""
    async with AsyncExitStack() as stack:

        async def start(provider: Provider | None = None, *, attempts: int = 1, **options: Any) -> ChatContextProtocol:
            provider = provider or EchoProvider()
            (model, *_) = await provider.models()
            config = replace(
                settings(default_model=f"scripted/{model.name}"),
                routing=RoutingSettings(max_attempts=attempts, backoff=0.001),
            )
            server = await stack.enter_async_context(running(config, providers={"scripted": provider}))
            chat = ChatContextProtocol(address=server.address, **options)
            stack.callback(chat.close)
            stack.push_async_callback(chat.aclose)
            return chat

        yield start


async def test_tokens_come_one_by_one(way: Ways, connect: Connect) -> None:
    """Each when it is there; together they are the whole answer, with what it took."""
    gate = Gate()
    model = await connect(ScriptedProvider(["Hel", gate, "lo", Finish()]))
    pieces = way.stream(model, "Hi")
    whole: AIMessageChunk = await anext(pieces)
    assert whole.content == "Hel"
    gate.open()
    async for piece in pieces:
        whole += piece
    assert whole.content == "Hello"
    assert whole.chunk_position == "last"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0
    metadata = whole.response_metadata
    assert (metadata["model_name"], metadata["finish_reason"]) == ("scripted/scripted", "stop")
    assert (await model.async_client.get_turn(metadata["turn"])).message.text == "Hello"  # type: ignore[union-attr]


async def test_leaving_a_stream_stops_the_model(way: Ways, connect: Connect) -> None:
    """As with the client itself."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()])
    model = await connect(provider)
    pieces = way.stream(model, "Hi")
    await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]  # it is a generator
    await provider.stopped.wait()


async def test_a_session_is_told_only_what_is_new(way: Ways, connect: Connect) -> None:
    """A list that grows and the new message alone are the same to it."""
    provider = ScriptedProvider.saying("Hello Ada.", "Your name is Ada.", "Ada.")
    model = await connect(provider)
    await model.async_client.create_session("tour", system_instruction="Be brief.")
    chat = model.model_copy(update={"session": "tour"})
    conversation: list[BaseMessage] = [HumanMessage("I am Ada.")]
    conversation += [await way.invoke(chat, conversation), HumanMessage("Who am I?")]
    assert (await way.invoke(chat, conversation)).content == "Your name is Ada."
    pieces = [piece.content async for piece in way.stream(chat.bind(session="sessions/tour"), "Again?")]
    assert "".join(pieces) == "Ada."
    history = [message.text async for message in model.async_client.list_messages("tour")]
    assert history == ["I am Ada.", "Hello Ada.", "Who am I?", "Your name is Ada.", "Again?", "Ada."]
    assert [len(request.messages) for request in provider.requests] == [2, 4, 6]
    with pytest.raises(ValueError, match=r"there is no new message for sessions/tour"):
        await way.invoke(chat, conversation[:2])


async def test_tools_are_called_in_a_session(way: Ways, connect: Connect) -> None:
    """The loop of an agent: the call, what the tool says, the answer. Nothing is told twice."""
    call: list[Step] = [ToolCallStart(id="c1", name="weather"), ToolArgumentsDelta(id="c1", text='{"city": "Zür')]
    call += [ToolArgumentsDelta(id="c1", text='ich"}'), Finish(reason=FinishReason.TOOL_CALLS)]
    provider = ScriptedProvider(call, ["It is ", "sunny.", Finish()], model=ABLE)
    model = await connect(provider)
    await model.async_client.create_session("tour")

    def weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny in {city}"

    agent = model.bind_tools([weather], tool_choice="weather").bind(session="tour")
    conversation: list[BaseMessage] = [HumanMessage("How is the weather in Zürich?")]
    asked: AIMessage = await way.invoke(agent, conversation)
    assert [(one["name"], one["args"], one["id"]) for one in asked.tool_calls] == [
        ("weather", {"city": "Zürich"}, "c1")
    ]
    assert asked.response_metadata["finish_reason"] == "tool_calls"
    conversation += [asked, ToolMessage(weather(**asked.tool_calls[0]["args"]), tool_call_id="c1", status="error")]
    assert (await way.invoke(agent, conversation, tool_choice="none")).content == "It is sunny."
    first, second = provider.requests
    assert (first.tools[0].name, first.tools[0].description) == ("weather", "The weather in a city.")
    assert (first.tool_choice.mode, first.tool_choice.name) == ("required", "weather")
    assert second.tool_choice.mode == "none"
    assert [message.role for message in second.messages] == [Role.USER, Role.ASSISTANT, Role.TOOL]
    result = second.messages[-1].parts[0]
    assert isinstance(result, messages.ToolResult)
    assert (result.parts, result.is_error) == ((Text(text="sunny in Zürich"),), True)


async def test_streamed_tool_calls_add_up(way: Ways, connect: Connect) -> None:
    """Two at once, in pieces that are mixed."""
    script: list[Step] = [
        "Let me see. ",
        ToolCallStart(id="a", name="add"),
        ToolCallStart(id="b", name="add"),
        ToolArgumentsDelta(id="a", text='{"x": 1, '),
        ToolArgumentsDelta(id="b", text='{"x": 2}'),
        ToolArgumentsDelta(id="a", text='"y": 18446744073709551615}'),
        Finish(reason=FinishReason.TOOL_CALLS),
    ]
    model = await connect(ScriptedProvider(script, model=ABLE))
    whole: Any = None
    async for piece in way.stream(model.bind_tools([{"title": "add", "properties": {}}]), "Add"):
        whole = piece if whole is None else whole + piece
    calls = [(one["id"], one["args"]) for one in whole.tool_calls]
    assert calls == [("a", {"x": 1, "y": 18446744073709551615}), ("b", {"x": 2})]
    assert whole.content == "Let me see. "


async def test_a_tool_call_that_was_cut_off_is_not_run(way: Ways, connect: Connect) -> None:
    """LangChain itself would close the brackets."""
    script: list[Step] = [ToolCallStart(id="a", name="pay"), ToolArgumentsDelta(id="a", text='{"amount": 1'), CUT]
    model = await connect(ScriptedProvider(script, model=ABLE))
    agent = model.bind_tools([{"title": "pay", "properties": {}}])
    answer: AIMessage = await way.invoke(agent, "Pay 100")
    assert answer.tool_calls == []
    assert [one["args"] for one in answer.invalid_tool_calls] == ['{"amount": 1']
    with pytest.raises(exceptions.OutputParserException, match="'pay'"):
        [piece async for piece in way.stream(agent, "Pay 100")]


async def test_an_answer_that_begins_anew(way: Ways, connect: Connect) -> None:
    """`invoke` has the new one whole; what was streamed cannot be taken back, which is an error and stops the turn."""
    again = Gate()
    provider = ScriptedProvider(["Once "], ["Twice ", "upon", Finish()], ["Once "], ["Twice ", again])
    model = await connect(provider, attempts=2)
    assert (await way.invoke(model, "Tell me a story")).content == "Twice upon"
    text = ""
    with pytest.raises(exceptions.ModelAPIError, match="restarts it") as raised:
        async for piece in way.stream(model, "Tell me a story"):
            text += piece.content
    assert isinstance(raised.value, MCPError)
    assert raised.value.reason == "PROVIDER_STREAM_CUT"
    assert text == "Once "
    await provider.stopped.wait()


async def test_an_attempt_that_said_nothing_is_not_noticed(way: Ways, connect: Connect) -> None:
    """Another one answers."""
    model = await connect(ScriptedProvider([errors.ProviderUnavailable("away")], ["Hello", Finish()]), attempts=2)
    assert [piece.content async for piece in way.stream(model, "Hi")] == ["Hello", ""]


async def test_thoughts_and_refusals_are_no_text(way: Ways, connect: Connect) -> None:
    """They are where LangChain looks for them; an answer that is sent back keeps its thoughts."""
    script: list[Step] = [
        ReasoningDelta(text="Hm, "),
        ReasoningDelta(text="no."),
        PartState(data=b"signature"),
        PartState(data=b"hidden", own_part=True),
        RefusalDelta(text="I "),
        RefusalDelta(text="won't"),
    ]
    provider = ScriptedProvider([*script, Finish()])
    model = await connect(provider)
    whole: Any = None
    async for piece in way.stream(model, "Hi"):
        whole = piece if whole is None else whole + piece
    for answer in (whole, await way.invoke(model, "Hi")):
        assert answer.content == ""
        assert answer.additional_kwargs == {"reasoning_content": "Hm, no.", "refusal": "I won't"}
        assert answer.content_blocks == [{"type": "reasoning", "reasoning": "Hm, no."}]
    await way.invoke(model, [HumanMessage("Hi"), answer, HumanMessage("Why?")])
    assert provider.requests[-1].messages[1].parts == (
        messages.Reasoning(text="Hm, no."),
        messages.Refusal(text="I won't"),
    )


async def test_probabilities_come_with_the_answer(way: Ways, connect: Connect) -> None:
    """As OpenAI's have them."""
    likely = Logprob(token="Hi", logprob=-0.25, top=(Logprob(token="Ho", logprob=-2.0),))
    model = await connect(ScriptedProvider([TextDelta(text="Hi", logprobs=(likely,)), Finish()]))
    asked = model.bind(logprobs=1)
    whole: Any = None
    async for piece in way.stream(asked, "Hi"):
        whole = piece if whole is None else whole + piece
    top = [{"token": "Ho", "logprob": -2.0}]
    for answer in (whole, await way.invoke(asked, "Hi")):
        assert answer.response_metadata["logprobs"] == {
            "content": [{"token": "Hi", "logprob": -0.25, "top_logprobs": top}]
        }


PIXEL = base64.b64encode(b"\x89PNG").decode()


async def test_what_is_no_text_is_passed_on(connect: Connect) -> None:
    """In LangChain's own form and in those of vendors; what it is is told, or is seen by its name."""
    provider = ScriptedProvider.saying("A pixel.")
    provider.model = ABLE
    model = await connect(provider)
    content: list[str | dict[str, Any]] = [
        "What is this?",
        {"type": "image", "base64": PIXEL, "mime_type": "image/png"},
        {"type": "image", "url": "https://example.org/a.webp"},
        {"type": "image", "url": "https://example.org/a"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "text-plain", "text": "a file", "mime_type": "text/plain"},
        {"type": "text", "text": ""},
    ]
    await model.ainvoke([SystemMessage("Look."), HumanMessage(content, name="ada")])
    asked = provider.requests[0].messages[1]
    assert asked.name == "ada"
    assert asked.parts == (
        Text(text="What is this?"),
        Blob(mime_type="image/png", data=b"\x89PNG"),
        Blob(mime_type="image/webp", uri="https://example.org/a.webp"),
        Blob(mime_type="image/*", uri="https://example.org/a"),
        Blob(mime_type="image/png", data=b"\x89PNG"),
        Text(text="a file"),
    )


BAD: list[tuple[Any, str]] = [
    ([HumanMessage([{"type": "hologram"}])], r"messages\[0\]: a block 'hologram' cannot be sent; allowed: text, "),
    (
        [HumanMessage("a"), HumanMessage([{"type": "image", "base64": "é", "mime_type": "image/png"}])],
        r"messages\[1\]: .*not valid base64",
    ),
    ([HumanMessage([{"type": "image", "file_id": "f1"}])], r"messages\[0\]: .*neither `base64` nor `url`"),
    ([FunctionMessage(content="a", name="f")], r"messages\[0\]: a FunctionMessage"),
    ([ChatMessage(content="a", role="tool")], r"messages\[0\]: a ChatMessage with the role 'tool'"),
    ([ChatMessage(content="a", role="judge")], r"messages\[0\]: .*'judge'"),
]


@pytest.mark.parametrize(("conversation", "why"), BAD)
async def test_what_cannot_be_sent_is_named(connect: Connect, conversation: Any, why: str) -> None:
    """Before anything is sent."""
    provider = ScriptedProvider.saying("Hello")
    model = await connect(provider)
    with pytest.raises((TypeError, ValueError), match=why):
        await model.ainvoke(conversation)
    assert provider.requests == []


async def test_bad_parameters_are_named(way: Ways, connect: Connect) -> None:
    """None of them does nothing."""
    model = await connect()
    with pytest.raises(TypeError, match="unknown option 'parallel_tool_calls'; the options are model, "):
        await way.invoke(model, "Hi", parallel_tool_calls=True)
    with pytest.raises(exceptions.ModelInvalidRequestError, match="temperature"):
        await way.invoke(model, "Hi", temperature=7)
    with pytest.raises(ValueError, match="response_format"):
        await way.invoke(model, "Hi", response_format={"type": "xml"})
    with pytest.raises(ValidationError, match="max_retries"):
        ChatContextProtocol(max_retries=2)  # type: ignore[call-arg]  # as it is meant
    for choice in (7, "", {}, {"type": "function"}, {"function": "f"}):
        with pytest.raises(ValueError, match="tool_choice"):
            model.bind_tools([], tool_choice=choice)  # type: ignore[arg-type]  # as it is meant
    with pytest.raises(ValueError, match="'web_search' runs at its provider"):
        model.bind_tools([{"type": "web_search"}])
    with pytest.raises(ValueError, match="method"):
        model.with_structured_output({"title": "a"}, method="magic")  # type: ignore[arg-type]  # as it is meant


async def test_knobs_of_the_model_and_of_the_call(way: Ways, connect: Connect) -> None:
    """The call's come first."""
    provider = ScriptedProvider.saying("Hello")
    model = await connect(
        provider, temperature=0, max_tokens=7, stop=["\n"], timeout=60, options={"seed": 3, "turn_timeout": 30}
    )
    await way.invoke(model, "Hi")
    await way.invoke(model, "Hi", temperature=1, max_tokens=8, stop=["."], seed=4)
    await way.invoke(model, "Hi", max_output_tokens=9)
    other = model.model_copy(update={"options": {"stop": ["!"], "max_output_tokens": 6}})
    await way.invoke(other, "Hi")
    first, second, third, fourth = [request.config for request in provider.requests]
    assert (third.max_output_tokens, fourth.max_output_tokens, fourth.stop) == (9, 6, ("!",))
    assert (first.temperature, first.max_output_tokens, first.stop, first.seed) == (0, 7, ("\n",), 3)
    assert (second.temperature, second.max_output_tokens, second.stop, second.seed) == (1, 8, (".",), 4)


async def test_errors_are_ours_and_langchains(way: Ways, connect: Connect) -> None:
    """Whoever catches either, catches them; they can be sent to another process."""
    failures = [errors.ProviderRejected("no"), errors.ProviderUnavailable("away")]
    model = await connect(ScriptedProvider(*[[failure] for failure in failures]))
    with pytest.raises(exceptions.ModelInvalidRequestError, match="no"):
        await way.invoke(model, "Hi")
    with pytest.raises(exceptions.ModelAPIError) as raised:
        [piece async for piece in way.stream(model, "Hi")]
    assert isinstance(raised.value, ProviderUnavailable)
    assert raised.value.is_retryable
    copy = pickle.loads(pickle.dumps(raised.value))  # noqa: S301  # our own
    assert (type(copy), copy.reason, str(copy)) == (ProviderUnavailable, "PROVIDER_UNAVAILABLE", str(raised.value))
    with pytest.raises(SessionNotFound):
        await way.invoke(model, "Hi", session="nosuch")
    away = ChatContextProtocol(address="127.0.0.1:1", client_options={"retry": None})
    with pytest.raises(exceptions.ModelConnectionError):
        await way.invoke(away, "Hi")
    assert (await way.invoke(model.bind(session="nosuch").with_fallbacks([await connect()]), "Hi")).content == "Hi"


CUT = Finish(reason=FinishReason.LENGTH)


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int = 0


@pytest.mark.parametrize("schema", [Person, Person.model_json_schema()])
async def test_answers_that_fit_a_schema(way: Ways, connect: Connect, schema: Any) -> None:
    """The model is held to it, and what it says is parsed."""
    provider = ScriptedProvider(['{"name": "A', 'da", "age": 36}', Finish()], model=ABLE)
    model = await connect(provider)
    found = await way.invoke(model.with_structured_output(schema), "Who?")
    assert found == (Person(name="Ada", age=36) if schema is Person else {"name": "Ada", "age": 36})
    assert '"age"' in provider.requests[0].config.json_schema
    await way.invoke(model.with_structured_output(schema, method="json_mode"), "Who?")
    form = {"type": "json_schema", "json_schema": {"name": "Person", "schema": Person.model_json_schema()}}
    await way.invoke(model, "Who?", response_format=form)
    assert [request.config.response_format.value for request in provider.requests] == [
        "json_schema",
        "json",
        "json_schema",
    ]


@pytest.mark.parametrize("schema", [Person, Person.model_json_schema()])
async def test_half_an_object_is_none(way: Ways, connect: Connect, schema: Any) -> None:
    """An answer that reached its limit is an error, streamed or not, and with `include_raw` it is told apart."""
    model = await connect(ScriptedProvider(['{"name": "Ad', CUT], model=ABLE))
    strict = model.with_structured_output(schema)
    with pytest.raises(exceptions.OutputParserException, match="maximum length"):
        await way.invoke(strict, "Who?")
    with pytest.raises(exceptions.OutputParserException, match="maximum length"):
        [piece async for piece in way.stream(strict, "Who?")]
    found = await way.invoke(model.with_structured_output(schema, include_raw=True), "Who?")
    assert (found["raw"].content, found["parsed"]) == ('{"name": "Ad', None)
    assert isinstance(found["parsing_error"], exceptions.OutputParserException)


async def test_a_session_can_be_configured(way: Ways, connect: Connect) -> None:
    """One chain for all visitors: the models that LangChain makes of it share their connections."""
    model = await connect(ScriptedProvider.saying("Hello Ada.", "Hello Bob."))
    for name in ("ada", "bob"):
        await model.async_client.create_session(name)
    chain = model.configurable_fields(session=ConfigurableField(id="session_id"))
    for name in ("ada", "bob"):
        await way.invoke(chain, f"I am {name}", config={"configurable": {"session_id": name}})
        history = [message.text async for message in model.async_client.list_messages(name)]
        assert history == [f"I am {name}", f"Hello {name.title()}."]
    copied, _ = chain.prepare({"configurable": {"session_id": "ada"}})  # type: ignore[attr-defined]  # it has one
    assert copied.session == "ada"
    assert copied.clients is model.clients
    elsewhere = ChatContextProtocol(**{**model.__dict__, "address": "127.0.0.1:1"})
    assert elsewhere.clients is not model.clients


async def test_callbacks_hear_of_tokens(way: Ways, connect: Connect) -> None:
    """With `streaming`, also of those of `invoke`."""

    class Tokens(BaseCallbackHandler):
        received = ""

        def on_llm_new_token(self, token: Any, **more: Any) -> None:
            self.received += token

    model = await connect(streaming=True)
    tokens = Tokens()
    assert (await way.invoke(model, "one two three", config={"callbacks": [tokens]})).content == "one two three"
    assert tokens.received == "one two three"


async def test_secrets_are_not_shown(connect: Connect) -> None:
    """Neither in print, nor in what tracing is told."""
    model = await connect(client_options={"metadata": {"authorization": "Bearer secret-token"}})
    await model.ainvoke("Hi")
    for shown in (repr(model), str(model.asdict()), str(dumpd(model)), model.model_dump_json()):
        assert "secret-token" not in shown
    copy = pickle.loads(pickle.dumps(deepcopy(model)))  # noqa: S301  # our own
    assert copy.client_options == model.client_options
    assert (await copy.ainvoke("Hi")).content == "Hi"
    await copy.aclose()


PROGRAM = """
import asyncio, sys
from mcp_client.integrations.langchain import ChatContextProtocol

model = ChatContextProtocol(address=sys.argv[1])
print(model.invoke("one").content)
for text in ("two", "three"):
    print(asyncio.run(model.ainvoke(text)).content)
print(list(model.batch(["four", "five"]))[1].content)
"""


async def test_a_program_needs_to_close_nothing() -> None:
    """Several event loops, one after another, and threads; it ends quietly, in the development mode of Python."""
    async with running() as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-W", "error", "-X", "dev", "-c", PROGRAM, server.address),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        printed, complaints = await process.communicate()
    # In this mode asyncio names callbacks that took long, as they do on a busy machine.
    unexpected = [line for line in complaints.decode().splitlines() if not line.startswith("Executing <")]
    assert (printed.decode().split(), unexpected, process.returncode) == (["one", "two", "three", "five"], [], 0)


async def test_the_client_is_there_for_the_rest(connect: Connect) -> None:
    """What LangChain has no word for."""
    model = await connect()
    async with MCPClient(model.client.address) as other:
        session = await other.create_session()
    assert (await asyncio.to_thread(model.client.get_session, session)).name == session.name
