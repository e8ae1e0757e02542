"""Settings: where they come from, what is refused, and how problems are reported."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import mcp_server.settings
from mcp_server.errors import ConfigError
from mcp_server.providers import BUILT_IN
from mcp_server.providers.custom import CustomSettings
from mcp_server.providers.llama_cpp.settings import LlamaCppSettings
from mcp_server.providers.openai.settings import OpenAISettings
from mcp_server.settings import MOVED, Loaded, Secret, load, read, split_address
from mcp_server.stores.memory_settings import MemorySettings
from mcp_server.stores.sqlite.settings import SQLiteSettings

MINE = """
[models]
aliases = { fast = "local/qwen" }

[providers.local]
type = "llama_cpp"
models.qwen.path = "files/qwen.gguf"

[providers.mine]
type = "custom"
class = "my_package.provider:Provider"
options = { url = "http://127.0.0.1:1", retries = 3 }
secrets = { api_key = "k-123456" }
"""

PROVIDERS = " or ".join(f'"{name}"' for name in sorted(BUILT_IN))
"""The types of providers, as a problem lists them."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whose folders are empty."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return tmp_path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the settings of the test are written."""
    return tmp_path / "settings.toml"


def problems(path: Path | None, environ: Mapping[str, str] | None = None) -> list[str]:
    """What stops a start with these settings."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return str(caught.value).splitlines()


def origins(loaded: Loaded) -> dict[str, str]:
    return {setting.key: setting.origin for setting in loaded.settings}


def test_without_any_settings_a_local_server_with_the_embedded_model_results(home: Path) -> None:
    """Nothing configured: this machine only, a file in the user's data folder, the small model."""
    config = load(environ={})
    assert config.server.address == "127.0.0.1:50051"
    assert isinstance(config.store, SQLiteSettings)
    assert config.store.path == home / "xdg_data_home" / "contextprotocol" / "sessions.db"
    assert config.models.default == config.models.default_embedding == "local/smollm2-135m"
    provider = config.providers["local"]
    assert isinstance(provider, LlamaCppSettings)
    assert list(provider.models) == ["smollm2-135m"]


def test_the_file_in_the_user_s_config_folder_is_found(home: Path) -> None:
    """The usual place needs no option."""
    folder = home / "xdg_config_home" / "contextprotocol"
    folder.mkdir(parents=True)
    (folder / "contextprotocol.toml").write_text('server.address = "127.0.0.1:1"')
    assert load(environ={}).server.address == "127.0.0.1:1"


def test_an_option_goes_before_a_variable_and_a_variable_before_the_file(file: Path) -> None:
    """Who speaks nearest to the start is heard."""
    file.write_text('[server]\naddress = "127.0.0.1:1"\ndrain_timeout = 1\n[log]\nlevel = "error"')
    environ = {
        "CONTEXTPROTOCOL_CONFIG": str(file),
        "CONTEXTPROTOCOL_SERVER__ADDRESS": "127.0.0.1:2",
        "CONTEXTPROTOCOL_SERVER__DRAIN_TIMEOUT": "2.5",
    }
    loaded = read(environ=environ, options={"--address": ("server.address", "127.0.0.1:3")})
    assert loaded.config.server.address == "127.0.0.1:3"
    assert loaded.config.server.drain_timeout == 2.5
    assert loaded.config.log.level == "error"
    where = origins(loaded)
    assert where["server.address"] == "--address"
    assert where["server.drain_timeout"] == "CONTEXTPROTOCOL_SERVER__DRAIN_TIMEOUT"
    assert where["log.level"] == str(file)
    assert where["log.format"] == "default"


def test_an_explicit_file_goes_before_the_one_of_the_environment(file: Path, tmp_path: Path) -> None:
    """``--config`` wins over CONTEXTPROTOCOL_CONFIG."""
    file.write_text("window.max_messages = 7")
    environ = {"CONTEXTPROTOCOL_CONFIG": str(tmp_path / "none.toml")}
    assert load(file, environ).window.max_messages == 7


