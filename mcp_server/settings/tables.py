"""Every setting of the server: its type, what is allowed, its default and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, dataclass_transform
from urllib.parse import urlsplit

import msgspec
import platformdirs
from msgspec import Meta

from mcp_server.settings.decoding import Secret

EMBEDDED_MODEL = "smollm2-135m"
"""The model of a server that was told nothing."""

DAY = 86_400.0


def split_address(address: str) -> tuple[str, int]:
    """The host and the port of ``host:port``; an IPv6 host is written in brackets.

    Raises:
        ValueError: it is not of that form.
    """
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", address)
    if match is None or int(match[2]) > 65_535:
        raise ValueError(address)
    return match[1].strip("[]"), int(match[2])


def _address_or_empty(address: str) -> None:
    if address:
        split_address(address)


def _base_url(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(address)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(address)


def _proxy(given: Secret) -> None:
    parts = urlsplit(given.reveal())
    if parts.scheme != "http" or not parts.hostname or not parts.port or parts.path.strip("/") or parts.query:
        raise ValueError


def _header_values(given: Secret | tuple[Secret, ...]) -> None:
    for secret in given if isinstance(given, tuple) else (given,):
        text = secret.reveal()
        if not (text.isascii() and text.isprintable()) or text != text.strip():
            raise ValueError


_ADDRESS = "host:port with a port from 0 to 65535"
Address = Annotated[str, Meta(extra={"check": split_address, "allowed": _ADDRESS})]
OptionalAddress = Annotated[str, Meta(extra={"check": _address_or_empty, "allowed": f"{_ADDRESS}, or empty"})]
ProviderName = Annotated[
    str,
    Meta(pattern="^[a-z][a-z0-9_-]{0,62}$", extra={"allowed": "a name of a-z, 0-9, _ and - that begins with a letter"}),
]
ModelName = Annotated[
    str,
    Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}$", extra={"allowed": "a name of letters, digits, . _ / and -"}),
]
ModelReference = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,62}/[^\\s]{1,256}$")]
RouteName = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z0-9*][A-Za-z0-9._/:*-]{0,126}$",
        extra={"allowed": "a name of letters, digits, . _ / : and -, with at most one *"},
    ),
]
ModelPattern = Annotated[
    str, Meta(pattern="^[^\\s]{1,256}$", extra={"allowed": 'a pattern of "provider/model", with * for any text'})
]
RemoteModelName = Annotated[
    str,
    Meta(pattern=r"^[^\s/]\S{0,255}$", extra={"allowed": "a name without spaces, or a pattern with * for any text"}),
]
BaseURL = Annotated[
    str,
    Meta(
        extra={
            "check": _base_url,
            "allowed": "an http:// or https:// address without a user, a password or a query",
            "hidden": True,  # what is wrong with it may be the password
        }
    ),
]
_KEY = "a text of printable ASCII characters"
Key = Annotated[Secret, Meta(extra={"check": _header_values, "allowed": _KEY})]
Keys = Annotated[tuple[Secret, ...], Meta(extra={"check": _header_values, "allowed": f"an array, each {_KEY}"})]
Proxy = Annotated[
    Secret, Meta(extra={"check": _proxy, "allowed": "http://host:port, or http://user:password@host:port"})
]
Alias = Annotated[
    str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", extra={"allowed": "a name of letters, digits, . _ and -"})
]


def _store_path() -> Path:
    return platformdirs.user_data_path("contextprotocol", appauthor=False) / "sessions.db"


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every table of settings."""


class ServerSettings(Settings):
    """Where the server listens, and how it stops."""

    address: Address = "127.0.0.1:50051"
    """``host:port`` of the gRPC service; port 0 takes any free one."""
    drain_delay: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    """Seconds that the server, told to stop, still takes new turns while its health says NOT_SERVING: as long as a
    proxy in front of it takes to notice. Who watches the health itself, as ``MCPClient`` does, needs none."""
    drain_timeout: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    """Seconds that running turns may go on then."""


