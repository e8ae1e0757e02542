"""The core settings of the server: types, allowed values, defaults and descriptions.

The docstrings are the reference documentation of ``docs/config.md`` and of the JSON Schema. The tables of providers and
of other plug-ins are in their own folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from mcp_server.plugin_settings import PluginSettings, ProviderSettings, Settings
from mcp_server.plugins import built_in
from mcp_server.settings.auth import AuthSettings
from mcp_server.settings.fields import (
    DAY,
    Address,
    ModelPattern,
    OptionalAddress,
    PluginName,
    TenantOrAll,
)
from mcp_server.settings.web import WebSettings

ADMIN_ADDRESS: Final = "127.0.0.1:9464"
"""Where the admin pages are served unless the settings say otherwise."""
EMBEDDED_MODEL: Final = "smollm2-135m"
"""The default model of a server without configured providers."""
DEFAULT_PROVIDERS: Final[Mapping[str, Any]] = {"local": {"type": "llama_cpp", "models": {EMBEDDED_MODEL: {}}}}
"""The tables of a server without configured providers."""


ModelReference = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,62}/[^\\s]{1,256}$")]
RouteName = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z0-9*][A-Za-z0-9._/:*-]{0,126}$",
        extra={"allowed": "a name of letters, digits, . _ / : and -, with at most one *"},
    ),
]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", extra={"allowed": "an ISO 4217 code such as USD"})]
Alias = Annotated[
    str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", extra={"allowed": "a name of letters, digits, . _ and -"})
]


class TLSSettings(Settings):
    """The certificates with which connections are encrypted, each a file in PEM format. Connections use TLS 1.2 or
    newer. The files are read again whenever the settings are."""

    certificate: Path | None = None
    """The file with the certificate of the server, followed by those of intermediate authorities. Not set: connections
    are not encrypted."""
    key: Path | None = None
    """The file with the private key of ``certificate``, not encrypted."""
    client_ca: Path | None = None
    """The file with the certificates of the authorities that issue client certificates. Every client must then have
    one (mTLS). Not set: clients are asked for none."""


class ServerSettings(Settings):
    """The address that the server listens on, and how it stops."""

    address: Address = "127.0.0.1:50051"
    """``host:port`` of the gRPC service. Port 0 chooses a free port. An address that is not loopback requires
    authentication and TLS, unless ``insecure`` is set."""
    insecure: bool = False
    """Whether the server may listen on an address that is not loopback without authentication or without TLS: for a
    network in which everybody may use the server, or behind a proxy that provides both."""
    development: bool = False
    """Development mode, for authors of plug-ins: callers see the unexpected exception of a plug-in that has ended their
    call, with the end of its traceback, which may contain paths, code and secrets. An address that is not loopback
    then requires ``insecure``."""
    channelz: bool = False
    """Whether the gRPC service ``grpc.channelz.v1.Channelz`` is served, which lists the connections and channels of
    the process with their counters. Needs the extra ``admin``. With authentication callers need the scope
    ``operator``; without it ``address`` must be loopback."""
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 4096
    """The most connections at a time; further ones are closed at once. Fewer if the process may not open so many file
    descriptors."""
    max_streams: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """The most calls at a time on one connection. A client waits with further calls, or opens further connections, as
    ``MCPClient`` does. With a higher number, one connection that opens calls and resets them can take the places of
    others, and hold more of the memory of the server: 16 MiB for each call whose request is being received."""
    max_bytes_in_flight: Annotated[int, Meta(ge=32 * 1024 * 1024)] = 512 * 1024 * 1024
    """How many bytes of requests and of answers that wait for their callers the server holds at a time. Messages of up
    to 64 KiB are not counted; a request that takes longer than 0.2 seconds to arrive counts as 16 MiB until it is
    complete. Calls beyond it are refused with OVERLOADED."""
    receive_timeout: Annotated[float, Meta(ge=0.1, le=DAY)] = 120.0
    """How long a request may take to arrive, in seconds. Then its call ends with OVERLOADED."""
    reader_timeout: Annotated[float, Meta(ge=0.1, le=DAY)] = 60.0
    """How long an answer may wait for a caller that reads nothing, in seconds. Then its call ends with OVERLOADED. A
    turn that has lost its last reader so continues or ends as after a lost connection."""
    max_pending: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    """The most calls that have arrived while the processor is busy with others, and wait to be looked at. Further ones
    end with the status CANCELLED and without a reason, which costs the server next to nothing; clients send them again.
    A lower number keeps the latency low when too many calls arrive; a higher one lets more arrive at the same moment.
    It should be a multiple of ``max_streams``: one connection must not use it up. Checks of the health do not wait for
    other calls."""
    idle_timeout: Annotated[float, Meta(ge=1, le=30 * DAY)] = 3600.0
    """How long a connection without calls is kept open, in seconds. Clients connect again with their next call."""
    drain_delay: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    """How long a server that is asked to stop still accepts new turns while its health is NOT_SERVING, in seconds. Set
    it to the time that a proxy in front needs to notice. Clients that watch the health, such as ``MCPClient``, need no
    delay."""
    drain_timeout: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    """How long running turns may continue after that, in seconds."""
    tls: TLSSettings = TLSSettings()
    """The certificates with which connections are encrypted."""


class SessionSettings(Settings):
    """The lifetime of sessions."""

    default_ttl: Annotated[float, Meta(ge=1, le=3650 * DAY)] | None = None
    """How long a session lives after its last use if its creator sets no time to live, in seconds. Not set: without
    limit."""
    sweep_interval: Annotated[float, Meta(ge=1, le=DAY)] = 60.0
    """The interval between two deletions of expired sessions and turns, in seconds. Sessions expire on time
    independently of it."""


class TurnSettings(Settings):
    """The duration of turns, and how long they are kept."""

    timeout: Annotated[float, Meta(ge=0.001, le=DAY)] = 600.0
    """How long a turn may run if its call sets no timeout, in seconds."""
    heartbeat_interval: Annotated[float, Meta(ge=0.1, le=3600)] = 15.0
    """The interval at which readers of a turn without other events receive a heartbeat, in seconds."""
    retention: Annotated[float, Meta(ge=0, le=3650 * DAY)] = DAY
    """How long a turn is kept after its end, with its events and its ``request_id``, in seconds. The messages of the
    session are kept longer: as long as the session."""
    journal_interval: Annotated[float, Meta(ge=0.05, le=3600)] = 1.0
    """The interval at which the output of running turns is written to the store, in seconds. A crash loses at most the
    output since the last write."""
    disconnect_grace: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    """How long a turn continues after its last reader has disconnected, in seconds, unless its call says otherwise."""
    max_queued: Annotated[int, Meta(ge=0, le=10_000)] = 16
    """The most turns that may wait in the queue of one session."""


class AdmissionSettings(Settings):
    """How much work the server takes on."""

    max_turns: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    """The most turns and embedding requests at a time, those that wait for their session included. Further ones wait
    until one of them has ended."""
    max_waiting: Annotated[int, Meta(ge=0, le=1_000_000)] = 1000
    """The most calls that wait so, of all tenants together. Further ones are refused with OVERLOADED. Tenants are
    served in turn."""
    queue_timeout: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    """How long a call may wait so, in seconds, if its own timeout is not shorter. Then it is refused with OVERLOADED.
    0: no call waits."""
    default_output_tokens: Annotated[int, Meta(ge=1, le=100_000_000)] = 4096
    """How many tokens of limits a call holds for its answer until it has ended, if it sets no ``max_output_tokens``."""


Count = Annotated[int, Meta(ge=0, le=10**18)]
PerMinute = Annotated[int, Meta(ge=1, le=10**12)]


class LimitSettings(Settings):
    """How much may be used. A limit that is not set does not apply."""

    requests_per_minute: PerMinute | None = None
    """Calls per minute that generate or compute embeddings, replays included."""
    request_burst: PerMinute | None = None
    """How many of them may be made at once after a pause. Not set: as ``requests_per_minute``."""
    tokens_per_minute: PerMinute | None = None
    """Tokens per minute, of prompts and answers together."""
    token_burst: PerMinute | None = None
    """How many tokens may be used at once after a pause. Not set: as ``tokens_per_minute``."""
    tokens_per_day: Count | None = None
    """Tokens per day (UTC)."""
    tokens_per_month: Count | None = None
    """Tokens per month (UTC)."""
    cost_per_day: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    """Cost per day (UTC), in ``currency``."""
    cost_per_month: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    """Cost per month (UTC), in ``currency``."""
    window_hours: Annotated[int, Meta(ge=1, le=744)] | None = None
    """The length of the rolling window of the next two limits, in hours."""
    tokens_per_window: Count | None = None
    """Tokens within the window."""
    cost_per_window: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    """Cost within the window, in ``currency``."""
    currency: Currency = "USD"
    """The currency of the costs. Costs in other currencies do not count."""
    concurrent_turns: PerMinute | None = None
    """Turns and embedding requests at a time, those that wait in a queue included."""
    sessions: Count | None = None
    """Sessions that exist at a time."""
    stored_bytes: Count | None = None
    """Bytes of messages and context that are stored at a time. Once they are reached, nothing more is stored."""


class TenantSettings(Settings):
    """What binds a tenant."""

    limits: str = ""
    """The profile of ``limits`` that binds the tenant. Empty: none does."""


class WindowSettings(Settings):
    """How much of the history the model reads in one turn."""

    max_messages: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """The most messages of a session's history that one turn reads, however large the model's context window is. A last
    exchange that is longer is read whole."""


OnCutName = Literal["restart", "continue", "fail"]
Weight = Annotated[float, Meta(ge=0, le=1_000_000)]
Cost = Annotated[float, Meta(ge=0, le=1_000_000)]


class RouteSettings(Settings):
    """One name for several models."""

    targets: Annotated[
        tuple[ModelReference, ...],
        Meta(min_length=1, max_length=16, extra={"allowed": 'an array of 1 to 16 models, each "provider/model"'}),
    ]
    """The models, ``provider/model``, in the order in which they are tried. ``*`` in the name of the route matches any
    text (any text without ``/`` if the name contains no ``/``) and stands for the same text in the targets."""
    weights: Annotated[
        tuple[Weight, ...], Meta(extra={"allowed": "an array of numbers from 0, one for each of targets"})
    ] = ()
    """How often each target is tried first, in proportion. Empty: the first target always is."""
    max_attempts: Annotated[int, Meta(ge=1, le=10)] | None = None
    """The most calls of one turn to one target. Not set: as ``routing.max_attempts``."""
    on_cut: OnCutName | None = None
    """What happens when an answer breaks off. Not set: as ``routing.on_cut``."""


class PriceSettings(Settings):
    """The price of a million tokens."""

    input: Cost = 0.0
    """Prompt tokens."""
    output: Cost = 0.0
    """Answer tokens, reasoning included."""
    cached_input: Cost | None = None
    """Prompt tokens that are read from the provider's cache. Not set: as ``input``."""
    cache_write: Cost | None = None
    """Prompt tokens that are written to the provider's cache. Not set: as ``input``."""
    currency: Currency = "USD"
    """The currency of the prices."""


