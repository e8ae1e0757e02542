"""Reads the settings: the only reader of files and of the environment.

Settings come from one TOML file and from environment variables, which go before the file. Both may be absent: the
defaults give a server on this machine alone, with a SQLite file in the user's data folder and the small embedded model.
"""

from __future__ import annotations

import fnmatch
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from mcp_server.errors import ConfigError
from mcp_server.settings.decoding import (
    DEFAULT,
    Decoder,
    EnvironmentText,
    Given,
    Origin,
    Setting,
    UnreadableSecret,
    dotted,
    given,
    shown,
)
from mcp_server.settings.tables import (
    EMBEDDED_MODEL,
    Config,
    CustomSettings,
    HuggingFaceModel,
    LogSettings,
    MetricsSettings,
    ModelSettings,
    OpenAISettings,
    ProviderSettings,
    RouteSettings,
    RoutingSettings,
    ServerSettings,
    StoreSettings,
    split_address,
)

PREFIX = "CONTEXTPROTOCOL_"
"""What the names of all environment variables of the server begin with."""
FILE_VARIABLE = "CONTEXTPROTOCOL_CONFIG"
"""The environment variable with the path of the file."""
FILE_NAME = "contextprotocol.toml"
"""The name of the file in the user's config folder."""

_EMBEDDED_PROVIDERS = {"local": {"type": "llama_cpp", "models": {EMBEDDED_MODEL: {}}}}
"""The providers of a server that was told of none."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration and where it comes from."""

    config: Config
    file: Path | None
    """The file that was read."""
    settings: tuple[Setting, ...]
    """Every effective setting with its origin; secrets mask themselves."""


def load(path: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The settings from the file and the environment.

    Args:
        path: the file; by default what ``CONTEXTPROTOCOL_CONFIG`` names, else ``contextprotocol.toml`` in the folder
            ``contextprotocol`` of the user's config folder if it is there, else none.
        environ: the environment variables.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown, of the wrong type or impossible; all problems at
            once.
    """
    return read(path, environ).config


def read(
    path: Path | str | None = None,
    environ: Mapping[str, str] = os.environ,
    options: Mapping[str, tuple[str, str]] | None = None,
) -> Loaded:
    """As :func:`load`, and where each setting comes from.

    Args:
        path: as in :func:`load`.
        environ: as in :func:`load`.
        options: from the command line, before everything else: the dotted key and the text, by the option's name.
    """
    file = _find(path, environ)
    origin = Origin(name=str(file), folder=file.parent.absolute()) if file is not None else DEFAULT
    tree: dict[str, Any] = given(_parse(file) if file is not None else {}, origin).value
    decoder = Decoder(_read_secret)
    for variable, key, text in _variables(environ, decoder):
        if key[0] == "PROVIDERS":
            tree.setdefault("providers", given(_EMBEDDED_PROVIDERS, DEFAULT))
        _overlay(tree, key, Given(EnvironmentText(text), Origin(name=variable)))
    for option, (name, text) in (options or {}).items():
        _overlay(tree, name.upper().split("."), Given(EnvironmentText(text), Origin(name=option)))
    tree.setdefault("providers", given(_EMBEDDED_PROVIDERS, DEFAULT))
    config = decoder.decode(Config, Given(tree, origin))
    if config is None:
        raise ConfigError("\n".join(decoder.problems))
    config = _with_default_models(config, decoder.settings)
    written = {setting.key: setting.origin for setting in decoder.settings}
    for name, problem in _contradictions(config):
        # The key of a whole table was written where the first of its own keys was.
        place = next(where for key, where in written.items() if f"{key}.".startswith(f"{name}."))
        decoder.problem(Origin(name=place), name, problem)
    if decoder.problems:
        raise ConfigError("\n".join(decoder.problems))
    return Loaded(config=config, file=file, settings=tuple(decoder.settings))


def prepare_grpc(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set what gRPC's core reads from the environment when it is imported, unless it is set already.

    The server never forks, and what the core logs is told by the server itself.
    """
    environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    environ.setdefault("GRPC_VERBOSITY", "NONE")


def testing_config(*, default_model: str = "") -> Config:
    """Settings for tests: a memory store, any free port of 127.0.0.1, no metrics port, no configured provider, and one
    call to a provider for each turn, so that the next script is the next turn's."""
    return Config(
        server=ServerSettings(address="127.0.0.1:0", drain_timeout=5),
        store=StoreSettings(type="memory"),
        models=ModelSettings(default=default_model, default_embedding=default_model),
        routing=RoutingSettings(max_attempts=1),
        providers={},
        metrics=MetricsSettings(address=""),
        log=LogSettings(level="warning"),
    )


def _find(path: Path | str | None, environ: Mapping[str, str]) -> Path | None:
    chosen = path if path is not None else environ.get(FILE_VARIABLE) or None
    if chosen is not None:
        return Path(chosen).expanduser()
    usual = platformdirs.user_config_path("contextprotocol", appauthor=False) / FILE_NAME
    return usual if usual.is_file() else None


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text, which TOML asks for: byte {error.start} is bad") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}") from error