def test_relative_paths_are_relative_to_the_file_and_a_tilde_is_the_home_folder(file: Path, home: Path) -> None:
    """A file means the same wherever the server is started."""
    file.write_text(MINE + '[store]\npath = "~/chats.db"')
    config = load(file, {})
    provider = config.providers["local"]
    assert isinstance(provider, LlamaCppSettings)
    assert provider.models["qwen"].path == file.parent / "files" / "qwen.gguf"
    assert config.store == SQLiteSettings(path=home / "home" / "chats.db")


def test_the_first_configured_model_is_the_default(file: Path) -> None:
    """Who configures one model need not name it twice."""
    file.write_text(MINE)
    models = load(file, {}).models
    assert (models.default, models.default_embedding) == ("local/qwen", "local/qwen")


def test_the_default_model_is_the_default_for_embeddings_too(file: Path) -> None:
    """One choice serves both."""
    file.write_text(MINE + "[server]")
    assert load(file, {"CONTEXTPROTOCOL_MODELS__DEFAULT": "fast"}).models.default_embedding == "fast"


def test_variables_reach_into_maps_by_names_with_hyphens_and_slashes(file: Path) -> None:
    """Whatever a variable's name cannot hold is an underscore in it."""
    file.write_text('[providers.local]\ntype = "llama_cpp"\nmodels."owner/big-1.5".path = "b.gguf"')
    environ = {"CONTEXTPROTOCOL_PROVIDERS__LOCAL__MODELS__OWNER_BIG_1_5__TEMPERATURE": "0.25"}
    loaded = read(file, environ)
    provider = loaded.config.providers["local"]
    assert isinstance(provider, LlamaCppSettings)
    assert provider.models["owner/big-1.5"].temperature == 0.25
    assert 'providers.local.models."owner/big-1.5".temperature' in origins(loaded)


def test_variables_change_the_embedded_provider(home: Path) -> None:
    """No file is needed to change one setting of the default."""
    provider = load(environ={"CONTEXTPROTOCOL_PROVIDERS__LOCAL__THREADS": "2"}).providers["local"]
    assert isinstance(provider, LlamaCppSettings)
    assert provider.threads == 2
    assert "smollm2-135m" in provider.models


def test_variables_hold_tables_and_arrays_as_toml(file: Path) -> None:
    """A whole table fits into one variable, and a further variable reaches into it."""
    file.write_text(MINE)
    environ = {
        "CONTEXTPROTOCOL_MODELS__ALIASES": '{ small = "local/qwen" }',
        "CONTEXTPROTOCOL_MODELS__ALIASES__BIG": "mine/gpt",
        "CONTEXTPROTOCOL_PROVIDERS__MINE__OPTIONS__HOSTS": '["a", "b"]',
        "CONTEXTPROTOCOL_PROVIDERS__MINE__OPTIONS__URL": "http://127.0.0.1:2",
    }
    config = load(file, environ)
    assert config.models.aliases == {"small": "local/qwen", "big": "mine/gpt"}
    provider = config.providers["mine"]
    assert isinstance(provider, CustomSettings)
    assert provider.options == {"url": "http://127.0.0.1:2", "retries": 3, "hosts": ["a", "b"]}


def test_text_from_a_variable_is_taken_as_it_is(file: Path) -> None:
    """Text needs no quotes, even where it looks like a number."""
    file.write_text(MINE)
    environ = {
        "CONTEXTPROTOCOL_PROVIDERS__LOCAL__MODELS__QWEN__SYSTEM_INSTRUCTION": "42",
        "CONTEXTPROTOCOL_PROVIDERS__MINE__SECRETS__API_KEY": "true",
    }
    config = load(file, environ)
    local, mine = config.providers["local"], config.providers["mine"]
    assert isinstance(local, LlamaCppSettings)
    assert isinstance(mine, CustomSettings)
    assert local.models["qwen"].system_instruction == "42"
    assert mine.secrets["api_key"].reveal() == "true"


