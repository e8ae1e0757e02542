"""Render the tables of `docs/config.md` from the settings' types and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from _sections import filled

from mcp_server import plugins
from mcp_server.plugin_settings import PluginSettings
from mcp_server.settings import decoding, schema, tables
from mcp_server.settings.load import PREFIX

HEAD: Final = "| key | allowed | default | meaning | variable |\n|-|-|-|-|-|\n"
NAMES: Final = {
    "certificates": "PATTERN",
    "jwt": "ISSUER",
    "keys": "ID",
    "models": "MODEL",
    "routes": "ROUTE",
    "settings": "PATTERN",
}
"""What the names of the tables in a table are called, by its key."""


def render(root: Path) -> str:
    """The page as it is in the checkout ``root``, with its tables made anew."""
    return filled(root / "docs" / "config.md", "the settings tables", "".join(_sections()).strip() + "\n")


def _sections() -> Iterator[str]:
    for section in msgspec.structs.fields(tables.Config):
        if section.name == "store":
            yield from _plugin_tables("stores", "store")
        elif section.name == "providers":
            yield from _plugin_tables("providers", "providers.NAME")
        elif _is_table(section.type):
            yield from _table(section.type, section.name)
        elif named := [part for part in get_args(section.type) if _is_table(part)]:
            meaning = schema.describe_fields(tables.Config)[section.name]
            yield from _table(named[0], f"{section.name}.NAME", meaning=meaning)
        else:
            meaning = schema.describe_fields(tables.Config)[section.name]
            yield f"\n### `[{section.name}.NAME]`\n\n{meaning} See [Plug-ins](plugins.md).\n"


def _plugin_tables(kind: str, name: str) -> Iterator[str]:
    for type_ in sorted(plugins.KINDS[kind].built_in):
        yield from _table(plugins.built_in(kind, type_), name, type_)


def _is_table(type_: Any) -> bool:
    return inspect.isclass(type_) and issubclass(type_, msgspec.Struct)


def _table(struct: type[msgspec.Struct], name: str, type_: str = "", meaning: str = "") -> Iterator[str]:
    kind = f", `type = {decoding.shown(type_)}`" if type_ else ""
    yield f"\n### `[{name}]`{kind}\n\n{meaning or schema.describe(struct)}\n\n{HEAD}"
    if type_:
        default = f"`{decoding.toml(type_)}`" if type_ == "sqlite" else "must be set"
        variable = f"{PREFIX}{name}.type".upper().replace(".", "__")
        yield f"| `type` | {decoding.shown(type_)} | {default} | The plug-in. | `{variable}` |\n"
    descriptions = schema.describe_fields(struct)
    inner: list[tuple[type[msgspec.Struct], str]] = []
    for field in msgspec.structs.fields(struct):
        if _is_table(field.type) and field.name not in descriptions:
            inner.append((field.type, f"{name}.{field.encode_name}"))
            continue
        allowed = decoding.allowed(msgspec.inspect.type_info(field.type))
        key = f"{name}.{field.encode_name}"
        cells = (
            f"`{field.encode_name}`",
            allowed,
            _default(struct, field),
            descriptions[field.name],
            f"`{PREFIX}{key.upper().replace('.', '__')}`",
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
        place = f"{key}.{NAMES[field.name]}" if field.name in NAMES else key
        inner += [(part, place) for part in (field.type, *get_args(field.type)) if _is_table(part)]
    for table, place in inner:
        yield from _table(table, place)


def _default(struct: type[msgspec.Struct], field: Any) -> str:
    if field.required:
        return "must be set"
    if field.default is msgspec.NODEFAULT and issubclass(struct, PluginSettings):
        return "see right"  # another on each machine
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or isinstance(value, msgspec.Struct):
        return "not set"
    return f"`{decoding.toml(value)}`"
