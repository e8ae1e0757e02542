"""From settings to the provider ``openai``: what the documentation shows, and what is refused."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import grpc
import pytest

from contextprotocol.v1 import chat_pb2
from mcp_server.app import UnifiedMCPServer
from mcp_server.errors import ConfigError
from mcp_server.providers.openai.settings import OpenAISettings
from mcp_server.settings import load, read
from mcp_server.testing import running
from tests.conftest import Serve
from tests.upstream.replies import Answer, in_turn
from tests.upstream.server import Upstream
from tests.upstream.tls import Authority
from tests.wire import Wire, text_of, user

PAGE = Path(__file__).parents[2] / "docs" / "providers" / "openai.md"
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
"""Every configuration that the page shows."""
QUIET = 'server.address = "127.0.0.1:0"\nstore.type = "memory"\nmetrics.address = ""\n'
"""Settings of a server of a test."""
PROVIDER = '[providers.x]\ntype = "openai"\n'


def names(block: str) -> list[str]:
    """The providers of a block."""
    return re.findall(r"^\[providers\.([a-z]+)\]$", block, re.MULTILINE)


def test_ten_servers_are_shown() -> None:
    """At least."""
    assert len({name for block in BLOCKS for name in names(block)}) >= 10


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: "-".join(names(block)))
async def test_what_the_page_shows_is_taken_and_used(block: str, tmp_path: Path) -> None:
    """A server starts with it, and has the models that it names."""
    file = tmp_path / "settings.toml"
    file.write_text(QUIET + block)
    config = load(file, {"TEAM_OPENAI_KEY": "sk-1"})
    (settings,) = config.providers.values()
    assert isinstance(settings, OpenAISettings)
    async with UnifiedMCPServer(config):
        pass


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('base_url = "api.openai.com"', "base_url: found a string (hidden), expected an http:// or https:// address"),
        ('base_url = "https://user:pa55@a.b/v1"', "base_url: found a string (hidden), expected an http"),
        ('base_url = "https://a.b/v1?key=pa55"', "base_url: found a string (hidden), expected an http"),
        ('api_key = "pa55\\n"', "api_key: found a string (hidden), expected a string of printable ASCII characters"),
        ('api_keys = ["pa55", ""]', "api_keys: found an array (hidden), expected an array, each a string"),
        ('api_keys = "pa55"', "api_keys: found a string (hidden), expected an array, each a string"),
        ('api_key = "a"\napi_keys = ["pa55"]', "api_keys: cannot be combined with api_key; set one of the two"),
        ('headers = { "X Y" = "pa55" }', 'invalid name "X Y", expected a header'),
        ('models.m.prefill = "prefixed"', 'models.m.prefill: found "prefixed", expected "continue" or "none"'),
        ('models.m.refuse = ["top_k"]', "models.m.refuse: found an array, expected an array of temperature, top_p"),
        ('models.m.capabilities = ["prefill"]', "models.m.capabilities: found an array, expected an array of chat"),
        ("other_models = false", "models: found an empty table, expected at least one model"),
        ('output_limit = "max"', 'output_limit: found "max", expected "max_completion_tokens" or "max_tokens"'),
    ],
)
def test_impossible_settings_are_reported_without_secrets(text: str, problem: str, tmp_path: Path) -> None:
    """The key, what was found and what is allowed, and nothing that may be a secret."""
    file = tmp_path / "settings.toml"
    file.write_text(f"{PROVIDER}{text}\n")
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    assert problem in str(raised.value)
    assert "pa55" not in str(raised.value)


def test_a_pattern_answers_to_the_names_that_it_fits(tmp_path: Path) -> None:
    """And is no model itself: the default is the first that has a name of its own."""
    file = tmp_path / "settings.toml"
    file.write_text(
        f'{PROVIDER}other_models = false\nmodels."gpt-*" = {{}}\nmodels.small = {{}}\n'
        '[models.aliases]\ngood = "x/gpt-9"\n'
    )
    assert load(file, {}).models.default == "x/small"
    file.write_text(file.read_text().replace("x/gpt-9", "x/claude"))
    with pytest.raises(ConfigError, match="x/claude"):
        load(file, {})


def test_only_the_asterisk_of_a_pattern_stands_for_something_else(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'{PROVIDER}other_models = false\nmodels."gpt-[45]*" = {{}}\n')
    (settings,) = load(file, {}).providers.values()
    assert isinstance(settings, OpenAISettings)
    assert settings.accepts("gpt-[45]-mini")
    assert not settings.accepts("gpt-4-mini")


def test_keys_come_from_the_environment_too(tmp_path: Path) -> None:
    """One or several; neither shows itself."""
    file = tmp_path / "settings.toml"
    file.write_text('[providers.x]\ntype = "openai"\n[providers.y]\ntype = "openai"\n')
    environ = {
        "CONTEXTPROTOCOL_PROVIDERS__X__API_KEY": "sk-pa55",
        "CONTEXTPROTOCOL_PROVIDERS__Y__API_KEYS": '["sk-pa55", "sk-pa56"]',
    }
    loaded = read(file, environ)
    one, several = loaded.config.providers.values()
    assert isinstance(one, OpenAISettings)
    assert isinstance(several, OpenAISettings)
    assert one.api_key is not None
    assert one.api_key.reveal() == "sk-pa55"
    assert [key.reveal() for key in several.api_keys] == ["sk-pa55", "sk-pa56"]
    shown = f"{loaded} {[setting.toml for setting in loaded.settings]}"
    assert "sk-pa5" not in shown


async def test_each_instance_has_its_own_server_and_its_own_connections(tmp_path: Path) -> None:
    """Two of them under two names, with one connection each, which are gone when the server has stopped."""
    async with Upstream() as one, Upstream() as other:
        file = tmp_path / "settings.toml"
        tables = [
            f'[providers.{name}]\ntype = "openai"\nbase_url = "{upstream.url}"\napi_key = "sk-{name}"'
            for name, upstream in {"one": one, "other": other}.items()
        ]
        file.write_text("\n".join([QUIET, *tables]))
        async with running(load(file, {})) as server, grpc.aio.insecure_channel(server.address) as channel:
            wire = Wire(server, channel)
            for _ in range(3):
                for model in ("one/m", "other/m"):
                    await wire.chat.Chat(chat_pb2.ChatRequest(model=model, messages=[user("hi")]))
            assert (one.connections, other.connections, one.open, other.open) == (1, 1, 1, 1)
        await asyncio.gather(one.deserted(), other.deserted())
        assert [{call.key for call in upstream.calls} for upstream in (one, other)] == [{"sk-one"}, {"sk-other"}]


async def test_a_server_of_an_authority_of_one_s_own_is_trusted(serve: Serve, tmp_path: Path) -> None:
    """By configuration."""
    authority = Authority()
    (tmp_path / "authority.pem").write_bytes(authority.pem)
    async with Upstream(in_turn(Answer()), tls=authority.port()) as upstream:
        file = tmp_path / "settings.toml"
        file.write_text(f'{QUIET}{PROVIDER}base_url = "{upstream.url}"\nca_file = "authority.pem"')
        wire = await serve(load(file, {}))
        response = await wire.chat.Chat(chat_pb2.ChatRequest(model="x/m", messages=[user("hi")]))
    assert text_of(response.completed.message) == Answer().text


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_certificates_that_are_none_stop_the_start(content: str | None, tmp_path: Path) -> None:
    """With the key and the file."""
    if content is not None:
        (tmp_path / "authority.pem").write_text(content)
    file = tmp_path / "settings.toml"
    file.write_text(f'{QUIET}{PROVIDER}ca_file = "authority.pem"')
    with pytest.raises(ConfigError, match=r"providers\.x\.ca_file: .*authority\.pem cannot be used"):
        await UnifiedMCPServer(load(file, {})).start()


@pytest.mark.parametrize("name", ["..", ".", "...", "a/b", "..%2f", "gpt\n", "a?b", ""])
def test_a_deployment_of_azure_is_one_segment_of_the_path(name: str) -> None:
    """What would lead elsewhere is no model."""
    settings = OpenAISettings(base_url="https://x.openai.azure.com", api_version="2025-01-01", other_models=True)
    assert settings.model(name) is None
    assert settings.model("gpt-4.1_mini") is not None
