"""The settings of authentication: what is accepted, and how problems are reported."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from mcp_server.errors import ConfigError
from mcp_server.keys import first_key_file, settings_keys
from mcp_server.settings import Config, load
from mcp_server.settings.auth import parse_hash, parse_time
from mcp_server.settings.fields import ScopeName
from mcp_server.values import SCOPES, Key, Limits
from mcp_server.values.key_secret import hash_of, is_key_id, key_id_of, new_key_id, new_secret

KEY = """
[limits.small]
tokens_per_day = 1000
cost_per_month = 2.5

[auth.keys.abcdefghij01]
hash = "sha256:00000000000000000000000000000000000000000000000000000000000000ff"
scopes = ["chat", "models"]
"""


def written(folder: Path, text: str) -> Path:
    """A file with these settings."""
    file = folder / "settings.toml"
    file.write_text(text)
    return file


def test_the_settings_know_all_scopes() -> None:
    assert get_args(ScopeName) == SCOPES


def test_a_key_of_the_settings(tmp_path: Path) -> None:
    """With everything that may be said of it."""
    more = """
tenant = "red"
models = ["local/*"]
display_name = "App"
expire_time = "2027-01-31T12:00:00+01:00"
limits = "small"
"""
    config = load(written(tmp_path, KEY + more), {})
    assert settings_keys(config) == {
        "abcdefghij01": Key(
            id="abcdefghij01",
            tenant="red",
            secret_hash=bytes(31) + b"\xff",
            create_time=0,
            update_time=0,
            display_name="App",
            scopes=("chat", "models"),
            models=("local/*",),
            expire_time=1_801_393_200 * 10**9,
            limits=Limits(tokens_per_day=1000, cost_nanos_per_month=2_500_000_000, currency="USD"),
            from_settings=True,
        )
    }
    assert config.auth.configured


@pytest.mark.parametrize(
    ("text", "configured"), [("", False), ("[auth]", False), ("[auth]\nstored_keys = true", True), (KEY, True)]
)
def test_callers_need_credentials_as_soon_as_somebody_can_have_some(
    tmp_path: Path, text: str, configured: bool
) -> None:
    """Without keys everybody may call."""
    assert load(written(tmp_path, text), {}).auth.configured == configured


WRONG = {
    'hash = "sha256:12"': "auth.keys.abcdefghij01.hash: found a string (hidden), expected",
    "hash = 12": "auth.keys.abcdefghij01.hash: found an integer (hidden), expected",
    "scopes = []": "auth.keys.abcdefghij01.scopes: found an array, expected an array of chat, sessions.read",
    'scopes = ["all"]': "auth.keys.abcdefghij01.scopes: found an array, expected an array of chat, sessions.read",
    'tenant = "a/b"': 'auth.keys.abcdefghij01.tenant: found "a/b", expected a name of up to 63 letters',
    'models = ["a b"]': "auth.keys.abcdefghij01.models: found an array, expected an array of up to 64 patterns",
    'expire_time = "2027-01-31"': 'auth.keys.abcdefghij01.expire_time: found "2027-01-31", expected a time with its',
    'expire_time = "soon"': 'auth.keys.abcdefghij01.expire_time: found "soon", expected a time with its zone',
    'limits = "large"': 'auth.keys.abcdefghij01.limits: found "large"; expected one of small',
    "secret = 1": "auth.keys.abcdefghij01.secret: unknown key; expected hash, scopes",
}


@pytest.mark.parametrize("line", WRONG)
def test_every_problem_says_where_and_what_is_allowed(tmp_path: Path, line: str) -> None:
    """And never what was written as a hash: it may be the secret."""
    key = line.partition(" ")[0]
    lines = [each for each in KEY.splitlines() if not each.startswith(f"{key} ")]
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "\n".join([*lines, line])), {})
    assert WRONG[line] in str(caught.value)
    assert "sha256:12" not in str(caught.value)


@pytest.mark.parametrize("key_id", ["short", "ABCDEFGHIJ01", "abcdefghij012"])
def test_the_name_of_a_key_is_its_id(tmp_path: Path, key_id: str) -> None:
    """As its secret has it."""
    with pytest.raises(ConfigError, match=r"invalid name .* expected the id of a key: 12 characters of a-z and 0-9"):
        load(written(tmp_path, KEY.replace("abcdefghij01", key_id)), {})


def test_a_key_needs_a_hash_and_scopes(tmp_path: Path) -> None:
    """Both problems are reported at once."""
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "[auth.keys.abcdefghij01]"), {})
    assert [line.split(": ", 2)[1] for line in str(caught.value).splitlines()] == [
        "auth.keys.abcdefghij01.hash",
        "auth.keys.abcdefghij01.scopes",
    ]


def test_the_first_key_is_beside_the_store(tmp_path: Path) -> None:
    """Unless the settings name another file."""
    store = f'[store]\npath = "{tmp_path}/s.db"\n'
    assert first_key_file(load(written(tmp_path, store), {})) == tmp_path / "s.db.first-key"
    named = f'{store}[auth]\nfirst_key_file = "keys/first"\n'
    assert first_key_file(load(written(tmp_path, named), {})) == tmp_path / "keys" / "first"
    memory = load(written(tmp_path, '[store]\ntype = "memory"\n'), {})
    assert first_key_file(memory).name == "first-key"
    assert isinstance(memory, Config)


def test_secrets_have_their_form() -> None:
    """A prefix for scanners, the public id, and 256 random bits."""
    key_id = new_key_id()
    secret = new_secret(key_id)
    assert (is_key_id(key_id), key_id_of(secret), len(secret)) == (True, key_id, 60)
    assert new_secret(key_id) != secret
    for wrong in ("", "ctx_", secret[:-1], f"{secret}x", secret.replace("ctx", "xtc"), f"{secret}\n", secret.upper()):
        assert key_id_of(wrong) is None
    assert parse_hash(f"sha256:{hash_of(secret).hex()}") == hash_of(secret)


def test_times_have_a_zone() -> None:
    """Otherwise a key would expire at another moment on each machine."""
    assert parse_time("1970-01-01T00:00:01.5Z") == 1_500_000_000
    with pytest.raises(ValueError, match="2027"):
        parse_time("2027-01-01T00:00:00")
