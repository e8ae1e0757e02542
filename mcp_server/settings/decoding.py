"""Decodes tables of plain values, as TOML has them, into msgspec Structs: strictly, and reporting all problems at once.

It does no I/O. Each value comes as a :class:`Located`, which knows where it was written: a problem names that place,
and a relative path is relative to it.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import inspect

from mcp_server.errors import ConfigError
from mcp_server.plugin_settings import Secret

T = TypeVar("T", bound=msgspec.Struct)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a value was written."""

    name: str
    """The path of the file, the name of the environment variable, or ``default``."""
    folder: Path | None = None
    """What relative paths are relative to; ``None``: the working folder."""


DEFAULT = Origin(name="default")
"""The origin of a value that is not written anywhere."""


class Located(msgspec.Struct, frozen=True):
    """A value and where it was written. The values of a table are :class:`Located` themselves."""

    value: Any
    """The value, as TOML has it."""
    origin: Origin
    """Where it was written."""


class EnvironmentText(str):
    """The text of an environment variable: the type of its key decides whether it is used as it is or read as TOML."""

    __slots__ = ()


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One effective setting."""

    key: str
    """The dotted key."""
    value: Any
    """The decoded value."""
    origin: str
    """Where it was written: a file, an environment variable or ``default``."""

    @property
    def toml(self) -> str:
        """The setting as a line of TOML; a secret stays hidden."""
        return f"# {self.key} is not set" if self.value is None else f"{self.key} = {toml(self.value)}"


ReadSecret = Callable[[Path], str]
"""Reads the text of a secret from its file."""
ReadVariable = Callable[[str], str | None]
"""Reads the environment variable that has a secret; ``None``: it is not set."""


class UnreadableSecret(Exception):
    """A secret is not where the settings say; the message says where that is and what is wrong."""


class Tables(Protocol):
    """Finds the settings tables of plug-ins."""

    def table(self, kind: str, name: str) -> type[msgspec.Struct] | None:
        """The table of a plug-in; ``None`` if there is no plug-in of that name.

        Raises:
            ConfigError: the plug-in cannot be loaded.
        """
        ...

    def names(self, kind: str) -> Sequence[str]:
        """The names of all plug-ins of a kind. Raises as :meth:`table` does."""
        ...


def locate(value: Any, origin: Origin) -> Located:
    """A value and everything inside it, written at ``origin``."""
    if isinstance(value, dict):
        return Located({key: locate(inner, origin) for key, inner in value.items()}, origin)
    return Located(value, origin)


def plain(value: Located) -> Any:
    """The reverse of :func:`locate`; the text of an environment variable is read as TOML if it is that."""
    if isinstance(value.value, dict):
        return {key: plain(inner) for key, inner in value.value.items()}
    if isinstance(value.value, EnvironmentText):
        return toml_value(value.value)
    return value.value


def toml_value(text: str) -> Any:
    """The text as one TOML value, or as it is if it is none."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return str(text)
    return document["value"] if len(document) == 1 else str(text)


