"""The command line ``mcp-server``: serve, check the settings, and manage model files.

Every command imports what it needs when it runs, so that ``--help`` is quick and the server starts fast.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

try:
    import typer
except ModuleNotFoundError:
    sys.exit("mcp-server: the server needs typer: pip install 'contextprotocol[local]'")

from mcp_server.commands.backup import backup, restore
from mcp_server.commands.certs import certs
from mcp_server.commands.keys import keys
from mcp_server.commands.model_files import configured_files, download, make_default, missing_files, provide
from mcp_server.commands.models import ps, rm, show, stop
from mcp_server.commands.options import ConfigOption
from mcp_server.commands.plugins import plugins
from mcp_server.commands.progress import size_text
from mcp_server.commands.reporting import FAILED, MISUSED, fail, reported
from mcp_server.commands.tables import print_table

if TYPE_CHECKING:
    from mcp_server.app import UnifiedMCPServer
    from mcp_server.settings import Loaded

WEB_ADDRESS: Final = "127.0.0.1:8080"
"""Where the console is served for those who have written no settings."""
_WEB_LIBRARIES: Final = ("httptools", "starlette", "uvicorn")

app = typer.Typer(
    name="mcp-server",
    help="The stateful backend between applications and language models: sessions with memory, over gRPC.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(
    help="List the models that run on this machine, download their files, and see what is in memory.",
    invoke_without_command=True,
)
app.add_typer(models, name="models")
app.add_typer(certs, name="certs")
app.add_typer(keys, name="keys")
app.add_typer(plugins, name="plugins")
app.command()(backup)
app.command()(restore)
for command in (ps, stop, show, rm):
    models.command()(command)


def main() -> None:
    """Run the command line."""
    needed = ("msgspec", "platformdirs", "prometheus_client", "structlog", "grpc_reflection")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        fail(f"the server needs {', '.join(missing)}: pip install 'contextprotocol[local]'", FAILED)
    app()


@app.command()
def serve(
    config: ConfigOption = None,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="Serve a demo that needs no settings, no key and no model, and keeps nothing on the disk. "
            "The settings file is not read.",
        ),
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Listen here; overrides server.address.", show_default=False),
    ] = None,
    web: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Serve HTTP here, with the console; overrides web.address.", show_default=False
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Keep sessions in this SQLite file; overrides store.path.", show_default=False
        ),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="debug, info, warning or error; overrides log.level.", show_default=False),
    ] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Show callers the exceptions of plug-ins; sets server.development.")
    ] = False,
    pull: Annotated[
        bool, typer.Option("--pull", help="First download the model files of the settings that are missing.")
    ] = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then let running turns end. A second signal interrupts them at once."""
    options = {
        "--address": ("server.address", address),
        "--web": ("web.address", web),
        "--store": ("store.path", store),
        "--log-level": ("log.level", log_level),
        "--dev": ("server.development", "true" if dev else None),
    }
    if demo and config is not None:
        fail("--demo and --config cannot be combined: the demo has settings of its own", MISUSED)
    with reported():
        from mcp_server.allocator import return_large_blocks
        from mcp_server.settings import DEMO_FILE, prepare_grpc, read

        overrides = {name: (key, text) for name, (key, text) in options.items() if text is not None}
        if demo:
            config = DEMO_FILE
            if store is not None:
                overrides = {"--demo": ("store", '{ type = "sqlite" }'), **overrides}
        loaded = read(config, options=overrides)
        provide(loaded.config, pull=pull)
        prepare_grpc()
        return_large_blocks()
        _import_structlog()
        from mcp_server import logs

        logs.configure(level=loaded.config.log.level, format=loaded.config.log.format)
        from mcp_server.app import UnifiedMCPServer

        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            server = UnifiedMCPServer(loaded.config, default_web=_default_web(loaded))
            runner.run(_serve(server, loaded, lambda: read(config, options=overrides)))


async def _serve(server: UnifiedMCPServer, loaded: Loaded, read: Callable[[], Loaded]) -> None:
    import structlog

    from mcp_server import logs

    log = structlog.get_logger("contextprotocol.cli")
    async with server:
        signalled = asyncio.create_task(server.wait_for_signal())
        following = asyncio.create_task(
            server.follow_settings(loaded, read, lambda config: logs.set_level(config.log.level))
        )
        await asyncio.sleep(0)  # signals are caught from here on, before the next line is printed
        print(_banner(server, loaded), flush=True)
        for model, file in missing_files(loaded.config).items():
            remedy = "mcp-server models pull, or put the file there"
            log.warning("model file is missing", model=model, file=str(file.path), remedy=remedy)
        # What the start made lives to the end: the garbage collector need not inspect it at each collection.
        gc.freeze()
        await signalled
        following.cancel()
        settings = server.config.server
        log.info(
            "stopping when running turns have ended",
            drain_delay=settings.drain_delay,
            drain_timeout=settings.drain_timeout,
        )
    log.info("stopped")