class ModelOverrides(Settings):
    """Properties of models that replace what the provider reports. A property that is not set stays as reported."""

    context_window: Annotated[int, Meta(ge=128, le=100_000_000)] | None = None
    """The most tokens of prompt and answer together."""
    capabilities: (
        Annotated[
            tuple[Literal["chat", "completion", "embedding", "tools", "images", "json_schema", "prefill"], ...],
            Meta(extra={"allowed": "an array of chat, completion, embedding, tools, images, json_schema and prefill"}),
        ]
        | None
    ) = None
    """What the models can do, complete. A call is routed only to models with the capabilities that it needs."""
    price: PriceSettings | None = None
    """The price of tokens, from which the costs of turns and attempts are computed."""
    first_token_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] | None = None
    """As ``routing.first_token_timeout``."""
    fallback_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] | None = None
    """As ``routing.fallback_timeout``."""
    silence_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] | None = None
    """As ``routing.silence_timeout``."""
    attempt_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] | None = None
    """As ``routing.attempt_timeout``."""


class ModelSettings(Settings):
    """Default models, aliases and routes."""

    default: str = f"local/{EMBEDDED_MODEL}"
    """The model of calls and sessions that name none: an alias, a route or ``provider/model``. If providers are
    configured, the default is their first model. Empty: every call must name a model."""
    default_embedding: str = f"local/{EMBEDDED_MODEL}"
    """The same for embeddings. The default is ``models.default``."""
    aliases: Mapping[Alias, str] = {}
    """Further names for models and routes: ``name = "provider/model"``."""
    routes: Mapping[RouteName, RouteSettings] = {}
    """Names for several models each. If one model fails, the next one answers."""
    settings: Mapping[ModelPattern, ModelOverrides] = {}
    """Properties of models that replace what their providers report, by a pattern of ``provider/model`` in which ``*``
    matches any text. If several patterns match a model, later ones take precedence."""


