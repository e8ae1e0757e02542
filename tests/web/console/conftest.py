"""A browser, and a server with a console."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from mcp_server.testing import running
from mcp_server.values import Capabilities, Model
from tests.browsers import CHROMIUM, chromium
from tests.client.integrations.examples import Stage
from tests.web.console.browsing import Person
from tests.web.servers import replace, web_config

Visit = Callable[..., AbstractAsyncContextManager[Person]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The machine's own."""
    if CHROMIUM is None:
        pytest.skip("this machine lacks chromium")
    async with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Visit:
    """Somebody with a browser of their own opens the console at an address. No script there may fail."""

    @asynccontextmanager
    async def visiting(url: str, **options: Any) -> AsyncIterator[Person]:
        context = await browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        try:
            person = Person(context, url)
            yield person
            assert person.errors == []
        finally:
            await context.close()

    return visiting


class Theatre(Stage):
    """A stage whose model can call tools."""

    async def models(self) -> Sequence[Model]:
        """The model ``scripted``."""
        return [Model(name="scripted", capabilities=Capabilities(chat=True, tools=True))]


@pytest.fixture
def stage() -> Stage:
    """What the model says."""
    return Theatre()


@pytest_asyncio.fixture(loop_scope="module")
async def url(stage: Stage) -> AsyncIterator[str]:
    """The address of a console, whose server has that model."""
    config = web_config()
    config = replace(config, models=replace(config.models, default="scripted/scripted"))
    async with running(config, providers={"scripted": stage}) as server:
        yield server.web_url


@pytest_asyncio.fixture(loop_scope="module")
async def person(visit: Visit, url: str) -> AsyncIterator[Person]:
    """Somebody at that console."""
    async with visit(url) as person:
        yield person
