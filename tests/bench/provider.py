"""The upstream as a provider: the least that any provider over HTTP must do. The floor uses the same code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import aiohttp
import msgspec

from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent
from mcp_server.messages import Capabilities, Message, Model, Usage, UsageSource

NAMES: Final = ("unary", "burst", "paced", "late")


class _Said(msgspec.Struct):
    content: str = ""


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
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
                said = _DECODE(await response.read()).choices[0].message
                yield [said.content] if said is not None else []
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


class UpstreamProvider:
    """The same as a :class:`mcp_server.interfaces.Provider`."""

    def __init__(self, port: int) -> None:
        self._upstream = Upstream(port)

    async def models(self) -> Sequence[Model]:
        """One model for each way to answer."""
        can = Capabilities(chat=True)
        return [Model(name=name, capabilities=can, context_window=128_000) for name in NAMES]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Ask the upstream."""
        tokens = 0
        async for group in self._upstream.ask(request.model, [_wire(message) for message in request.messages]):
            for token in group:
                yield token
            tokens += len(group)
        yield Finish(usage=Usage(input_tokens=20, output_tokens=tokens, source=UsageSource.REPORTED))

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()


def _wire(message: Message) -> dict[str, str]:
    return {"role": message.role.value, "content": message.text}
