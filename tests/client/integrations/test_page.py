"""The page of the examples in a real browser: what visitors see, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, BrowserContext, Page, Route, expect
from playwright.async_api import TimeoutError as TooLate

from mcp_client.integrations.aiohttp import WebChat
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish
from mcp_server.testing import Gate, running
from mcp_server.values import FinishReason
from tests.browsers import CHROMIUM, chromium
from tests.client.integrations.examples import EXAMPLES, FOLDER, Application, Stage, started
from tests.faults.proxy import Proxy

if CHROMIUM is None:
    pytest.skip("this machine lacks chromium", allow_module_level=True)
# A name that is not localhost: browsers lack some functions there, as on any site without HTTPS.
ELSEWHERE: Final = "--host-resolver-rules=MAP museum.test 127.0.0.1"

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONVERSATION: Final = "[...document.querySelectorAll('article')].map(one => [one.ariaLabel, one.textContent])"


class Tab:
    """The page as its visitors know it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.field = page.get_by_label("Message")
        self.send = page.get_by_role("button", name="Send")
        self.stop = page.get_by_role("button", name="Stop")
        self.status = page.get_by_role("status")

    async def say(self, message: str) -> None:
        """Type something and send it."""
        await expect(self.send).to_be_enabled()
        await self.field.fill(message)
        await self.field.press("Enter")

    async def shows(self, *lines: tuple[str, str]) -> None:
        """Wait until the conversation is this: who speaks, and what."""
        # `expect()` looks four times a second at most, and has no eye for blanks.
        wanted = f"wanted => JSON.stringify({CONVERSATION}) === JSON.stringify(wanted)"
        try:
            await self.page.wait_for_function(wanted, arg=lines, polling=10, timeout=5000)
        except TooLate:
            assert await self.page.evaluate(CONVERSATION) == list(map(list, lines))

    async def rests(self) -> None:
        """Wait until nothing is on its way."""
        await expect(self.send).to_be_enabled()
        await expect(self.stop).to_be_hidden()
        await expect(self.status).to_be_empty()