class StoreSettings(Settings):
    """Where sessions, messages and turns are kept."""

    type: Literal["sqlite", "memory"] = "sqlite"
    """``sqlite`` keeps them in one durable file; ``memory`` forgets them at the end."""
    path: Path = msgspec.field(default_factory=_store_path)
    """The SQLite file; ``memory`` has none. By default ``sessions.db`` in the folder ``contextprotocol`` of the user's
    data folder."""


class SessionSettings(Settings):
    """How long sessions live."""

    default_ttl: Annotated[float, Meta(ge=1, le=3650 * DAY)] | None = None
    """Seconds that a session lives without being used, if its creator does not say; unset: for ever."""
    sweep_interval: Annotated[float, Meta(ge=1, le=DAY)] = 60.0
    """Seconds between two removals of what has expired. Expiry itself is exact, swept or not."""


class TurnSettings(Settings):
    """How long turns may run, and are kept."""

    timeout: Annotated[float, Meta(ge=0.001, le=DAY)] = 600.0
    """Seconds that a turn may take, if its call does not say."""
    heartbeat_interval: Annotated[float, Meta(ge=0.1, le=3600)] = 15.0
    """Seconds of silence after which the readers of a turn get a sign of life."""
    retention: Annotated[float, Meta(ge=0, le=3650 * DAY)] = DAY
    """Seconds that a turn is kept after its end, with its events and its ``request_id``. A session's messages stay."""
    journal_interval: Annotated[float, Meta(ge=0.05, le=3600)] = 1.0
    """Seconds between two times that what turns have generated is written down, and a crash can lose."""
    disconnect_grace: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    """Seconds that a turn goes on when its last reader has left, unless its call said otherwise."""
    max_queued: Annotated[int, Meta(ge=0, le=10_000)] = 16
    """How many turns of one session may wait for it."""


class WindowSettings(Settings):
    """How much of a history one turn reads."""

    max_messages: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """The most messages of a session's history that one turn reads, however large the model's window is."""


OnCutName = Literal["restart", "continue", "fail"]
Weight = Annotated[float, Meta(ge=0, le=1_000_000)]
Cost = Annotated[float, Meta(ge=0, le=1_000_000)]


class RouteSettings(Settings):
    """One name for several models."""

    targets: Annotated[
        tuple[ModelReference, ...],
        Meta(min_length=1, max_length=16, extra={"allowed": 'an array of 1 to 16 models, each "provider/model"'}),
    ]
    """The models, ``provider/model``, in the order in which they are asked. In the name of a route and in its targets
    ``*`` stands for the same text; without a ``/`` in the route's name that text has none either."""
    weights: Annotated[
        tuple[Weight, ...], Meta(extra={"allowed": "an array of numbers from 0, one for each of targets"})
    ] = ()
    """How often each of them is the first to be asked, in proportion; empty: the first one always is."""
    max_attempts: Annotated[int, Meta(ge=1, le=10)] | None = None
    """The most calls of one turn to one of them; unset: as ``routing.max_attempts``."""
    on_cut: OnCutName | None = None
    """What becomes of an answer that was cut; unset: as ``routing.on_cut``."""


class PriceSettings(Settings):
    """What a million tokens cost."""

    input: Cost = 0.0
    """Of prompts."""
    output: Cost = 0.0
    """Of answers, reasoning included."""
    cached_input: Cost | None = None
    """Of prompts, read from the provider's cache; unset: as ``input``."""
    cache_write: Cost | None = None
    """Of prompts, written to the provider's cache; unset: as ``input``."""
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", extra={"allowed": "an ISO 4217 code such as USD"})] = "USD"
    """In which the prices are."""


class ModelOverrides(Settings):
    """What is known of some models; what is unset stays as their provider says."""

    context_window: Annotated[int, Meta(ge=128, le=100_000_000)] | None = None
    """The most tokens that prompt and answer may have together."""
    capabilities: (
        Annotated[
            tuple[Literal["chat", "completion", "embedding", "tools", "images", "json_schema", "prefill"], ...],
            Meta(extra={"allowed": "an array of chat, completion, embedding, tools, images, json_schema and prefill"}),
        ]
        | None
    ) = None
    """All that they can do. Calls go only to models that can do what the call needs."""
    price: PriceSettings | None = None
    """What their tokens cost: the costs of turns and attempts come from here."""
    first_token_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] | None = None
    """As ``routing.first_token_timeout``."""
    silence_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] | None = None
    """As ``routing.silence_timeout``."""
    attempt_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] | None = None
    """As ``routing.attempt_timeout``."""


