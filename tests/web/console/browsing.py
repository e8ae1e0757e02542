"""A person at the console."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urljoin

from playwright.async_api import BrowserContext, Locator, Page, Request, expect

LONG: Final = ("WatchSession", "StreamChat", "StreamTurn")
"""The methods whose calls can last."""


class Person:
    """Opens the console in tabs of one browser, and keeps what goes wrong there.

    Attributes:
        errors: exceptions of scripts, and what the policy of the page forbade.
        requests: the addresses of all requests.
        open: the requests that last now.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.open: list[Request] = []
        context.on("request", self._begun)
        context.on("requestfinished", self._ended)
        context.on("requestfailed", self._ended)

    async def tab(self, fragment: str = "") -> Tab:
        """Open the console in a new tab."""
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)
        await page.goto(urljoin(self.url, fragment))
        return Tab(page)

    def _said(self, message: Any) -> None:
        if "Content Security Policy" in message.text or "Trusted" in message.text:
            self.errors.append(message.text)

    def _begun(self, request: Request) -> None:
        self.requests.append(request.url)
        if request.url.endswith(LONG):
            self.open.append(request)

    def _ended(self, request: Request) -> None:
        if request in self.open:
            self.open.remove(request)


class Tab:
    """A tab with the console."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.field = page.get_by_role("textbox", name="Message", exact=True)
        self.send = page.get_by_role("button", name="Send", exact=True)
        self.stop = page.get_by_role("button", name="Stop", exact=True)
        self.banner = page.locator(".banner")
        self.sessions = page.locator(".sessions a")

    def button(self, name: str) -> Locator:
        """The last button of that name."""
        return self.page.get_by_role("button", name=name).last

    async def say(self, message: str) -> None:
        """Type something and send it."""
        await self.field.fill(message)
        await self.field.press("Enter")

    async def shows(self, *texts: str) -> None:
        """Wait until these are the messages."""
        await expect(self.page.locator("article .content")).to_have_text(list(texts), timeout=10_000)

    async def rests(self) -> None:
        """Wait until no answer is on its way."""
        await expect(self.stop).to_be_hidden()
        await expect(self.page.locator(".live")).to_have_count(0)

    @property
    def fragment(self) -> str:
        """The part of the address that names the session."""
        return f"#{self.page.url.partition('#')[2]}"