def _banner(server: UnifiedMCPServer, loaded: Loaded) -> str:
    config = loaded.config
    facts = [
        f"mcp-server {_version()} listens on {server.address}",
        f"store {_store(loaded)}",
        f"model {config.models.default or 'none by default'}"
        + (f" with the key of {loaded.key_variable}" if loaded.key_variable else ""),
        f"settings {loaded.file or 'built in'}",
    ]
    if server.web_url:
        facts.append(f"web {server.web_url}")
    if server.metrics_address:
        facts.append(f"metrics http://{server.metrics_address}/metrics")
    if server.admin_address not in ("", server.metrics_address):
        facts.append(f"admin http://{server.admin_address}")
    return " · ".join(facts)


def _default_web(loaded: Loaded) -> str:
    """Where the HTTP edge with its console is served if no setting says so: nowhere if a file has the settings."""
    from mcp_server.settings import DEMO_FILE, admin_addresses, split_address, web_authentication

    config = loaded.config
    if loaded.file not in (None, DEMO_FILE) or any(importlib.util.find_spec(name) is None for name in _WEB_LIBRARIES):
        return ""
    if config.server.tls.client_ca is not None and not web_authentication(config):
        return ""  # callers over HTTP have no certificates
    others = [config.server.address, *filter(None, admin_addresses(config))]
    return "" if split_address(WEB_ADDRESS)[1] in [split_address(one)[1] for one in others] else WEB_ADDRESS


def _store(loaded: Loaded) -> str:
    """The store: its file, or its type."""
    settings = {setting.key: setting.value for setting in loaded.settings}
    kind = str(settings["store.type"])
    return {"sqlite": str(settings.get("store.path")), "memory": "in memory"}.get(kind, kind)


@app.command("check-config")
def check_config(config: ConfigOption = None) -> None:
    """Print every setting with its origin, or what would keep the server from starting. Secrets are masked.

    All parts of the server are built, but it opens no store, loads no model, listens nowhere and calls nobody. Model
    files that are missing are reported, and no error: `serve` can download them.
    """
    with reported():
        from mcp_server.settings import read

        loaded = read(config)
        _check_parts(loaded)
    colour = sys.stdout.isatty()
    for setting in loaded.settings:
        origin = f"# {setting.origin}"
        print(f"{setting.toml}  {typer.style(origin, dim=True) if colour else origin}")


def _check_parts(loaded: Loaded) -> None:
    """Build what ``serve`` builds; what is unwise goes to standard error."""
    from mcp_server.settings import prepare_grpc

    prepare_grpc()
    _import_structlog()
    from mcp_server import logs

    logs.configure(level="warning", format=loaded.config.log.format)
    from mcp_server.app import UnifiedMCPServer

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(UnifiedMCPServer(loaded.config, default_web=_default_web(loaded)).check())
    for name, file in missing_files(loaded.config).items():
        print(f"mcp-server: the model {name} is not on this machine: {file.path} is missing", file=sys.stderr)


@app.command("config-schema")
def config_schema() -> None:
    """Print a JSON Schema of the configuration file, with which editors complete and check it."""
    with reported():
        import json

        from mcp_server.plugins import Registry
        from mcp_server.settings.schema import json_schema

        print(json.dumps(json_schema(Registry()), indent=2, ensure_ascii=False))


@models.callback()
def list_models(context: typer.Context, config: ConfigOption = None) -> None:
    """List the catalogue of models, which of them are downloaded, and the models of the settings."""
    if context.invoked_subcommand is not None:
        return
    with reported():
        from mcp_server import model_files
        from mcp_server.settings import read

        loaded = read(config)
        fetched = {file.source for file in model_files.installed()}
        rows = [
            (one.name, size_text(one.size), one.license, "yes" if one.name in fetched else "no", one.description)
            for one in model_files.CATALOGUE.values()
        ]
        served = [
            (name, "yes" if file.path.is_file() else "no", str(file.path))
            for name, file in configured_files(loaded.config).items()
        ]
    print_table("Catalogue", ("NAME", "SIZE", "LICENCE", "FETCHED", "WHAT TO EXPECT"), rows)
    print_table("Served with these settings from this machine", ("MODEL", "FETCHED", "FILE"), served)


@models.command()
def pull(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Names of the catalogue, or hf:OWNER/REPOSITORY/FILE.gguf. Default: all models of the settings.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    default: Annotated[
        bool,
        typer.Option("--default", help="Make the model the default one: configure it in the settings file."),
    ] = False,
) -> None:
    """Download model files that are missing, and print their paths."""
    if default and len(sources or ()) != 1:
        fail("--default needs the name of one model", MISUSED)
    with reported():
        from mcp_server.settings import read

        served = [] if sources else [file.source for file in configured_files(read(config).config).values()]
        for source in sources or [source for source in served if source is not None]:
            print(path := download(source))
            if default:
                from mcp_server.model_files import CATALOGUE, HUB

                known = source in CATALOGUE or source.startswith(HUB)
                name, file = make_default(source if known else str(path.absolute()), config)
                print(f"{name} is now the default model in {file}", file=sys.stderr)


@app.command()
def version() -> None:
    """Print the version."""
    print(_version())


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mcp-server {_version()}")
        raise typer.Exit


@app.callback()
def _program(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options of the program itself."""


def _import_structlog() -> None:
    """Import structlog without rich, which structlog would import for tracebacks that the log does not use.

    Importing rich takes longer than half of all other imports of the server.
    """
    if "rich" in sys.modules or "structlog" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes the import fail, which structlog handles
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
