"""``mcp-server keys``: make, list, change and revoke API keys."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_server.commands.options import ConfigOption
from mcp_server.commands.reporting import FAILED, MISUSED, fail, reported
from mcp_server.commands.tables import print_facts, print_table

if TYPE_CHECKING:
    from mcp_server.commands.key_client import KeyClient
    from mcp_server.settings import Config

keys = typer.Typer(help="Make, list, change and revoke API keys.", no_args_is_help=True)

USUAL_SCOPES = ("chat", "sessions.read", "sessions.write", "models")
"""What an application needs."""
DAY = 86_400

Server = Annotated[
    str | None,
    typer.Option(
        "--server", "-s", metavar="HOST:PORT", help="The server. Default: server.address.", show_default=False
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="CONTEXTPROTOCOL_KEY_FILE",
        help="A file with the API key to call with; takes precedence over the variable CONTEXTPROTOCOL_API_KEY. "
        "Default, without either: the file of the server's first key.",
        show_default=False,
    ),
]
APIKey = Annotated[str | None, typer.Option("--api-key", envvar="CONTEXTPROTOCOL_API_KEY", hidden=True)]
"""For the variable: an argument is seen by everybody who lists processes."""
Certificates = Annotated[
    Path | None,
    typer.Option(
        "--ca", metavar="FILE", help="Connect with TLS; the file has the certificates to trust.", show_default=False
    ),
]
Tenant = Annotated[str, typer.Option(metavar="NAME", help="The tenant.", show_default=False)]
Scope = Annotated[
    list[str] | None,
    typer.Option(metavar="SCOPE", help=f"A scope; can be repeated. Default: {', '.join(USUAL_SCOPES)}."),
]
ChangedScope = Annotated[list[str] | None, typer.Option(metavar="SCOPE", help="A scope; can be repeated.")]
ModelPattern = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="PATTERN",
        help="A model that may be used, provider/model with * for any text; can be repeated. Default: all.",
    ),
]
Name = Annotated[str | None, typer.Option(metavar="TEXT", help="A name for people.", show_default=False)]
Days = Annotated[int | None, typer.Option(metavar="N", min=0, help="Days until it expires.", show_default=False)]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="A limit by its name in the contract, such as tokens_per_day=100000; can be repeated.",
    ),
]
Label = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label; can be repeated.")]
KeyName = Annotated[str, typer.Argument(metavar="KEY", help="The id of the key.", show_default=False)]


@keys.callback()
def group() -> None:
    """Make, list, change and revoke API keys.

    All commands but `new` call a running server, with a key that has the scope `admin`.
    """


@keys.command()
def new(
    tenant: Tenant = "default",
    scope: Scope = None,
    model: ModelPattern = None,
    name: Name = None,
) -> None:
    """Make a key for the settings: print its secret, and the table with its hash. No server is needed."""
    import json

    from mcp_server.values import SCOPES
    from mcp_server.values.key_secret import hash_of, new_key_id, new_secret

    if unknown := [each for each in scope or () if each not in SCOPES]:
        fail(f"--scope: found {unknown[0]!r}, expected one of {', '.join(SCOPES)}", MISUSED)
    key_id = new_key_id()
    secret = new_secret(key_id)
    table: dict[str, Any] = {
        "hash": f"sha256:{hash_of(secret).hex()}",
        "tenant": tenant,
        "scopes": scope or list(USUAL_SCOPES),
        "models": model,
        "display_name": name,
    }
    print(f"{secret}\n\n# The secret above is for the caller, and is stored nowhere. For the settings of the server:")
    print(f"[auth.keys.{key_id}]")
    for field, value in table.items():
        if value:
            print(f"{field} = {json.dumps(value, ensure_ascii=False)}")


@keys.command()
def create(
    tenant: Tenant = "",
    scope: Scope = None,
    model: ModelPattern = None,
    name: Name = None,
    days: Days = None,
    limit: Limit = None,
    label: Label = None,
    server: Server = None,
    key_file: KeyFile = None,
    api_key: APIKey = None,
    ca: Certificates = None,
    config: ConfigOption = None,
) -> None:
    """Create a key that the server stores, and print its secret, which cannot be read again."""
    fields = _fields(scope or USUAL_SCOPES, model, name, days, limit, label)
    with _client(server, key_file, api_key, ca, config) as client:
        key, secret = client.create(tenant=tenant, **fields)
    print(f"{secret}\n\n# The secret of {key.name}, tenant {key.tenant}: it cannot be read again.")


@keys.command("list")
def list_keys(
    tenant: Tenant = "",
    server: Server = None,
    key_file: KeyFile = None,
    api_key: APIKey = None,
    ca: Certificates = None,
    config: ConfigOption = None,
) -> None:
    """List the keys of a tenant."""
    from mcp_server.commands.key_client import state_of

    with _client(server, key_file, api_key, ca, config) as client:
        rows = [
            (
                key.name.removeprefix("keys/"),
                state_of(key),
                key.tenant,
                " ".join(key.scopes),
                _moment(key, "expire_time"),
                "settings" if key.from_settings else "store",
                key.display_name,
            )
            for key in client.list(tenant)
        ]
    print_table("API keys", ("KEY", "STATE", "TENANT", "SCOPES", "EXPIRES", "FROM", "NAME"), rows)


@keys.command()
def show(
    key: KeyName,
    server: Server = None,
    key_file: KeyFile = None,
    api_key: APIKey = None,
    ca: Certificates = None,
    config: ConfigOption = None,
) -> None:
    """Print everything about a key but its secret, which nobody has."""
    with _client(server, key_file, api_key, ca, config) as client:
        _show(client.get(_name(key)))


@keys.command()
def update(
    key: KeyName,
    scope: ChangedScope = None,
    model: ModelPattern = None,
    name: Name = None,
    days: Days = None,
    limit: Limit = None,
    label: Label = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="display_name, models, limits, labels or expire_time: unset it; can be repeated.",
        ),
    ] = None,
    server: Server = None,
    key_file: KeyFile = None,
    api_key: APIKey = None,
    ca: Certificates = None,
    config: ConfigOption = None,
) -> None:
    """Change a key. Each option that is given replaces what the key had, all limits and labels together."""
    fields = _fields(scope, model, name, days, limit, label)
    with _client(server, key_file, api_key, ca, config) as client:
        _show(client.update(_name(key), clear or (), **fields))


@keys.command()
def revoke(
    key: Annotated[list[str], typer.Argument(metavar="KEY...", help="The ids of the keys.", show_default=False)],
    server: Server = None,
    key_file: KeyFile = None,
    api_key: APIKey = None,
    ca: Certificates = None,
    config: ConfigOption = None,
) -> None:
    """Revoke keys for good. Calls with them are refused from then on, and their running streams end."""
    with _client(server, key_file, api_key, ca, config) as client:
        for each in key:
            print(f"{client.revoke(_name(each)).name} revoked")


def secret_of(key_file: Path | None, api_key: str | None, settings: Config) -> str:
    """The secret of the API key to call with, by the options; empty: there is none."""
    from mcp_server.keys import first_key_file

    try:
        if key_file is not None:
            return key_file.read_text().strip()
        if api_key:
            return api_key
        first = first_key_file(settings)
        return first.read_text().strip() if first.is_file() else ""
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", MISUSED)


@contextmanager
def _client(
    server: str | None, key_file: Path | None, api_key: str | None, certificates: Path | None, config: Path | None
) -> Iterator[KeyClient]:
    """A client by the options and the settings; errors end the command."""
    with reported():
        from mcp_server.settings import prepare_grpc, read

        prepare_grpc()
        from mcp_server.commands.key_client import CallFailed, connected

        settings = read(config).config
        secret = secret_of(key_file, api_key, settings)
        try:
            trusted = certificates.read_bytes() if certificates is not None else None
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}", MISUSED)
        try:
            with connected(server or settings.server.address, secret, trusted) as client:
                yield client
        except CallFailed as error:
            fail(str(error), FAILED)


def _fields(
    scope: Sequence[str] | None,
    model: list[str] | None,
    name: str | None,
    days: int | None,
    limit: list[str] | None,
    label: list[str] | None,
) -> dict[str, Any]:
    """The fields of a key that the options set."""
    given = {
        "scopes": scope,
        "models": model,
        "display_name": name,
        "expire_time": int(time.time()) + days * DAY if days is not None else None,
        "limits": _pairs(limit, "--limit"),
        "labels": _pairs(label, "--label"),
    }
    return {field: value for field, value in given.items() if value is not None}


def _pairs(texts: list[str] | None, option: str) -> Mapping[str, str] | None:
    if texts is None:
        return None
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals or not name:
            fail(f"{option}: found {name!r}, expected NAME=VALUE", MISUSED)
    return {name: value for name, _, value in pairs}


def _name(key: str) -> str:
    return key if key.startswith("keys/") else f"keys/{key}"


def _moment(key: Any, field: str) -> str:
    return str(getattr(key, field).ToJsonString()) if key.HasField(field) else ""


def _show(key: Any) -> None:
    """A line for each field that is set."""
    from mcp_server.commands.key_client import limits_of, state_of

    facts = {
        "key": key.name.removeprefix("keys/"),
        "state": state_of(key),
        "tenant": key.tenant,
        "name": key.display_name,
        "scopes": " ".join(key.scopes),
        "models": " ".join(key.models) or "all",
        **{f"limit {name}": value for name, value in limits_of(key).items()},
        **{f"label {name}": value for name, value in sorted(key.labels.items())},
        "created": _moment(key, "create_time"),
        "changed": _moment(key, "update_time"),
        "expires": _moment(key, "expire_time"),
        "revoked": _moment(key, "revoke_time"),
        "from": "the settings of the server" if key.from_settings else "the store",
    }
    print_facts(facts)
