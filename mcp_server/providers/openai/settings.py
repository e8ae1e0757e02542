"""The settings of the provider ``openai``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal
from urllib.parse import quote, urlsplit

from msgspec import Meta

from mcp_server.entry_points import load_object
from mcp_server.plugin_settings import Settings
from mcp_server.providers.http.settings import HEADER_TEXT, BaseURL, HTTPSettings
from mcp_server.values.pattern import matches

if TYPE_CHECKING:
    from mcp_server.interfaces import Provider

NEWER_LIMIT: Final = ("api.openai.com", "openai.azure.com")
"""The hosts, or ends of hosts, that know the limit of output by its newer name."""

KEY_VARIABLES: Final = {
    "api.openai.com": "OPENAI_API_KEY",
    "openai.azure.com": "AZURE_OPENAI_API_KEY",
    "openrouter.ai": "OPENROUTER_API_KEY",
    "generativelanguage.googleapis.com": "GEMINI_API_KEY",
    "api.anthropic.com": "ANTHROPIC_API_KEY",
    "api.mistral.ai": "MISTRAL_API_KEY",
    "api.deepseek.com": "DEEPSEEK_API_KEY",
    "api.groq.com": "GROQ_API_KEY",
    "api.x.ai": "XAI_API_KEY",
    "api.together.xyz": "TOGETHER_API_KEY",
    "api.fireworks.ai": "FIREWORKS_API_KEY",
    "api.cerebras.ai": "CEREBRAS_API_KEY",
    "router.huggingface.co": "HF_TOKEN",
}
"""The usual variables of keys, by host, or by the end of a host."""

SamplingParameter = Literal[
    "temperature", "top_p", "max_output_tokens", "stop", "seed", "frequency_penalty", "presence_penalty", "logprobs"
]
SamplingParameters = Annotated[
    tuple[SamplingParameter, ...],
    Meta(
        extra={
            "allowed": "an array of temperature, top_p, max_output_tokens, stop, seed, frequency_penalty, "
            "presence_penalty and logprobs"
        }
    ),
]
RemoteModelName = Annotated[
    str,
    Meta(pattern=r"^[^\s/]\S{0,255}$", extra={"allowed": "a name without spaces, or a pattern with * for any text"}),
]
HeaderValue = Annotated[str, Meta(pattern="^[!-~]{0,256}$", extra={"allowed": HEADER_TEXT})]


class OpenAIModel(Settings):
    """One model, or all models that a pattern such as ``gpt-5*`` matches. The longest pattern that matches applies."""

    capabilities: (
        Annotated[
            tuple[Literal["chat", "completion", "embedding", "tools", "images", "json_schema"], ...],
            Meta(extra={"allowed": "an array of chat, completion, embedding, tools, images and json_schema"}),
        ]
        | None
    ) = None
    """What the model can do. Not set: everything is tried, and the server refuses what the model cannot do."""
    context_window: Annotated[int, Meta(ge=128, le=100_000_000)] | None = None
    """The most tokens of prompt and answer together. Not set: unknown, and no history is cut to fit."""
    max_batch: Annotated[int, Meta(ge=1, le=2048)] | None = None
    """The most texts of one embedding request. Not set: 2048."""
    embedding_dimensions: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """The length of the model's vectors. Not set: unknown."""
    prefill: Literal["none", "plain", "prefix", "prefix_echoed", "continue"] = "none"
    """How a request asks the model to continue an answer that has begun. ``none``: it cannot. ``plain``: the last
    message is the beginning (llama.cpp). ``prefix``: that message says ``prefix: true`` (DeepSeek). ``prefix_echoed``:
    the same, and the answer repeats the beginning (Mistral). ``continue``: ``continue_final_message: true`` (vLLM,
    SGLang)."""
    refuse: SamplingParameters = ()
    """Sampling parameters that the model does not support. A call that sets one fails with UNSUPPORTED_BY_MODEL."""
    leave_out: SamplingParameters = ()
    """Sampling parameters that the model does not support and that are left out of the request."""