def test_an_empty_metrics_address_turns_the_metrics_off() -> None:
    """The empty text is a value of its own."""
    assert load(environ={"CONTEXTPROTOCOL_METRICS__ADDRESS": ""}).metrics.address == ""


def test_variables_of_other_programs_are_left_alone() -> None:
    """The client's variables begin like the server's."""
    assert load(environ={"CONTEXTPROTOCOL_ADDRESS": "127.0.0.1:9"}).server.address == "127.0.0.1:50051"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('server.adress = "x:1"', "server.adress: unknown key; did you mean server.address?"),
        ("sever.address = 1", "sever: unknown key; did you mean server?"),
        ("metrics.port = 1", "metrics.port: unknown key; expected address"),
        ("server = 3", "server: found 3, expected a table"),
        (
            'server.address = "localhost:70000"',
            'server.address: found "localhost:70000", expected host:port with a port from 0 to 65535',
        ),
        (
            'server.address = "50051"',
            'server.address: found "50051", expected host:port with a port from 0 to 65535',
        ),
        ("server.drain_timeout = -1", "server.drain_timeout: found -1, expected a number from 0 to 3600"),
        ("turns.timeout = nan", "turns.timeout: found nan, expected a number from 0.001 to 86400"),
        ("turns.retention = inf", "turns.retention: found inf, expected a number from 0 to 315360000"),
        ('turns.timeout = "1"', 'turns.timeout: found "1", expected a number from 0.001 to 86400'),
        ("window.max_messages = 1.5", "window.max_messages: found 1.5, expected an integer from 1 to 10000"),
        ("window.max_messages = true", "window.max_messages: found true, expected an integer from 1 to 10000"),
        ('store.type = "redis"', 'store.type: found "redis", expected "memory" or "sqlite"'),
        ('store.path = ""', 'store.path: found "", expected a path'),
        ('store.path = "~nobody-of-that-name/a"', 'store.path: found "~nobody-of-that-name/a", expected a path'),
        (r'store.path = "a\u0000b"', r'store.path: found "a\u0000b", expected a path'),
        (
            f"turns.timeout = {10**400}",
            f"turns.timeout: found {10**78!s}…, expected a number from 0.001 to 86400",
        ),
        ("store.path = [1]", "store.path: found an array, expected a path"),
        (
            "log.level = 2020-01-01",
            'log.level: found 2020-01-01, expected "debug" or "error" or "info" or "warning"',
        ),
        ('models.default = ["a"]', "models.default: found an array, expected a string"),
        (
            'models.default = "openai/gpt"',
            'models.default: found "openai/gpt", which no provider has; expected local/smollm2-135m',
        ),
        (
            'models.aliases.a = "local/none"',
            'models.aliases.a: found "local/none", which no provider has; expected local/smollm2-135m',
        ),
        (
            'models.aliases."a/b" = "local/smollm2-135m"',
            'models.aliases."a/b": invalid name "a/b", expected a name of letters, digits, . _ and -',
        ),
        (
            'models.routes.r.targets = ["local/none"]',
            'models.routes.r.targets: found "local/none", which no provider has; expected local/smollm2-135m',
        ),
        (
            "models.routes.r.targets = []",
            'models.routes.r.targets: found an array, expected an array of 1 to 16 models, each "provider/model"',
        ),
        (
            'models.routes.r.targets = ["local/*"]',
            'models.routes.r.targets: found "local/*"; * is allowed only if the name of the route contains it',
        ),
        (
            'models.routes."*".targets = ["none/*"]',
            'models.routes."*".targets: found "none/*", which no provider has; expected local/smollm2-135m',
        ),
        (
            'models.routes."a*b*".targets = ["local/smollm2-135m"]',
            'models.routes."a*b*": invalid name "a*b*", expected at most one *',
        ),
        (
            'models.routes.r.targets = ["local/smollm2-135m", "local/smollm2-135m"]',
            "models.routes.r.targets: names a model twice",
        ),
        (
            'models.routes.r = { targets = ["local/smollm2-135m"], weights = [1, 2] }',
            "models.routes.r.weights: found 2 weights for 1 targets; expected one for each",
        ),
        (
            'models.routes.r = { targets = ["local/smollm2-135m"], weights = [0] }',
            "models.routes.r.weights: found only zeros, expected at least one number above 0",
        ),
        (
            'models = { aliases.r = "local/smollm2-135m", routes.r.targets = ["local/smollm2-135m"] }',
            "models.routes.r: is also an alias; rename one of the two",
        ),
        (
            'models.settings."opnai/*".context_window = 1000',
            'models.settings."opnai/*": matches no model; expected local/smollm2-135m',
        ),
        (
            'models.settings."*".capabilities = ["chat", "fly"]',
            (
                'models.settings."*".capabilities: found an array, expected an array of chat, completion, embedding, '
                "tools, images, json_schema and prefill"
            ),
        ),
        (
            'models.settings."*".price.currency = "euro"',
            'models.settings."*".price.currency: found "euro", expected an ISO 4217 code such as USD',
        ),
        ('routing.on_cut = "retry"', 'routing.on_cut: found "retry", expected "continue" or "fail" or "restart"'),
        ("providers.x = 1", "providers.x: found 1, expected a table"),
        (
            "providers.x = {}",
            f"providers.x.type: missing key; expected {PROVIDERS}",
        ),
        (
            'providers.x.type = "llamacpp"',
            f'providers.x.type: found "llamacpp", expected {PROVIDERS}',
        ),
        (
            'providers.x.type = "custom"',
            'providers.x.class: missing key; expected "package.module:Class", or the name of an entry point',
        ),
        (
            'providers.X = { type = "custom", class = "a:B" }',
            'providers.X: invalid name "X", expected a name of a-z, 0-9, _ and - that begins with a letter',
        ),
        (
            'providers.x = { type = "llama_cpp", models = {} }',
            "providers.x.models: found an empty table, expected at least one model",
        ),
        (
            'providers.x = { type = "llama_cpp", models = { m = { path = "a", source = "b" } } }',
            "providers.x.models.m.source: cannot be combined with path; set one of the two",
        ),
        (
            'providers.x = { type = "custom", class = "a:B", options = { k = 1 }, secrets = { k = "s" } }',
            "providers.x.secrets.k: is also a key of options; set one of the two",
        ),
        (
            'web.trusted_proxies = ["10.0.0.0/8", "proxy.example"]',
            (
                "web.trusted_proxies: found an array, expected an array, each an IP address or a network such as "
                '"10.0.0.0/8"'
            ),
        ),
        (
            'web.cors.origins = ["https://app.example.com", "ftp://app.example.com"]',
            (
                'web.cors.origins: found an array, expected an array, each "https://app.example.com", '
                '"https://*.example.com" for its subdomains, "http://localhost:*" for any port, or "*" for every origin'
            ),
        ),
        (
            'metrics.address = "127.0.0.1:50051"',
            'metrics.address: found "127.0.0.1:50051", which is also server.address; expected another port',
        ),
    ],
)
def test_a_bad_setting_is_reported_with_file_key_found_and_allowed(file: Path, text: str, expected: str) -> None:
    """The message is all that is needed to mend it."""
    file.write_text(text)
    assert problems(file) == [f"{file}: {expected}"]


