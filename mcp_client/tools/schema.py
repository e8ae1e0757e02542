"""The parameters of a function: their JSON Schema, and the values of a model's arguments."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec

Schema = dict[str, Any]
"""A JSON Schema."""

_REFERENCE: Final = "#/$defs/{name}"
_SUBSCHEMAS: Final = ("items", "additionalProperties", "anyOf", "oneOf", "allOf", "prefixItems")
_NAMED_SUBSCHEMAS: Final = ("properties", "$defs")
_ENUM_TYPES: Final = {str: "string", int: "integer", bool: "boolean"}
_MAX_EXACT_FLOAT: Final = 2.0**53


class Parameters:
    """The parameters of a function that a model calls.

    Args:
        name: of the function, for errors.
        function: with annotated parameters.
        descriptions: of the parameters, by name.

    Attributes:
        schema: the JSON Schema of the arguments: an object with a property for each parameter.

    Raises:
        TypeError: a parameter cannot be described to a model.
    """

    def __init__(self, name: str, function: Callable[..., Any], descriptions: Mapping[str, str]) -> None:
        self._types: dict[str, Any] = {}
        self._required: list[str] = []
        defaults: dict[str, Any] = {}
        hints = _hints(name, function)
        for parameter in _signature(name, function).parameters.values():
            where = f"tool {name}: parameter {parameter.name}"
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TypeError(f"{where}: a model passes arguments by name, which *, ** and / do not allow")
            if parameter.name not in hints:
                raise TypeError(f"{where}: no type annotation")
            self._types[parameter.name] = hints[parameter.name]
            _schemas(where, [hints[parameter.name]])
            if parameter.default is parameter.empty:
                self._required.append(parameter.name)
            else:
                defaults[parameter.name] = parameter.default
        self.schema = self._schema(name, defaults, descriptions)

    def arguments(self, arguments_json: str) -> dict[str, Any]:
        """The keyword arguments of a call.

        Args:
            arguments_json: the text of a JSON object.

        Raises:
            ValueError: the text is not such an object, or does not conform to the schema.
        """
        values = json.loads(arguments_json or "{}", parse_float=_number)
        if not isinstance(values, dict):
            raise ValueError(f"expected a JSON object with the arguments, not {values!r}")  # noqa: TRY004  # as documented
        if missing := [name for name in self._required if name not in values]:
            raise ValueError(f"missing arguments: {', '.join(missing)}")
        if unknown := [name for name in values if name not in self._types]:
            raise ValueError(f"unknown arguments: {', '.join(unknown)}; allowed: {', '.join(self._types) or 'none'}")
        return {name: _converted(name, value, self._types[name]) for name, value in values.items()}

    def _schema(self, name: str, defaults: Mapping[str, Any], descriptions: Mapping[str, str]) -> Schema:
        schemas, definitions = _schemas(f"tool {name}", self._types.values())
        properties = dict(zip(self._types, schemas, strict=True))
        for parameter, schema in properties.items():
            description = _annotated_description(self._types[parameter]) or descriptions.get(parameter)
            if description:
                schema.setdefault("description", description)
            if defaults.get(parameter) is not None:
                _set_default(schema, defaults[parameter])
        schema = {
            "type": "object",
            "properties": properties,
            "required": self._required,
            "additionalProperties": False,
        }
        if definitions:
            schema["$defs"] = definitions
        _add_enum_types(schema)
        return schema


def _hints(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except Exception as error:  # evaluating an annotation can raise anything
        raise TypeError(f"tool {name}: an annotation cannot be resolved: {error}") from error


def _signature(name: str, function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError as error:
        raise TypeError(f"tool {name}: its parameters are unknown: {error}") from error


def _schemas(where: str, types: Any) -> tuple[list[Schema], dict[str, Schema]]:
    """The schemas of several types, and the definitions that they refer to.

    Raises:
        TypeError: a type cannot be described to a model.
    """
    definitions: dict[str, Schema] = {}

    def schema_of(kind: Any) -> Schema:
        if kind is object:
            return {"description": "any JSON value"}
        if not is_pydantic_model(kind):
            raise TypeError(f"{kind!r} has no JSON form; supported are the types of msgspec, and pydantic models")
        prefix = re.sub(r"\W+", "_", f"{kind.__module__}.{kind.__qualname__}")
        schema: Schema = kind.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
        definitions.update({f"{prefix}.{name}": nested for name, nested in schema.pop("$defs", {}).items()})
        return schema

    try:
        schemas, components = msgspec.json.schema_components(types, schema_hook=schema_of, ref_template=_REFERENCE)
    except Exception as error:  # evaluating an annotation of a class can raise anything
        raise TypeError(f"{where}: cannot be described to a model: {error}") from error
    return list(map(dict, schemas)), {**components, **definitions}


def schema_of_type(where: str, kind: Any) -> Schema:
    """The JSON Schema of one type. It is not a mere reference, which some providers refuse, unless it refers to itself.

    Args:
        where: for errors.
        kind: the type.

    Raises:
        TypeError: the type cannot be described to a model.
    """
    (schema,), definitions = _schemas(where, [kind])
    name = str(schema.get("$ref", "")).removeprefix(_REFERENCE.format(name=""))
    if name in definitions:
        schema = dict(definitions[name])
        if _REFERENCE.format(name=name) not in json.dumps([schema, definitions]):
            del definitions[name]
    if definitions:
        schema["$defs"] = definitions
    _add_enum_types(schema)
    return schema


def _converted(name: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, dec_hook=decode_custom, str_keys=True)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name}: {error}") from error


def decode_custom(kind: Any, value: Any) -> Any:
    """The value of a type that msgspec does not know: a pydantic model, or any object."""
    return value if kind is object else kind.model_validate(value)


def is_pydantic_model(kind: Any) -> bool:
    """Whether it has pydantic's interface. Pydantic itself is never imported here."""
    return isinstance(kind, type) and hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate")


