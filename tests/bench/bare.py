"""The least that any provider over HTTP must do: what the floor asks the upstream with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import aiohttp
import msgspec

MODELS: Final = ("unary", "burst", "paced", "late")
"""What the upstream can be asked for."""


class _Message(msgspec.Struct):
    content: str = ""


class _Choice(msgspec.Struct):
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_DECODE = msgspec.json.Decoder(_Answer).decode
_ENCODE = msgspec.json.Encoder().encode


class Upstream:
    """The HTTP client.

    Args:
        port: the upstream's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/"
        self._http: aiohttp.ClientSession | None = None

    async def ask(self, name: str, messages: Sequence[object]) -> AsyncIterator[list[str]]:
        """The answer in the groups of tokens that arrive together."""
        if self._http is None:
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        body = _ENCODE({"model": name, "stream": name != "unary", "messages": messages})
        async with self._http.post(self._base + name, data=body) as response:
            if name == "unary":
                message = _DECODE(await response.read()).choices[0].message
                yield [message.content] if message is not None else []
                return
            rest = b""
            async for data in response.content.iter_any():
                *lines, rest = (rest + data).split(b"\n\n")
                yield [
                    choice.delta.content
                    for line in lines
                    if line != b"data: [DONE]"
                    for choice in _DECODE(line[6:]).choices
                    if choice.delta is not None and choice.delta.content
                ]

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