def test_all_problems_are_reported_at_once(file: Path) -> None:
    """Nobody mends one thing to learn of the next."""
    file.write_text('server.adress = "x"\nserver.drain_timeout = -1\nproviders.x.type = "custom"')
    found = problems(file, {"CONTEXTPROTOCOL_LOG__LEVEL": "loud", "CONTEXTPROTOCOL_WINDOW__MAX_MESSAGES": "all"})
    assert [line.split(": ")[:2] for line in found] == [
        [str(file), "server.adress"],
        [str(file), "server.drain_timeout"],
        ["CONTEXTPROTOCOL_WINDOW__MAX_MESSAGES", "window.max_messages"],
        [str(file), "providers.x.class"],
        ["CONTEXTPROTOCOL_LOG__LEVEL", "log.level"],
    ]


def test_a_variable_with_one_underscore_too_few_is_refused() -> None:
    """It would otherwise be ignored in silence."""
    (problem,) = problems(None, {"CONTEXTPROTOCOL_SERVER_ADDRESS": "127.0.0.1:1"})
    assert problem.startswith("CONTEXTPROTOCOL_SERVER_ADDRESS: ")
    assert problem.endswith("CONTEXTPROTOCOL_SERVER__ADDRESS")


def test_a_variable_of_an_unknown_section_is_refused() -> None:
    """It would otherwise be ignored in silence."""
    assert problems(None, {"CONTEXTPROTOCOL_SESSION__DEFAULT_TTL": "1"}) == [
        "CONTEXTPROTOCOL_SESSION__DEFAULT_TTL: session: unknown key; did you mean sessions?"
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"a = = 1", "is not valid TOML: "), (b"a = '\xff'", "is not UTF-8 text"), (None, "cannot be read: No such file")],
)
def test_a_file_that_cannot_be_read_is_reported_by_its_path(file: Path, content: bytes | None, expected: str) -> None:
    """A file that was named must be there and be TOML."""
    if content is not None:
        file.write_bytes(content)
    (problem,) = problems(file)
    assert problem.startswith(f"{file}: {expected}")


