"""``mcp-server backup`` and ``mcp-server restore``: copies of the store of a server."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mcp_server.commands.options import ConfigOption
from mcp_server.commands.progress import progress_of, size_text
from mcp_server.commands.reporting import reported

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="FILE", help="The file of the store; overrides store.path.", show_default=False),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.", show_default=False)],
    config: ConfigOption = None,
    store: StoreOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Copy the store into a file, as it is at one moment. The server may be running."""
    with reported():
        from mcp_server.stores.sqlite.backup import back_up

        source = _store(config, store)
        with progress_of(str(file)) as progress:
            back_up(source, file, overwrite=overwrite, progress=partial(progress, "copying"))
    print(f"{file} · {size_text(file.stat().st_size)} · backup of {source}")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", show_default=False)],
    config: ConfigOption = None,
    store: StoreOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Put a backup in the place of the store. The server must not be running."""
    with reported():
        from mcp_server.stores.sqlite import backup as files

        target = _store(config, store)
        with progress_of(str(target)) as progress:
            files.restore(file, target, overwrite=overwrite, progress=partial(progress, "copying"))
    print(f"{target} · {size_text(target.stat().st_size)} · restored from {file}")


def _store(config: Path | None, store: Path | None) -> Path:
    """The file of the store.

    Raises:
        ConfigError: the settings cannot be used, or their store is not a file.
    """
    if store is not None:
        return store
    from mcp_server.errors import ConfigError
    from mcp_server.settings import read
    from mcp_server.stores.sqlite.settings import SQLiteSettings

    table = read(config).config.store
    if not isinstance(table, SQLiteSettings):
        raise ConfigError("store.type: only the store sqlite has a file to back up and restore")
    return table.path
