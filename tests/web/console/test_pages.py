"""What else the console shows: the session, its context and turns, models and usage; on every screen."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish
from mcp_server.testing import EchoProvider, Gate, running
from tests.client.integrations.examples import Stage
from tests.web.console.browsing import Person
from tests.web.console.conftest import Visit
from tests.web.servers import web_config

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_session_is_described_and_found(stage: Stage, person: Person) -> None:
    """Labels, instruction and expiry are stored; the search finds ids and labels."""
    provider = stage.when("Hi", "Hello", Finish())
    tab = await person.tab()
    await tab.say("Hi")
    await tab.rests()
    await tab.page.keyboard.press("Control+.")
    await tab.page.get_by_label("System instruction").fill("Be brief.")
    await tab.button("Save").click()
    await expect(tab.page.get_by_text("Saved").last).to_be_visible()
    await tab.button("Add label").click()
    await tab.page.get_by_label("Label", exact=True).last.fill("team")
    await tab.page.get_by_label("Value of the label").last.fill("blue")
    await tab.button("Save").click()
    await expect(tab.sessions.locator(".chip")).to_have_text("team=blue")
    await tab.page.get_by_label("Expires without use after").fill("2")
    await tab.button("Save").click()
    await expect(tab.page.get_by_text("Expires in 2 hours")).to_be_visible()
    await tab.page.keyboard.press("Control+k")
    await tab.page.keyboard.type("team=blue hi")
    await expect(tab.sessions).to_have_count(1)
    await tab.page.keyboard.type("x")
    await expect(tab.sessions).to_have_count(0)
    await tab.say("Hi")
    await tab.rests()
    assert provider.requests[-1].messages[0].text == "Be brief."


async def test_the_context_is_edited(stage: Stage, person: Person) -> None:
    """Text and JSON, in prompts or only stored; what is no JSON is refused before it is sent."""
    provider = stage.when("Hi", "Hello", Finish())
    tab = await person.tab()
    await tab.say("Hi")
    await tab.rests()
    await tab.page.keyboard.press("Control+.")
    await tab.page.get_by_role("tab", name="Context").click()
    await tab.button("Add entry").click()
    await tab.page.get_by_label("Name").fill("profile")
    await tab.page.get_by_label("Type").select_option("json")
    await tab.page.get_by_label("Value").fill('{"name": "Ada"')
    await tab.button("Save").click()
    await expect(tab.page.get_by_role("dialog")).to_contain_text("This is not JSON")
    await tab.page.get_by_label("Value").fill('{"name": "Ada"}')
    await tab.button("Save").click()
    card = tab.page.get_by_role("region", name="profile")
    await expect(card).to_contain_text('"name": "Ada"')
    await expect(card.locator(".chip")).to_have_text(["json", "in prompts"])
    await tab.say("Hi")
    await tab.rests()
    assert "Ada" in provider.requests[-1].messages[0].text
    await card.get_by_role("button", name="Remove profile").click()
    await expect(card).to_have_count(0)


async def test_turns_are_shown_with_their_attempts(stage: Stage, person: Person) -> None:
    """Which provider, how long, how many tokens, and what went wrong."""
    stage.when("Hi", "Hello", Finish())
    stage.when("Fail", ProviderUnavailable("the provider is away"))
    tab = await person.tab()
    await tab.say("Hi")
    await tab.rests()
    await tab.say("Fail")
    await expect(tab.page.locator(".outcome")).to_be_visible()
    await tab.page.keyboard.press("Control+.")
    await tab.page.get_by_role("tab", name="Turns").click()
    turns = tab.page.locator(".timeline > li")
    await expect(turns.locator(".chip")).to_have_text(["failed", "succeeded"])
    await expect(turns.first).to_contain_text("provider is away")
    await expect(turns.last.locator(".who")).to_have_text("scriptedscripted")
    await expect(turns.last).to_contain_text("first token")


async def test_models_and_usage_are_shown(stage: Stage, person: Person) -> None:
    """A chat can be begun with a model, and what it used is drawn by day."""
    stage.when("Hi", "Hello", Finish())
    tab = await person.tab("#/models")
    await expect(tab.page.locator(".card.model .chip")).to_have_text(["ready", "default", "chat", "tools"])
    await tab.button("Chat with it").click()
    await expect(tab.page.get_by_label("Model", exact=True)).to_have_value("scripted/scripted")
    await tab.say("Hi")
    await tab.rests()
    await tab.page.goto(f"{person.url}#/usage")
    await expect(tab.page.locator(".sums tbody th")).to_have_text("scripted/scripted")
    await expect(tab.page.locator(".sums tbody td").first).to_have_text("1")
    await expect(tab.page.locator(".chart canvas")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_is_wider_than_a_phone(scheme: str, stage: Stage, url: str, visit: Visit) -> None:
    """In light and dark: a long word, a table and code scroll in their own places or are broken."""
    wide = "x" * 400
    stage.when("Hi", f"# {wide}\n\n{wide}\n\n```\n{wide}\n```\n\n| {wide} | b |\n|--|--|\n| 1 | {wide} |\n", Finish())
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme, "has_touch": True, "is_mobile": True}
    async with visit(url, **phone) as person:
        tab = await person.tab()
        await tab.say("Hi")
        await tab.rests()
        pages = ["", "#/models", "#/usage", tab.fragment]
        for page in pages:
            await tab.page.goto(f"{person.url}{page}")
            await expect(tab.page.locator("main h1")).to_be_visible()
            assert await tab.page.evaluate("document.documentElement.scrollWidth") == 360, page
            # What is cut off cannot be read either.
            assert await tab.page.evaluate("document.querySelector('.log, .content-page').scrollWidth <= 360"), page
        await tab.button("Session details").click()
        for name in ("Session", "Context", "Turns"):
            await tab.page.get_by_role("tab", name=name).click()
            assert await tab.page.evaluate("document.querySelector('.panel').scrollWidth <= 360"), name
        await tab.button("Close details").click()
        await tab.button("Sessions").click()
        await expect(tab.sessions.first).to_be_visible()


async def test_an_address_that_names_nothing_leads_to_the_start(person: Person) -> None:
    """Also one with a broken escape."""
    for fragment in ("#/nothing", "#/%"):
        tab = await person.tab(fragment)
        await expect(tab.field).to_be_visible()


async def test_colours_follow_the_system_and_the_person(url: str, visit: Visit) -> None:
    """What the person chooses is kept."""
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    seen, chosen = {}, {}
    for scheme in ("light", "dark"):
        async with visit(url, color_scheme=scheme) as person:
            tab = await person.tab()
            await expect(tab.field).to_be_visible()
            seen[scheme] = await tab.page.evaluate(ground)
            await tab.button("Colours: auto").click()
            await tab.button("Colours: light").click()
            await tab.page.reload()
            await expect(tab.button("Colours: dark")).to_be_visible()
            chosen[scheme] = await tab.page.evaluate(ground)
    assert seen["light"] != seen["dark"]
    assert chosen == {"light": seen["dark"], "dark": seen["dark"]}


async def test_the_keyboard_is_enough(stage: Stage, person: Person) -> None:
    """To write lines, to begin a chat, and to edit the last message."""
    stage.when("One\nTwo", "Hello", Gate(), Finish())
    tab = await person.tab()
    await expect(tab.field).to_be_focused()
    await tab.page.keyboard.type("One")
    await tab.page.keyboard.press("Shift+Enter")
    await tab.page.keyboard.type("Two")
    await tab.page.keyboard.press("Enter")
    await tab.shows("One\nTwo", "Hello")
    await tab.page.keyboard.press("Alt+n")
    await expect(tab.page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    await expect(tab.field).to_be_focused()
    await tab.page.keyboard.press("Control+/")
    await expect(tab.page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)


async def test_the_console_works_below_a_path(visit: Visit) -> None:
    """Behind a proxy, for example: the page finds its files and the services beside it."""
    config = web_config(base_path="/chat")
    async with (
        running(config, providers={"echo": EchoProvider()}) as server,
        visit(server.web_url.rstrip("/")) as person,
    ):
        tab = await person.tab()
        await tab.say("Hello")
        await tab.shows("Hello", "Hello")