def _read_secret(file: Path) -> str:
    """The text of a file that holds one secret, without the end of its line."""
    try:
        return file.read_bytes().decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise UnreadableSecret(f"the file {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnreadableSecret(f"the file {file} is not UTF-8 text") from error


def _variables(environ: Mapping[str, str], decoder: Decoder) -> Iterator[tuple[str, list[str], str]]:
    """The variables that set a key, those of whole tables first. Others that begin alike are not the server's."""
    sections = {section.upper() for section in Config.__struct_fields__}
    found = []
    for name, text in environ.items():
        if not name.startswith(PREFIX):
            continue
        key = name.removeprefix(PREFIX).split("__")
        if len(key) > 1 or key[0] in sections:
            found.append((name, key, text))
        elif (section := key[0].partition("_")[0]) in sections:
            right = f"{PREFIX}{section}__{key[0].removeprefix(section + '_')}"
            decoder.problems.append(f"{name}: there is no such variable; two underscores part the levels: {right}")
    yield from sorted(found, key=lambda variable: (len(variable[1]), variable[0]))


def _overlay(tree: dict[str, Any], key: list[str], value: Given) -> None:
    """Put a value from the environment into the tree, over what is there."""
    name = next((known for known in tree if re.sub("[^A-Z0-9]", "_", known.upper()) == key[0]), key[0].lower())
    if len(key) == 1:
        tree[name] = value
        return
    inner = tree.get(name)
    if inner is not None and isinstance(inner.value, EnvironmentText):
        inner = given(_table(inner.value), inner.origin)
    if inner is None or not isinstance(inner.value, dict):
        inner = Given({}, value.origin)
    tree[name] = inner
    _overlay(inner.value, key[1:], value)


def _table(text: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(f"table = {text}")["table"]
    except tomllib.TOMLDecodeError:
        return {}
    return table if isinstance(table, dict) else {}


def _configured(config: Config) -> list[str]:
    """The full names of the models that the settings themselves list."""
    return [
        f"{name}/{model}"
        for name, provider in config.providers.items()
        if not isinstance(provider, CustomSettings)
        for model in provider.models
        if "*" not in model
    ]


def _contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """What is wrong between keys that are each right: the key and the problem."""
    configured = _configured(config)
    open_ended = [name for name, provider in config.providers.items() if getattr(provider, "other_models", False)]
    choices = (
        ", ".join([*configured, *[f"{name}/…" for name in open_ended]]) or "nothing, since no provider is configured"
    )
    routes = config.models.routes

    def known(model: str) -> bool:
        provider, slash, name = model.partition("/")
        if model in configured or bool(slash and name and provider in open_ended):
            return True
        settings = config.providers.get(provider)
        patterns = settings.models if isinstance(settings, OpenAISettings) else ()
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    for alias, model in config.models.aliases.items():
        if not known(model) and model not in routes:
            yield (
                dotted("models.aliases", alias),
                f"found {shown(model)}, which no provider answers to; allowed is {', '.join([choices, *routes])}",
            )
    short = [name.partition("/")[2] for name in configured]
    chosen = {config.models.default_embedding: "default_embedding", config.models.default: "default"}
    further = [*config.models.aliases, *routes]
    for model, key in chosen.items():
        if model and model not in further and not known(model) and short.count(model) != 1:
            allowed = ", ".join([choices, *further])
            yield f"models.{key}", f"found {shown(model)}, which no provider answers to; allowed is {allowed}"
    for name, route in routes.items():
        yield from _wrong_in_route(config, name, route, known, choices)
    for pattern in config.models.settings:
        owner = pattern.partition("/")[0]
        if "*" not in owner and owner not in config.providers:
            found = f"found the name {shown(pattern)}"
            yield dotted("models.settings", pattern), f"{found}, which fits no model; allowed is {choices}"
    for name, provider in config.providers.items():
        yield from _wrong_in_provider(f"providers.{name}", provider)
    address = config.metrics.address
    if address and address == config.server.address and split_address(address)[1]:
        yield "metrics.address", f"found {shown(address)}, which is also server.address; allowed is another port"


def _wrong_in_provider(key: str, provider: ProviderSettings) -> Iterator[tuple[str, str]]:
    if isinstance(provider, CustomSettings):
        for twice in provider.options.keys() & provider.secrets.keys():
            yield dotted(f"{key}.secrets", twice), "is among the options too; allowed is one of the two"
        return
    if not provider.models and not getattr(provider, "other_models", False):
        yield f"{key}.models", "found an empty table, allowed is at least one model"
    if isinstance(provider, OpenAISettings):
        if provider.api_key is not None and provider.api_keys:
            yield f"{key}.api_keys", "is set beside api_key; allowed is one of the two"
        return
    for model, settings in provider.models.items():
        if settings.path is not None and settings.source is not None:
            yield dotted(f"{key}.models", model) + ".source", "is set beside path; allowed is one of the two"
        if isinstance(settings, HuggingFaceModel) and (settings.path or settings.source) is None and "/" not in model:
            yield dotted(f"{key}.models", model) + ".path", "this key must be set, or source, or the name be owner/name"


def _wrong_in_route(
    config: Config, name: str, route: RouteSettings, known: Callable[[str], bool], choices: str
) -> Iterator[tuple[str, str]]:
    key = dotted("models.routes", name)
    if name in config.models.aliases:
        yield key, "is an alias too; allowed is one of the two"
    if name.count("*") > 1:
        yield key, f"found the name {shown(name)}, allowed is at most one *"
    for target in route.targets:
        if "*" in target:
            if "*" not in name:
                yield f"{key}.targets", f"found {shown(target)}; * is allowed only where the route's own name has it"
            elif target.partition("/")[0] not in config.providers:
                yield f"{key}.targets", f"found {shown(target)}, which no provider answers to; allowed is {choices}"
        elif not known(target):
            yield f"{key}.targets", f"found {shown(target)}, which no provider answers to; allowed is {choices}"
    if len(set(route.targets)) < len(route.targets):
        yield f"{key}.targets", "names a model twice; allowed is each once"
    if route.weights and len(route.weights) != len(route.targets):
        counts = f"{len(route.weights)} numbers for {len(route.targets)} targets"
        yield f"{key}.weights", f"found {counts}; allowed is one for each"
    elif route.weights and not any(route.weights):
        yield f"{key}.weights", "found only zeros; allowed is at least one number above 0"


def _with_default_models(config: Config, settings: list[Setting]) -> Config:
    """With the default models filled in that nobody wrote, in ``settings`` too."""
    default = next(iter(_configured(config)), "")
    models = config.models
    for index, setting in enumerate(settings):
        if setting.key in ("models.default", "models.default_embedding"):
            if setting.origin == DEFAULT.name:
                models = msgspec.structs.replace(models, **{setting.key.partition(".")[2]: default})
                settings[index] = msgspec.structs.replace(setting, value=default)
            if setting.key == "models.default":
                default = models.default
    return msgspec.structs.replace(config, models=models)
