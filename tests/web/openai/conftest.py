"""A server with OpenAI's API, and OpenAI's own client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import openai
import pytest

from tests.web import apis

API = apis.API[openai.AsyncOpenAI]
"""A server, and its clients."""
StartAPI = Callable[..., Awaitable[API]]


@pytest.fixture
async def start_api() -> AsyncIterator[StartAPI]:
    """Start a server with these providers, of which the first one's model is the default."""

    def connect(url: str) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0)

    async with apis.starting("/v1", connect) as start:
        yield start
