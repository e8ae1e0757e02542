"""Finds contradictions between settings that are each valid: names of models that no provider accepts, and the like."""

from __future__ import annotations

from collections.abc import Iterator

from mcp_server.settings.decoding import dotted, shown
from mcp_server.settings.exposure import channelz_problem, exposure_problem, web_authentication
from mcp_server.settings.fields import split_address
from mcp_server.settings.tables import Config, RouteSettings, admin_addresses, admin_key


def configured_models(config: Config) -> list[str]:
    """The full names of the models that the tables of the providers list."""
    return [f"{name}/{model}" for name, provider in config.providers.items() for model in provider.model_names()]


def contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """Every contradiction: the dotted key and the problem."""
    names = _Names(config)
    yield from _models(config, names)
    for name, route in config.models.routes.items():
        yield from _route(config, name, route, names)
    for pattern in config.models.settings:
        owner = pattern.partition("/")[0]
        if "*" not in owner and owner not in config.providers:
            yield dotted("models.settings", pattern), f"matches no model; expected {names.choices}"
    for name, provider in config.providers.items():
        for path, problem in provider.problems():
            yield _key(f"providers.{name}", path), problem
    yield from _limits(config)
    for path, problem in config.store.problems():
        yield _key("store", path), problem
    for kind in ("middleware", "authenticators", "admission_rules", "observers", "services"):
        for name, plugin in getattr(config, kind).items():
            for path, problem in plugin.problems():
                yield _key(f"{kind}.{name}", path), problem
    yield from _server(config)
    yield from _web(config)
    yield from _identities(config)
    admin, metrics = admin_addresses(config)
    taken = {config.server.address: "server.address"}
    for key, address in ((admin_key(config), admin), ("metrics.address", metrics), ("web.address", config.web.address)):
        if address and split_address(address)[1] and (other := taken.setdefault(address, key)) != key:
            yield key, f"found {shown(address)}, which is also {other}; expected another port"


def _server(config: Config) -> Iterator[tuple[str, str]]:
    """The address of the server, and its certificates."""
    tls = config.server.tls
    for key, needed in (("certificate", "key"), ("key", "certificate"), ("client_ca", "certificate")):
        if getattr(tls, key) is not None and getattr(tls, needed) is None:
            yield f"server.tls.{key}", f"requires server.tls.{needed}, which is not set"
    if problem := exposure_problem(config, "server.address"):
        yield "server.address", problem
    if problem := channelz_problem(config):
        yield "server.channelz", problem


def _web(config: Config) -> Iterator[tuple[str, str]]:
    """The HTTP edge."""
    web = config.web
    if problem := exposure_problem(config, "web.address"):
        yield "web.address", problem
    if web.address and config.server.tls.client_ca is not None and not web_authentication(config):
        yield "web.address", "requires auth.keys, auth.stored_keys or auth.jwt: callers over HTTP have no certificates"
    for key, needed in (("certificate", "key"), ("key", "certificate")):
        if getattr(web.tls, key) is not None and getattr(web.tls, needed) is None:
            yield f"web.tls.{key}", f"requires web.tls.{needed}, which is not set"
    if web.cors.credentials and "*" in web.cors.origins:
        yield "web.cors.credentials", 'cannot be combined with the origin "*": list the origins'
    if web.base_path.endswith("/"):
        yield "web.base_path", f"found {shown(web.base_path)}; expected no / at the end"


def _identities(config: Config) -> Iterator[tuple[str, str]]:
    """Callers without API keys: issuers of tokens, and client certificates."""
    issuers: dict[str, str] = {}
    for name, issuer in config.auth.jwt.items():
        for key, problem in issuer.problems():
            yield f"auth.jwt.{name}.{key}", problem
        if (other := issuers.setdefault(issuer.issuer, name)) != name:
            yield f"auth.jwt.{name}.issuer", f"found {shown(issuer.issuer)}, which is also auth.jwt.{other}.issuer"
    if config.auth.certificates and config.server.tls.client_ca is None:
        yield "auth.certificates", "requires server.tls.client_ca, which is not set"


