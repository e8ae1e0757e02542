"""What a Python type looks like in JSON: its schema, and how a value of it is read."""

from __future__ import annotations

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NotRequired, Required, Union

Schema = dict[str, Any]
"""A JSON Schema."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How values of a type are written in JSON."""

    schema: Schema
    read: Callable[[Any], Any]
    """Makes the value of what JSON says; raises ``ValueError`` if it is not of this shape."""


_KNOWN: Final = (
    "str, int, float, bool, None, list, tuple[…, ...], dict[str, …], Literal, Enum, Optional and other unions, "
    "dataclasses, TypedDict and Any"
)
_SEQUENCES: Final = {list: list, Sequence: list, MutableSequence: list, tuple: tuple, set: set, frozenset: frozenset}
_MAPPINGS: Final = (dict, Mapping, MutableMapping)


def shape(annotation: Any, where: str, around: tuple[type, ...] = ()) -> Shape:
    """The shape of a type.

    Args:
        annotation: the type, as :func:`typing.get_type_hints` gives it.
        where: names what has this type, for errors.
        around: the classes that it is a field of.

    Raises:
        TypeError: JSON cannot say it, or a model could not be told.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (Any, object):
        return Shape({}, _same)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if origin is Annotated:
        inner = shape(arguments[0], where, around)
        told = next((extra for extra in arguments[1:] if isinstance(extra, str)), None)
        return inner if told is None else Shape({**inner.schema, "description": told}, inner.read)
    if origin in (Required, NotRequired):
        return shape(arguments[0], where, around)
    if origin is Literal:
        return _one_of([(_value(argument), argument) for argument in arguments], where)
    if origin in (Union, types.UnionType):
        return _union([shape(argument, where, around) for argument in arguments])
    if (origin or annotation) in _SEQUENCES:
        return _sequence(origin or annotation, arguments, where, around)
    if (origin or annotation) in _MAPPINGS:
        return _mapping(arguments, where, around)
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return _one_of([(member.value, member) for member in annotation], where)
        if annotation in around:
            raise TypeError(f"{where}: {annotation.__name__} contains itself, which cannot be described to a model")
        if dataclasses.is_dataclass(annotation) or typing.is_typeddict(annotation):
            return _class(annotation, where, (*around, annotation))
    raise TypeError(f"{where}: {annotation!r} cannot be described to a model; {_KNOWN} can")


def record(name: str, fields: Mapping[str, Shape], required: Sequence[str], make: Callable[..., Any]) -> Shape:
    """An object with these fields and no others; ``name`` says what it is."""

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _other("object", value)
        if missing := [key for key in required if key not in value]:
            raise ValueError(f"{name}: {', '.join(missing)} missing")
        if unknown := [key for key in value if key not in fields]:
            raise ValueError(f"{name}: there is no {', '.join(unknown)}; {', '.join(fields) or 'nothing'} may be given")
        return make(**{key: _reading(key, fields[key], item) for key, item in value.items()})

    properties = {key: field.schema for key, field in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return Shape(schema, read)


def _reading(name: str, shape: Shape, value: Any) -> Any:
    try:
        return shape.read(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _other(expected: str, value: Any) -> ValueError:
    return ValueError(f"expected {expected}, not {value!r}")


def _same(value: Any) -> Any:
    return value


def _scalar(name: str, *kinds: type, make: Callable[[Any], Any] = _same) -> Shape:
    def read(value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _other(name, value)
        return make(value)

    return Shape({"type": name}, read)


def _whole(value: int | float) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"expected integer, not {value!r}")
    return int(value)


_SCALARS: Final[Mapping[Any, Shape]] = {
    str: _scalar("string", str),
    bool: _scalar("boolean", bool),
    int: _scalar("integer", int, float, make=_whole),
    float: _scalar("number", int, float, make=float),
    None: _scalar("null", type(None)),
    type(None): _scalar("null", type(None)),
}


def is_plain(value: Any) -> bool:
    """Whether it is one of JSON's own values, and no list or object."""
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, str | int) and not isinstance(value, enum.Enum))


def hints_of(owner: Any, where: str) -> dict[str, Any]:
    """The annotations of a function or a class, resolved.

    Raises:
        TypeError: one of them cannot be.
    """
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except Exception as error:  # an annotation is a program: anything can go wrong with it
        raise TypeError(f"{where}: an annotation of {owner.__name__} cannot be resolved: {error}") from error


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, enum.Enum) else argument


def _one_of(choices: Sequence[tuple[Any, Any]], where: str) -> Shape:
    """One of several values; with each, how JSON says it."""
    keys = [key for key, _ in choices]
    if not keys:
        raise TypeError(f"{where}: an Enum without members cannot be described to a model")
    if others := [key for key in keys if not is_plain(key)]:
        raise TypeError(f"{where}: {others[0]!r} cannot be described to a model as a choice; plain values can")

    def read(value: Any) -> Any:
        for key, result in choices:
            if type(key) is type(value) and key == value:
                return result
        raise ValueError(f"expected one of {', '.join(map(repr, keys))}, not {value!r}")

    schema: Schema = {"enum": keys}
    if all(isinstance(key, str) for key in keys):
        schema["type"] = "string"
    return Shape(schema, read)


def _union(shapes: Sequence[Shape]) -> Shape:
    def read(value: Any) -> Any:
        problems = []
        for member in shapes:
            try:
                return member.read(value)
            except ValueError as error:
                problems.append(str(error))
        raise ValueError("; or ".join(problems))

    return Shape({"anyOf": [member.schema for member in shapes]}, read)


def _sequence(kind: Any, arguments: tuple[Any, ...], where: str, around: tuple[type, ...]) -> Shape:
    if kind is tuple and arguments and arguments[1:] != (...,):
        raise TypeError(f"{where}: a tuple of a fixed length cannot be described to a model; tuple[…, ...] can")
    item = shape(arguments[0], where, around) if arguments else Shape({}, _same)
    make = _SEQUENCES[kind]

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _other("array", value)
        return make([_reading(f"[{index}]", item, one) for index, one in enumerate(value)])

    schema: Schema = {"type": "array", "items": item.schema}
    if make in (set, frozenset):
        schema["uniqueItems"] = True
    return Shape(schema, read)


def _mapping(arguments: tuple[Any, ...], where: str, around: tuple[type, ...]) -> Shape:
    if arguments and arguments[0] is not str:
        raise TypeError(f"{where}: the keys of an object in JSON are texts, not {arguments[0]!r}")
    item = shape(arguments[1], where, around) if arguments else Shape({}, _same)

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _other("object", value)
        return {key: _reading(key, item, one) for key, one in value.items()}

    return Shape({"type": "object", "additionalProperties": item.schema}, read)


def _class(kind: Any, where: str, around: tuple[type, ...]) -> Shape:
    """A dataclass or a TypedDict."""
    hints = hints_of(kind, where)
    if typing.is_typeddict(kind):
        names, required = list(hints), [name for name in hints if name in kind.__required_keys__]
    else:
        if given := [name for name, hint in hints.items() if isinstance(hint, dataclasses.InitVar)]:
            raise TypeError(f"{where}.{given[0]}: an InitVar cannot be described to a model")
        fields = [field for field in dataclasses.fields(kind) if field.init]
        names = [field.name for field in fields]
        absent = dataclasses.MISSING
        required = [field.name for field in fields if field.default is absent and field.default_factory is absent]
    shapes = {name: shape(hints[name], f"{where}.{name}", around) for name in names}
    return record(kind.__name__, shapes, required, kind)
