"""Downloads model files for commands."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mcp_server.commands.progress import progress_of, size_text
from mcp_server.commands.reporting import FAILED, fail

if TYPE_CHECKING:
    from mcp_server.settings import Config, ModelFile


def download(source: str) -> Path:
    """Download a model file unless it is there, with a progress bar. A failure ends the command."""
    from mcp_server import model_files

    with progress_of(source) as progress:
        try:
            return model_files.pull(source, progress=progress)
        except model_files.ModelFileError as error:
            fail(str(error), FAILED)


def make_default(source: str, path: Path | None) -> tuple[str, Path]:
    """Make a downloaded model the default one in the settings file, which is made if there is none.

    Args:
        source: the source of its file.
        path: the settings file; ``None``: the usual one.

    Returns:
        The full name of the model, and the settings file.

    Raises:
        ConfigError: the settings cannot be used, before or after; the file stays as it was.
    """
    from mcp_server.errors import ConfigError
    from mcp_server.settings import read, settings_file
    from mcp_server.settings.editing import with_default_model

    file = settings_file(path)
    earlier = ""
    if file.exists():
        read(file)
        earlier = file.read_bytes().decode()
    text, name = with_default_model(earlier, source)
    target = file.resolve()  # a link stays
    target.parent.mkdir(parents=True, exist_ok=True)
    changed = target.with_name(f".{target.name}.{os.getpid()}")
    changed.touch(mode=0o600)  # settings may contain secrets
    try:
        changed.write_bytes(text.encode())
        loaded = read(changed)
        default = loaded.config.models.default
        if default != name:
            origin = next(setting.origin for setting in loaded.settings if setting.key == "models.default")
            raise ConfigError(f"{origin}: makes {default} the default model, whatever the settings file says")
        if target.exists():
            shutil.copymode(target, changed)
        changed.replace(target)
    finally:
        changed.unlink(missing_ok=True)
    return name, file


def configured_files(config: Config) -> dict[str, ModelFile]:
    """The files of the models that run on this machine, by ``provider/model``."""
    return {
        f"{name}/{model}": file
        for name, provider in config.providers.items()
        for model, file in provider.model_files().items()
    }


def missing_files(config: Config) -> dict[str, ModelFile]:
    """Those of them that are not there, unless their provider cannot run here anyway."""
    return {
        name: file
        for name, file in configured_files(config).items()
        if not file.path.is_file() and not config.providers[name.partition("/")[0]].missing_libraries()
    }


def provide(config: Config, *, pull: bool) -> None:
    """Download the model files of the settings that are missing: if ``pull``, or if the user agrees at the terminal.

    Without the file of the default model the command ends with a message that says how to get it.
    """
    missing = missing_files(config)
    sources = {name: file.source for name, file in missing.items() if file.source is not None}
    if sources and (pull or _agreed(sources)):
        for source in sources.values():
            download(source)
        missing = missing_files(config)
    targets = _default_targets(config)
    if targets and all(target in missing for target in targets):
        name = targets[0]
        file = missing[name]
        remedy = f"put the file at {file.path}"
        if file.source is not None:
            remedy = f"run `mcp-server models pull {file.source}`, or start with `mcp-server serve --pull`"
        fail(f"the default model {name} is not on this machine: {remedy}", FAILED)


def _agreed(sources: Mapping[str, str]) -> bool:
    """Whether the user wants these downloads; nobody is asked where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    models = ", ".join(_described(name, source) for name, source in sources.items())
    return typer.confirm(f"Not on this machine: {models}. Download now?", default=True, err=True)


def _described(name: str, source: str) -> str:
    from mcp_server.model_files import CATALOGUE

    known = CATALOGUE.get(source)
    return name if known is None else f"{name} ({size_text(known.size)}, {known.license})"


def _default_targets(config: Config) -> list[str]:
    """The full names of the models of which one answers a caller that names none."""
    models = config.models
    name = models.aliases.get(models.default, models.default)
    targets: Iterable[str] = models.routes[name].targets if name in models.routes else (name,)
    full = configured_files(config)
    return [next((one for one in full if one.partition("/")[2] == target), target) for target in targets if target]
