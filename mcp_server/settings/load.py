"""Reads the settings: the only reader of files and of the environment.

Settings come from one TOML file and from environment variables, which take precedence. Both may be absent: the
defaults give a server on this machine alone, with a SQLite file in the user's data folder and the small embedded model.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import platformdirs

from mcp_server.errors import ConfigError
from mcp_server.plugin_settings import Secret
from mcp_server.plugins import Registry, built_in
from mcp_server.settings.consistency import configured_models, contradictions
from mcp_server.settings.decoding import (
    DEFAULT,
    Decoder,
    EnvironmentText,
    Located,
    Origin,
    Setting,
    UnreadableSecret,
    dotted,
    locate,
)
from mcp_server.settings.default_providers import default_providers
from mcp_server.settings.tables import (
    DEFAULT_PROVIDERS,
    Config,
    LogSettings,
    MetricsSettings,
    ModelSettings,
    RoutingSettings,
    ServerSettings,
)

T = TypeVar("T", bound=msgspec.Struct)

PREFIX = "CONTEXTPROTOCOL_"
"""The prefix of all environment variables of the server."""
FILE_VARIABLE = "CONTEXTPROTOCOL_CONFIG"
"""The environment variable with the path of the file."""
FILE_NAME = "contextprotocol.toml"
"""The name of the file in the user's config folder."""
DEMO_FILE: Final = Path(__file__).with_name("demo.toml")
"""The settings of a server that needs none: the provider ``demo``, and nothing on the disk."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration and where it comes from."""

    config: Config
    file: Path | None
    """The file that was read."""
    secret_files: tuple[Path, ...] = ()
    """The files of secrets that were read."""
    key_variable: str = ""
    """The environment variable whose key chose the provider, where none is configured; else empty."""
    settings: tuple[Setting, ...]
    """Every effective setting with its origin; secrets mask themselves."""

    @property
    def watched_files(self) -> tuple[Path, ...]:
        """All files that the settings come from: also those of secrets, certificates and keys."""
        tls, web = self.config.server.tls, self.config.web.tls
        keys = [issuer.keys_file for issuer in self.config.auth.jwt.values()]
        certificates = (tls.certificate, tls.key, tls.client_ca, web.certificate, web.key)
        files = (self.file, *self.secret_files, *certificates, *keys)
        return tuple([file for file in files if file is not None])


