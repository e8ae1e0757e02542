"""Loads the plug-in, builds it from its settings, and compares its methods with those of its interface."""

from __future__ import annotations

import inspect
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec.structs import fields, replace

from mcp_server.errors import ConfigError
from mcp_server.interfaces import (
    Admission,
    Authenticator,
    ContextType,
    Embedder,
    GRPCService,
    Loader,
    ModelLookup,
    Provider,
    Store,
    TokenCounter,
    TurnObserver,
)
from mcp_server.plugin_settings import PluginSettings
from mcp_server.plugins import Registry, build
from mcp_server.settings import read_table
from mcp_server.testing.checks.request import CheckRequest

_INTERFACES: Final[Mapping[str, type]] = {
    "providers": Provider,
    "stores": Store,
    "authenticators": Authenticator,
    "admission_rules": Admission,
    "observers": TurnObserver,
    "context_types": ContextType,
}
"""What the plug-ins of a kind have to implement. Middleware is a function."""
_OPTIONAL: Final = (Embedder, TokenCounter, Loader, ModelLookup)
"""What a provider may implement."""
_FRESH: Final = "{new}"
"""Stands for another word at each build, in a text of the settings."""


class NotFulfilled(Exception):
    """The plug-in is not what its group requires; the message says why."""


def load_table(request: CheckRequest) -> PluginSettings | Any:
    """The settings of the plug-in, or the plug-in itself if it has none.

    Raises:
        ConfigError: it cannot be loaded, or its settings are invalid.
    """
    registry, kind, name = Registry(), request.kind, request.name
    values = dict(request.values)
    if kind == "context_types":
        found = registry.context_types({}, {})[name]
        _refuse_settings(request)
        return found
    if kind == "providers" and registry.table_or_none(kind, name) is None:
        table = registry.table(kind, "custom")
        values["class"] = name
    else:
        table = registry.table(kind, name)
    assert table is not None
    return read_table(table, Path(request.file) if request.file else None, values)


def _refuse_settings(request: CheckRequest) -> None:
    if request.values or request.file:
        raise ConfigError("context types have no settings")


def make(request: CheckRequest, table: Any) -> Any:
    """A new plug-in. A store has no data: each of its keys that is a path leads into a new folder.

    Raises:
        ConfigError: it cannot be built.
    """
    return make_shared(request, table)[0]


def make_shared(request: CheckRequest, table: Any, count: int = 1) -> list[Any]:
    """Plug-ins of the same settings: stores share their data."""
    if not isinstance(table, PluginSettings):
        return [table]
    if request.kind == "stores":
        table = _elsewhere(table, Path(request.folder))
    key = f"{request.kind}.{request.name}"
    return [build(table, request.name, key) for _ in range(count)]


def _elsewhere(table: PluginSettings, parent: Path) -> PluginSettings:
    folder = Path(tempfile.mkdtemp(dir=parent))
    changes: dict[str, Any] = {}
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, Path):
            changes[field.name] = folder / (value.name or field.name)
        elif isinstance(value, str) and _FRESH in value:
            changes[field.name] = value.replace(_FRESH, f"check_{uuid.uuid4().hex[:12]}")
    return replace(table, **changes)


def compare(kind: str, plug_in: Any) -> None:
    """Make sure that a plug-in has the methods of its interface, and that the server can call them.

    Raises:
        NotFulfilled: it has not; the message lists all that is wrong.
    """
    wrong = [*_wrong(kind, plug_in)]
    if wrong:
        raise NotFulfilled("; ".join(wrong))


def _wrong(kind: str, plug_in: Any) -> Iterator[str]:
    if isinstance(plug_in, type):
        yield f"it is the class {plug_in.__name__}: register an instance, or a settings table that builds one"
    elif kind == "middleware":
        if not callable(plug_in):
            yield f"it is {_a(plug_in)}: expected a function of a call"
        else:
            yield from _not_callable(type(plug_in).__name__, plug_in, 1)
    elif kind == "services":
        yield from _wrong_service(plug_in)
    else:
        yield from _missing(_INTERFACES[kind], plug_in)
        for interface in _OPTIONAL if kind == "providers" else ():
            if any(hasattr(plug_in, name) for name in _methods(interface)):
                yield from _missing(interface, plug_in)


def _missing(interface: type, plug_in: Any) -> Iterator[str]:
    for name, wanted in _methods(interface).items():
        method = getattr(plug_in, name, None)
        if not callable(method):
            yield f"{_a(plug_in)} has no method {name}"
            continue
        yield from _not_callable(name, method, _positional(wanted))
        if inspect.iscoroutinefunction(wanted) and _is_plain(method):
            yield f"{name} is a plain function: write `async def`"
        elif not inspect.iscoroutinefunction(wanted) and inspect.iscoroutinefunction(method):
            yields = "AsyncIterator" in str(inspect.signature(wanted).return_annotation)
            yield f"{name} returns a coroutine: " + ("it must `yield`" if yields else "write `def`")


def _methods(interface: type) -> dict[str, Any]:
    return {
        name: method
        for base in reversed(interface.__mro__)
        for name, method in vars(base).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


def _positional(function: Any) -> int:
    """How many arguments the server passes, without ``self``."""
    parameters = inspect.signature(function).parameters.values()
    return len([each for each in parameters if each.default is each.empty and each.kind is each.POSITIONAL_ONLY]) - 1


def _not_callable(name: str, method: Any, count: int) -> Iterator[str]:
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # of an object that is written in C
        return
    try:
        signature.bind(*[None] * count)
    except TypeError:
        yield f"{name}{signature} cannot be called with {count} argument{'' if count == 1 else 's'}"


def _is_plain(method: Any) -> bool:
    return inspect.isfunction(inspect.unwrap(getattr(method, "__func__", method))) and not (
        inspect.iscoroutinefunction(method)
    )


def _wrong_service(service: Any) -> Iterator[str]:
    if not isinstance(service, GRPCService):
        yield f"it is {_a(service)}: expected a GRPCService"
        return
    for method in service.descriptor.methods:
        found = getattr(service.implementation, method.name, None)
        if not callable(found):
            yield f"{_a(service.implementation)} has no method {method.name}"
        else:
            yield from _not_callable(method.name, found, 3 if method.server_streaming else 2)


def _a(thing: Any) -> str:
    name = type(thing).__name__
    return f"an {name}" if name[:1] in "AEIOUaeiou" else f"a {name}"