def _limits(config: Config) -> Iterator[tuple[str, str]]:
    """Profiles of limits, and the tenants and keys that they bind."""
    for name, limits in config.limits.items():
        windowed = [field for field in ("tokens_per_window", "cost_per_window") if getattr(limits, field) is not None]
        if limits.window_hours is None and windowed:
            yield dotted(f"limits.{name}", windowed[0]), "requires window_hours"
        for burst, rate in (("request_burst", "requests_per_minute"), ("token_burst", "tokens_per_minute")):
            if getattr(limits, burst) is not None and getattr(limits, rate) is None:
                yield dotted(f"limits.{name}", burst), f"requires {rate}"
    profiles = ", ".join(config.limits) or "no profile, since none is configured"
    for table, bound in (("tenants", config.tenants), ("auth.keys", config.auth.keys)):
        for name, settings in bound.items():
            if settings.limits and settings.limits not in config.limits:
                yield f"{dotted(table, name)}.limits", f"found {shown(settings.limits)}; expected one of {profiles}"


class _Names:
    """The names of models that the providers accept."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.configured = configured_models(config)
        others = [f"{name}/…" for name, provider in config.providers.items() if provider.any_model()]
        self.choices = ", ".join([*self.configured, *others]) or "nothing, since no provider is configured"

    def accepted(self, model: str) -> bool:
        """Whether a provider accepts ``provider/model``."""
        provider, slash, name = model.partition("/")
        settings = self._config.providers.get(provider)
        return bool(slash and name and settings is not None and settings.accepts(name))


def _models(config: Config, names: _Names) -> Iterator[tuple[str, str]]:
    """The default models and the aliases."""
    aliases, routes = config.models.aliases, config.models.routes
    for alias, model in aliases.items():
        if not names.accepted(model) and model not in routes:
            allowed = ", ".join([names.choices, *routes])
            key = dotted("models.aliases", alias)
            yield key, f"found {shown(model)}, which no provider has; expected {allowed}"
    short = [name.partition("/")[2] for name in names.configured]
    chosen = {config.models.default_embedding: "default_embedding", config.models.default: "default"}
    further = [*aliases, *routes]
    for model, key in chosen.items():
        if model and model not in further and not names.accepted(model) and short.count(model) != 1:
            allowed = ", ".join([names.choices, *further])
            yield f"models.{key}", f"found {shown(model)}, which no provider has; expected {allowed}"


def _route(config: Config, name: str, route: RouteSettings, names: _Names) -> Iterator[tuple[str, str]]:
    key = dotted("models.routes", name)
    if name in config.models.aliases:
        yield key, "is also an alias; rename one of the two"
    if name.count("*") > 1:
        yield key, f"invalid name {shown(name)}, expected at most one *"
    for target in route.targets:
        unknown = f"found {shown(target)}, which no provider has; expected {names.choices}"
        if "*" in target:
            if "*" not in name:
                yield f"{key}.targets", f"found {shown(target)}; * is allowed only if the name of the route contains it"
            elif target.partition("/")[0] not in config.providers:
                yield f"{key}.targets", unknown
        elif not names.accepted(target):
            yield f"{key}.targets", unknown
    if len(set(route.targets)) < len(route.targets):
        yield f"{key}.targets", "names a model twice"
    if route.weights and len(route.weights) != len(route.targets):
        counts = f"{len(route.weights)} weights for {len(route.targets)} targets"
        yield f"{key}.weights", f"found {counts}; expected one for each"
    elif route.weights and not any(route.weights):
        yield f"{key}.weights", "found only zeros, expected at least one number above 0"


def _key(table: str, path: tuple[str, ...]) -> str:
    for part in path:
        table = dotted(table, part)
    return table
