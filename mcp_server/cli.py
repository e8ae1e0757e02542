"""The command line ``mcp-server``: serve, check the configuration, and keep model files.

Every command imports what it needs when it runs: ``--help`` is quick, and the server starts fast.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from mcp_server.app import UnifiedMCPServer
    from mcp_server.config import Loaded

FAILED = 1
"""The exit status of a command that could not do its work."""
MISUSED = 2
"""The exit status of a command whose settings or arguments are wrong."""

app = typer.Typer(
    name="mcp-server",
    help="The stateful backend between applications and language models: sessions with memory, over gRPC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(
    help="List the models that run on this machine, and fetch their files.", invoke_without_command=True
)
app.add_typer(models, name="models")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The TOML file with the settings. Default: CONTEXTPROTOCOL_CONFIG, or contextprotocol.toml in the user's "
        "config folder, or none.",
        show_default=False,
    ),
]


def main() -> None:
    """Run the command line."""
    needed = ("msgspec", "platformdirs", "prometheus_client", "structlog", "grpc_reflection")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        _fail(f"the server needs {', '.join(missing)}: pip install 'contextprotocol[local]'", FAILED)
    app()


@app.command()
def serve(
    config: ConfigOption = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Listen here; goes before server.address.", show_default=False),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Keep sessions in this SQLite file; goes before store.path.", show_default=False
        ),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="debug, info, warning or error; goes before log.level.", show_default=False),
    ] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then let running turns end. A second signal ends them at once."""
    given = {
        "--address": ("server.address", address),
        "--store": ("store.path", store),
        "--log-level": ("log.level", log_level),
    }
    with _told():
        from mcp_server.config import prepare_grpc, read

        loaded = read(config, options={name: (key, text) for name, (key, text) in given.items() if text is not None})
        prepare_grpc()
        _import_structlog()
        from mcp_server import logs

        logs.configure(level=loaded.config.log.level, format=loaded.config.log.format)
        from mcp_server.app import UnifiedMCPServer

        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(UnifiedMCPServer(loaded.config), loaded))


async def _serve(server: UnifiedMCPServer, loaded: Loaded) -> None:
    import structlog

    async with server:
        signalled = asyncio.create_task(server.wait_for_signal())
        await asyncio.sleep(0)  # Signals are caught from here on: whoever reads the next line may send one.
        print(_banner(server, loaded), flush=True)
        await signalled
        log = structlog.get_logger("contextprotocol.cli")
        log.info("stopping when running turns have ended", drain_timeout=loaded.config.server.drain_timeout)
    log.info("stopped")


def _banner(server: UnifiedMCPServer, loaded: Loaded) -> str:
    config = loaded.config
    facts = [
        f"mcp-server {_version()} listens on {server.address}",
        f"store {config.store.path if config.store.type == 'sqlite' else 'in memory'}",
        f"model {config.models.default or 'none by default'}",
        f"settings {loaded.file or 'built in'}",
    ]
    if server.metrics_port is not None:
        host = config.metrics.address.rpartition(":")[0]
        facts.append(f"metrics http://{host}:{server.metrics_port}/metrics")
    return " · ".join(facts)


@app.command("check-config")
def check_config(config: ConfigOption = None) -> None:
    """Print every setting and where it comes from, or all that is wrong. Secrets stay hidden."""
    with _told():
        from mcp_server.config import read

        loaded = read(config)
    colour = sys.stdout.isatty()
    for setting in loaded.settings:
        origin = f"# {setting.origin}"
        print(f"{setting.toml}  {typer.style(origin, dim=True) if colour else origin}")


@app.command()
def version() -> None:
    """Print the version."""
    print(_version())


@contextmanager
def _told() -> Iterator[None]:
    """Turn what stops a command into one message and an exit status."""
    from mcp_server.errors import ConfigError, MCPError

    try:
        yield
    except ConfigError as error:
        _fail(str(error), MISUSED)
    except MCPError as error:
        _fail(error.message, FAILED)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _fail(message: str, status: int) -> NoReturn:
    lines = message.splitlines()
    text = message if len(lines) == 1 else "\n  ".join([f"{len(lines)} problems with the settings", *lines])
    print(f"mcp-server: {text}", file=sys.stderr)
    sys.exit(status)


def _import_structlog() -> None:
    """Import structlog without rich, which it would import too, for tracebacks that the log does not use.

    That would take longer than half of all other imports of the server.
    """
    if "rich" in sys.modules or "structlog" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes the import fail, which structlog allows for
    try:
        import structlog  # noqa: F401  # for its effect
    finally:
        del sys.modules["rich"]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("contextprotocol")
    except metadata.PackageNotFoundError:
        return "(not installed)"
