"""What the provider ``openai`` makes of every fault of its server, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from mcp_server.errors import MCPError, ProviderTimeout, ProviderUnavailable
from mcp_server.interfaces import EmbedRequest, Finish, GenerateRequest, ProviderEvent
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAISettings
from mcp_server.settings import Secret
from mcp_server.values import Message, Role, Text, UsageSource
from tests.models.fates import FATES
from tests.upstream.faults import (
    AFTER_OUTPUT,
    BEFORE_OUTPUT,
    CUT_AFTER,
    FAULTS,
    FINAL,
    SILENT,
    STALLED,
    SUCCESSES,
    WORDS,
)
from tests.upstream.replies import Body, End, Head, Reply, Steps, in_turn
from tests.upstream.server import Upstream
from tests.upstream.tls import Authority

REQUEST = GenerateRequest(model="m", messages=(Message(role=Role.USER, parts=(Text(text="go on"),)),))
TEXTS = EmbedRequest(model="m", inputs=("one", "two"))
LOUD = [name for name in FAULTS if name not in SILENT and name not in STALLED]
"""The faults that a provider notices by itself; for silence it is stopped."""
BROKEN = ["header bomb", "reset before headers", "closed before headers", "garbage instead of HTTP", "stream cut"]
BROKEN += ["stream closed", "stream that ends with its connection", "enormous line"]
"""Those after which a connection cannot be used again."""
SECONDS = 20


@asynccontextmanager
async def asking(
    url: str, *, connect_timeout: float = 10, ca_file: Path | None = None
) -> AsyncIterator[OpenAIProvider]:
    """A provider for at most so long; then it is closed."""
    settings = OpenAISettings(base_url=url, api_key=Secret("sk-test"), connect_timeout=connect_timeout, ca_file=ca_file)
    provider = OpenAIProvider(settings, name="remote")
    try:
        async with asyncio.timeout(SECONDS):
            yield provider
    finally:
        await provider.close()


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """No task lives longer than the provider."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=1)  # a connection's end reaches the upstream a moment later
    assert not [task for task in left if not task.done()]


async def read(provider: OpenAIProvider, into: list[ProviderEvent]) -> None:
    """One answer to its end."""
    async with aclosing(provider.generate(REQUEST)) as events:  # type: ignore[type-var]  # it is a generator
        async for event in events:
            into.append(event)  # noqa: PERF401  # what came before an error counts


def text_of(events: list[ProviderEvent]) -> str:
    """The text that came."""
    return "".join(event for event in events if isinstance(event, str))


@pytest.mark.parametrize("name", LOUD)
async def test_a_fault_is_an_error_of_its_kind(name: str) -> None:
    """What came before it is passed on; nothing is asked twice, and the connection is not used again."""
    async with Upstream(in_turn(FAULTS[name])) as upstream, asking(upstream.url) as provider:
        events: list[ProviderEvent] = []
        with pytest.raises(MCPError) as raised:
            await read(provider, events)
        assert raised.value.reason == FATES[name].reason
        assert "sk-test" not in f"{raised.value} {raised.value.metadata}"
        assert not any(isinstance(event, Finish) for event in events)
        if name in AFTER_OUTPUT:
            # A connection that is reset takes with it what was not read.
            expected = "".join(WORDS if name == "no finish reason" else WORDS[:CUT_AFTER])
            assert expected.startswith(text_of(events)) if name == "stream cut" else text_of(events) == expected
        await upstream.idle()
        assert len(upstream.calls) == 1
        if name in BROKEN:
            await upstream.deserted()


@pytest.mark.parametrize("name", [*SILENT, *STALLED])
async def test_silence_ends_when_the_reader_does(name: str) -> None:
    """Whoever stops waiting is let go at once, and the server sees it leave."""
    async with Upstream(in_turn(FAULTS[name])) as upstream, asking(upstream.url) as provider:
        events = aiter(provider.generate(REQUEST))
        received = ""
        while name in STALLED and received != "".join(WORDS[:CUT_AFTER]):
            received += str(await anext(events))
        reading = asyncio.ensure_future(anext(events))
        call = await upstream.called()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await call.ended.wait()
        assert call.left is not None
        await upstream.deserted()


@pytest.mark.parametrize("name", SUCCESSES)
async def test_an_odd_answer_is_whole(name: str) -> None:
    """A finish reason and a clean end make it so."""
    async with Upstream(in_turn(SUCCESSES[name])) as upstream, asking(upstream.url) as provider:
        events: list[ProviderEvent] = []
        await read(provider, events)
        assert text_of(events) == "".join(WORDS)
        finish = events[-1]
        assert isinstance(finish, Finish)
        reported = upstream.calls[0].reported
        if reported is None:
            assert finish.usage is None
        else:
            assert finish.usage is not None
            assert finish.usage.source is UsageSource.REPORTED
            assert (finish.usage.input_tokens, finish.usage.output_tokens) == (
                reported["prompt_tokens"],
                reported["completion_tokens"],
            )