class ModelSettings(Settings):
    """Which model answers."""

    default: str = f"local/{EMBEDDED_MODEL}"
    """The model of calls and sessions that name none: an alias or ``provider/model``. Where providers are configured,
    the default is their first model; empty: calls must name one."""
    default_embedding: str = f"local/{EMBEDDED_MODEL}"
    """The same for embeddings; the default is ``models.default``."""
    aliases: Mapping[Alias, str] = {}
    """Further names for models and routes: ``name = "provider/model"``."""
    routes: Mapping[RouteName, RouteSettings] = {}
    """Names behind which several models stand: the next one answers when one fails."""
    settings: Mapping[ModelPattern, ModelOverrides] = {}
    """What is known of models beyond what their providers say, by a pattern of ``provider/model`` in which ``*`` stands
    for any text; of several patterns that fit a model, the later goes before the earlier."""


class RoutingSettings(Settings):
    """How providers are asked, and what happens when one fails."""

    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    """The most calls of one turn to one model; then the next model of the route is asked."""
    backoff: Annotated[float, Meta(ge=0, le=60)] = 0.25
    """Seconds before the second call to a model; twice that before the third, and so on. A random part of up to a half
    is taken off."""
    max_backoff: Annotated[float, Meta(ge=0, le=3600)] = 8.0
    """The longest of these, in seconds."""
    on_cut: OnCutName = "restart"
    """What becomes of an answer whose provider fails after its first piece: ``restart`` begins anew with the next
    model, ``continue`` lets the next model go on from there if it can and begins anew else, ``fail`` fails the turn."""
    first_token_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] = 120.0
    """Seconds until a provider must have said something; loading a model counts."""
    silence_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] = 60.0
    """Seconds between two pieces of an answer."""
    attempt_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] | None = None
    """Seconds that one call to a provider may take in all; unset: as long as its turn."""
    circuit_failures: Annotated[int, Meta(ge=1, le=1000)] = 5
    """After so many failures in a row a provider is not asked for a while."""
    circuit_seconds: Annotated[float, Meta(ge=0.001, le=DAY)] = 30.0
    """How long it is not asked. Then one call goes there and decides."""


class LlamaCppModel(Settings):
    """One model file. With neither ``path`` nor ``source`` it is the model of the catalogue that has this name."""

    path: Path | None = None
    """A GGUF file of this machine; a relative path is relative to the configuration file."""
    source: str | None = None
    """What ``mcp-server models pull`` fetches: a name of the catalogue, which ``mcp-server models`` lists, or
    ``hf:owner/repository/file.gguf`` for a file of the model hub."""
    context_window: Annotated[int, Meta(ge=128, le=10_000_000)] | None = None
    """The most tokens that prompt and answer may have together; unset: as the catalogue or the file says."""
    system_instruction: str | None = None
    """What the model is told before a conversation without a system instruction; unset: as the catalogue says."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """Randomness of calls that do not say, 0 is greedy; unset: as the catalogue says."""
    max_output_tokens: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    """The longest answer of calls that do not say, in tokens; unset: as the catalogue says."""


class LlamaCppSettings(Settings, tag_field="type", tag="llama_cpp"):
    """Models that run in the server itself, from GGUF files."""

    models: Mapping[ModelName, LlamaCppModel]
    """The models by name; each is loaded when it is first used."""
    parallel: Annotated[int, Meta(ge=1, le=64)] = 4
    """How many turns each model works on at once; others wait."""
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """How many threads each model computes with; unset: one for each core but one."""


HubRepository = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$",
        extra={"allowed": '"owner/name", a repository of the model hub'},
    ),
]
Device = Annotated[
    str,
    Meta(
        pattern=r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?)$",
        extra={"allowed": '"auto", "cpu", "cuda", "cuda:N", "mps", "xpu" or "xpu:N"'},
    ),
]


class HuggingFaceModel(Settings):
    """One model in the Hugging Face format. With neither ``path`` nor ``source`` its name is its repository,
    ``owner/name``, on the model hub."""

    path: Path | None = None
    """A folder with ``config.json`` and safetensors, or a GGUF file; a relative path is relative to the configuration
    file."""
    source: HubRepository | None = None
    """A repository of the model hub. It is fetched when the model is first used, unless it is in the hub's cache."""
    revision: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][\w./-]{0,127}$")] = "main"
    """The branch, tag or commit of the repository."""
    context_window: Annotated[int, Meta(ge=128, le=10_000_000)] | None = None
    """The most tokens that prompt and answer may have together; unset: as the model's files say."""
    system_instruction: str = ""
    """What the model is told before a conversation without a system instruction."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """Randomness of calls that do not say, 0 is greedy; unset: as the model's files say."""
    max_output_tokens: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    """The longest answer of calls that do not say, in tokens; unset: as much as fits."""


