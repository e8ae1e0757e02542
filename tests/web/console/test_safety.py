"""What a model writes stays text, and a key stays where it is needed."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest
from playwright.async_api import expect

from mcp_server.interfaces import Finish, ReasoningDelta, ToolArgumentsDelta, ToolCallStart
from mcp_server.testing import EchoProvider, running
from tests.auth.keys import config_with, new_key
from tests.client.integrations.examples import Stage
from tests.web.console.browsing import Person
from tests.web.console.conftest import Visit
from tests.web.servers import web_config

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE: Final = """
<script>window.taken = 1</script>
<img src=x onerror="window.taken = 1"><svg onload="window.taken = 1"></svg>
<iframe srcdoc="<script>parent.taken = 1</script>"></iframe>
<form action="https://elsewhere.example/"><input name="key"></form>
<style>* { background: url(https://elsewhere.example/style) }</style>

![pixel](https://elsewhere.example/pixel.png)
[script](javascript:window.taken=1) [data](data:text/html,<script>taken=1</script>) [fine](https://example.com/a)
\x1b]0;taken\x07\x1b[2J\u202egnp.exe\x00
<a href="javascript:window.taken=1" onclick="window.taken=1">raw</a>
"""


async def test_an_answer_can_do_nothing(stage: Stage, url: str, person: Person) -> None:
    """No script runs, nothing is loaded from elsewhere, and its HTML and controls are shown as they are written."""
    arguments = ToolArgumentsDelta(id="t", text=f'{{"html": "{HOSTILE[1:30]}"')
    call = ToolCallStart(id="t", name="run")
    stage.when(HOSTILE.strip(), ReasoningDelta(text=HOSTILE), HOSTILE, call, arguments, Finish())
    tab = await person.tab()
    await tab.say(HOSTILE.strip())
    await tab.rests()
    for _ in range(2):
        answer = tab.page.locator("article.answer .markdown")
        await expect(answer).to_contain_text('<img src=x onerror="window.taken = 1">')
        await expect(answer).to_contain_text(r"\x1b]0;taken\x07\x1b[2J\u202egnp.exe")
        links = answer.locator("a[href]")
        assert [await link.get_attribute("href") for link in await links.all()] == [
            "https://elsewhere.example/pixel.png",
            "https://example.com/a",
        ]
        for link in await links.all():
            assert await link.get_attribute("target") == "_blank"
            assert "noopener noreferrer" in (await link.get_attribute("rel") or "")
        assert await tab.page.locator("article :is(script, img, svg:not(.icon), iframe, form, style)").count() == 0
        assert not await tab.page.evaluate("'taken' in window")
        await tab.page.reload()
    assert all(request.startswith(url) for request in person.requests)


async def test_the_page_asks_for_a_key(visit: Visit) -> None:
    """It says which ones the server refuses, and keeps the right one in the tab, not in the address."""
    key = new_key()
    config = msgspec.structs.replace(config_with(key), web=web_config().web)
    async with running(config, providers={"echo": EchoProvider()}) as server, visit(server.web_url) as person:
        tab = await person.tab()
        field = tab.page.get_by_role("textbox", name="API key")
        await field.fill("ctx_wrong")
        await field.press("Enter")
        await expect(tab.page.get_by_role("alert").filter(has_text="refuses this key")).to_be_visible()
        await field.fill(key.secret)
        await field.press("Enter")
        await expect(tab.page.get_by_role("dialog")).to_have_count(0)
        await tab.say("Hello there")
        await tab.shows("Hello there", "Hello there")
        await tab.page.reload()
        await tab.shows("Hello there", "Hello there")
        assert await tab.page.evaluate("JSON.stringify(localStorage)") == "{}"
        assert not any(key.secret in request for request in person.requests)
        other = await person.tab(tab.fragment)
        await expect(other.page.get_by_label("API key")).to_be_visible()


async def test_using_another_key_can_be_cancelled(visit: Visit) -> None:
    """By the button and by Escape: also after a wrong key, the page goes on with the one that it has."""
    key, second = new_key(), new_key()
    config = msgspec.structs.replace(config_with(key, second), web=web_config().web)
    async with running(config, providers={"echo": EchoProvider()}) as server, visit(server.web_url) as person:
        tab = await person.tab()
        field, dialog = tab.page.get_by_role("textbox", name="API key"), tab.page.get_by_role("dialog")
        await tab.page.keyboard.press("Escape")
        await expect(dialog).to_be_visible()  # without a key, the page can do nothing
        await field.fill(key.secret)
        await field.press("Enter")
        await expect(dialog).to_have_count(0)
        shown: list[str] = []
        for leave in ("Cancel", "Escape"):
            await tab.button("Account").click()
            await tab.button("Use another key").click()
            await field.fill("ctx_wrong")
            await field.press("Enter")
            await expect(tab.page.get_by_role("alert").filter(has_text="refuses this key")).to_be_visible()
            if leave == "Escape":
                await tab.page.keyboard.press("Escape")
            else:
                await tab.button("Cancel").click()
            await expect(dialog).to_have_count(0)
            shown += [f"Hello {leave}"] * 2
            await tab.say(f"Hello {leave}")
            await tab.shows(*shown)
            await tab.page.reload()
            await tab.shows(*shown)
        await tab.button("Account").click()
        await tab.button("Use another key").click()
        async with tab.page.expect_event("load"):
            await field.fill(second.secret)
            await field.press("Enter")
        await tab.button("Account").click()
        await expect(dialog).to_contain_text(second.id)


async def test_a_key_without_a_scope_is_told_so(visit: Visit) -> None:
    """The page of the usage names the scope that it needs."""
    key = new_key(scopes=["chat", "sessions.read", "sessions.write", "models"])
    config = msgspec.structs.replace(config_with(key), web=web_config().web)
    async with running(config, providers={"echo": EchoProvider()}) as server, visit(server.web_url) as person:
        tab = await person.tab("#/usage")
        field = tab.page.get_by_role("textbox", name="API key")
        await field.fill(key.secret)
        await field.press("Enter")
        await expect(tab.page.get_by_role("heading", name="Not with this key")).to_be_visible()