def test_a_file_in_an_unknown_home_folder_is_reported() -> None:
    """A shell leaves such a name as it is."""
    with pytest.raises(ConfigError, match=r"^~nobody-here/x\.toml: cannot be read: its home folder cannot"):
        load("~nobody-here/x.toml", {})


def test_a_secret_may_lie_in_a_file(file: Path, tmp_path: Path) -> None:
    """Beside the settings, as container platforms hand secrets over; problems are reported without its text."""
    (tmp_path / "key").write_text("sk-1\n")
    (tmp_path / "other").write_text("sk-2")
    file.write_text(
        'providers.a = { type = "openai", api_keys = ["sk-0", { file = "key" }] }\n'
        'providers.c = { type = "openai", headers = { X-Key = { file = "other" } } }'
    )
    variable = {"CONTEXTPROTOCOL_PROVIDERS__B": '{ type = "openai" }'}
    variable["CONTEXTPROTOCOL_PROVIDERS__B__API_KEY__FILE"] = str(tmp_path / "other")
    a, c, b = [provider for provider in load(file, variable).providers.values() if isinstance(provider, OpenAISettings)]
    assert a.api_keys == (Secret("sk-0"), Secret("sk-1"))
    assert c.headers == {"X-Key": Secret("sk-2")}
    assert b.api_key == Secret("sk-2")

    (tmp_path / "bad").write_bytes(b"sk-\xff")
    (tmp_path / "empty").write_text("\n")
    for given, expected in {
        '{ file = "none" }': f"the file {tmp_path / 'none'} cannot be read: No such file or directory",
        '{ file = "~nobody-here/key" }': (
            "the file ~nobody-here/key cannot be read: its home folder cannot be determined"
        ),
        '{ file = "bad" }': f"the file {tmp_path / 'bad'} is not UTF-8 text",
        '{ file = "empty" }': "found a table (hidden), expected a string of printable ASCII characters",
        '{ path = "key" }': "found a table (hidden), expected a string of printable ASCII characters",
    }.items():
        file.write_text(f'providers.a = {{ type = "openai", api_key = {given} }}')
        assert problems(file) == [f"{file}: providers.a.api_key: {expected}"]


