"""Functions that the model calls in the chat of a web application, whatever the framework."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from mcp_server.interfaces import Call, Finish, ToolArgumentsDelta, ToolCallStart
from mcp_server.settings import testing_config as settings
from mcp_server.testing import ScriptedProvider, Step
from mcp_server.values import Capabilities, FinishReason, Model, Text, ToolResult
from tests.client.integrations.conftest import Open, Serve, say
from tests.client.integrations.reader import events, whole
from tests.client.integrations.sites import Site


class Thermometer:
    """A function for the model, which waits where a test wants it to."""

    def __init__(self, *, waits: bool = False) -> None:
        self.cities: list[str] = []
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        if not waits:
            self.may_answer.set()

    def function(self) -> Callable[[str], str]:
        """The function."""

        def temperature(city: str) -> str:
            """The temperature in a city."""
            self.cities.append(city)
            self.asked.set()
            assert self.may_answer.wait(20)
            return "21 C"

        return temperature


def measuring() -> ScriptedProvider:
    """A model that calls the function first, and then answers."""
    call: list[Step] = [
        ToolCallStart(id="c1", name="temperature"),
        ToolArgumentsDelta(id="c1", text='{"city": "Rome"}'),
        Finish(reason=FinishReason.TOOL_CALLS),
    ]
    model = Model(name="scripted", capabilities=Capabilities(chat=True, tools=True))
    return ScriptedProvider(call, ["It is ", "warm.", Finish()], ["Fine.", Finish()], model=model)


async def test_functions_run_between_the_turns_of_one_answer(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """One stream has the events of all of them, and only the last one is complete."""
    thermometer, provider = Thermometer(), measuring()
    server = await serve(provider)
    url = await stack.enter_async_context(site(server.address, tools=[thermometer.function()])) + "/chat"
    visitor = await browser()
    async with visitor.post(url, **say("How warm is it in Rome?")) as response:
        text, received = await whole(response)
    assert text == "It is warm."
    names = [event.name for event in received if event.name != "delta"]
    assert names == ["started", "part", "calling", "started", "part", "completed"]
    assert received[-1].data["finish_reason"] == "stop"
    assert thermometer.cities == ["Rome"]
    async with visitor.post(url, **say("And?", request_id="x" * 121)) as response:
        assert (response.status, "up to 120" in (await response.json())["detail"]) == (400, True)
    (result,) = provider.requests[1].messages[-1].parts
    assert isinstance(result, ToolResult)
    assert result.parts == (Text(text="21 C"),)
    first = received[0].data["turn"]
    async with visitor.get(f"{url}/{first}") as response:  # who begins with the first turn gets all of them
        assert (await whole(response))[0] == text
    # An EventSource goes on at the same place, also with an event of a later turn.
    second = next(event for event in reversed(received) if event.name == "started")
    async with visitor.get(f"{url}/{first}", headers={"Last-Event-ID": second.id}) as response:
        rest, later = await whole(response)
    assert (rest, later[-1].name) == (text, "completed")
    async with visitor.get(f"{url}/{first}", headers={"Last-Event-ID": received[-1].id}) as response:
        assert response.status == 204


async def test_functions_run_whether_or_not_a_browser_reads(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """Once: also if the browser is cut off, goes on, sends the message again, or opens the page again."""
    thermometer, provider = Thermometer(waits=True), measuring()
    server = await serve(provider)
    url = await stack.enter_async_context(site(server.address, tools=[thermometer.function()])) + "/chat"
    visitor = await browser()
    async with visitor.post(url, **say("How warm is it?", request_id="one")) as response:
        async for event in events(response):
            if event.name == "calling":
                break
        response.close()
    assert await asyncio.to_thread(thermometer.asked.wait, 20)
    async with visitor.get(url) as response:
        history = await response.json()
    assert [message["text"] for message in history["messages"]] == ["How warm is it?"]
    turn = history["turn"]
    assert event.id.startswith(f"{turn}/")
    async with (
        visitor.get(f"{url}/{turn}", headers={"Last-Event-ID": event.id}) as again,
        visitor.post(url, **say("How warm is it?", request_id="one")) as sent_again,
        visitor.get(f"{url}/{turn}") as anew,
    ):
        thermometer.may_answer.set()
        for response in (again, sent_again, anew):
            assert (await whole(response))[0] == "It is warm."
    assert (thermometer.cities, len(provider.requests)) == (["Rome"], 2)


async def test_a_message_that_comes_twice_at_once_runs_the_functions_once(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """Neither request finds a turn of the other; both browsers get the answer."""
    both = asyncio.Barrier(2)
    lists = 0

    @asynccontextmanager
    async def together(call: Call) -> AsyncIterator[None]:
        nonlocal lists
        lists += call.method == "ListTurns"
        if call.method == "ListTurns" and lists <= 2:
            await both.wait()
        yield

    thermometer, provider = Thermometer(waits=True), measuring()
    server = await serve(provider, middleware=[together])
    url = await stack.enter_async_context(site(server.address, tools=[thermometer.function()])) + "/chat"
    visitor = await browser()
    async with visitor.get(url):
        pass  # the cookie
    responses = await asyncio.gather(*[visitor.post(url, **say("How warm is it?", request_id="one")) for _ in range(2)])
    assert await asyncio.to_thread(thermometer.asked.wait, 20)
    thermometer.may_answer.set()
    for response in responses:
        async with response:
            assert (await whole(response))[0] == "It is warm."
    assert (thermometer.cities, len(provider.requests)) == (["Rome"], 2)


async def test_comments_keep_a_connection_alive_while_functions_run(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """Proxies would cut it, and the application would not learn that a browser has left."""
    config = settings(default_model="scripted/scripted")
    config = msgspec.structs.replace(config, turns=msgspec.structs.replace(config.turns, heartbeat_interval=0.1))
    thermometer = Thermometer(waits=True)
    server = await serve(measuring(), config=config)
    url = await stack.enter_async_context(site(server.address, tools=[thermometer.function()])) + "/chat"
    visitor = await browser()
    async with asyncio.timeout(20), visitor.post(url, **say("How warm is it?")) as response:
        for line in (b"event: calling\n", b":\n", b":\n"):
            while await response.content.readline() != line:
                assert not response.content.at_eof()
        thermometer.may_answer.set()
        assert (await whole(response))[0] == "It is warm."


async def test_a_message_that_starts_an_answer_elsewhere_runs_the_functions_too(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """An EventSource comes later, or never."""
    thermometer = Thermometer()
    server = await serve(measuring())
    url = await stack.enter_async_context(site(server.address, tools=[thermometer.function()])) + "/chat"
    visitor = await browser()
    async with visitor.post(url, json={"message": "How warm?"}, headers={"Accept": "application/json"}) as response:
        turn = (await response.json())["turn"]
    assert await asyncio.to_thread(thermometer.asked.wait, 20)
    async with visitor.get(f"{url}/{turn}") as response:
        assert (await whole(response))[0] == "It is warm."


async def test_a_conversation_goes_on_after_functions_that_were_lost(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """The page is told when they have taken too long; the next message tells the model."""
    thermometer, provider = Thermometer(waits=True), measuring()
    server = await serve(provider)
    options: dict[str, Any] = {"tools": [thermometer.function()], "tools_timeout": 2}
    url = await stack.enter_async_context(site(server.address, **options)) + "/chat"
    visitor = await browser()
    async with visitor.post(url, **say("How warm?")) as response:
        received = [event async for event in events(response)]
    assert [event.name for event in received][-2:] == ["calling", "failed"]
    turn = received[0].data["turn"]
    assert received[-1].id == f"{turn}/end"  # a browser does not come back
    assert thermometer.cities == ["Rome"]
    thermometer.may_answer.set()
    async with visitor.post(url, **say("Hello?", request_id="two")) as response:
        assert (await whole(response))[0] == "It is warm."
    *_, result, hello = provider.requests[1].messages
    assert isinstance(result.parts[0], ToolResult)
    assert (result.parts[0].is_error, hello.text) == (True, "Hello?")


async def test_another_message_is_refused_while_functions_run(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """It would take the place of their results; and it is no part of the answer."""
    thermometer = Thermometer(waits=True)
    server = await serve(measuring())
    url = await stack.enter_async_context(site(server.address, tools=[thermometer.function()])) + "/chat"
    visitor = await browser()
    async with visitor.post(url, **say("How warm?")) as response:
        received = events(response)
        while (await anext(received)).name != "calling":
            pass
        async with visitor.post(url, **say("Hello?")) as other:
            assert (other.status, (await other.json())["reason"]) == (409, "TOOL_RESULTS_MISSING")
        thermometer.may_answer.set()
        pieces = [event.data["text"] async for event in received if event.name == "delta"]
    assert "".join(pieces) == "It is warm."