class OpenAISettings(HTTPSettings, kw_only=True):
    """OpenAI, Azure, and every other server with the same protocol."""

    extra: ClassVar[str] = "openai"
    libraries: ClassVar[tuple[str, ...]] = ("aiohttp",)

    base_url: BaseURL = "https://api.openai.com/v1"
    """The address before ``/chat/completions``. With ``api_version`` the address of the Azure resource,
    ``https://NAME.openai.azure.com``."""
    api_version: Annotated[str, Meta(pattern="^[A-Za-z0-9.-]{0,64}$", extra={"allowed": "a version, or empty"})] = ""
    """Azure's ``api-version``: models are names of deployments, and the key is sent as ``api-key``. Empty for OpenAI,
    for Azure's newer ``/openai/v1`` addresses, and for all other servers."""
    organization: HeaderValue = ""
    """The organization to bill, if the key belongs to several."""
    project: HeaderValue = ""
    """The project to bill."""
    models: Mapping[RemoteModelName, OpenAIModel] = {}
    """The server's models, by name or pattern. The first is the default model if ``models.default`` is not set."""
    other_models: bool = True
    """Whether calls may name models that ``models`` does not list."""
    output_limit: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The server's name for the output limit of a chat. Not set: ``max_completion_tokens`` for OpenAI and Azure,
    ``max_tokens`` for others."""
    stream_usage: bool = True
    """Whether the server supports ``stream_options``. Without them, most servers do not report token counts."""
    base64_embeddings: bool = True
    """Whether the server supports ``encoding_format``. It makes vectors a third as large."""
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    """The field in which the reasoning of an earlier answer is sent back. Not set: it is not sent."""

    def key_variable(self) -> str:
        """That of the host of ``base_url``: a key is never sent to another service than its own."""
        if self.has_key():
            return ""
        return next((name for host, name in KEY_VARIABLES.items() if self._is_at(host)), "")

    def build(self, name: str) -> Provider:
        """Make the provider."""
        # By its name: the provider imports this table, and its libraries are imported only where it is used.
        provider: Provider = load_object("mcp_server.providers.openai.provider:OpenAIProvider")(self, name=name)
        return provider

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """There is a model to ask for."""
        yield from super().problems()
        if not self.models and not self.other_models:
            yield ("models",), "found an empty table, expected at least one model"

    def model_names(self) -> list[str]:
        """Those without a pattern."""
        return [name for name in self.models if "*" not in name]

    def any_model(self) -> bool:
        """As configured."""
        return self.other_models

    def accepts(self, model: str) -> bool:
        """Whether the table lists the model, has a pattern that matches it, or allows others."""
        return self.model(model) is not None

    def model(self, name: str) -> OpenAIModel | None:
        """What is configured for a model; ``None`` if it may not be asked for."""
        if self.api_version and not _DEPLOYMENT.fullmatch(name):
            return None  # it would lead to another path
        found = self.models.get(name)
        if found is None:
            matching = [pattern for pattern in self.models if matches(pattern, name)]
            if matching:
                found = self.models[max(matching, key=len)]
            elif self.other_models:
                found = _UNKNOWN
        return found

    def url(self, path: str, model: str) -> str:
        """The address of ``path`` for a model."""
        base = self.base_url.rstrip("/")
        if not self.api_version:
            return base + path
        return f"{base}/openai/deployments/{quote(model, safe='')}{path}?api-version={quote(self.api_version)}"

    @property
    def limit_field(self) -> str:
        """The name of the output limit of a chat."""
        newer = any(map(self._is_at, NEWER_LIMIT))
        return self.output_limit or ("max_completion_tokens" if newer else "max_tokens")

    def _is_at(self, known: str) -> bool:
        """Whether the server is that host, or within that domain."""
        host = urlsplit(self.base_url).hostname or ""
        return host == known or host.endswith(f".{known}")


_DEPLOYMENT: Final = re.compile(r"(?!\.+$)[\w.-]{1,128}", re.ASCII)
"""The name of a deployment of Azure, which is a segment of the path."""
_UNKNOWN: Final = OpenAIModel()
