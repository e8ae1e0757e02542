"""Parrot, the service that docs/write-a-provider.md makes up: a real HTTP server that repeats what it hears."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

KEY = "parrot-key-of-the-tests"


class Parrot:
    """The state of the service.

    Attributes:
        url: its address.
        requests: the bodies that it was sent, by path.
        refusals: the responses to the next requests, instead of answers: status, headers and text.
        silent: whether answers stop after the first piece.
        cut: whether they break off there.
        left: set when a caller has left in the middle of an answer.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.refusals: list[tuple[int, dict[str, str], str]] = []
        self.silent = self.cut = False
        self.left = asyncio.Event()

    @property
    def last(self) -> dict[str, Any]:
        """The body of the last request."""
        return self.requests[-1][1]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return web.Response(status=401)
        body = await request.json()
        self.requests.append((request.path, body))
        if self.refusals:
            status, headers, text = self.refusals.pop(0)
            return web.Response(status=status, headers=headers, text=text)
        if request.path == "/v1/vectors":
            vectors = [[float(len(text)), float(text.count("e")), float(text.count("a"))] for text in body["texts"]]
            return web.json_response({"vectors": vectors, "tokens": _words(body["texts"])})
        prompt = _words([message["text"] for message in body["messages"]])
        if request.path == "/v1/count":
            return web.json_response({"tokens": prompt})
        return await self._reply(request, body, prompt)

    async def _reply(self, request: web.Request, body: dict[str, Any], prompt: int) -> web.StreamResponse:
        for message in body["messages"]:
            if "thought" in message and base64.b64decode(message["seal"]) != message["thought"].encode()[::-1]:
                return web.Response(status=400, text="the seal is broken")
        response = web.StreamResponse()
        await response.prepare(request)
        text = body["messages"][-1]["text"]
        words = [word if not index else f" {word}" for index, word in enumerate(text.split())]
        thought = f"They said {len(words)} words."
        lines: list[dict[str, Any]] = [
            {"thought": thought},
            {"seal": base64.b64encode(thought.encode()[::-1]).decode()},
        ]
        end = "stop"
        if "results" in body["messages"][-1]:
            words = [body["messages"][-1]["results"][0]["text"]]
        if body.get("must_call"):
            lines.append({"call": {"id": "c1", "name": body["tools"][0]["name"], "arguments": '{"city": "Paris"}'}})
            words, end = [], "call"
        most = body.get("max_tokens", len(words))
        if most < len(words):
            words, end = words[:most], "length"
        lines += [{"text": word} for word in words]
        lines.append({"end": end, "usage": {"prompt": prompt, "reply": max(len(words), 1)}})
        try:
            for line in lines:
                await response.write(msgspec.json.encode(line) + b"\n")
                if "text" in line and self.silent:
                    await asyncio.Event().wait()
                if "text" in line and self.cut:
                    assert request.transport is not None
                    request.transport.close()
                    return response
            await response.write_eof()
        except asyncio.CancelledError:
            self.left.set()
            raise
        except ConnectionError:
            self.left.set()
        return response


def _words(texts: list[str]) -> int:
    return sum(len(text.split()) for text in texts)


@asynccontextmanager
async def served() -> AsyncIterator[Parrot]:
    """The service, on a free port."""
    parrot = Parrot()
    application = web.Application()
    application.router.add_post("/v1/{method}", parrot.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    parrot.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield parrot
    finally:
        await runner.cleanup()
