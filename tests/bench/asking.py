"""Asks the upstream in one of three ways, in a process of its own whose CPU time is what is measured.

Each line of standard input names a model and how often it is asked, sixteen calls at once; the answer is the CPU time
that this took, in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import uvloop

from mcp_server.interfaces import GenerateRequest
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAISettings
from mcp_server.settings import Secret
from mcp_server.values import Message, Role, Text
from tests.bench.bare import Upstream
from tests.bench.load import TEXT

AT_ONCE: Final = 16
HISTORY: Final = 20

Ask = Callable[[str], AsyncIterator[object]]


@contextlib.asynccontextmanager
async def bare(port: int) -> AsyncIterator[Ask]:
    """The least: what the floor does."""
    upstream, messages = Upstream(port), _messages()
    yield lambda model: upstream.ask(model, messages)
    await upstream.close()


@contextlib.asynccontextmanager
async def openai(port: int) -> AsyncIterator[Ask]:
    """The provider ``openai``."""
    provider = OpenAIProvider(OpenAISettings(base_url=f"http://127.0.0.1:{port}/v1", api_key=Secret("sk-bench")))
    messages = tuple(
        [Message(role=Role(message["role"]), parts=(Text(text=message["content"]),)) for message in _messages()]
    )
    yield lambda model: provider.generate(GenerateRequest(model=model, messages=messages))
    await provider.close()


@contextlib.asynccontextmanager
async def sdk(port: int) -> AsyncIterator[Ask]:
    """OpenAI's own client, as its documentation shows it."""
    from openai import AsyncOpenAI  # half a second, which the other two need not take

    messages: Any = _messages()
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-bench", max_retries=0) as client:

        async def ask(model: str) -> AsyncIterator[object]:
            if model == "unary":
                yield await client.chat.completions.create(model=model, messages=messages)
                return
            async for chunk in await client.chat.completions.create(
                model=model, messages=messages, stream=True, stream_options={"include_usage": True}
            ):
                yield chunk

        yield ask


WAYS: Final[dict[str, Callable[[int], AbstractAsyncContextManager[Ask]]]] = {
    way.__name__: way for way in (bare, openai, sdk)
}


async def main(way: str, port: int) -> None:
    """Ask until standard input ends."""
    async with WAYS[way](port) as ask:

        async def caller(model: str, times: int) -> None:
            for _ in range(times):
                async for _event in ask(model):
                    pass

        while line := (await asyncio.to_thread(sys.stdin.readline)).split():
            model, times = line[0], int(line[1])
            before = time.process_time()
            await asyncio.gather(*[caller(model, times // AT_ONCE) for _ in range(AT_ONCE)])
            print(time.process_time() - before, flush=True)  # noqa: T201  # this is how the benchmark learns it


def _messages() -> list[dict[str, str]]:
    """A question after a history."""
    roles = [("user", "assistant")[number % 2] for number in range(HISTORY + 1)]
    return [{"role": role, "content": TEXT} for role in roles]


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