class RoutingSettings(Settings):
    """How providers are called, and what happens when a call fails."""

    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    """The most calls of one turn to one model. After them the next model of the route is tried."""
    backoff: Annotated[float, Meta(ge=0, le=60)] = 0.25
    """The delay before the second call to a model, in seconds. It doubles with each further call, and a random part of
    up to half is subtracted."""
    max_backoff: Annotated[float, Meta(ge=0, le=3600)] = 8.0
    """The longest delay, in seconds."""
    on_cut: OnCutName = "restart"
    """What happens when a provider fails after the first piece of an answer. ``restart``: the next model begins the
    answer anew. ``continue``: the next model continues the answer if it can, else begins anew. ``fail``: the turn
    fails."""
    max_timeouts: Annotated[int, Meta(ge=1, le=10)] = 2
    """The most calls of one turn to one model that end without a first piece in time. They do not count towards
    ``max_attempts``. After each the next model of the route is tried."""
    retry_after_wait: Annotated[float, Meta(ge=0, le=3600)] = 2.0
    """The longest pause, in seconds, that a turn makes because a provider asked for it by Retry-After, although another
    model could answer at once. It makes one such pause for each model."""
    first_token_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] = 120.0
    """How long a provider may take until the first piece of an answer, in seconds. The time in which it says that it
    loads the model or reads the prompt does not count."""
    fallback_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] = 20.0
    """As ``first_token_timeout``, while another model of the route can be asked that has not been silent itself. The
    loading of a model counts then. The shorter of the two applies."""
    silence_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] = 60.0
    """The longest pause between two pieces of an answer, in seconds."""
    attempt_timeout: Annotated[float, Meta(ge=0.001, le=DAY)] | None = None
    """How long one call to a provider may take in total, in seconds. Not set: as long as its turn."""
    circuit_failures: Annotated[int, Meta(ge=1, le=1000)] = 5
    """After how many consecutive failures the circuit breaker of a model opens: it is not called. There is one for each
    of chat, completion and embedding. Failures for which one conversation may be the cause count once."""
    circuit_seconds: Annotated[float, Meta(ge=0.001, le=DAY)] = 30.0
    """How long the circuit breaker stays open, in seconds. Then one call is let through: its success closes the circuit
    breaker."""


