"""Lists that are fetched in pages."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Self, TypeVar

from mcp_client._aio.calls import AsyncCalls
from mcp_client._core.arguments import argument
from mcp_client.values import Page, Seconds

T = TypeVar("T")


class Listing(AsyncIterator[T]):
    """A list: an iterator over all items, which fetches pages as it is read. Or read it page by page.

    ::

        page = await client.list_sessions(page_size=20, page_token=token).page()
        print(page.items, page.next_page_token)
    """

    def __init__(
        self,
        calls: AsyncCalls,
        name: str,
        request: Any,
        items: Callable[[Any], Iterable[T]],
        *,
        page_token: str,
        timeout: Seconds | None,
    ) -> None:
        with argument("page_token"):
            request.page_token = page_token
        self._calls = calls
        self._name = name
        self._request = request
        self._items = items
        self._timeout = timeout
        self._fetched: deque[T] = deque()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._fetched:
            if self._ended:
                raise StopAsyncIteration
            await self._fetch()
        return self._fetched.popleft()

    async def page(self) -> Page[T]:
        """Fetch the next page: at first the first one, or that of the ``page_token``. After the last, it is empty.

        If single items have been read, it is the rest of their page.
        """
        if not self._fetched and not self._ended:
            await self._fetch()
        items = tuple(self._fetched)
        self._fetched.clear()
        return Page(items=items, next_page_token=self._request.page_token)

    async def aclose(self) -> None:
        """Read no further."""
        self._fetched.clear()
        self._ended = True

    async def _fetch(self) -> None:
        response = await self._calls.unary(self._name, self._request, self._timeout)
        self._fetched.extend(self._items(response))
        self._request.page_token = response.next_page_token
        self._ended = not response.next_page_token
