"""What a streamed token costs over HTTP, beside gRPC."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import aiohttp
import msgspec
from google.protobuf import json_format

from tests.bench.load import TEXT, chat_request
from tests.bench.rows import compared
from tests.bench.run import Run
from tests.bench.upstream import PACED_TOKENS, TOKENS
from tests.web.connect.client import envelope

STREAMS: Final = {"burst": 16, "paced": 64}
"""How many at once, of each model."""
SENT: Final = {"burst": TOKENS, "paced": PACED_TOKENS}
"""The tokens of each stream."""
BUDGET: Final = 1.5
MICRO: Final = 1e6


class Way(NamedTuple):
    """How to ask for a stream over HTTP."""

    title: str
    path: str
    content_type: str
    body: Callable[[str], bytes]
    """The request, by the name of a model of the upstream."""
    keyed: bool = False
    """Whether the id that each request has of its own is a header."""

    def headers(self) -> dict[str, str]:
        """The headers of a request."""
        key = {"idempotency-key": uuid.uuid4().hex} if self.keyed else {}
        return {"content-type": self.content_type, **key}


def _protobuf(model: str) -> bytes:
    return envelope(chat_request(model).SerializeToString())


def _json(model: str) -> bytes:
    return envelope(json_format.MessageToJson(chat_request(model)).encode())


def _messages(model: str) -> bytes:
    """What OpenAI and Anthropic understand alike."""
    message = {"role": "user", "content": TEXT}
    return msgspec.json.encode(
        {"model": f"upstream/{model}", "messages": [message], "max_tokens": 1000, "stream": True}
    )


_CHAT: Final = "/contextprotocol.v1.ChatService/StreamChat"
WAYS: Final = (
    Way("Connect in JSON", _CHAT, "application/connect+json", _json),
    Way("Connect in protobuf", _CHAT, "application/connect+proto", _protobuf),
    Way("gRPC-Web", _CHAT, "application/grpc-web+proto", _protobuf),
    Way("OpenAI's API", "/v1/chat/completions", "application/json", _messages, keyed=True),
    Way("Anthropic's API", "/v1/messages", "application/json", _messages, keyed=True),
)


async def web(run: Run) -> None:
    """The same streams by each way, in turns on the same server."""
    async with run.system(web=True) as (process, load), aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as http:
        base = f"http://127.0.0.1:{process.web_port}"

        async def over_grpc(model: str) -> None:
            await load.stream(model)

        def over(way: Way) -> Callable[[str], Awaitable[None]]:
            async def stream(model: str) -> None:
                async with http.post(base + way.path, data=way.body(model), headers=way.headers()) as response:
                    answer = await response.read()
                if response.status != 200 or answer.count(b" token") < SENT[model]:
                    raise RuntimeError(f"{way.title} failed: {response.status} {answer[:500]!r}")

            return stream

        ways = {"": over_grpc, **{way.title: over(way) for way in WAYS}}
        for model, rounds in (("paced", run.size.paced_rounds), ("burst", run.size.rounds)):
            spent: dict[str, float] = defaultdict(float)
            for _ in range(max(rounds // 2, 1)):
                for title, call in ways.items():
                    before = process.cpu()
                    await load.each(call, [model] * STREAMS[model] * 2, at_once=STREAMS[model])
                    spent[title] += process.cpu() - before
            tokens = max(rounds // 2, 1) * STREAMS[model] * 2 * SENT[model]
            for way in WAYS:
                what = f"streamed token over {way.title}, {model}; the floor is the system over gRPC"
                run.rows.append(compared(what, spent[""] / tokens * MICRO, spent[way.title] / tokens * MICRO, BUDGET))