class AdminSettings(Settings):
    """The pages for monitoring and operators: ``/metrics``, ``/healthz``, ``/readyz``, ``/debug/turns`` and
    ``/debug/models``."""

    address: OptionalAddress | None = None
    """``host:port`` of the pages. Port 0 chooses a free port; empty turns the pages off. Not set: ``metrics.address``
    if that is set, else ``127.0.0.1:9464``; if that default is in use, the pages are not served."""


class MetricsSettings(Settings):
    """The metrics for Prometheus."""

    address: OptionalAddress | None = None
    """``host:port`` of a port with ``/metrics`` alone, beside ``admin.address``, for a Prometheus on another machine.
    Not set: ``/metrics`` is only among the pages of ``admin.address``."""


class TracingSettings(Settings):
    """Traces by OpenTelemetry: a span for each call, each turn and each call to a provider. Needs the extra ``otel``.

    Where they are sent, and how many, is up to OpenTelemetry's own environment variables, for example
    ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_PROTOCOL``, ``OTEL_SERVICE_NAME`` and ``OTEL_TRACES_SAMPLER``.
    """

    enabled: bool = False
    """Whether traces are made and sent."""
    content: bool = False
    """Whether the spans of calls to providers contain what the caller sent and what was answered. It may be personal or
    secret: consider who reads the traces."""


