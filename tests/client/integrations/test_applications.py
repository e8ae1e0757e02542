"""Chats as parts of larger applications: several in one, one in several, mounted, behind what reads requests first."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import aiohttp.test_utils
import aiohttp.web
import fastapi
import fastapi.testclient
import flask
import pytest
import trustme

from mcp_client import MCPClient, MCPSyncClient
from mcp_client.integrations import aiohttp as for_aiohttp
from mcp_client.integrations import fastapi as for_fastapi
from mcp_client.integrations import flask as for_flask
from mcp_server.testing import running


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """That of a server with the provider ``echo``."""
    async with running() as server:
        yield server.address


Post = Callable[[str, str], tuple[int, str]]
"""Posts a message to a path, and returns the status and the text of the response."""


@contextmanager
def browsing_fastapi(app: Any) -> Iterator[Post]:
    """A browser of a running application."""
    with fastapi.testclient.TestClient(app) as browser:
        yield lambda path, message: _response(browser.post(path, json={"message": message}))


def _response(response: Any) -> tuple[int, str]:
    return response.status_code, response.text


@contextmanager
def browsing_flask(app: flask.Flask) -> Iterator[Post]:
    """A browser of an application."""
    browser = app.test_client()
    yield lambda path, message: _response(browser.post(path, json={"message": message}))


@contextmanager
def browsing_aiohttp(app: aiohttp.web.Application) -> Iterator[Post]:
    """A browser of a running application."""
    with asyncio.Runner() as runner:

        async def start() -> aiohttp.test_utils.TestClient[Any, Any]:
            browser = aiohttp.test_utils.TestClient(aiohttp.test_utils.TestServer(app))
            await browser.start_server()
            return browser

        async def post(path: str, message: str) -> tuple[int, str]:
            async with browser.post(path, json={"message": message}) as response:
                return response.status, await response.text()

        browser = runner.run(start())
        try:
            yield lambda path, message: runner.run(post(path, message))
        finally:
            runner.run(browser.close())


class Framework:
    """What a test needs of a framework.

    Args:
        chat: its class.
        make: makes an application.
        browse: opens a browser of one.
    """

    def __init__(
        self, chat: Any, make: Callable[[], Any], browse: Callable[[Any], AbstractContextManager[Post]]
    ) -> None:
        self.chat, self.make, self.browse = chat, make, browse


FRAMEWORKS = {
    "aiohttp": Framework(for_aiohttp.WebChat, aiohttp.web.Application, browsing_aiohttp),
    "fastapi": Framework(for_fastapi.WebChat, fastapi.FastAPI, browsing_fastapi),
    "flask": Framework(for_flask.WebChat, lambda: flask.Flask(__name__), browsing_flask),
}


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Each of the frameworks."""
    return FRAMEWORKS[request.param]


async def test_two_chats_in_one_application_are_two_conversations(address: str, framework: Framework) -> None:
    """Of the same visitor, each with its own instruction, and neither sees what the other was told."""

    def visit() -> None:
        app = framework.make()
        for name in ("sales", "repairs"):
            chat = framework.chat(address, session_options={"system_instruction": name})
            chat.init_app(app, prefix=f"/{name}")
        with framework.browse(app) as post:
            assert post("/sales", "my card is 4711")[0] == 200
            assert post("/repairs", "it is broken")[0] == 200

    await asyncio.to_thread(visit)
    async with MCPClient(address) as client:
        sessions = [session async for session in client.list_sessions()]
        first_messages = {
            session.system_instruction: (await anext(client.list_messages(session))).text for session in sessions
        }
    assert first_messages == {"sales": "my card is 4711", "repairs": "it is broken"}


async def test_one_chat_serves_two_applications(address: str, framework: Framework) -> None:
    """The end of one leaves the other alone."""

    def visit() -> None:
        chat, first, second = framework.chat(address), framework.make(), framework.make()
        chat.init_app(first)
        chat.init_app(second)
        with framework.browse(first) as post:
            assert post("/chat", "Hi")[0] == 200
            with framework.browse(second) as other:
                assert other("/chat", "Hi")[0] == 200
            assert post("/chat", "Hi")[0] == 200

    await asyncio.to_thread(visit)


async def test_mounted_chats_of_the_same_path_are_two_conversations(address: str) -> None:
    """FastAPI runs no lifespan of what is mounted."""

    def visit() -> None:
        outer = fastapi.FastAPI()
        for name in ("sales", "repairs"):
            inner = fastapi.FastAPI()
            for_fastapi.WebChat(address).init_app(inner)
            outer.mount(f"/{name}", inner)
        with fastapi.testclient.TestClient(outer) as browser:
            assert browser.post("/sales/chat", json={"message": "my card is 4711"}).status_code == 200
            assert browser.get("/repairs/chat").json()["messages"] == []
            answer = browser.post("/sales/chat", json={"message": "Hi"}, headers={"Accept": "application/json"})
            place = browser.get(answer.headers["Location"].replace("chat/", "/sales/chat/"))
            assert "completed" in place.text
            assert len(browser.get("/sales/chat").json()["messages"]) == 4

    await asyncio.to_thread(visit)


