"""Who may import whom: the map of docs/architecture.md, read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

VALUES = {"errors", "values", "principal", "interfaces"}
CORE = {"sessions", "models", "turns"}
EDGES = {"api", "rpc", "web"}
PLUGGED_IN = {"providers", "stores", "middleware"}
SHARED = {"http", "json_schema", "local"}
"""Folders of ``providers`` that several providers share."""
FORMER_NAMES = {"config": {"settings"}, "messages": {"values"}}
"""Modules that stay importable for one minor release under the names they had."""

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "allocator": set(),
    "logs": set(),
    "trace_context": set(),
    "model_files": {"errors"},
    "values": {"errors"},
    "interfaces": {"errors", "values", "principal"},
    "principal": {"errors", "values"},
    "rules": VALUES,
    "token_estimates": {"values"},
    "quotas": VALUES,
    "booking": VALUES,
    "accounts": VALUES | {"rules", "quotas", "booking", "settings"},
    "entry_points": {"errors"},
    "plugin_settings": set(),
    "providers": VALUES | {"plugin_settings", "entry_points", "model_files", "trace_context"},
    "stores": VALUES | {"plugin_settings"},
    "middleware": VALUES | {"settings", "trace_context"},
    "plugins": {"errors", "entry_points", "plugin_settings", "providers", "stores"},
    "settings": {"errors", "plugin_settings", "plugins"},
    "sessions": VALUES | {"rules", "quotas", "settings", "token_estimates"},
    "models": VALUES | {"rules", "settings", "token_estimates", "trace_context"},
    "turns": VALUES | CORE | {"rules", "quotas", "booking", "settings", "token_estimates"},
    "admission": VALUES,
    "keys": VALUES | {"rules", "accounts", "settings"},
    "gateway": VALUES | CORE | {"rules", "admission", "accounts", "keys", "quotas", "settings", "token_estimates"},
    "api": VALUES | {"accounts", "gateway", "rules"},
    "pipeline": {"errors", "interfaces"},
    "flow": {"errors"},
    "certificate_files": {"errors", "settings", "values"},
    "rpc": VALUES | {"gateway", "api", "settings", "pipeline", "flow", "certificate_files"},
    "web": VALUES | {"gateway", "api", "rules", "settings", "pipeline", "flow", "certificate_files"},
    "lifecycle": VALUES | {"sessions", "settings", "middleware"},
    "admin": VALUES | {"settings"},
    "provider_set": VALUES | {"models", "plugin_settings", "plugins"},
    "reloading": VALUES
    | CORE
    | {"accounts", "admission", "gateway", "lifecycle", "middleware", "provider_set", "rpc", "settings", "web"},
    "app": VALUES
    | CORE
    | EDGES
    | PLUGGED_IN
    | {"accounts", "admin", "admission", "gateway", "settings", "plugins", "lifecycle", "provider_set", "reloading"}
    | {"keys", "pipeline", "flow", "certificate_files"},
    "testing": VALUES | CORE | {"settings", "app", "plugins", "plugin_settings"},
    "commands": {
        "errors",
        "interfaces",
        "keys",
        "model_files",
        "plugin_settings",
        "plugins",
        "settings",
        "stores",
        "testing",
        "values",
    },
    "cli": {"commands", "allocator", "errors", "app", "settings", "plugins", "logs", "model_files"},
    "__main__": {"cli"},
    **FORMER_NAMES,
}
"""For each part of ``mcp_server``, a file or a folder, the other parts that it may see."""

ONLY_IN = {
    "grpc": {"rpc", "commands"},
    "cryptography": {"certificate_files", "commands", "middleware"},
    "jwt": {"middleware"},
    "grpc_health": {"rpc"},
    "grpc_reflection": {"rpc"},
    "grpc_channelz": {"rpc"},
    "google": EDGES | {"commands"},
    "contextprotocol": EDGES | {"commands"},
    "connectrpc": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "aiohttp": {"providers", "middleware"},  # of middleware, the keys of issuers of tokens
    "opentelemetry": {"middleware"},
    "openai": set(),  # it takes half a second and 50 MB to import; a test compares the provider with it
    "torch": {"providers"},
    "transformers": {"providers"},
    "xllamacpp": {"providers"},
    "sqlite3": {"stores"},
    "prometheus_client": {"middleware"},
    "uvloop": {"cli"},
}
"""Libraries that only some parts of ``mcp_server`` may see."""

COMPONENTS = {
    "Accounts",
    "AccessLog",
    "Authentication",
    "AdminListeners",
    "AdminPages",
    "GRPCServer",
    "Gateway",
    "Housekeeping",
    "Inventory",
    "Identities",
    "KeyAuthenticator",
    "KeyManager",
    "MCPSessionManager",
    "Metrics",
    "Ownership",
    "Pipeline",
    "ProviderSet",
    "Readiness",
    "Reloader",
    "Tracing",
    "TurnRegistry",
    "WebServer",
}
"""What the server is put together of."""

CLIENT_LIBRARIES = {"contextprotocol", "google", "grpc", "grpc_health", "msgspec"}
"""All that ``mcp_client`` may see beside the standard library: what is installed without any extra."""

CLIENT_MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "tls": set(),
    "values": set(),
    "tools": {"values"},
    "_core": {"errors", "tls", "values", "tools"},
    "_aio": {"errors", "tls", "values", "tools", "_core"},
    "_sync": {"errors", "tls", "values", "tools", "_core"},
    "__init__": {"errors", "tls", "values", "tools", "_core", "_aio", "_sync"},
    "cli": {"__init__", "values", "_core"},
    "integrations": {"__init__", "errors", "values", "tools", "_core", "_aio", "_sync"},
}
"""For each part of ``mcp_client``, a file or a folder, the other parts that it may see."""

CLIENT_EXTRAS = {
    "cli": {"platformdirs", "prompt_toolkit", "rich", "typer"},
    "integrations/aiohttp": {"aiohttp"},
    "integrations/fastapi": {"fastapi", "starlette"},
    "integrations/flask": {"flask"},
    "integrations/langchain": {"langchain_core", "pydantic"},
    "integrations/_langchain/input": {"langchain_core"},
    "integrations/_langchain/output": {"langchain_core"},
}
"""The further libraries of the command line and of each integration: those of the extra of the same name."""

WAITING = {"asyncio", "pathlib", "selectors", "socket", "subprocess", "threading"}
"""What a module without I/O has no use for."""


def test_the_map_names_every_part_of_the_server() -> None:
    """A new file at the root of the server is a decision about the map."""
    assert {_part(path) for path in _sources("mcp_server")} - {"__init__"} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("path", sorted((ROOT / "mcp_server").rglob("*.py")), ids=lambda path: _name(path))
def test_server_modules_keep_to_the_map(path: Path) -> None:
    """A module of the server imports only what its part may see."""
    part = _part(path)
    strays = [
        f"line {line}: {target}"
        for line, target in _imports(path)
        if (target[0] == "mcp_server" and len(target) > 1 and target[1] not in MAY_IMPORT.get(part, set()) | {part})
        or part not in ONLY_IN.get(target[0], {part})
        or target[0] == "mcp_client"
    ]
    assert not strays


@pytest.mark.parametrize("path", sorted((ROOT / "mcp_client").rglob("*.py")), ids=lambda path: _name(path))
def test_client_modules_keep_to_the_map(path: Path) -> None:
    """A module of the client imports what its part may see, and the few libraries that every installation has."""
    inside = path.relative_to(ROOT / "mcp_client").with_suffix("")
    part = inside.parts[0]
    libraries = CLIENT_LIBRARIES | sys.stdlib_module_names
    libraries |= CLIENT_EXTRAS.get(part, set()) | CLIENT_EXTRAS.get(inside.as_posix(), set())
    strays = [
        f"line {line}: {target}"
        for line, target in _imports(path)
        if target[0] not in libraries | {"mcp_client"}
        or (target[0] == "mcp_client" and _client_part(target) not in CLIENT_MAY_IMPORT[part] | {part})
    ]
    assert not strays


@pytest.mark.parametrize("path", sorted((ROOT / "mcp_client" / "_core").rglob("*.py")), ids=lambda path: _name(path))
def test_the_core_of_the_client_does_no_io(path: Path) -> None:
    """So that both clients can share it."""
    targets = [target for _, target in _imports(path)]
    assert not [target for target in targets if target[0] in WAITING or target[:2] == ("grpc", "aio")]


def test_every_protocol_is_an_interface_of_plug_ins() -> None:
    """Inside the system nobody calls up: what stands below is handed values, and returns results.

    Some parts name the shape of what they are handed; that stands below or beside them.
    """
    protocols = {
        _name(path)
        for path in _sources("mcp_server")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and "Protocol" in [ast.unparse(base) for base in node.bases]
    }
    assert protocols == {
        "mcp_server/interfaces.py",
        "mcp_server/middleware/metrics/families.py",  # a time series of prometheus-client
        "mcp_server/providers/local/lazy.py",  # the process of a model
        "mcp_server/settings/decoding.py",  # the registry of plug-ins, which settings see
    }


def test_only_the_app_builds() -> None:
    """The parts are put together in one place."""
    built: dict[str, set[str]] = {}
    for path in _sources("mcp_server"):
        tree = ast.parse(path.read_text())
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        built[_name(path)] = called & COMPONENTS
    assert built.pop("mcp_server/app.py") == COMPONENTS
    assert {name: parts for name, parts in built.items() if parts} == {}


@pytest.mark.parametrize("kind", sorted(PLUGGED_IN))
def test_no_folder_of_a_plug_in_sees_another(kind: str) -> None:
    """What several need is in a folder that they share."""
    folders = {path.name for path in (ROOT / "mcp_server" / kind).iterdir() if path.is_dir()}
    strays = [
        f"{_name(path)}: {target}"
        for folder in folders
        for path in _sources(f"mcp_server/{kind}/{folder}")
        for _, target in _imports(path)
        if target[:2] == ("mcp_server", kind) and set(target[2:3]) & (folders - {folder, *SHARED})
    ]
    assert not strays


@pytest.mark.parametrize("package", ["mcp_client", "mcp_server"])
def test_there_is_no_import_circle(package: str) -> None:
    """Not even one that is hidden in a function."""
    modules = {_module(path): path for path in _sources(package)}
    graph = {
        name: {
            ".".join(target[:end])
            for _, target in _imports(path)
            for end in [next((n for n in (len(target), len(target) - 1) if ".".join(target[:n]) in modules), 0)]
            if end
        }
        for name, path in modules.items()
    }
    assert tuple(TopologicalSorter(graph).static_order())


def test_only_the_configuration_reads_the_environment() -> None:
    """Every setting can be found in one file. Of the others one passes the environment on, without its keys, one obeys
    the variables of OpenTelemetry, as its own libraries do, and one takes pytest's options out of it."""
    readers = {
        _name(path) for path in _sources("mcp_server") if "os.environ" in _names(path) or "os.getenv" in _names(path)
    }
    assert readers == {
        "mcp_server/settings/load.py",
        "mcp_server/providers/local/process.py",
        "mcp_server/middleware/tracing/export.py",
        "mcp_server/testing/checks/__main__.py",
    }


def test_nothing_imports_another_project_named_mcp() -> None:
    """The import name ``mcp`` is somebody else's."""
    sources = _sources("mcp_server", "mcp_client")
    assert not [_name(path) for path in sources if any(target[0] == "mcp" for _, target in _imports(path))]


def _names(path: Path) -> set[str]:
    """Every dotted name of two parts that the module uses, and what it imports from elsewhere by such a name."""
    used = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    return used | {".".join(target) for _, target in _imports(path)}


def _sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _client_part(target: tuple[str, ...]) -> str:
    """The part of ``mcp_client`` that an import leads to; ``__init__`` for what the package itself exports."""
    part = target[1] if target[0] == "mcp_client" and len(target) > 1 else "__init__"
    return part if part in CLIENT_MAY_IMPORT else "__init__"


def _part(path: Path) -> str:
    return path.relative_to(ROOT / "mcp_server").with_suffix("").parts[0]


def _imports(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Every import, wherever it stands, as a line and the parts of the dotted name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                yield node.lineno, (*node.module.split("."), alias.name)
