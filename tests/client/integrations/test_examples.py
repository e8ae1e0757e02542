"""The example applications, each under its own server, with a client of HTTP. A browser opens them in test_page.py."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest

from mcp_server.interfaces import Finish
from mcp_server.testing import Gate, running
from tests.client.integrations.examples import EXAMPLES, Stage, started
from tests.client.integrations.reader import events, whole


@pytest.fixture(params=EXAMPLES)
def framework(request: pytest.FixtureRequest) -> str:
    """Each of the frameworks."""
    name: str = request.param
    return name


@pytest.fixture
def stage() -> Stage:
    """What the model says."""
    return Stage()


@pytest.fixture
async def server(stage: Stage) -> AsyncIterator[str]:
    """The address of a server with that model."""
    async with running(providers={"scripted": stage}) as server:
        yield server.address


def visitor() -> aiohttp.ClientSession:
    """Somebody with cookies of their own."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), raise_for_status=True)


async def test_an_example_works_as_its_first_lines_say(framework: str, server: str, stage: Stage) -> None:
    """Its page opens, it knows the models, a cut answer goes on, and a second visitor has a session of their own."""
    gate = Gate()
    provider = stage.when("Count", "one ", gate, "two", Finish())
    async with started(framework, server) as application, visitor() as ann, visitor() as bob:
        async with ann.get(application.url) as response:
            assert response.content_type == "text/html"
            assert "<title>" in await response.text()
        async with ann.get(f"{application.url}/models") as response:
            assert await response.json() == ["scripted/scripted"]
        seen, text = "", ""
        async with ann.post(f"{application.url}/chat", json={"message": "Count"}) as response:
            async for event in events(response):
                seen, text = event.id, text + event.data.get("text", "")
                if text:
                    break
            response.close()  # as if the cable were cut
        turn = seen.partition("/")[0]
        gate.open()
        async with ann.get(f"{application.url}/chat/{turn}", headers={"Last-Event-ID": seen}) as response:
            rest, received = await whole(response)
        assert (text, rest, received[-1].name) == ("one ", "two", "completed")
        assert len(provider.requests) == 1
        histories = {}
        for name, browser in (("ann", ann), ("bob", bob)):
            async with browser.get(f"{application.url}/chat") as response:
                histories[name] = [message["text"] for message in (await response.json())["messages"]]
        assert histories == {"ann": ["Count", "one two"], "bob": []}
        async with bob.get(f"{application.url}/chat/{turn}", raise_for_status=False) as response:
            assert response.status == 404


async def test_a_stopped_example_leaves_the_answer_to_the_next(framework: str, server: str, stage: Stage) -> None:
    """It ends by itself while somebody reads, and the rest is read where it is started again."""
    gate = Gate()
    provider = stage.when("Count", "one ", gate, "two", Finish())
    async with visitor() as browser:
        async with started(framework, server) as application:
            response = await browser.post(f"{application.url}/chat", json={"message": "Count"})
            async for event in events(response):
                if event.name == "delta":
                    break
            async with asyncio.timeout(10):
                status = await application.stop()
        assert status in (0, -signal.SIGTERM)  # uvicorn ends by the signal in the end
        assert "Traceback" not in "".join(application.output)
        response.close()
        turn = event.id.partition("/")[0]
        async with started(framework, server, port=application.port) as application:
            gate.open()
            headers = {"Last-Event-ID": event.id}
            async with browser.get(f"{application.url}/chat/{turn}", headers=headers) as response:
                text, received = await whole(response)
    assert (text, received[-1].name) == ("two", "completed")
    assert (len(provider.requests), provider.cancelled) == (1, 0)
