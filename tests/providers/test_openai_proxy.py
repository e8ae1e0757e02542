"""The provider ``openai`` from behind a company's HTTP proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from contextprotocol.v1 import chat_pb2
from mcp_server.errors import ProviderUnavailable
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAISettings
from mcp_server.settings import Secret, load
from tests.conftest import Serve
from tests.providers.asking import chat
from tests.upstream.forward import PASSWORD, ForwardProxy
from tests.upstream.server import Upstream
from tests.upstream.tls import Authority
from tests.wire import collect, deltas, user

SETTINGS = """
server = {{ address = "127.0.0.1:0" }}
store = {{ type = "memory" }}
metrics = {{ address = "" }}

[providers.remote]
type = "openai"
base_url = "{url}"
ca_file = "{ca}"
proxy = {{ file = "{proxy}" }}
models.small = {{}}
"""


async def test_a_server_with_tls_is_asked_through_the_proxy(serve: Serve, tmp_path: Path) -> None:
    """From the settings to the caller, over one tunnel that is used again."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    async with Upstream(tls=authority.port()) as upstream, ForwardProxy() as proxy:
        (tmp_path / "proxy").write_text(proxy.url())
        text = SETTINGS.format(url=upstream.url, ca=tmp_path / "ca.pem", proxy=tmp_path / "proxy")
        (tmp_path / "settings.toml").write_text(text)
        wire = await serve(load(tmp_path / "settings.toml", {}))
        for _ in range(2):
            events = await collect(wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("hello there")])))
            assert deltas(events)
        assert proxy.asked == [f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1"]
        assert len(upstream.calls) == 2


async def ask(upstream: Upstream, proxy: str, ca_file: Path | None = None) -> str:
    """One answer through a proxy."""
    provider = OpenAIProvider(OpenAISettings(base_url=upstream.url, ca_file=ca_file, proxy=Secret(proxy)))
    try:
        events = [event async for event in provider.generate(chat())]
        return "".join([event for event in events if isinstance(event, str)])
    finally:
        await provider.close()


async def test_a_server_without_tls_is_asked_through_the_proxy() -> None:
    """The proxy is sent the whole address."""
    async with Upstream() as upstream, ForwardProxy() as proxy:
        assert await ask(upstream, proxy.url())
        assert proxy.asked == [f"POST {upstream.url}/chat/completions HTTP/1.1"]


@pytest.mark.parametrize("tls", [False, True])
async def test_a_proxy_that_refuses_makes_the_provider_unavailable(tls: bool, tmp_path: Path) -> None:
    """The error says with what status, and no password."""
    authority = Authority()
    async with Upstream(tls=authority.port() if tls else None) as upstream, ForwardProxy() as proxy:
        trust = tmp_path / "ca.pem"
        trust.write_bytes(authority.pem)
        with pytest.raises(ProviderUnavailable, match="407") as raised:
            await ask(upstream, proxy.url("wrong-password"), trust)
        assert "wrong-password" not in str(raised.value) + repr(raised.value.metadata)
        assert upstream.calls == []


async def test_a_proxy_that_is_away_makes_the_provider_unavailable() -> None:
    """The error tells it from a provider that is away."""
    async with Upstream() as upstream:
        async with ForwardProxy() as proxy:
            away = proxy.url()
        with pytest.raises(ProviderUnavailable, match="its proxy cannot") as raised:
            await ask(upstream, away)
        assert PASSWORD not in str(raised.value)
