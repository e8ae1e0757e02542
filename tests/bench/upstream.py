"""A model provider that costs next to nothing: an HTTP server with OpenAI's shape and no delay.

``POST /unary`` answers at once; ``POST /burst`` streams 200 tokens as fast as they go, ``POST /late`` the same after a
time to think, ``POST /paced`` one every 20 ms. ``POST /v1/chat/completions`` does as the model is called, which all but
the floor use; there a unary answer is streamed too if it is asked for so.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Final

from aiohttp import web

TOKENS: Final = 200
PACED_TOKENS: Final = 64
PACE: Final = 0.02
LATE: Final = 0.2
"""Seconds before the first token of ``/late``: enough for many readers to come."""
TOKEN: Final = b'data: {"choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n'
END: Final = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":20,"completion_tokens":200}}\n\ndata: [DONE]\n\n'
)
UNARY: Final = b'{"choices":[{"index":0,"message":{"content":" token"},"finish_reason":"stop"}]}'
BURST: Final = 10
"""Tokens in one write of a burst."""


async def unary(request: web.Request) -> web.StreamResponse:
    """A whole answer."""
    if b'"stream":true' in await request.read():
        return await stream(request, tokens=1, at_once=1, pause=0)
    return web.Response(body=UNARY, content_type="application/json")


async def stream(request: web.Request, *, tokens: int, at_once: int, pause: float) -> web.StreamResponse:
    """Tokens as server-sent events."""
    await request.read()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for number in range(0, tokens, at_once):
        if pause:
            # Against a schedule, so that a late wake-up does not delay all that follow.
            await asyncio.sleep(max(0, begin + number * pause - loop.time()))
        await response.write(TOKEN * at_once)
    await response.write(END)
    return response


async def burst(request: web.Request) -> web.StreamResponse:
    """As fast as they go."""
    return await stream(request, tokens=TOKENS, at_once=BURST, pause=0)


async def late(request: web.Request) -> web.StreamResponse:
    """The same after a while."""
    await asyncio.sleep(LATE)
    return await burst(request)


async def paced(request: web.Request) -> web.StreamResponse:
    """One every 20 ms."""
    return await stream(request, tokens=PACED_TOKENS, at_once=1, pause=PACE)


ANSWERS: Final = {answer.__name__: answer for answer in (unary, burst, late, paced)}


async def chat(request: web.Request) -> web.StreamResponse:
    """As the model is called."""
    return await ANSWERS[json.loads(await request.read())["model"]](request)


async def main() -> None:
    """Serve until standard input ends."""
    application = web.Application()
    for name, answer in ANSWERS.items():
        application.router.add_post(f"/{name}", answer)
    application.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201  # this is how the benchmark learns it
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