class HuggingFaceSettings(Settings, tag_field="type", tag="huggingface"):
    """Models that run on this machine, by transformers."""

    models: Mapping[ModelName, HuggingFaceModel]
    """The models by name; each is loaded when it is first used, into a process of its own."""
    parallel: Annotated[int, Meta(ge=1, le=256)] = 4
    """How many answers each model writes at once; others wait. Together they take little longer than one."""
    max_queued: Annotated[int, Meta(ge=0, le=10_000)] = 64
    """How many calls may wait for each model; more are refused (PROVIDER_RATE_LIMITED)."""
    device: Device = "auto"
    """What computes, by PyTorch's name for it; ``auto``: the fastest that is there."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The numbers to compute with; ``auto``: as the model's files say, and ``float32`` on a processor."""
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """How many threads each model computes with; unset: one for each core but one."""


Knob = Literal[
    "temperature", "top_p", "max_output_tokens", "stop", "seed", "frequency_penalty", "presence_penalty", "logprobs"
]
_KNOBS = (
    "an array of temperature, top_p, max_output_tokens, stop, seed, frequency_penalty, presence_penalty and logprobs"
)
Knobs = Annotated[tuple[Knob, ...], Meta(extra={"allowed": _KNOBS})]


class OpenAIModel(Settings):
    """What is known of one model, or of all that a pattern such as ``gpt-5*`` fits and no longer pattern does."""

    capabilities: (
        Annotated[
            tuple[Literal["chat", "completion", "embedding", "tools", "images", "json_schema"], ...],
            Meta(extra={"allowed": "an array of chat, completion, embedding, tools, images and json_schema"}),
        ]
        | None
    ) = None
    """All that it can do; unset: everything is tried, and the server refuses what it cannot."""
    context_window: Annotated[int, Meta(ge=128, le=100_000_000)] | None = None
    """The most tokens that prompt and answer may have together; unset: unknown, and nothing is cut to fit."""
    max_batch: Annotated[int, Meta(ge=1, le=2048)] | None = None
    """The most texts of one embedding request; unset: 2048."""
    embedding_dimensions: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """The length of its vectors; unset: unknown."""
    prefill: Literal["none", "plain", "prefix", "prefix_echoed", "continue"] = "none"
    """How it is told to go on from the beginning of an answer: not at all; just so (llama.cpp); by ``prefix``
    (DeepSeek), which ``prefix_echoed`` repeats (Mistral); or by ``continue_final_message`` (vLLM, SGLang)."""
    refuse: Knobs = ()
    """What it does not take: a call that sets it is refused with UNSUPPORTED_BY_MODEL."""
    leave_out: Knobs = ()
    """What it does not take, and is left out of what is sent."""


