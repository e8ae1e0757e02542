"""Decodes tables of plain values, as TOML gives them, into msgspec Structs: strictly, and with every problem at once.

It reads nothing by itself. Each value comes as a :class:`Given` that knows where it was written, so that problems can
name the place and paths can be relative to it.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T", bound=msgspec.Struct)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a value was written."""

    name: str
    """The path of the file, the name of the environment variable, or ``default``."""
    folder: Path | None = None
    """What relative paths are relative to; ``None``: the working folder."""


DEFAULT = Origin(name="default")
"""The origin of what nobody wrote."""


class Given(msgspec.Struct, frozen=True):
    """A value and where it was written. The values of a table are ``Given`` themselves."""

    value: Any
    origin: Origin


class EnvironmentText(str):
    """The text of an environment variable: the type of its key decides whether it is taken as it is or as TOML."""

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


class Secret:
    """A text that shows itself to nobody but who calls :meth:`reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not written out")


ReadSecret = Callable[[Path], str]
"""Reads the text of a secret from its file."""


class UnreadableSecret(Exception):
    """The file of a secret cannot be read; the message says which and why."""


def given(value: Any, origin: Origin) -> Given:
    """A value with all that is in it, written at ``origin``."""
    if isinstance(value, dict):
        return Given({key: given(inner, origin) for key, inner in value.items()}, origin)
    return Given(value, origin)


def plain(value: Given) -> Any:
    """The reverse of :func:`given`; the text of an environment variable is read as TOML if it is that."""
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
    """Decodes one document. A secret may be a text, or a table ``{ file = "path" }`` that names where it is written.

    Args:
        read_secret: reads such a file; raises :class:`UnreadableSecret`.

    Attributes:
        problems: what was wrong, a line each: where, which key, what was found, what is allowed.
        settings: every key of every table that was met, its value and its origin, in the order of the Structs.
    """

    def __init__(self, read_secret: ReadSecret) -> None:
        self._read_secret = read_secret
        self.problems: list[str] = []
        self.settings: list[Setting] = []

    def problem(self, origin: Origin, key: str, text: str) -> None:
        """Note a problem with ``key``."""
        self.problems.append(f"{origin.name}: {key}: {text}")

    def decode(self, struct: type[T], table: Given, prefix: str = "") -> T | None:
        """The table as a ``struct``; ``None`` if there were problems. ``prefix`` is its own dotted key and a dot."""
        if not isinstance(table.value, dict):
            self.problem(table.origin, prefix.rstrip("."), f"found {_no_table(table.value)}, allowed is a table")
            return None
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        tag = struct.__struct_config__.tag_field
        before = len(self.problems)
        for key, value in table.value.items():
            if key not in fields and key != tag:
                known = fields if tag is None else [tag, *fields]
                self.problem(
                    value.origin, dotted(prefix[:-1], key), "there is no such key; " + _choice(key, known, prefix)
                )
        values = {}
        if tag is not None and tag in table.value:
            origin = table.value[tag].origin.name
            self.settings.append(Setting(key=prefix + tag, value=struct.__struct_config__.tag, origin=origin))
        for name, field in fields.items():
            kind = inspect.type_info(field.type)
            if name in table.value:
                values[field.name] = self._value(kind, field.type, table.value[name], prefix + name)
            elif field.required:
                self.problem(table.origin, prefix + name, f"this key must be set; allowed is {allowed(kind)}")
            elif isinstance(kind, inspect.StructType):
                values[field.name] = self.decode(kind.cls, Given({}, DEFAULT), f"{prefix}{name}.")
            else:
                value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
                self.settings.append(Setting(key=prefix + name, value=value, origin=DEFAULT.name))
        return struct(**values) if len(self.problems) == before else None

    def _value(self, kind: inspect.Type, type_: Any, value: Given, key: str) -> Any:
        bare = _bare(kind)
        if isinstance(value.value, EnvironmentText) and not _takes_text(bare):
            value = given(toml_value(value.value), value.origin)
        if isinstance(bare, inspect.StructType):
            return self.decode(bare.cls, value, key + ".")
        if isinstance(bare, inspect.UnionType) and all(isinstance(choice, inspect.StructType) for choice in bare.types):
            return self._tagged([choice.cls for choice in bare.types], value, key)  # type: ignore[attr-defined]  # checked above
        if isinstance(bare, inspect.DictType):
            return self._map(bare, type_, value, key)
        return self._leaf(kind, type_, value, key)

    def _tagged(self, structs: Iterable[type[msgspec.Struct]], value: Given, key: str) -> Any:
        if not isinstance(value.value, dict):
            return self.problem(value.origin, key, f"found {_no_table(value.value)}, allowed is a table")
        choices = {str(struct.__struct_config__.tag): struct for struct in structs}
        field = next(iter(choices.values())).__struct_config__.tag_field or "type"
        tag = value.value.get(field)
        known = " or ".join(shown(choice) for choice in sorted(choices))
        if tag is None:
            return self.problem(value.origin, f"{key}.{field}", f"this key must be set; allowed is {known}")
        struct = choices.get(tag.value) if isinstance(tag.value, str) else None
        if struct is None:
            return self.problem(tag.origin, f"{key}.{field}", f"found {shown(tag.value)}, allowed is {known}")
        return self.decode(struct, value, key + ".")

    def _map(self, kind: inspect.DictType, type_: Any, value: Given, key: str) -> Any:
        if not isinstance(value.value, dict):
            return self.problem(value.origin, key, f"found {_no_table(value.value)}, allowed is a table")
        if not value.value:
            self.settings.append(Setting(key=key, value={}, origin=value.origin.name))
        key_type, value_type = _arguments(type_)
        result = {}
        for name, inner in value.value.items():
            if (reason := self._refused(kind.key_type, key_type, name)) is not None:
                self.problem(inner.origin, dotted(key, name), f"found the name {shown(name)}, {reason}")
            else:
                result[name] = self._value(kind.value_type, value_type, inner, dotted(key, name))
        return result

    def _refused(self, kind: inspect.Type, type_: Any, name: str) -> str | None:
        try:
            msgspec.convert(name, type_)
        except msgspec.ValidationError:
            return f"allowed is {allowed(kind)}"
        return None

    def _leaf(self, kind: inspect.Type, type_: Any, value: Given, key: str) -> Any:
        raw = str(value.value) if isinstance(value.value, EnvironmentText) else plain(value)
        try:
            result = msgspec.convert(raw, type_, dec_hook=_hook(value.origin, self._read_secret))
            if isinstance(result, float) and not math.isfinite(result):
                raise ValueError
            if (check := _extra(kind).get("check")) is not None:
                check(result)
        except UnreadableSecret as error:
            self.problem(value.origin, key, str(error))
            return None
        except (msgspec.ValidationError, ValueError):
            hidden = _is_secret(kind) or _extra(kind).get("hidden")
            found = f"{_noun(raw)} (hidden)" if hidden else shown(raw)
            self.problem(value.origin, key, f"found {found}, allowed is {allowed(kind)}")
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
    extra = _extra(kind)
    kind = _bare(kind)
    if "allowed" in extra:
        return str(extra["allowed"])
    if isinstance(kind, inspect.LiteralType):
        return " or ".join(shown(choice) for choice in kind.values)
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
        words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
        limits = [
            f"{word} {_number(getattr(kind, name))}" for name, word in words.items() if getattr(kind, name) is not None
        ]
        return " ".join([noun, *limits])
    if isinstance(kind, inspect.DictType):
        return f"a table, each value {allowed(kind.value_type)}"
    if isinstance(kind, (inspect.StructType, inspect.UnionType)):
        return "a table"
    if isinstance(kind, inspect.CustomType):
        return "a path" if kind.cls is Path else "a text"
    return "anything" if isinstance(kind, inspect.AnyType) else "a text"


def _bare(kind: inspect.Type) -> inspect.Type:
    """The type without its notes, and without the ``None`` that TOML cannot say."""
    if isinstance(kind, inspect.Metadata):
        return _bare(kind.type)
    if isinstance(kind, inspect.UnionType):
        rest = [choice for choice in kind.types if not isinstance(choice, inspect.NoneType)]
        return _bare(rest[0]) if len(rest) == 1 else kind
    return kind


def _extra(kind: inspect.Type) -> Mapping[str, Any]:
    if isinstance(kind, inspect.Metadata):
        return kind.extra or {}
    if isinstance(kind, inspect.UnionType):
        return next(
            (choice.extra for choice in kind.types if isinstance(choice, inspect.Metadata) and choice.extra), {}
        )
    return {}


def _takes_text(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.CustomType):
        return True
    return isinstance(kind, (inspect.StrType, inspect.LiteralType))


def _is_secret(kind: inspect.Type) -> bool:
    bare = _bare(kind)
    if isinstance(bare, inspect.VarTupleType):
        return _is_secret(bare.item_type)
    return isinstance(bare, inspect.CustomType) and bare.cls is Secret


def _arguments(type_: Any) -> tuple[Any, Any]:
    """The types of the keys and values of a mapping."""
    key, value = typing.get_args(type_)
    return key, value


def _hook(origin: Origin, read_secret: ReadSecret) -> Callable[[type, Any], Any]:
    def path(text: str) -> Path:
        return (origin.folder or Path.cwd()) / Path(text).expanduser()

    def convert(type_: type, value: Any) -> Any:
        if type_ is Secret and isinstance(value, dict) and value.keys() == {"file"} and isinstance(value["file"], str):
            value = read_secret(path(value["file"]))
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError
        if type_ is not Path:
            return type_(value)
        try:
            return path(value)
        except RuntimeError as error:
            raise ValueError("a home folder that is not there") from error

    return convert


def _no_table(value: object) -> str:
    """What stands in the place of a table; a text may be the secret that belongs into it."""
    return _noun(value) if isinstance(value, str) else shown(value)


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _noun(value: object) -> str:
    nouns = {bool: "true or false", int: "a whole number", float: "a number", dict: "a table", list: "an array"}
    return nouns.get(type(value), "a text")


def _choice(key: str, known: Iterable[str], prefix: str) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    return f"allowed are {', '.join(known)}"