Visit = Callable[..., Awaitable[Tab]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The machine's own."""
    async with chromium(ELSEWHERE) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def visitor(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Somebody with cookies of their own and a phone."""
    context = await browser.new_context(viewport={"width": 390, "height": 780})
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def visit(visitor: BrowserContext) -> AsyncIterator[Visit]:
    """Open a page that listens at a port of this machine. No script of it may fail."""
    errors: list[Any] = []

    async def open_tab(port: int | str) -> Tab:
        tab = Tab(await visitor.new_page())
        tab.page.on("pageerror", lambda error: errors.append(error))  # Playwright takes no method of a list
        await tab.page.goto(f"http://museum.test:{port}/")
        return tab

    yield open_tab
    assert errors == []


@pytest.fixture(scope="module")
def stage() -> Stage:
    """What the model says."""
    return Stage()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(stage: Stage) -> AsyncIterator[str]:
    """The address of a server with that model."""
    async with running(providers={"scripted": stage}) as server:
        yield server.address


@pytest.fixture(scope="module", params=EXAMPLES)
def framework(request: pytest.FixtureRequest) -> str:
    """Each of the frameworks."""
    name: str = request.param
    return name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def application(framework: str, server: str) -> AsyncIterator[Application]:
    """Its example."""
    async with started(framework, server) as application:
        yield application


LOST: Final = "The connection was lost. Connecting again…"
AWAY: Final = "The service is away. Trying again…"
WAITING: Final = "Waiting for another answer…"
STOPPED: Final = "Stopped. The conversation goes on without this."
HOSTILE: Final = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">" + "x" * 500


async def test_tokens_appear_one_by_one(application: Application, stage: Stage, visit: Visit) -> None:
    """Each when it is there, and as text, whatever it looks like; the longest word leaves no phone's screen."""
    gates = [Gate(), Gate()]
    stage.when(HOSTILE, "one ", gates[0], HOSTILE, gates[1], " three", Finish())
    tab = await visit(application.port)
    await tab.say(HOSTILE)
    await tab.shows(("You", HOSTILE), ("Guide", "one "))
    gates[0].open()
    await tab.shows(("You", HOSTILE), ("Guide", f"one {HOSTILE}"))
    gates[1].open()
    for _ in range(2):
        await tab.shows(("You", HOSTILE), ("Guide", f"one {HOSTILE} three"))
        await tab.rests()
        assert await tab.page.evaluate("document.querySelectorAll('#log :not(article)').length") == 0
        assert await tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert await tab.page.title() != "taken"
        await tab.page.reload()


async def test_an_answer_without_an_end_is_none(application: Application, stage: Stage, visit: Visit) -> None:
    """It failed or was stopped: the page says so, has the question in its field again, and goes on without both."""
    stage.when("Fail", "one ", ProviderUnavailable("the machine 10.0.0.7 fell over"))
    provider = stage.when("Count", "one ", Gate(), "two", Finish())
    stage.when("Hi", "Hello!", Finish())
    tab = await visit(application.port)
    await tab.say("Fail")
    failed = [("You", "Fail"), ("Guide", "one "), ("Note", "The model could not answer.")]
    await tab.shows(*failed)
    await tab.rests()
    await expect(tab.field).to_have_value("Fail")
    await tab.say("Count")
    await tab.shows(*failed, ("You", "Count"), ("Guide", "one "))
    await tab.stop.click()
    stopped = [("You", "Count"), ("Guide", "one "), ("Note", STOPPED)]
    await tab.shows(*failed, *stopped)
    await tab.rests()
    await expect(tab.field).to_have_value("Count")
    assert provider.cancelled == 1
    await tab.say("Hi")
    await tab.shows(*failed, *stopped, ("You", "Hi"), ("Guide", "Hello!"))
    await tab.page.reload()
    await tab.shows(("You", "Hi"), ("Guide", "Hello!"))


async def test_a_page_that_is_loaded_again_goes_on(application: Application, stage: Stage, visit: Visit) -> None:
    """It shows what was said before, the question, and the answer as it comes."""
    gate = Gate()
    stage.when("Hi", "Hello!", Finish())
    provider = stage.when("Count", "one ", gate, "two", Finish())
    tab = await visit(application.port)
    await tab.say("Hi")
    await tab.rests()
    await tab.say("Count")
    before = [("You", "Hi"), ("Guide", "Hello!"), ("You", "Count")]
    await tab.shows(*before, ("Guide", "one "))
    await tab.page.reload()
    await tab.shows(*before, ("Guide", "one "))
    gate.open()
    await tab.shows(*before, ("Guide", "one two"))
    await tab.rests()
    await tab.page.reload()
    await tab.shows(*before, ("Guide", "one two"))
    assert len(provider.requests) == 1


async def test_a_cut_connection_loses_no_token(application: Application, stage: Stage, visit: Visit) -> None:
    """Nor doubles one: the browser comes back by itself, and goes on behind what it has seen."""
    gate = Gate()
    provider = stage.when("Count", "one ", "two ", gate, "three ", "four", Finish())
    async with Proxy(f"127.0.0.1:{application.port}", lambda _: ()) as proxy:
        tab = await visit(proxy.address.rpartition(":")[2])
        await tab.say("Count")
        await tab.shows(("You", "Count"), ("Guide", "one two "))
        async with tab.page.expect_request("**/chat/*") as again:
            proxy.cut_all()
            await expect(tab.status).to_have_text(LOST)
            gate.open()
        await tab.shows(("You", "Count"), ("Guide", "one two three four"))
        await tab.rests()
        assert (await (await again.value).all_headers())["last-event-id"]
        assert len(provider.requests) == 1


async def test_an_answer_survives_the_death_of_the_application(
    framework: str, server: str, stage: Stage, visit: Visit
) -> None:
    """It is killed in the middle and started again, and the page goes on by itself."""
    gate = Gate()
    provider = stage.when("Count", "one ", gate, "two", Finish())
    async with started(framework, server) as application:
        tab = await visit(application.port)
        await tab.say("Count")
        await tab.shows(("You", "Count"), ("Guide", "one "))
        await application.kill()
        await expect(tab.status).to_have_text(LOST)
    async with started(framework, server, port=application.port):
        gate.open()
        await tab.shows(("You", "Count"), ("Guide", "one two"))
        await tab.rests()
        assert (len(provider.requests), provider.cancelled) == (1, 0)


one_is_enough = pytest.mark.parametrize("framework", ["aiohttp"], indirect=True, scope="module")
"""What follows is about the page alone."""

BUSY: Final = {"status": 503, "headers": {"Retry-After": "7"}, "json": {"detail": "too much to do"}}
PROXY: Final = {"status": 502, "content_type": "text/html", "body": "<h1>Bad Gateway</h1>"}
NOBODY: Final = None


async def trouble(visitor: BrowserContext, method: str, *responses: Mapping[str, Any] | None) -> list[str | None]:
    """What happens to the next requests with a method, one each, before others come through; gives their bodies."""
    bodies: list[str | None] = []
    left = list(responses)

    async def meet(route: Route) -> None:
        if route.request.method != method:
            await route.fallback()
            return
        bodies.append(route.request.post_data)
        if not left:
            await route.fallback()
        elif (response := left.pop(0)) is NOBODY:
            await route.abort()
        else:
            await route.fulfill(**response)

    await visitor.route("**/chat", meet)
    return bodies


@pytest_asyncio.fixture(loop_scope="module")
async def hurry(visitor: BrowserContext) -> None:
    """No page waits: what it would have waited, in milliseconds, is in its ``pauses``."""
    await visitor.add_init_script("""
        window.pauses = [];
        const wait = window.setTimeout;
        window.setTimeout = (call, time) => (time < 1000 ? wait(call, time) : (pauses.push(time), wait(call)));
    """)


@one_is_enough
@pytest.mark.usefixtures("hurry")
async def test_a_question_is_sent_until_it_arrives(
    application: Application, stage: Stage, visitor: BrowserContext, visit: Visit
) -> None:
    """Nobody is there, a proxy says so, or there is too much to do: it is the same question, and is asked once."""
    provider = stage.when("Count", "one", Finish())
    bodies = await trouble(visitor, "POST", BUSY, PROXY, NOBODY)
    tab = await visit(application.port)
    await tab.say("Count")
    await tab.shows(("You", "Count"), ("Guide", "one"))
    await tab.rests()
    assert await tab.page.evaluate("pauses") == [7000, 2000, 4000]
    assert (len(bodies), len(set(bodies)), len(provider.requests)) == (4, 1, 1)


@one_is_enough
async def test_a_question_on_its_way_can_be_stopped(
    application: Application, stage: Stage, visitor: BrowserContext, visit: Visit
) -> None:
    """Its answer ends as soon as it is known to have begun."""
    provider = stage.when("Count", "one", Gate(), Finish())
    arrives = asyncio.Event()

    async def slow(route: Route) -> None:
        await arrives.wait()
        await route.fallback()

    tab = await visit(application.port)
    await expect(tab.send).to_be_enabled()
    await visitor.route("**/chat", slow)
    await tab.say("Count")
    await tab.stop.click()
    await expect(tab.status).to_have_text("Stopping…")
    arrives.set()
    await expect(tab.page.get_by_text(STOPPED)).to_be_visible()
    await tab.rests()
    assert provider.active == 0


@one_is_enough
async def test_waiting_for_a_service_can_be_stopped(
    application: Application, stage: Stage, visitor: BrowserContext, visit: Visit
) -> None:
    """At once; nothing is asked then."""
    provider = stage.when("Count", "one", Finish())
    await trouble(visitor, "POST", BUSY)
    tab = await visit(application.port)
    await tab.say("Count")
    await expect(tab.status).to_have_text(AWAY)
    await tab.stop.click()
    await tab.shows(("You", "Count"), ("Note", STOPPED))
    await tab.rests()
    assert provider.requests == []


@one_is_enough
@pytest.mark.usefixtures("hurry")
async def test_a_page_that_cannot_ask_what_was_said_asks_again(
    application: Application, stage: Stage, visitor: BrowserContext, visit: Visit
) -> None:
    """Nothing can be sent before, since the visitor is not known yet."""
    stage.when("Hi", "Hello!", Finish())
    tab = await visit(application.port)
    await tab.say("Hi")
    await tab.rests()
    await trouble(visitor, "GET", BUSY, PROXY, NOBODY)
    await tab.page.reload()
    await tab.shows(("You", "Hi"), ("Guide", "Hello!"))
    await tab.rests()
    assert await tab.page.evaluate("pauses") == [7000, 2000, 4000]


@one_is_enough
@pytest.mark.parametrize(
    ("response", "note"),
    [
        ({"status": 500, "body": "<h1>Oops</h1>"}, "The service answers with the status 500."),
        ({"status": 413, "json": {"detail": "That is too long."}}, "That is too long."),
    ],
)
async def test_what_no_waiting_mends_is_shown(
    application: Application, visitor: BrowserContext, visit: Visit, response: Mapping[str, Any], note: str
) -> None:
    """With the question in the field again."""
    await trouble(visitor, "POST", response)
    tab = await visit(application.port)
    await tab.say("Count")
    await tab.shows(("You", "Count"), ("Note", note))
    await tab.rests()
    await expect(tab.field).to_have_value("Count")


@one_is_enough
async def test_two_tabs_show_the_same(application: Application, stage: Stage, visit: Visit) -> None:
    """A question that is asked in one, its answer as it comes, and that it was stopped from the other."""
    gate = Gate()
    stage.when("Count", "one ", gate, "two", Finish())
    provider = stage.when("Go on", "three ", Gate(), "four", Finish())
    one, two = await visit(application.port), await visit(application.port)
    await one.say("Count")
    for tab in (one, two):
        await tab.shows(("You", "Count"), ("Guide", "one "))
    gate.open()
    before = [("You", "Count"), ("Guide", "one two")]
    for tab in (one, two):
        await tab.shows(*before)
        await tab.rests()
    await one.say("Go on")
    await two.shows(*before, ("You", "Go on"), ("Guide", "three "))
    await two.stop.click()
    for tab in (one, two):
        await tab.shows(*before, ("You", "Go on"), ("Guide", "three "), ("Note", STOPPED))
        await tab.rests()
    assert provider.cancelled == 1


ASK: Final = """
    message => fetch("/chat", {
        method: "POST",
        headers: {"Content-Type": "application/json", Accept: "application/json"},
        body: JSON.stringify({message}),
    }).then(response => response.status)
"""
"""Says something, and the page that it is run in knows nothing of it."""


@one_is_enough
async def test_who_asks_meanwhile_sees_what_is_being_answered(
    application: Application, stage: Stage, visit: Visit
) -> None:
    """Also if no page of this browser has asked it; the new question waits in the field."""
    gate = Gate()
    stage.when("Count", "one ", gate, "two", Finish())
    tab = await visit(application.port)
    assert await tab.page.evaluate(ASK, "Count") == 202
    await tab.say("Hi")
    await tab.shows(("Guide", "one "))
    await expect(tab.field).to_have_value("Hi")
    gate.open()
    await tab.shows(("You", "Count"), ("Guide", "one two"))
    await tab.rests()


@one_is_enough
@pytest.mark.usefixtures("hurry")
async def test_a_lost_conversation_is_not_asked_about_for_ever(
    application: Application, stage: Stage, visitor: BrowserContext, visit: Visit
) -> None:
    """For example if the browser keeps no cookies: what it asks is found by no one."""
    provider = stage.when("Count", "one ", Gate(), "two", Finish())

    async def forget(route: Route) -> None:
        await visitor.clear_cookies()
        await route.fallback()

    await visitor.route("**/chat/*", forget)
    tab = await visit(application.port)
    await tab.say("Count")
    await tab.shows(("You", "Count"), ("Note", "The conversation was lost."))
    await tab.rests()
    assert len(provider.requests) == 2
    await expect(tab.field).to_have_value("Count")


@one_is_enough
async def test_nothing_is_sent_or_stopped_by_mistake(
    application: Application, stage: Stage, visitor: BrowserContext, visit: Visit
) -> None:
    """By a double click on Send, where Stop comes; or by Enter, while an answer is on its way."""
    gate = Gate()
    stage.when("Count", "one ", gate, "two", Finish())
    bodies = await trouble(visitor, "POST")
    tab = await visit(application.port)
    await tab.field.fill("Count")
    await tab.send.dblclick()
    await tab.shows(("You", "Count"), ("Guide", "one "))
    await tab.field.fill("Count")
    await tab.field.press("Enter")
    gate.open()
    await tab.shows(("You", "Count"), ("Guide", "one two"))
    await tab.rests()
    await expect(tab.field).to_have_value("Count")
    assert len(bodies) == 1


async def test_a_question_may_wait_for_another(server: str, stage: Stage, visit: Visit) -> None:
    """Where the application lets them queue; also when the page is loaded again meanwhile."""
    gate = Gate()
    stage.when("Count", "one ", gate, "two", Finish())
    stage.when("Hi", "Hello!", Finish())

    async def page(request: web.Request) -> web.FileResponse:
        return web.FileResponse(FOLDER / "chat.html")

    app = web.Application()
    WebChat(server, turn_options={"if_busy": "queue"}).init_app(app)
    app.router.add_get("/", page)
    async with TestServer(app) as site:
        tab = await visit(site.port)
        await expect(tab.send).to_be_enabled()
        assert await tab.page.evaluate(ASK, "Count") == 202
        await tab.say("Hi")
        await expect(tab.status).to_have_text(WAITING)
        await tab.page.reload()
        await expect(tab.status).to_have_text(WAITING)
        await tab.shows(("You", "Hi"), ("Guide", ""))
        gate.open()
        await tab.shows(("You", "Hi"), ("Guide", "Hello!"))
        await tab.rests()
        await tab.page.reload()
        await tab.shows(("You", "Count"), ("Guide", "one two"), ("You", "Hi"), ("Guide", "Hello!"))


@one_is_enough
async def test_a_long_conversation_scrolls_along(application: Application, stage: Stage, visit: Visit) -> None:
    """But not away from what somebody reads further up."""
    gates = [Gate(), Gate()]
    stage.when("Count", "one\n" * 100, gates[0], "two\n" * 100, gates[1], "three\n" * 100, Finish())
    tab = await visit(application.port)
    at_end = "scrollY + innerHeight > document.documentElement.scrollHeight - 2"
    await tab.say("Count")
    await tab.shows(("You", "Count"), ("Guide", "one\n" * 100))
    assert await tab.page.evaluate(at_end)
    gates[0].open()
    await tab.shows(("You", "Count"), ("Guide", "one\n" * 100 + "two\n" * 100))
    assert await tab.page.evaluate(at_end)
    await tab.page.evaluate("scrollTo(0, 100)")
    gates[1].open()
    await tab.rests()
    assert await tab.page.evaluate("scrollY") == 100


@one_is_enough
async def test_an_answer_that_became_too_long_says_so(application: Application, stage: Stage, visit: Visit) -> None:
    """It is part of the conversation all the same."""
    stage.when("Count", "one", Finish(reason=FinishReason.LENGTH))
    tab = await visit(application.port)
    await tab.say("Count")
    await tab.shows(("You", "Count"), ("Guide", "one"), ("Note", "The answer was cut off: it became too long."))
    await tab.rests()
    await expect(tab.field).to_be_empty()