def load(path: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The settings from the file and the environment.

    Args:
        path: the file; by default what ``CONTEXTPROTOCOL_CONFIG`` names, else ``contextprotocol.toml`` in the folder
            ``contextprotocol`` of the user's config folder if it exists, else none.
        environ: the environment variables.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown, of the wrong type or invalid; all problems at
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
        options: options of the command line, which take precedence: the dotted key and the text, by the option's name.
    """
    file = _find(path, environ)
    origin = Origin(name=str(file), folder=file.parent.absolute()) if file is not None else DEFAULT
    tree: dict[str, Any] = locate(_parse(file) if file is not None else {}, origin).value
    secret_files: list[Path] = []

    def read_secret(path: Path) -> str:
        secret_files.append(path)
        return _read_secret(path)

    decoder = Decoder(read_secret, environ.get, Registry())
    variables = [*_variables(environ, decoder)]
    key_variable = ""
    if "providers" not in tree:
        tree["providers"] = locate(DEFAULT_PROVIDERS, DEFAULT)
        if "models" not in tree and not {"MODELS", "PROVIDERS"} & {key[0] for _, key, _ in variables}:
            tree["providers"], key_variable = default_providers(environ)
    for variable, key, text in variables:
        _overlay(tree, key, Located(EnvironmentText(text), Origin(name=variable)))
    for option, (name, text) in (options or {}).items():
        _overlay(tree, name.upper().split("."), Located(EnvironmentText(text), Origin(name=option)))
    config = decoder.decode(Config, Located(tree, origin))
    if config is None:
        raise ConfigError("\n".join(decoder.problems))
    config = _with_usual_keys(config, environ, decoder.settings)
    config = _with_default_models(config, decoder.settings)
    written = {setting.key: setting.origin for setting in decoder.settings}
    for name, problem in contradictions(config):
        # A table has the origin of its first key.
        place = next((where for key, where in written.items() if f"{key}.".startswith(f"{name}.")), origin.name)
        decoder.problem(Origin(name=place), name, problem)
    if decoder.problems:
        raise ConfigError("\n".join(decoder.problems))
    return Loaded(
        config=config,
        file=file,
        secret_files=tuple(secret_files),
        settings=tuple(decoder.settings),
        key_variable=key_variable,
    )


def read_table(
    table: type[T],
    file: Path | None,
    values: Mapping[str, str],
    environ: Mapping[str, str] = os.environ,
) -> T:
    """The settings table of one plug-in.

    Args:
        table: its type.
        file: the TOML file that has its keys; ``None``: there is none.
        values: further keys, dotted, and their texts, which take precedence.
        environ: the environment variables, which may have secrets.

    Raises:
        ConfigError: the message has a line for each problem.
    """
    origin = Origin(name=str(file), folder=file.parent.absolute()) if file is not None else Origin(name="settings")
    tree: dict[str, Any] = locate(_parse(file) if file is not None else {}, origin).value
    for key, text in values.items():
        _overlay(tree, key.upper().split("."), Located(EnvironmentText(text), Origin(name="--set")))
    decoder = Decoder(_read_secret, environ.get, Registry())
    decoded = decoder.decode(table, Located(tree, origin))
    if decoded is None:
        raise ConfigError("\n".join(decoder.problems))
    return decoded


def prepare_grpc(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set what gRPC's core reads from the environment when it is imported, unless it is set already.

    The server never forks, and what the core would log, the server logs itself.
    """
    environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    environ.setdefault("GRPC_VERBOSITY", "NONE")


def testing_config(*, default_model: str = "") -> Config:
    """Settings for tests: a memory store, any free port of 127.0.0.1, no metrics port, no configured provider, and one
    call to a provider for each turn, so that the next script is the next turn's."""
    return Config(
        server=ServerSettings(address="127.0.0.1:0", drain_timeout=5),
        store=built_in("stores", "memory")(),
        models=ModelSettings(default=default_model, default_embedding=default_model),
        routing=RoutingSettings(max_attempts=1),
        providers={},
        metrics=MetricsSettings(address=""),
        log=LogSettings(level="warning"),
    )


def settings_file(path: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the settings file is, or would be: the arguments and the rules of :func:`load`.

    Raises:
        ConfigError: the home folder that the path names cannot be determined.
    """
    chosen = path if path is not None else environ.get(FILE_VARIABLE) or None
    if chosen is not None:
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise ConfigError(f"{chosen}: cannot be read: its home folder cannot be determined") from error
    return platformdirs.user_config_path("contextprotocol", appauthor=False) / FILE_NAME


def _find(path: Path | str | None, environ: Mapping[str, str]) -> Path | None:
    file = settings_file(path, environ)
    named = path is not None or bool(environ.get(FILE_VARIABLE))
    return file if named or file.is_file() else None


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text, as TOML requires: byte {error.start} is invalid") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}") from error


def _read_secret(file: Path) -> str:
    """The text of a file that contains one secret, without the end of its line."""
    try:
        return file.read_bytes().decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise UnreadableSecret(f"the file {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnreadableSecret(f"the file {file} is not UTF-8 text") from error


_CLIENTS: Final = ("ADDRESS", "API_KEY", "CA", "CERTIFICATE", "CERTIFICATE_KEY", "CONFIG", "KEY_FILE")
"""The variables of ``mcp-client``, and of the path of the file."""


def _variables(environ: Mapping[str, str], decoder: Decoder) -> Iterator[tuple[str, list[str], str]]:
    """The variables that set a key, those of whole tables first."""
    sections = {section.upper() for section in Config.__struct_fields__}
    found = []
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in _CLIENTS:
            continue
        key = name.removeprefix(PREFIX).split("__")
        if len(key) > 1 or key[0] in sections:
            found.append((name, key, text))
            continue
        problem = "unknown variable"
        if (section := key[0].partition("_")[0]) in sections:
            right = f"{PREFIX}{section}__{key[0].removeprefix(section + '_')}"
            problem += f"; two underscores separate the levels: {right}"
        elif near := difflib.get_close_matches(key[0], [*sections, *_CLIENTS], n=1):
            problem += f"; did you mean {PREFIX}{near[0]}?"
        decoder.problems.append(f"{name}: {problem}")
    yield from sorted(found, key=lambda variable: (len(variable[1]), variable[0]))


def _overlay(tree: dict[str, Any], key: list[str], value: Located) -> None:
    """Put a value into the tree, replacing what is there."""
    name = next((known for known in tree if re.sub("[^A-Z0-9]", "_", known.upper()) == key[0]), key[0].lower())
    if len(key) == 1:
        tree[name] = value
        return
    inner = tree.get(name)
    if inner is not None and isinstance(inner.value, EnvironmentText):
        inner = locate(_table(inner.value), inner.origin)
    if inner is None or not isinstance(inner.value, dict):
        inner = Located({}, value.origin)
    tree[name] = inner
    _overlay(inner.value, key[1:], value)


def _table(text: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(f"table = {text}")["table"]
    except tomllib.TOMLDecodeError:
        return {}
    return table if isinstance(table, dict) else {}


def _with_usual_keys(config: Config, environ: Mapping[str, str], settings: list[Setting]) -> Config:
    """Give providers without a key the one that is in the usual variable of their service, in ``settings`` too."""
    providers = dict(config.providers)
    for name, provider in config.providers.items():
        variable = provider.key_variable()
        if variable and environ.get(variable):
            secret = Secret(environ[variable])
            providers[name] = msgspec.structs.replace(provider, api_key=secret)
            key = dotted("providers", name) + ".api_key"
            index = next(index for index, setting in enumerate(settings) if setting.key == key)
            settings[index] = Setting(key=key, value=secret, origin=variable)
    return msgspec.structs.replace(config, providers=providers)


def _with_default_models(config: Config, settings: list[Setting]) -> Config:
    """Fill in the default models that are not set, in ``settings`` too."""
    default = next(iter(configured_models(config)), "")
    models = config.models
    for index, setting in enumerate(settings):
        if setting.key in ("models.default", "models.default_embedding"):
            if setting.origin == DEFAULT.name:
                models = msgspec.structs.replace(models, **{setting.key.partition(".")[2]: default})
                settings[index] = msgspec.structs.replace(setting, value=default)
            if setting.key == "models.default":
                default = models.default
    return msgspec.structs.replace(config, models=models)
