"""``mcp-server models ps``, ``stop``, ``rm`` and ``show``: what is in memory and on disk."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_server.commands.keys import APIKey, KeyFile
from mcp_server.commands.model_files import configured_files
from mcp_server.commands.options import ConfigOption
from mcp_server.commands.progress import size_text
from mcp_server.commands.reporting import FAILED, MISUSED, fail, reported
from mcp_server.commands.tables import print_facts, print_json, print_table

if TYPE_CHECKING:
    from mcp_server.commands.admin_client import AdminClient
    from mcp_server.settings import Config

Admin = Annotated[
    str | None,
    typer.Option(
        "--admin", metavar="HOST:PORT", help="The admin port of the server. Default: admin.address.", show_default=False
    ),
]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model of the settings or of the catalogue, or hf:….", show_default=False),
]


def ps(
    admin: Admin = None,
    key_file: KeyFile = None,
    api_key: APIKey = None,
    as_json: JSON = False,
    config: ConfigOption = None,
) -> None:
    """List the models that a running server has in memory."""
    with _client(admin, key_file, api_key, config) as client:
        loaded = client.loaded()
    if as_json:
        print_json(loaded)
        return
    rows = [
        (
            row["name"],
            str(row["pid"] or ""),
            "" if row["memory_bytes"] is None else size_text(row["memory_bytes"]),
            row["state"] if row["loaded_at"] is None else _moment(row["loaded_at"]),
            str(row["calls"]),
            _unloads(row),
        )
        for row in loaded
    ]
    print_table("Models in memory", ("MODEL", "PID", "MEMORY", "LOADED SINCE", "CALLS", "UNLOADS IN"), rows)


def stop(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model, as `ps` names it.", show_default=False)],
    admin: Admin = None,
    key_file: KeyFile = None,
    api_key: APIKey = None,
    config: ConfigOption = None,
) -> None:
    """Unload a model of a running server when its calls have ended. The next call loads it again."""
    with _client(admin, key_file, api_key, config) as client:
        names = [row["name"] for row in client.loaded()]
        name = _one_of(model, names)
        if name is None:
            fail(f"the model {model!r} is not in memory: {_choice(model, names)}", FAILED)
        row = client.unload(name)
    if row is None:
        print(f"{name} unloaded")
    else:
        print(f"{name} is in use (calls: {row['calls']}), and is unloaded when they have ended")


def rm(
    model: ModelName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    admin: Admin = None,
    key_file: KeyFile = None,
    api_key: APIKey = None,
    config: ConfigOption = None,
) -> None:
    """Delete the downloaded file of a model. Refused while a running server has it in memory."""
    with reported():
        from mcp_server import model_files
        from mcp_server.commands.admin_client import CannotAsk, NotRunning
        from mcp_server.settings import read

        settings = read(config).config
        served, source, path = _file_of(model, settings)
        if source is None:
            fail(f"{path} was not downloaded by this program: delete it yourself", FAILED)
        present = [file for file in model_files.installed() if file.path == path]
        if not present:
            fail(f"the model {model} is not downloaded: there is no {path}", FAILED)
        names = {name for name, file in configured_files(settings).items() if file.path == path}
        try:
            client = _admin_client(admin, key_file, api_key, settings)
            in_use = [row["name"] for row in client.loaded() if row["name"] in names] if client is not None else []
        except NotRunning:
            in_use = []
        except CannotAsk as error:
            fail(f"whether the model {model} is in use is not known: {error}", FAILED)
        if in_use:
            fail(f"{in_use[0]} is in memory: unload it with `mcp-server models stop {in_use[0]}`", FAILED)
        size = size_text(model_files.size_of(path))
        if not yes:
            if not sys.stdin.isatty():
                fail(f"--yes is needed to delete {path} ({size}) without a terminal", MISUSED)
            if not typer.confirm(f"Delete {path} ({size})?", err=True):
                raise typer.Exit(FAILED)
        try:
            model_files.remove(path)
        except OSError as error:
            fail(f"{path} cannot be deleted: {error.strerror or error}", FAILED)
    print(f"{path} · {size} · deleted")
    if served:
        print(f"the settings still name {served}: its next call fails until `mcp-server models pull {source}`")


def show(model: ModelName, as_json: JSON = False, config: ConfigOption = None) -> None:
    """Print what is known of a model: its file, what it can do, and its defaults. Loads nothing."""
    with reported():
        from mcp_server.commands.model_facts import facts_of
        from mcp_server.settings import read

        settings = read(config).config
        served, source, path = _file_of(model, settings)
        facts = facts_of(settings, name=served or model, source=source, path=path)
    if as_json:
        print_json(facts)
        return
    print_facts({key.replace("_", " "): _text(key, value) for key, value in facts.items()})


@contextmanager
def _client(
    admin: str | None, key_file: Path | None, api_key: str | None, config: Path | None
) -> Iterator[AdminClient]:
    """The admin port by the options and the settings; errors end the command."""
    with reported():
        from mcp_server.commands.admin_client import CannotAsk
        from mcp_server.settings import read

        client = _admin_client(admin, key_file, api_key, read(config).config)
        if client is None:
            fail("admin.address is switched off in these settings: name the port with --admin", MISUSED)
        try:
            yield client
        except CannotAsk as error:
            fail(str(error), FAILED)


def _admin_client(
    admin: str | None, key_file: Path | None, api_key: str | None, settings: Config
) -> AdminClient | None:
    """The admin port; ``None`` if the settings switch it off."""
    from mcp_server.commands.admin_client import AdminClient
    from mcp_server.commands.keys import secret_of
    from mcp_server.settings import admin_addresses
    from mcp_server.settings.fields import split_address

    address = admin or admin_addresses(settings)[0]
    if not address:
        return None
    try:
        split_address(address)
    except ValueError:
        fail(f"--admin: found {address!r}, expected HOST:PORT", MISUSED)
    return AdminClient(address, secret_of(key_file, api_key, settings))


def _file_of(model: str, settings: Config) -> tuple[str, str | None, Path]:
    """The name under which the settings serve a model, or an empty one; its source, ``None`` if there is none; and its
    file. Ends the command if there is no such model."""
    from mcp_server import model_files

    files = configured_files(settings)
    served = _one_of(model, files) or next((name for name, file in files.items() if file.source == model), "")
    if served:
        return served, files[served].source, files[served].path
    if model.endswith(".gguf") and not model.startswith(model_files.HUB):
        return "", None, Path(model).expanduser()
    if model not in model_files.CATALOGUE and not model.startswith(model_files.HUB):
        known = [*files, *model_files.CATALOGUE, *[file.source for file in model_files.installed()]]
        fail(f"there is no model {model!r} here: {_choice(model, known)}", FAILED)
    return "", model, model_files.location(model)


def _one_of(model: str, names: Iterable[str]) -> str | None:
    """The full name of a model that is given by it, or by its part after the provider; ``None`` if it is not unique."""
    matching = [name for name in names if model in (name, name.partition("/")[2])]
    if model in matching:
        return model
    return matching[0] if len(matching) == 1 else None


def _choice(name: str, names: Iterable[str]) -> str:
    import difflib

    known = list(dict.fromkeys(names))
    near = difflib.get_close_matches(name, [*known, *[each.rpartition("/")[2] for each in known]], n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"choose one of {', '.join(known)}" if known else "there is none"


def _moment(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")


def _unloads(row: dict[str, Any]) -> str:
    if row["unload_in_seconds"] is not None:
        return f"{row['unload_in_seconds']:.0f} s"
    return "" if row["calls"] or row["loaded_at"] is None else "never"


def _text(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key == "size":
        return size_text(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(name, one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(repr, value)) if isinstance(value, tuple) else ", ".join(value)
    return f"{value:g} s" if key == "keep_alive" and not isinstance(value, str) else str(value)
