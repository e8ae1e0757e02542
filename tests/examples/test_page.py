"""A page without a library, in a browser: ``examples/web/page.html``."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.async_api import Page, expect

from mcp_server.errors import ProviderRejected
from mcp_server.interfaces import Finish
from mcp_server.settings import Config, load
from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import Gate, ScriptedProvider, running
from tests.browsers import CHROMIUM, chromium
from tests.examples.programs import EXAMPLES, started
from tests.faults.proxy import Proxy

if CHROMIUM is None:
    pytest.skip("this machine lacks chromium", allow_module_level=True)

CONVERSATION = "[...document.querySelectorAll('article')].map(one => [one.className, one.textContent])"


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """Where ``python -m http.server`` serves the page, as its README says."""
    command = (sys.executable, "-u", "-m", "http.server")
    async with started("0", "--bind", "127.0.0.1", "--directory", "web", address="", command=command) as program:
        await program.until(")")
        (port,) = re.findall(r"port (\d+)", program.output)
        yield f"http://127.0.0.1:{port}/page.html"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """The way to the server."""
    async with Proxy("127.0.0.1:1", lambda _: ()) as proxy:
        yield proxy


@pytest.fixture
async def page(site: str, proxy: Proxy) -> AsyncIterator[Page]:
    """A tab that is about to open the page. No script of it may fail."""
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(chromium())
        page = await browser.new_page()
        errors: list[Any] = []
        page.on("pageerror", lambda error: errors.append(error))
        page.set_default_timeout(10_000)
        yield page
        assert errors == []


def config(folder: Path) -> Config:
    """With a store that a restart survives, and HTTP for those who may call by the page's settings."""
    web = load(EXAMPLES / "web" / "page.toml", {}).web
    return msgspec.structs.replace(
        settings(default_model="scripted/scripted"),
        store=SQLiteSettings(path=folder / "sessions.db"),
        web=msgspec.structs.replace(web, address="127.0.0.1:0"),
    )


async def shows(page: Page, *lines: tuple[str, str]) -> None:
    """Wait until the conversation is this."""
    wanted = f"wanted => JSON.stringify({CONVERSATION}) === JSON.stringify(wanted)"
    await page.wait_for_function(wanted, arg=lines, polling=10)


async def ask(page: Page, text: str) -> None:
    field = page.get_by_label("Question")
    await expect(field).to_be_enabled()
    await field.fill(text)
    await field.press("Enter")


async def test_an_answer_survives_the_connection_the_page_and_the_server(
    page: Page, site: str, proxy: Proxy, tmp_path: Path
) -> None:
    """It goes on behind the last token, in a page that is loaded again too, and begins anew with another server."""
    gates = [Gate(), Gate(), Gate()]
    provider = ScriptedProvider(
        ["<b>one</b> ", gates[0], "two ", gates[1], "three ", gates[2]],
        ["Once ", "upon a time", Finish()],
        ["Hello!", Finish()],
    )
    question = ("user", "Tell me a story.")
    async with running(config(tmp_path), providers={"scripted": provider}) as server:
        proxy.switch(server.web_address)
        await page.goto(f"{site}?server=http://{proxy.address}")
        await ask(page, "Tell me a story.")
        await shows(page, question, ("assistant", "<b>one</b> "))
        proxy.cut_all()
        gates[0].open()
        await shows(page, question, ("assistant", "<b>one</b> two "))
        await page.reload()
        await shows(page, question, ("assistant", "<b>one</b> two "))
        gates[1].open()
        await shows(page, question, ("assistant", "<b>one</b> two three "))
        assert len(provider.requests) == 1
    async with running(config(tmp_path), providers={"scripted": provider}) as server:
        proxy.switch(server.web_address)
        await shows(page, question, ("assistant", "Once upon a time"))
        await ask(page, "Hi")
        answered = (question, ("assistant", "Once upon a time"), ("user", "Hi"), ("assistant", "Hello!"))
        await shows(page, *answered)
        await page.reload()
        await shows(page, *answered)
    assert len(provider.requests) == 3


async def test_a_refused_question_is_shown_with_its_reason(page: Page, site: str, proxy: Proxy, tmp_path: Path) -> None:
    """And another one may be asked."""
    provider = ScriptedProvider([ProviderRejected("not this", metadata={"cause": "content"})], ["Hello!", Finish()])
    async with running(config(tmp_path), providers={"scripted": provider}) as server:
        proxy.switch(server.web_address)
        await page.goto(f"{site}?server=http://{proxy.address}")
        await ask(page, "This")
        problem = page.locator(".problem")
        await expect(problem).to_contain_text("not this")
        await ask(page, "Hi")
        await expect(page.locator(".assistant").last).to_have_text("Hello!")


async def test_a_server_that_is_not_there_is_named(page: Page, site: str) -> None:
    """Instead of an empty page."""
    await page.goto(f"{site}?server=http://127.0.0.1:9")
    await expect(page.locator(".problem")).to_contain_text("http://127.0.0.1:9")