class Decoder:
    """Decodes one document. A secret may be a text, a table ``{ file = "path" }`` that names the file of the text, or
    ``{ env = "NAME" }`` for an environment variable.

    Args:
        read_secret: reads such a file; raises :class:`UnreadableSecret`.
        read_variable: reads such a variable.
        tables: finds the settings tables of plug-ins.

    Attributes:
        problems: what is wrong, a line each: the place, the key, what was found and what is allowed.
        settings: every key of every decoded table, its value and its origin, in the order of the Structs.
    """

    def __init__(self, read_secret: ReadSecret, read_variable: ReadVariable, tables: Tables) -> None:
        self._read_secret = read_secret
        self._read_variable = read_variable
        self._tables = tables
        self.problems: list[str] = []
        self.settings: list[Setting] = []

    def problem(self, origin: Origin, key: str, text: str) -> None:
        """Report a problem with ``key``."""
        self.problems.append(f"{origin.name}: {key}: {text}")

    def decode(self, struct: type[T], table: Located, prefix: str = "", *, type_: str | None = None) -> T | None:
        """Decode a table.

        Args:
            struct: what to decode it into.
            table: the table.
            prefix: its dotted key and a dot; empty for the whole document.
            type_: the type of the plug-in that the table belongs to; then the table may have a key ``type``.

        Returns:
            The struct; ``None`` if there were problems.
        """
        if not isinstance(table.value, dict):
            self.problem(table.origin, prefix.rstrip("."), f"found {_no_table(table.value)}, expected a table")
            return None
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        keys = [*fields] if type_ is None else ["type", *fields]
        before = len(self.problems)
        for key, value in table.value.items():
            if key not in keys:
                text = "unknown key; " + _choice(key, keys, prefix)
                self.problem(value.origin, dotted(prefix[:-1], key), text)
        if type_ is not None:
            origin = table.value["type"].origin if "type" in table.value else DEFAULT
            self.settings.append(Setting(key=f"{prefix}type", value=type_, origin=origin.name))
        values = {}
        for name, field in fields.items():
            kind = inspect.type_info(field.type)
            if name in table.value:
                values[field.name] = self._value(kind, field.type, table.value[name], prefix + name)
            elif field.required:
                self.problem(table.origin, prefix + name, f"missing key; expected {allowed(kind)}")
            elif isinstance(bare_type(kind), inspect.StructType) and field.default is not None:
                values[field.name] = self._value(kind, field.type, Located({}, DEFAULT), prefix + name)
            else:
                value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
                self.settings.append(Setting(key=prefix + name, value=value, origin=DEFAULT.name))
        return struct(**values) if len(self.problems) == before else None

    def _value(self, kind: inspect.Type, type_: Any, value: Located, key: str) -> Any:
        bare = bare_type(kind)
        if isinstance(value.value, EnvironmentText) and not _takes_text(bare):
            value = locate(toml_value(value.value), value.origin)
        if "plugin" in type_extra(kind):
            return self._plugin(type_extra(kind), value, key)
        if isinstance(bare, inspect.StructType):
            return self.decode(bare.cls, value, key + ".")
        if isinstance(bare, inspect.DictType):
            return self._map(bare, type_, value, key)
        return self._leaf(kind, type_, value, key)

    def _plugin(self, extra: Mapping[str, Any], value: Located, key: str) -> Any:
        """Decode the table of a plug-in, which its key ``type`` names."""
        if not isinstance(value.value, dict):
            return self.problem(value.origin, key, f"found {_no_table(value.value)}, expected a table")
        kind = extra["plugin"]
        where = value.value.get("type")
        if where is None and kind == "providers":
            return self.problem(value.origin, f"{key}.type", f"missing key; {self._names(kind)}")
        if where is None:
            where = Located(extra.get("type") or key.rpartition(".")[2], value.origin)
        name = where.value
        try:
            table = self._tables.table(kind, str(name)) if isinstance(name, str) else None
            if table is None:
                text = f"found {shown(name)}, {self._names(kind)}"
                return self.problem(where.origin, f"{key}.type", text)
        except ConfigError as error:
            return self.problem(where.origin, f"{key}.type", str(error))
        return self.decode(table, value, key + ".", type_=str(name))

    def _names(self, kind: str) -> str:
        names = " or ".join(shown(name) for name in self._tables.names(kind))
        return f"expected {names}" if names else "but no plug-in is installed"

    def _map(self, kind: inspect.DictType, type_: Any, value: Located, key: str) -> Any:
        if not isinstance(value.value, dict):
            return self.problem(value.origin, key, f"found {_no_table(value.value)}, expected a table")
        if not value.value:
            self.settings.append(Setting(key=key, value={}, origin=value.origin.name))
        key_type, value_type = typing.get_args(type_)
        result = {}
        for name, inner in value.value.items():
            if (reason := self._refused(kind.key_type, key_type, name)) is not None:
                self.problem(inner.origin, dotted(key, name), f"invalid name {shown(name)}, {reason}")
            else:
                result[name] = self._value(kind.value_type, value_type, inner, dotted(key, name))
        return result

    def _refused(self, kind: inspect.Type, type_: Any, name: str) -> str | None:
        try:
            msgspec.convert(name, type_)
        except msgspec.ValidationError:
            return f"expected {allowed(kind)}"
        return None

    def _leaf(self, kind: inspect.Type, type_: Any, value: Located, key: str) -> Any:
        raw = str(value.value) if isinstance(value.value, EnvironmentText) else plain(value)
        try:
            result = msgspec.convert(raw, type_, dec_hook=_hook(value.origin, self._read_secret, self._read_variable))
            if isinstance(result, float) and not math.isfinite(result):
                raise ValueError
            _check(kind, result)
        except UnreadableSecret as error:
            self.problem(value.origin, key, str(error))
            return None
        except (msgspec.ValidationError, ValueError):
            hidden = _is_secret(kind) or type_extra(kind).get("hidden")
            found = f"{_noun(raw)} (hidden)" if hidden else shown(raw)
            self.problem(value.origin, key, f"found {found}, expected {allowed(kind)}")
            return None
        self.settings.append(Setting(key=key, value=result, origin=value.origin.name))
        return result


def dotted(table: str, key: str) -> str:
    """The dotted key of ``key`` in ``table``, as TOML writes it."""
    quoted = key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
    return f"{table}.{quoted}" if table else quoted