def test_all_files_that_the_settings_name_are_watched(file: Path, tmp_path: Path) -> None:
    """Secrets and the certificates of both edges: a renewal of any of them is a reload."""
    names = ("key", "server.pem", "server.key", "web.pem", "web.key")
    (tmp_path / "key").write_text("sk-1")
    file.write_text(
        'providers.a = { type = "openai", api_key = { file = "key" } }\n'
        'server.tls = { certificate = "server.pem", key = "server.key" }\n'
        'web.tls = { certificate = "web.pem", key = "web.key" }\n'
    )
    assert set(read(file, {}).watched_files) == {file, *[tmp_path / name for name in names]}


def test_a_secret_may_be_in_a_variable_of_any_name(file: Path) -> None:
    """As other programs have it. Its name alone, as a shell writes it, is refused with what to write."""
    file.write_text('providers.a = { type = "openai", api_key = { env = "TEAM_KEY" } }')
    (provider,) = load(file, {"TEAM_KEY": "sk-1"}).providers.values()
    assert isinstance(provider, OpenAISettings)
    assert provider.api_key == Secret("sk-1")
    assert problems(file) == [f"{file}: providers.a.api_key: the environment variable TEAM_KEY is not set"]
    for text in ("$TEAM_KEY", "${TEAM_KEY}"):
        file.write_text(f'providers.a = {{ type = "openai", api_key = "{text}" }}')
        (problem,) = problems(file)
        assert problem.endswith('the name of a variable, which is not replaced; write { env = "TEAM_KEY" }')


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("", "sk-usual"),
        ('base_url = "https://eu.api.openai.com/v1"', "sk-usual"),
        ('api_key = "sk-own"', "sk-own"),
        ('headers = { Authorization = "Bearer sk-own" }', None),
        ('base_url = "https://api.openai.com.attacker.example/v1"', None),
        ('base_url = "http://127.0.0.1:8080/v1"', None),
    ],
)
def test_a_provider_without_a_key_has_that_of_the_usual_variable(file: Path, table: str, key: str | None) -> None:
    """Of its own service alone: no other server is sent it."""
    file.write_text(f'[providers.a]\ntype = "openai"\n{table}')
    loaded = read(file, {"OPENAI_API_KEY": "sk-usual", "ANTHROPIC_API_KEY": "sk-other"})
    (provider,) = loaded.config.providers.values()
    assert isinstance(provider, OpenAISettings)
    assert provider.api_key == (Secret(key) if key is not None else None)
    (setting,) = [one for one in loaded.settings if one.key == "providers.a.api_key"]
    assert (setting.origin == "OPENAI_API_KEY") == (key == "sk-usual")
    assert "sk-usual" not in setting.toml


def test_variables_that_mean_nothing_are_reported() -> None:
    """A setting that is misspelt would have no effect. Those of the client are not the server's business."""
    given = {"CONTEXTPROTOCOL_ADRESS": "x", "CONTEXTPROTOCOL_SERVR": "x", "CONTEXTPROTOCOL_API_KEY": "x"}
    with pytest.raises(ConfigError) as refused:
        load(None, {**given, "XDG_CONFIG_HOME": "/nonexistent"})
    assert str(refused.value).splitlines() == [
        "CONTEXTPROTOCOL_ADRESS: unknown variable; did you mean CONTEXTPROTOCOL_ADDRESS?",
        "CONTEXTPROTOCOL_SERVR: unknown variable; did you mean CONTEXTPROTOCOL_SERVER?",
    ]


