"""What a reply tells besides its text: model, costs, token counts, log probabilities, and its form for JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from mcp_client import Blob, Logprob, MCPClient, Message, Reply, Usage
from mcp_server import settings
from mcp_server.interfaces import Finish, TextDelta, ToolArgumentsDelta, ToolCallStart
from mcp_server.settings import Config, ModelOverrides, ModelSettings, PriceSettings
from mcp_server.testing import EchoProvider, Step
from mcp_server.values import Capabilities, FinishReason, Model, UsageSource
from mcp_server.values import Logprob as ServerLogprob
from mcp_server.values import Usage as ServerUsage
from tests.client.beside import ScriptedProvider, running
from tests.client.conftest import Connect

CALL: Sequence[Step] = [
    ToolCallStart(id="c1", name="warm"),
    ToolArgumentsDelta(id="c1", text="{}"),
    Finish(
        reason=FinishReason.TOOL_CALLS,
        usage=ServerUsage(input_tokens=5, output_tokens=2, source=UsageSource.REPORTED),
    ),
]
ANSWER: Sequence[Step] = [
    "It is warm.",
    Finish(usage=ServerUsage(input_tokens=9, output_tokens=3, source=UsageSource.REPORTED)),
]


def warm() -> str:
    """How warm it is."""
    return "21"


def priced() -> Config:
    """Settings in which a token of the echo costs a thousandth of a euro."""
    price = PriceSettings(input=1_000.0, output=1_000.0, currency="EUR")
    models = ModelSettings(default="echo/echo", settings={"*": ModelOverrides(price=price)})
    return msgspec.structs.replace(settings.testing_config(default_model="echo/echo"), models=models)


async def test_a_reply_has_its_model_its_total_and_its_cost() -> None:
    """The cost is a Decimal number in its currency."""
    async with running(priced(), providers={"echo": EchoProvider()}) as server, MCPClient(server.address) as client:
        reply = await client.chat("one two three")
    assert (reply.model, reply.usage.total_tokens) == ("echo/echo", 6)
    assert (reply.cost, reply.currency) == (Decimal("0.006"), "EUR")
    assert reply.total_cost == reply.cost


async def test_without_a_price_there_is_no_cost(client: MCPClient) -> None:
    """Nothing is not for free."""
    reply = await client.chat("one")
    assert (reply.cost, reply.currency, reply.total_cost) == (None, "", None)


async def test_the_usage_of_all_rounds_of_tools_is_added_up(connect: Connect) -> None:
    """The earlier answers are part of the reply; its own usage is that of the last round."""
    model = Model(name="scripted", capabilities=Capabilities(chat=True, tools=True))
    client = await connect(ScriptedProvider(CALL, ANSWER, model=model))
    reply = await client.chat_with_tools("How warm is it?", tools=[warm])
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (9, 3)
    assert reply.total_usage == Usage(input_tokens=14, output_tokens=5)
    assert [each.message.tool_calls[0].name for each in reply.earlier] == ["warm"]


async def test_log_probabilities_are_part_of_the_reply(connect: Connect) -> None:
    """Whether it was streamed or not."""
    top = (ServerLogprob(token="a", logprob=-0.5),)
    script: Sequence[Step] = [
        TextDelta(text="a", logprobs=(ServerLogprob(token="a", logprob=-0.5, top=top),)),
        TextDelta(text="b", logprobs=(ServerLogprob(token="b", logprob=-1.5),)),
        Finish(),
    ]
    model = Model(name="scripted", capabilities=Capabilities(chat=True, completion=True))
    client = await connect(ScriptedProvider(script, model=model))
    expected = (
        Logprob(token="a", logprob=-0.5, top=(Logprob(token="a", logprob=-0.5),)),
        Logprob(token="b", logprob=-1.5),
    )
    assert (await client.chat("Hi", logprobs=1)).logprobs == expected
    assert (await client.complete("Hi", logprobs=1)).logprobs == expected
    async with client.stream_chat("Hi", logprobs=1) as stream:
        assert (await stream.reply()).logprobs == expected
    assert (await client.chat("Hi")).logprobs == ()


async def test_a_reply_has_a_form_for_json(client: MCPClient) -> None:
    """With the properties, and all that is in it."""
    reply = await client.chat("one two")
    found = json.loads(json.dumps(reply.to_dict()))
    assert (found["text"], found["model"], found["cost"]) == ("one two", "echo/echo", None)
    assert found["usage"]["total_tokens"] == found["total_usage"]["total_tokens"] == 4
    assert found["message"]["parts"] == [{"type": "text", "text": "one two", "provider_state": None}]
    assert (found["message"]["role"], found["finish_reason"], found["attempts"][0]["outcome"]) == (
        "assistant",
        "stop",
        "succeeded",
    )
    image = Message.user(Blob(mime_type="image/png", data=b"data"))
    assert image.to_dict()["parts"][0]["data"] == base64.b64encode(b"data").decode()


async def test_what_is_shown_is_short(client: MCPClient) -> None:
    """A reply by its text, a message without what is not set, and bytes by their number."""
    reply = await client.chat("x" * 5000)
    assert repr(reply) == (
        f"Reply(text='{'x' * 200}…', model='echo/echo', finish_reason='stop', input_tokens=1, output_tokens=1, "
        f"turn='{reply.turn}')"
    )
    assert isinstance(reply, Reply)
    message = Message.user("Hi", Blob(mime_type="image/png", data=bytes(1234)))
    assert repr(message) == (
        "Message(role=<Role.USER: 'user'>, parts=(Text(text='Hi', provider_state=None), "
        "Blob(mime_type='image/png', data=<1,234 bytes>)))"
    )
    async with client.stream_chat("Hi") as stream:
        assert "Stream open turn='' model='' sequence=0>" in repr(stream)
        await stream.reply()
        assert f"Stream complete turn='{stream.turn}' model='echo/echo'" in repr(stream)