def _number(text: str) -> int | float:
    """A JSON number with a fraction or an exponent: an integer if it is whole, because JSON does not distinguish."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= _MAX_EXACT_FLOAT else number


def _annotated_description(kind: Any) -> str | None:
    """The text of ``Annotated[…, "text"]``."""
    extras = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, str)), None)


def _set_default(schema: Schema, default: Any) -> None:
    """Add a default to a schema if JSON can represent it."""
    try:
        value = msgspec.to_builtins(default, str_keys=True)
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return
    schema["default"] = value


def _add_enum_types(schema: MutableMapping[str, Any]) -> None:
    """Add the type to the enums of a schema, which msgspec omits and some providers require."""
    values = schema.get("enum")
    if isinstance(values, list) and "type" not in schema:
        kinds = {type(value) for value in values}
        if len(kinds) == 1 and (kind := kinds.pop()) in _ENUM_TYPES:
            schema["type"] = _ENUM_TYPES[kind]
    for subschema in _subschemas(schema):
        _add_enum_types(subschema)


def make_strict(schema: MutableMapping[str, Any]) -> None:
    """Ask for all properties of all objects, and no others: providers that hold models to a schema demand that."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        schema.setdefault("additionalProperties", False)
        schema["required"] = list(properties)
    schema.pop("default", None)
    for subschema in _subschemas(schema):
        make_strict(subschema)


def _subschemas(schema: Mapping[str, Any]) -> Iterator[MutableMapping[str, Any]]:
    nested = [schema.get(key) for key in _SUBSCHEMAS]
    nested += [value for key in _NAMED_SUBSCHEMAS for value in schema.get(key, {}).values()]
    for value in nested:
        for subschema in value if isinstance(value, list) else [value]:
            if isinstance(subschema, MutableMapping):
                yield subschema