def test_secrets_never_show(file: Path) -> None:
    """Neither in a print, nor among the settings, nor in a problem."""
    file.write_text(MINE)
    loaded = read(file, {})
    assert "k-123456" not in repr(loaded)
    assert "k-123456" not in f"{Secret('k-123456')}{Secret('k-123456')!r}"
    file.write_text(MINE.replace('"k-123456"', "123456"))
    assert problems(file) == [f"{file}: providers.mine.secrets.api_key: found an integer (hidden), expected a string"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:65535", ("::1", 65535)), ("localhost:80", ("localhost", 80))],
)
def test_an_address_is_host_and_port(address: str, expected: tuple[str, int]) -> None:
    """Names, IPv4 and bracketed IPv6."""
    assert split_address(address) == expected


@pytest.mark.parametrize("address", ["", "host", ":80", "host:", "host:65536", "::1:80", "host:-1", "a b:80"])
def test_anything_else_is_no_address(address: str) -> None:
    """A typo is refused and not guessed at."""
    with pytest.raises(ValueError, match=r"^.*$"):
        split_address(address)


EXAMPLES = re.findall(
    r"^```toml\n(.*?)^```", (Path(__file__).parents[2] / "docs" / "config.md").read_text(), re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_documentation_are_good_settings(file: Path, example: str) -> None:
    """Each can be copied as it is."""
    file.write_text(example)
    assert read(file, {}).file == file


@pytest.mark.parametrize("name", sorted(MOVED))
def test_a_name_that_moved_is_still_importable(name: str) -> None:
    """Until the next minor release, with a warning that names the new place."""
    with pytest.warns(DeprecationWarning, match=MOVED[name]):
        assert getattr(mcp_server.settings, name).__module__ == MOVED[name]


def test_the_former_table_of_stores_makes_the_table_of_a_store(tmp_path: Path) -> None:
    """With the keys that it had."""
    with pytest.warns(DeprecationWarning, match="StoreSettings"):
        former: Any = mcp_server.settings.StoreSettings
    assert former(type="sqlite", path=tmp_path / "a.db") == SQLiteSettings(path=tmp_path / "a.db")
    assert former(type="memory") == MemorySettings()


def test_a_memory_store_leaves_the_path_of_the_file_unused(file: Path) -> None:
    """So that a variable with the type alone runs a configuration in memory."""
    file.write_text('store = { type = "sqlite", path = "a.db" }')
    assert isinstance(load(file, {"CONTEXTPROTOCOL_STORE__TYPE": "memory"}).store, MemorySettings)


@pytest.mark.parametrize(("former", "now"), [("config", "settings"), ("messages", "values")])
def test_a_module_that_was_renamed_is_still_importable(former: str, now: str) -> None:
    """With every public name, and a warning that names the new module."""
    sys.modules.pop(f"mcp_server.{former}", None)
    with pytest.warns(DeprecationWarning, match=f"mcp_server.{former} is now mcp_server.{now}"):
        old = importlib.import_module(f"mcp_server.{former}")
    new = importlib.import_module(f"mcp_server.{now}")
    assert old.__all__ == new.__all__
    assert all(getattr(old, name) is getattr(new, name) for name in new.__all__)


def test_a_renamed_module_leads_to_names_that_moved_further() -> None:
    """With a second warning."""
    with pytest.warns(DeprecationWarning, match="mcp_server.providers.openai.settings"):
        assert importlib.import_module("mcp_server.config").OpenAISettings is OpenAISettings


def test_a_table_that_may_be_absent_is_absent_unless_it_is_written(file: Path) -> None:
    """A price that nobody has set is unknown, not zero, and replaces none of another pattern."""
    file.write_text(
        '[models.settings."local/*"]\ncontext_window = 256\n[models.settings."local/a"]\nprice.input = 1.0\n'
    )
    loaded = read(file, {})
    assert loaded.config.models.settings["local/*"].price is None
    price = loaded.config.models.settings["local/a"].price
    assert price is not None
    assert price.input == 1.0
    assert '# models.settings."local/*".price is not set' in [setting.toml for setting in loaded.settings]
