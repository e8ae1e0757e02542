"""What is configured of one instance of the provider, and of its models."""

from __future__ import annotations

import enum
import fnmatch
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from mcp_server.values import Capabilities, Model, Struct

OPENAI_ADDRESS: Final = "https://api.openai.com/v1"
"""Where OpenAI itself listens."""
NEWER_LIMIT: Final = ("api.openai.com", "openai.azure.com")
"""The hosts, or ends of hosts, that know the limit of output by its newer name."""


class Prefill(enum.StrEnum):
    """How a server is told to go on from the beginning of an answer, the last message of a chat."""

    NONE = "none"
    """It cannot."""
    PLAIN = "plain"
    """It does so by itself: llama.cpp, and models of Anthropic behind OpenRouter."""
    PREFIX = "prefix"
    """The message says ``prefix: true``: DeepSeek."""
    PREFIX_ECHOED = "prefix_echoed"
    """The same, and the answer begins with the message once more: Mistral."""
    CONTINUE = "continue"
    """The request says ``continue_final_message: true`` and ``add_generation_prompt: false``: vLLM and SGLang."""


class ModelOptions(Struct):
    """What is known of one model, or of all whose name fits a pattern."""

    capabilities: Capabilities = Capabilities(
        chat=True, completion=True, embedding=True, tools=True, images=True, json_schema=True
    )
    """What it can do; ``prefill`` is said by the field of that name."""
    context_window: int = 0
    """The most tokens of prompt and answer; 0: unknown."""
    max_batch: int = 0
    """The most inputs of one embedding request; 0: unknown."""
    embedding_dimensions: int = 0
    """The length of its vectors; 0: unknown."""
    prefill: Prefill = Prefill.NONE
    """How it goes on from the beginning of an answer."""
    refuse: tuple[str, ...] = ()
    """Knobs, by their names in :class:`~mcp_server.values.GenerationConfig`, whose use is refused."""
    leave_out: tuple[str, ...] = ()
    """Knobs that are not passed on."""

    def model(self, name: str) -> Model:
        """The model of that name."""
        can = self.capabilities
        if self.prefill is not Prefill.NONE:
            fields = {field: getattr(can, field) for field in can.__struct_fields__}
            can = Capabilities(**{**fields, "prefill": True})
        return Model(
            name=name,
            capabilities=can,
            context_window=self.context_window,
            max_batch=self.max_batch,
            embedding_dimensions=self.embedding_dimensions,
        )


class Options(Struct):
    """One server, and how it likes to be spoken to. Holds no secrets."""

    name: str = "openai"
    """What messages call the instance."""
    base_url: str = OPENAI_ADDRESS
    """The address before ``/chat/completions``; for Azure's deployments, that of the resource."""
    api_version: str = ""
    """Azure's ``api-version``. Where it is set, models are deployments, and the key has a header of its own."""
    organization: str = ""
    """The header ``OpenAI-Organization``."""
    project: str = ""
    """The header ``OpenAI-Project``."""
    models: Mapping[str, ModelOptions] = {}
    """By name, or by a pattern with ``*``; the longest pattern that fits counts."""
    other_models: bool = True
    """Whether names that :attr:`models` does not have are tried."""
    output_limit: str = ""
    """The name of the limit of a chat's output: ``max_tokens`` or ``max_completion_tokens``; empty: by the address."""
    stream_usage: bool = True
    """Whether the server takes ``stream_options``, with which it is asked for the usage."""
    base64_embeddings: bool = True
    """Whether the server takes ``encoding_format``, with which it is asked for short vectors."""
    reasoning_field: str = ""
    """The field of an earlier answer in which its reasoning is sent back; empty: it is not."""
    connect_timeout: float = 10.0
    """Seconds for a new connection, TLS included."""
    keep_alive: bool = True
    """Whether a connection is used again, which saves making one."""
    key_rest: float = 60.0
    """Seconds for which a key that was refused is set aside, where the server does not say."""

    def of(self, model: str) -> ModelOptions | None:
        """What is known of a model; ``None`` if it is not to be tried."""
        found = self.models.get(model)
        if found is None:
            fitting = [pattern for pattern in self.models if fnmatch.fnmatchcase(model, pattern)]
            if fitting:
                found = self.models[max(fitting, key=len)]
            elif self.other_models:
                found = _UNKNOWN
        return found

    def url(self, path: str, model: str) -> str:
        """Where ``path`` is asked of a model."""
        base = self.base_url.rstrip("/")
        if not self.api_version:
            return base + path
        return f"{base}/openai/deployments/{quote(model, safe='')}{path}?api-version={quote(self.api_version)}"

    @property
    def limit_field(self) -> str:
        """The name of the limit of a chat's output."""
        host = urlsplit(self.base_url).hostname or ""
        newer = any(host == known or host.endswith(f".{known}") for known in NEWER_LIMIT)
        return self.output_limit or ("max_completion_tokens" if newer else "max_tokens")


_UNKNOWN: Final = ModelOptions()