async def test_leaving_early_stops_the_server() -> None:
    """Closing the answer is enough."""
    endless = SUCCESSES["slow trickle"]
    async with Upstream(in_turn(endless)) as upstream, asking(upstream.url) as provider:
        async with aclosing(provider.generate(REQUEST)) as events:  # type: ignore[type-var]  # it is a generator
            await anext(events)
        await upstream.idle()
        assert upstream.calls[0].left is not None
        await upstream.deserted()


@pytest.mark.parametrize("name", [*BEFORE_OUTPUT, *FINAL])
async def test_embeddings_fail_as_answers_do(name: str) -> None:
    """With the same errors."""
    async with Upstream(in_turn(FAULTS[name])) as upstream, asking(upstream.url) as provider:
        with pytest.raises(MCPError) as raised:
            await provider.embed(TEXTS)
        assert raised.value.reason == FATES[name].reason
        await upstream.idle()
        assert len(upstream.calls) == 1


def json_page(text: str) -> Reply:
    """A good status, and that."""
    return Steps((Head(content_type="application/json"), Body(text.encode()), End()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        '{"data": []}',
        '{"data": [{"index": 0, "embedding": [1.0]}]}',
        '{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]}',
        '{"data": [{"index": 0, "embedding": "#"}, {"index": 1, "embedding": "#"}]}',
        '{"data": [{"index": 0, "embedding": ["a"]}, {"index": 1, "embedding": ["b"]}]}',
        '{"data": [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]}',
    ],
)
async def test_what_are_no_vectors_is_no_success(text: str) -> None:
    """One vector for each text, all of one length, or an error."""
    async with Upstream(in_turn(json_page(text))) as upstream, asking(upstream.url) as provider:
        with pytest.raises(ProviderUnavailable):
            await provider.embed(TEXTS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        '{"choices": []}',
        '{"choices": [{"message": {"content": "half"}}]}',
        '{"choices": [{"message": {"content": "half"}, "finish_reason": "error"}]}',
        '{"error": {"message": "out of memory"}}',
    ],
)
async def test_a_whole_answer_that_is_none_is_no_success(text: str) -> None:
    """The same for servers that cannot stream."""
    async with Upstream(in_turn(json_page(text))) as upstream, asking(upstream.url) as provider:
        events: list[ProviderEvent] = []
        with pytest.raises(MCPError) as raised:
            await read(provider, events)
        assert raised.value.reason in {"PROVIDER_STREAM_CUT", "PROVIDER_UNAVAILABLE"}


# -- TLS and addresses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expired", [False, True])
async def test_a_certificate_that_nobody_vouches_for(expired: bool) -> None:
    """It is refused before a key or a prompt has been sent."""
    async with Upstream(tls=Authority().port(expired=expired)) as upstream, asking(upstream.url) as provider:
        with pytest.raises(ProviderUnavailable):
            await read(provider, [])
        assert not upstream.calls
        await upstream.deserted()


async def test_a_certificate_of_an_authority_that_is_configured(tmp_path: Path) -> None:
    """It is taken; an expired one of the same authority is not."""
    authority = Authority()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem)
    async with Upstream(tls=authority.port()) as upstream, asking(upstream.url, ca_file=ca_file) as provider:
        events: list[ProviderEvent] = []
        await read(provider, events)
        assert isinstance(events[-1], Finish)
    async with (
        Upstream(tls=authority.port(expired=True)) as upstream,
        asking(upstream.url, ca_file=ca_file) as provider,
    ):
        with pytest.raises(ProviderUnavailable):
            await read(provider, [])
        assert not upstream.calls


@pytest.mark.parametrize("secure", [False, True])
async def test_plain_http_on_a_tls_port_and_the_other_way_round(secure: bool) -> None:
    """Neither hangs."""
    async with Upstream(tls=Authority().port() if secure else None) as upstream:
        scheme, other = ("https", "http") if secure else ("http", "https")
        async with asking(upstream.url.replace(scheme, other, 1)) as provider:
            with pytest.raises(ProviderUnavailable):
                await read(provider, [])
        assert not upstream.calls


async def test_a_port_where_nobody_listens() -> None:
    """It is out of order, at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with asking(f"http://127.0.0.1:{taken.getsockname()[1]}/v1") as provider:
            with pytest.raises(ProviderUnavailable):
                await read(provider, [])


async def test_a_name_that_nobody_has() -> None:
    """Reserved names never resolve."""
    async with asking("http://nobody.invalid/v1") as provider:
        with pytest.raises(ProviderUnavailable):
            await read(provider, [])


async def test_a_tls_port_that_says_nothing() -> None:
    """A connection that is not made in its time is a timeout."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asking(f"https://127.0.0.1:{port}/v1", connect_timeout=0.1) as provider:
        with pytest.raises(ProviderTimeout):
            await read(provider, [])
    for writer in held:
        writer.close()
    server.close()
