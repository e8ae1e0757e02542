"""The JSON Schema of the configuration file, from the types, defaults and docstrings of the settings tables.

Editors complete and check the file with it: Even Better TOML and taplo, for example. The descriptions are read from the
source, so this module is not for the start of a server.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.inspect import (
    AnyType,
    BoolType,
    CustomType,
    DictType,
    FloatType,
    IntType,
    LiteralType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

from mcp_server.plugin_settings import Secret
from mcp_server.plugins import TABLE_REQUIRED, Registry
from mcp_server.settings.decoding import bare_type, type_extra
from mcp_server.settings.tables import Config

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
"""The version of JSON Schema that editors of TOML support."""
_BOUNDS: Final = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_LENGTHS: Final = {"min_length": "minItems", "max_length": "maxItems"}


def json_schema(registry: Registry) -> dict[str, Any]:
    """The schema of the configuration file, with the tables of all installed plug-ins.

    Raises:
        ConfigError: a plug-in cannot be loaded.
    """
    builder = _Builder(registry)
    root = builder.table(Config)
    return {"$schema": DRAFT, "title": "contextprotocol.toml", **root, "definitions": builder.definitions}


def describe(struct: type[msgspec.Struct]) -> str:
    """The docstring of a table, as one line of Markdown."""
    return _markdown(struct.__doc__ or "")


def describe_fields(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The docstrings of a table's fields, each one line of Markdown. Inherited fields are included."""
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if not (issubclass(base, msgspec.Struct) and base.__struct_fields__):
            continue
        try:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except OSError:
            continue  # installed without its source
        assert isinstance(definition, ast.ClassDef)
        for field, docstring in zip(definition.body, definition.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(docstring, ast.Expr)
                and isinstance(docstring.value, ast.Constant)
            ):
                found[field.target.id] = _markdown(str(docstring.value.value))
    return found


class _Builder:
    """Builds the schema of each table once."""

    def __init__(self, registry: Registry) -> None:
        self.definitions: dict[str, Any] = {}
        self._registry = registry

    def table(self, struct: type[msgspec.Struct], *, type_: str = "", type_required: bool = False) -> dict[str, Any]:
        """The schema of one table.

        Args:
            struct: the table.
            type_: the value of its key ``type``, if it belongs to a plug-in.
            type_required: whether that key must be set.
        """
        descriptions = describe_fields(struct)
        properties: dict[str, Any] = {}
        if type_:
            properties["type"] = {"const": type_, "description": "The plug-in that the table belongs to."}
        for field in msgspec.structs.fields(struct):
            kind = type_info(field.type)
            schema = self._value(kind)
            notes = {"description": _sentences(descriptions.get(field.name, ""), type_extra(kind).get("allowed"))}
            if (default := _default(field)) is not None:
                notes["default"] = default
            notes = {name: note for name, note in notes.items() if note != ""}
            # Beside a reference nothing else counts.
            properties[field.encode_name] = {**notes, **({"allOf": [schema]} if notes and "$ref" in schema else schema)}
        required = [field.encode_name for field in msgspec.structs.fields(struct) if field.required]
        if type_required:
            required.insert(0, "type")
        return {
            "type": "object",
            "description": describe(struct),
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }

    def _value(self, kind: Type) -> dict[str, Any]:
        """The schema of a type. TOML has no null: a key that is not set is left out."""
        extra, kind = type_extra(kind), bare_type(kind)
        if "plugin" in extra:
            return self._plugin(extra["plugin"], default=extra.get("type"))
        if isinstance(kind, DictType):
            return self._map(kind)
        if isinstance(kind, StructType):
            struct = kind.cls
            return self._reference(struct.__name__, lambda: self.table(struct))
        if isinstance(kind, VarTupleType):
            return {"type": "array", "items": self._value(kind.item_type), **_limits(kind, _LENGTHS)}
        if isinstance(kind, UnionType):
            return {"anyOf": [self._value(choice) for choice in kind.types]}
        if isinstance(kind, CustomType) and kind.cls is Secret:
            return self._reference("Secret", _secret)
        return _scalar(kind)

    def _map(self, kind: DictType) -> dict[str, Any]:
        names = self._value(kind.key_type)
        schema: dict[str, Any] = {"type": "object"}
        if names != {"type": "string"}:
            schema["propertyNames"] = names
        plugin = type_extra(kind.value_type).get("plugin")
        if plugin is None or plugin in TABLE_REQUIRED:
            return {**schema, "additionalProperties": self._value(kind.value_type)}
        # Without a type, the name of a table is the name of its plug-in.
        schema["properties"] = {
            name: self._reference(f"{plugin}.{name}", partial(self.table, table, type_=name))
            for name, table in self._registry.tables(plugin)
        }
        return {**schema, "additionalProperties": bool(schema["properties"]) and self._value(kind.value_type)}

    def _plugin(self, kind: str, *, default: str | None) -> dict[str, Any]:
        """One schema for each plug-in of a kind. Their key ``type`` says which one applies."""
        return {
            "oneOf": [
                self._reference(
                    f"{kind}.{name}" if kind in TABLE_REQUIRED else f"{kind}.{name}.typed",
                    partial(self.table, table, type_=name, type_required=name != default),
                )
                for name, table in self._registry.tables(kind)
            ]
        }

    def _reference(self, name: str, build: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in self.definitions:
            self.definitions[name] = build()
        return {"$ref": f"#/definitions/{name}"}


def _scalar(kind: Type) -> dict[str, Any]:
    if isinstance(kind, LiteralType):
        return {"enum": list(kind.values)}
    if isinstance(kind, BoolType):
        return {"type": "boolean"}
    if isinstance(kind, IntType | FloatType):
        return {"type": "integer" if isinstance(kind, IntType) else "number", **_limits(kind, _BOUNDS)}
    if isinstance(kind, StrType):
        return {"type": "string", **({"pattern": kind.pattern} if kind.pattern is not None else {})}
    if isinstance(kind, CustomType) and kind.cls is Path:
        return {"type": "string", "minLength": 1}
    assert isinstance(kind, AnyType), f"a setting of the type {kind} has no schema"
    return {}


def _secret() -> dict[str, Any]:
    def table(key: str, description: str) -> dict[str, Any]:
        properties = {key: {"type": "string", "minLength": 1, "description": description}}
        return {"type": "object", "properties": properties, "required": [key], "additionalProperties": False}

    return {
        "description": "A text that is never shown, or the file or the environment variable that has it.",
        "anyOf": [
            {"type": "string", "minLength": 1},
            table("file", "A file that contains the text."),
            table("env", "An environment variable that has the text."),
        ],
    }


def _limits(kind: Any, names: Mapping[str, str]) -> dict[str, Any]:
    return {name: getattr(kind, limit) for limit, name in names.items() if getattr(kind, limit) is not None}


def _default(field: Any) -> Any:
    """The default as JSON; ``None`` if there is none, or if the description says what it is."""
    if field.default is msgspec.NODEFAULT or isinstance(field.default, msgspec.Struct):
        return None
    return list(field.default) if isinstance(field.default, tuple) else field.default


def _sentences(description: str, allowed: str | None) -> str:
    return description if allowed is None else f"{description} Allowed: {allowed}."


def _markdown(docstring: str) -> str:
    return re.sub("``(.+?)``", r"`\1`", " ".join(docstring.split()))