class LogSettings(Settings):
    """The log, which is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """``json`` for machines, ``console`` for people. ``auto``: ``console`` on a terminal, otherwise ``json``."""
    content: bool = False
    """Whether each turn also has a line with what the caller sent and what was answered. It may be personal or secret:
    consider who reads the log."""


def _default_store() -> PluginSettings:
    table: PluginSettings = built_in("stores", "sqlite")()
    return table


def _default_providers() -> dict[str, ProviderSettings]:
    return {
        name: msgspec.convert({"models": table["models"]}, built_in("providers", table["type"]))
        for name, table in DEFAULT_PROVIDERS.items()
    }


class Config(Settings):
    """The settings of a server."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    store: Annotated[PluginSettings, Meta(extra={"plugin": "stores", "type": "sqlite"})] = msgspec.field(
        default_factory=_default_store
    )
    """Where sessions, messages and turns are stored."""
    sessions: SessionSettings = SessionSettings()
    turns: TurnSettings = TurnSettings()
    admission: AdmissionSettings = AdmissionSettings()
    limits: Mapping[PluginName, LimitSettings] = {}
    """Profiles of limits by name."""
    tenants: Mapping[TenantOrAll, TenantSettings] = {}
    """Tenants by name; ``*`` stands for all that have no table of their own."""
    window: WindowSettings = WindowSettings()
    models: ModelSettings = ModelSettings()
    routing: RoutingSettings = RoutingSettings()
    providers: Mapping[PluginName, Annotated[ProviderSettings, Meta(extra={"plugin": "providers"})]] = msgspec.field(
        default_factory=_default_providers
    )
    """The providers of models by name, each with a ``type``."""
    middleware: Mapping[PluginName, Annotated[PluginSettings, Meta(extra={"plugin": "middleware"})]] = {}
    """Installed middleware to enter around every call, outermost first. The name of a table is the name of the plug-in,
    unless the table has a ``type``."""
    observers: Mapping[PluginName, Annotated[PluginSettings, Meta(extra={"plugin": "observers"})]] = {}
    """Installed observers to notify of every turn, as ``middleware``."""
    authenticators: Mapping[PluginName, Annotated[PluginSettings, Meta(extra={"plugin": "authenticators"})]] = {}
    """Installed authenticators to ask who makes a call, as ``middleware``. With one of them callers need credentials,
    as with the settings of ``auth``."""
    admission_rules: Mapping[PluginName, Annotated[PluginSettings, Meta(extra={"plugin": "admission_rules"})]] = {}
    """Installed rules that decide whether a caller may begin work, as ``middleware``. All have to agree."""
    services: Mapping[PluginName, Annotated[PluginSettings, Meta(extra={"plugin": "services"})]] = {}
    """Installed gRPC services to serve beside those of the contract, as ``middleware``."""
    web: WebSettings = WebSettings()
    admin: AdminSettings = AdminSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()


def admin_addresses(config: Config) -> tuple[str, str]:
    """Where the admin pages are served, and where ``/metrics`` alone is; empty: nowhere."""
    admin, metrics = config.admin.address, config.metrics.address
    if admin is None:
        return ADMIN_ADDRESS if metrics is None else metrics, ""
    return admin, "" if metrics is None or metrics == admin else metrics


def admin_key(config: Config) -> str:
    """The dotted key that the address of the admin pages comes from."""
    return "metrics.address" if config.admin.address is None and config.metrics.address else "admin.address"