class OpenAISettings(Settings, tag_field="type", tag="openai"):
    """OpenAI, Azure, or any other server that speaks their protocol."""

    base_url: BaseURL = "https://api.openai.com/v1"
    """The address before ``/chat/completions``. With ``api_version`` that of the Azure resource,
    ``https://NAME.openai.azure.com``."""
    api_key: Key | None = None
    """The key, or ``{ file = "path" }`` for a file that holds it; unset, and no ``api_keys``: none is sent."""
    api_keys: Keys = ()
    """Several keys, or files of keys, used in turn; one that is refused is set aside for a while."""
    key_rest: Annotated[float, Meta(ge=0, le=DAY)] = 60.0
    """Seconds for which it is set aside, where the server does not say."""
    api_version: Annotated[str, Meta(pattern="^[A-Za-z0-9.-]{0,64}$", extra={"allowed": "a version, or empty"})] = ""
    """Azure's ``api-version``: models are the names of deployments, and the key is sent as ``api-key``. Empty for
    OpenAI, Azure's newer ``/openai/v1`` addresses, and all others."""
    organization: Annotated[str, Meta(pattern="^[!-~]{0,256}$", extra={"allowed": _KEY})] = ""
    """The organization that pays, if the key belongs to several."""
    project: Annotated[str, Meta(pattern="^[!-~]{0,256}$", extra={"allowed": _KEY})] = ""
    """The project that pays."""
    headers: Mapping[Annotated[str, Meta(pattern="^[A-Za-z0-9-]{1,64}$", extra={"allowed": "a header"})], Key] = {}
    """Further headers of every request, never shown."""
    ca_file: Path | None = None
    """Certificates, as PEM, of authorities that the server's certificate may come from, instead of the system's."""
    proxy: Proxy | None = None
    """An HTTP proxy that its connections go through, ``http://host:port`` or ``http://user:password@host:port``, or a
    file that holds this. Variables such as ``HTTPS_PROXY`` are not looked at."""
    connect_timeout: Annotated[float, Meta(ge=0.001, le=3600)] = 10.0
    """Seconds that a new connection may take, TLS included."""
    keep_alive: bool = True
    """Whether connections are used again. Turn it off for servers that close them without a word, such as llama.cpp's:
    a request that meets such a close fails, and has to be tried again."""
    models: Mapping[RemoteModelName, OpenAIModel] = {}
    """What is known of its models, by name or pattern. The first is the default model where none is configured."""
    other_models: bool = True
    """Whether names that ``models`` does not have are tried."""
    output_limit: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The server's name for the longest answer of a chat; unset: ``max_completion_tokens`` for OpenAI and Azure,
    ``max_tokens`` for others."""
    stream_usage: bool = True
    """Whether the server takes ``stream_options``. Without it, most do not say how many tokens an answer took."""
    base64_embeddings: bool = True
    """Whether the server takes ``encoding_format``. With it, vectors take a third of the bytes."""
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    """Where an earlier answer's reasoning is sent back to the model; unset: it is not."""


class CustomSettings(Settings, tag_field="type", tag="custom"):
    """A provider of your own."""

    other_models: ClassVar[bool] = True

    class_: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z_][\w.-]*(:[A-Za-z_][\w.]*)?$",
            extra={"allowed": '"package.module:Class", or the name of an entry point'},
        ),
    ] = msgspec.field(name="class")
    """``package.module:Class``, or the name of an entry point of the group ``contextprotocol.providers``."""
    options: Mapping[str, Any] = {}
    """Keyword arguments for the class."""
    secrets: Mapping[str, Secret] = {}
    """Further keyword arguments, never shown: keys and passwords."""


class MetricsSettings(Settings):
    """Where Prometheus reads the metrics."""

    address: OptionalAddress = "127.0.0.1:9464"
    """``host:port`` of the page ``/metrics``; port 0 takes any free one, empty turns it off."""


class LogSettings(Settings):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines to write."""
    format: Literal["auto", "json", "console"] = "auto"
    """``json`` for machines, ``console`` for people; ``auto``: ``console`` on a terminal, else ``json``."""


ProviderSettings = LlamaCppSettings | HuggingFaceSettings | OpenAISettings | CustomSettings
"""The settings of one provider; its ``type`` says which."""


def _embedded() -> dict[str, ProviderSettings]:
    return {"local": LlamaCppSettings(models={EMBEDDED_MODEL: LlamaCppModel()})}


class Config(Settings):
    """All settings."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = msgspec.field(default_factory=StoreSettings)
    sessions: SessionSettings = SessionSettings()
    turns: TurnSettings = TurnSettings()
    window: WindowSettings = WindowSettings()
    models: ModelSettings = ModelSettings()
    routing: RoutingSettings = RoutingSettings()
    providers: Mapping[ProviderName, ProviderSettings] = msgspec.field(default_factory=_embedded)
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
