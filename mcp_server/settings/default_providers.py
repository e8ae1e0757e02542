"""Which model answers if the settings configure no provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from mcp_server.plugins import built_in
from mcp_server.settings.decoding import DEFAULT, Located, Origin, locate
from mcp_server.settings.tables import DEFAULT_PROVIDERS, Config

OPENAI_BASE_URL: Final = "OPENAI_BASE_URL"
"""Where programs usually look for another address of OpenAI's API."""


class HostedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a service that asks for a key."""

    variable: str
    """The usual environment variable of the key."""
    base_url: str
    """The address of the service."""
    model: str
    """The model that answers unless a caller names another one."""


HOSTED: Final[Mapping[str, HostedModel]] = {
    "openai": HostedModel(variable="OPENAI_API_KEY", base_url="https://api.openai.com/v1", model="gpt-5-mini"),
    "anthropic": HostedModel(
        variable="ANTHROPIC_API_KEY", base_url="https://api.anthropic.com/v1", model="claude-haiku-4-5"
    ),
    "gemini": HostedModel(
        variable="GEMINI_API_KEY",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        model="gemini-2.5-flash",
    ),
    "mistral": HostedModel(
        variable="MISTRAL_API_KEY", base_url="https://api.mistral.ai/v1", model="mistral-small-latest"
    ),
    "deepseek": HostedModel(variable="DEEPSEEK_API_KEY", base_url="https://api.deepseek.com/v1", model="deepseek-chat"),
    "groq": HostedModel(
        variable="GROQ_API_KEY", base_url="https://api.groq.com/openai/v1", model="llama-3.3-70b-versatile"
    ),
    "xai": HostedModel(variable="XAI_API_KEY", base_url="https://api.x.ai/v1", model="grok-4"),
    "openrouter": HostedModel(
        variable="OPENROUTER_API_KEY", base_url="https://openrouter.ai/api/v1", model="openrouter/auto"
    ),
}
"""By the name of the provider. The first one whose variable is set is used."""


def default_providers(environ: Mapping[str, str]) -> tuple[Located, str]:
    """The table ``providers`` of a server that configures none, and the variable of the key that chose it, or empty.

    The model on this machine comes first, if it can be used at once: its libraries are installed, and its file has
    been pulled. Else it is the first of :data:`HOSTED` with a key. Without a key it is the model on this machine
    again, which the start offers to pull.
    """
    name = next((name for name, hosted in HOSTED.items() if environ.get(hosted.variable)), "")
    if not name or _embedded_is_better():
        return locate(DEFAULT_PROVIDERS, DEFAULT), ""
    hosted = HOSTED[name]
    table = {
        "type": Located("openai", DEFAULT),
        "base_url": Located(hosted.base_url, DEFAULT),
        "api_key": locate({"env": hosted.variable}, Origin(name=hosted.variable)),
        "models": locate({hosted.model: {}}, DEFAULT),
    }
    if name == "openai" and (address := environ.get(OPENAI_BASE_URL)):
        table["base_url"] = Located(address, Origin(name=OPENAI_BASE_URL))
    return Located({name: Located(table, DEFAULT)}, DEFAULT), hosted.variable


def _embedded_is_better() -> bool:
    """Whether the model on this machine can be used at once, or could be and one of a service could not."""
    (embedded,) = Config().providers.values()
    if embedded.missing_libraries():
        return False
    pulled = all(file.path.is_file() for file in embedded.model_files().values())
    return pulled or bool(built_in("providers", "openai").missing_libraries())