def shown(value: object) -> str:
    """A value as a problem shows it: as TOML writes it, and short."""
    if isinstance(value, (dict, list)):
        return _noun(value)
    text = toml(value) if isinstance(value, (bool, int, float, str)) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def toml(value: object) -> str:
    """A setting's value as TOML writes it; a secret stays hidden."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {toml(inner)}' for key, inner in value.items())}}}"
    return json.dumps(str(value), ensure_ascii=False)


def allowed(kind: inspect.Type) -> str:
    """What a type allows, in words."""
    extra = type_extra(kind)
    kind = bare_type(kind)
    if "allowed" in extra:
        return str(extra["allowed"])
    if isinstance(kind, inspect.LiteralType):
        return " or ".join(shown(choice) for choice in kind.values)
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        noun = "an integer" if isinstance(kind, inspect.IntType) else "a number"
        words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
        limits = [
            f"{word} {_number(getattr(kind, name))}" for name, word in words.items() if getattr(kind, name) is not None
        ]
        return " ".join([noun, *limits])
    if isinstance(kind, inspect.DictType):
        return f"a table, each value {allowed(kind.value_type)}"
    if isinstance(kind, inspect.VarTupleType):
        return f"an array, each {allowed(kind.item_type)}"
    if isinstance(kind, inspect.UnionType):
        return " or ".join(dict.fromkeys(map(allowed, kind.types)))
    if isinstance(kind, inspect.StructType):
        return "a table"
    if isinstance(kind, inspect.CustomType):
        return "a path" if kind.cls is Path else "a string"
    return "anything" if isinstance(kind, inspect.AnyType) else "a string"


def bare_type(kind: inspect.Type) -> inspect.Type:
    """The type without its annotations, and without the ``None`` that TOML cannot say."""
    if isinstance(kind, inspect.Metadata):
        return bare_type(kind.type)
    if isinstance(kind, inspect.UnionType):
        rest = [choice for choice in kind.types if not isinstance(choice, inspect.NoneType)]
        return bare_type(rest[0]) if len(rest) == 1 else kind
    return kind


def type_extra(kind: inspect.Type) -> Mapping[str, Any]:
    """What the ``extra`` of a type's annotations says."""
    if isinstance(kind, inspect.Metadata):
        return {**type_extra(kind.type), **(kind.extra or {})}
    if isinstance(kind, inspect.UnionType):
        return {key: value for choice in kind.types for key, value in type_extra(choice).items()}
    return {}


def _check(kind: inspect.Type, value: Any) -> None:
    """Run the checks of a type, and of the items of an array.

    Raises:
        ValueError: the value does not pass one.
    """
    if (check := type_extra(kind).get("check")) is not None:
        check(value)
    bare = bare_type(kind)
    if isinstance(bare, inspect.VarTupleType):
        for item in value:
            _check(bare.item_type, item)


def _takes_text(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.CustomType):
        return True
    return isinstance(kind, (inspect.StrType, inspect.LiteralType))


def _is_secret(kind: inspect.Type) -> bool:
    bare = bare_type(kind)
    if isinstance(bare, inspect.VarTupleType):
        return _is_secret(bare.item_type)
    return isinstance(bare, inspect.CustomType) and bare.cls is Secret


_VARIABLE: Final = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")


def _hook(origin: Origin, read_secret: ReadSecret, read_variable: ReadVariable) -> Callable[[type, Any], Any]:
    def path(text: str) -> Path:
        try:
            return (origin.folder or Path.cwd()) / Path(text).expanduser()
        except RuntimeError as error:
            raise ValueError("its home folder cannot be determined") from error

    def secret(file: str) -> str:
        try:
            return read_secret(path(file))
        except ValueError as error:
            raise UnreadableSecret(f"the file {file} cannot be read: {error}") from error

    def variable(name: str) -> str:
        if not (text := read_variable(name)):
            raise UnreadableSecret(f"the environment variable {name} is not set")
        return text

    def convert(type_: type, value: Any) -> Any:
        if type_ is Secret and isinstance(value, dict) and len(value) == 1:
            ((source, name),) = value.items()
            if isinstance(name, str) and source in ("file", "env"):
                value = secret(name) if source == "file" else variable(name)
        elif type_ is Secret and isinstance(value, str) and (match := _VARIABLE.fullmatch(value)):
            raise UnreadableSecret(
                f'found the name of a variable, which is not replaced; write {{ env = "{match[1]}" }}'
            )
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError
        return path(value) if type_ is Path else type_(value)

    return convert


def _no_table(value: object) -> str:
    """How a problem shows a value that is not a table: a text may be a misplaced secret."""
    return _noun(value) if isinstance(value, str) else shown(value)


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _noun(value: object) -> str:
    nouns = {bool: "true or false", int: "an integer", float: "a number", dict: "a table", list: "an array"}
    return nouns.get(type(value), "a string")


def _choice(key: str, known: Iterable[str], prefix: str) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    return f"expected {', '.join(known)}"
