"""An answer goes on, whatever happens to the page and its connection, and appears wherever its session is open."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from contextprotocol.v1 import chat_pb2
from mcp_server.interfaces import Finish
from mcp_server.testing import Gate
from tests.client.integrations.examples import Stage
from tests.faults.proxy import Proxy
from tests.web.console.browsing import Person, Tab
from tests.web.console.conftest import Visit

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_page_that_is_loaded_again_goes_on(stage: Stage, person: Person) -> None:
    """With the question, and the answer so far and from there on; the model is asked once."""
    gate = Gate()
    provider = stage.when("Count", "one ", gate, "two", Finish())
    tab = await person.tab()
    await tab.say("Count")
    await tab.shows("Count", "one")
    await tab.page.reload()
    await tab.shows("Count", "one")
    gate.open()
    await tab.shows("Count", "one two")
    await tab.rests()
    assert len(provider.requests) == 1


async def test_a_cut_connection_loses_no_token(stage: Stage, url: str, visit: Visit) -> None:
    """Nor doubles one: the page goes on behind what it has."""
    gate = Gate()
    provider = stage.when("Count", "one ", "two ", gate, "three ", "four", Finish())
    proxy = Proxy(url.removeprefix("http://").strip("/"), lambda _: ())
    async with proxy, visit(f"http://{proxy.address}/") as person:
        tab = await person.tab()
        await tab.say("Count")
        await tab.shows("Count", "one two")
        async with tab.page.expect_request("**/StreamChat") as again:
            proxy.cut_all()
        sent = (await again.value).post_data_buffer
        assert sent is not None
        assert chat_pb2.ChatRequest.FromString(sent[5:]).after_sequence > 0  # behind the length of the message
        gate.open()
        await tab.shows("Count", "one two three four")
        await tab.rests()
    assert len(provider.requests) == 1


async def test_without_a_network_the_page_waits(stage: Stage, person: Person) -> None:
    """A banner says so, and that the answer goes on; with the network back, the page has all of it."""
    gate = Gate()
    stage.when("Count", "one ", gate, "two", Finish())
    tab = await person.tab()
    await tab.say("Count")
    await tab.shows("Count", "one")
    await person.context.set_offline(True)
    await expect(tab.banner).to_contain_text("You are offline.")
    gate.open()
    await person.context.set_offline(False)
    await tab.shows("Count", "one two")
    await expect(tab.banner).to_be_hidden()


async def test_a_server_that_cannot_be_reached_is_named(person: Person) -> None:
    """And tried again until it is back."""
    tab = await person.tab("#/models")
    await expect(tab.page.get_by_role("heading", name="scripted", exact=True).first).to_be_visible()
    await tab.page.route("**/contextprotocol.v1.*/*", lambda route: route.abort())
    await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(tab.banner).to_contain_text("cannot be reached")
    await tab.button("Try now").click()
    await tab.page.unroute("**/contextprotocol.v1.*/*")
    await expect(tab.banner).to_be_hidden(timeout=15_000)


async def test_two_tabs_show_one_session(stage: Stage, person: Person) -> None:
    """A turn that begins in one is streamed in the other, which can stop it."""
    gate = Gate()
    stage.when("Hi", "Hello", Finish())
    provider = stage.when("Count", "one ", gate, "two", Finish())
    stage.when("Again", "one", Gate(), Finish())
    one = await person.tab()
    await one.say("Hi")
    await one.rests()
    two = await person.tab(one.fragment)
    await two.shows("Hi", "Hello")
    await one.say("Count")
    await two.shows("Hi", "Hello", "one")
    gate.open()
    for tab in (one, two):
        await tab.shows("Hi", "Hello", "Count", "one two")
        await tab.rests()
    assert len(provider.requests) == 1
    await one.say("Again")
    await two.stop.click()
    await expect(one.page.locator(".outcome")).to_contain_text("Stopped.")


async def test_a_change_elsewhere_appears(stage: Stage, person: Person) -> None:
    """Messages that are removed, and the deletion of the session."""
    stage.when("Hi", "Hello", Finish())
    stage.when("Bye", "Ciao", Finish())
    one = await person.tab()
    await one.say("Hi")
    await one.rests()
    two = await person.tab(one.fragment)
    await two.shows("Hi", "Hello")
    await one.page.bring_to_front()  # browsers draw others once a second
    await one.page.locator("article.user").hover()
    await one.button("Edit and send again").click()
    await one.page.get_by_label("Edit the message").fill("Bye")
    await one.button("Send here").click()
    await two.shows("Bye", "Ciao")
    await one.page.keyboard.press("Control+.")
    await one.button("Delete session").click()
    await one.button("Delete").click()
    await expect(two.page.get_by_role("heading", name="This session is gone")).to_be_visible()


async def test_an_idle_tab_holds_one_request_and_a_hidden_one_none(stage: Stage, person: Person) -> None:
    """When it is shown again, it has what happened in the meantime."""
    stage.when("Hi", "Hello", Finish())
    stage.when("Bye", "Ciao", Finish())
    tab = await person.tab()
    await tab.say("Hi")
    await tab.rests()
    await expect_open(tab, person, 1)
    await show(tab, hidden=True)
    await expect_open(tab, person, 0)
    other = await person.tab(tab.fragment)
    await other.say("Bye")
    await other.rests()
    await tab.shows("Hi", "Hello")
    await show(tab, hidden=False)
    await tab.shows("Hi", "Hello", "Bye", "Ciao")


async def show(tab: Tab, *, hidden: bool) -> None:
    """Do as a browser whose tab is left or comes to the front."""
    await tab.page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


async def expect_open(tab: Tab, person: Person, number: int) -> None:
    """Wait until so many requests last."""
    for _ in range(200):
        if len(person.open) == number:
            return
        await tab.page.wait_for_timeout(25)
    raise AssertionError([request.url for request in person.open])


async def test_six_tabs_work(stage: Stage, person: Person) -> None:
    """All of them show the session and can be used, though a browser opens six connections to a server at most."""
    gate = Gate()
    stage.when("Hi", "Hello", Finish())
    stage.when("Count", "one ", gate, "two", Finish())
    first = await person.tab()
    await first.say("Hi")
    await first.rests()
    tabs = [first] + [await person.tab(first.fragment) for _ in range(5)]
    for tab in tabs:
        await tab.shows("Hi", "Hello")
    assert len(person.open) <= 4
    await tabs[-1].say("Count")
    await tabs[-1].shows("Hi", "Hello", "Count", "one")
    assert len(person.open) <= 4
    gate.open()
    for tab in tabs:
        await tab.shows("Hi", "Hello", "Count", "one two")