async def test_a_chat_works_without_the_lifespan_of_its_application(address: str) -> None:
    """As in tests that do not enter the client: each request has an event loop of its own."""

    def visit() -> None:
        app = fastapi.FastAPI()
        chat = for_fastapi.WebChat(address)
        chat.init_app(app)

        @app.get("/models")
        async def models(client: MCPClient = fastapi.Depends(chat.client)) -> int:  # noqa: B008  # FastAPI's way
            return len(await client.list_models())

        browser = fastapi.testclient.TestClient(app)
        for _ in range(3):
            assert browser.post("/chat", json={"message": "Hi"}).status_code == 200
        assert browser.get("/models").json() == 1

    await asyncio.to_thread(visit)


async def test_an_application_in_one_loop_closes_its_client_last(address: str) -> None:
    """Two applications in one event loop share a client, which the last of them closes."""
    chat, first, second = for_aiohttp.WebChat(address), aiohttp.web.Application(), aiohttp.web.Application()
    chat.init_app(first)
    chat.init_app(second)
    one, other = [aiohttp.test_utils.TestClient(aiohttp.test_utils.TestServer(app)) for app in (first, second)]
    async with one:
        async with other:
            client = chat.client
            assert (await other.post("/chat", json={"message": "Hi"})).status == 200
        assert (await one.post("/chat", json={"message": "Hi"})).status == 200
        assert chat.client is client
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.health()


def reads_in_flask(app: flask.Flask) -> None:
    """As a log of requests does."""

    @app.before_request
    def read() -> None:
        assert flask.request.get_json(silent=True) is not None or flask.request.method == "GET"


def reads_in_aiohttp(app: aiohttp.web.Application) -> None:
    """As a log of requests does."""

    @aiohttp.web.middleware
    async def read(request: aiohttp.web.Request, handler: Any) -> aiohttp.web.StreamResponse:
        json.loads(await request.read())
        response: aiohttp.web.StreamResponse = await handler(request)
        return response

    app.middlewares.append(read)


def reads_in_fastapi(app: fastapi.FastAPI) -> None:
    """As a log of requests does."""

    @app.middleware("http")
    async def read(request: fastapi.Request, call_next: Any) -> Any:
        json.loads(await request.body())
        return await call_next(request)


READS: dict[Any, Callable[[Any], None]] = {
    for_aiohttp.WebChat: reads_in_aiohttp,
    for_fastapi.WebChat: reads_in_fastapi,
    for_flask.WebChat: reads_in_flask,
}


@pytest.mark.parametrize("size", [2, 900, 2000])
async def test_a_body_that_was_read_before_is_read_again(address: str, framework: Framework, size: int) -> None:
    """And its size is limited all the same."""

    def visit() -> None:
        app = framework.make()
        READS[framework.chat](app)
        framework.chat(address, max_body=1500).init_app(app)
        with framework.browse(app) as post:
            assert post("/chat", "x" * size)[0] == (200 if size < 1500 else 413)

    await asyncio.to_thread(visit)


async def test_a_function_of_the_settings_may_read_the_body(address: str, framework: Framework) -> None:
    """For example to choose the options by what is asked."""

    async def asynchronous(request: Any) -> dict[str, Any]:
        return {"labels": {"size": str(len((await request.json())["message"]))}}

    def blocking(request: flask.Request) -> dict[str, Any]:
        return {"labels": {"size": str(len(request.get_json()["message"]))}}

    def visit() -> None:
        app = framework.make()
        options = blocking if framework is FRAMEWORKS["flask"] else asynchronous
        framework.chat(address, session_options=options).init_app(app)
        with framework.browse(app) as post:
            assert post("/chat", "Hello")[0] == 200
        with MCPSyncClient(address) as client:
            assert [session.labels for session in client.list_sessions()] == [{"size": "5"}]

    await asyncio.to_thread(visit)


async def test_over_https_the_cookie_is_secure(address: str) -> None:
    """Browsers then never send it over HTTP."""
    authority = trustme.CA()
    server_context, client_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    authority.configure_trust(client_context)

    def visit() -> list[str]:
        inner, other = fastapi.FastAPI(), flask.Flask(__name__)
        for_fastapi.WebChat(address).init_app(inner)
        for_flask.WebChat(address).init_app(other)
        with fastapi.testclient.TestClient(inner, base_url="https://site") as browser:
            cookies = [browser.get("/chat").headers["Set-Cookie"]]
        return [*cookies, other.test_client().get("/chat", base_url="https://site").headers["Set-Cookie"]]

    app = aiohttp.web.Application()
    for_aiohttp.WebChat(address).init_app(app)
    server = aiohttp.test_utils.TestServer(app, scheme="https")
    await server.start_server(ssl=server_context)
    async with aiohttp.test_utils.TestClient(server) as browser, browser.get("/chat", ssl=client_context) as response:
        cookies = [response.headers["Set-Cookie"], *await asyncio.to_thread(visit)]
    for cookie in cookies:
        assert {"HttpOnly", "Secure", "SameSite=Lax"} <= set(cookie.split("; "))
