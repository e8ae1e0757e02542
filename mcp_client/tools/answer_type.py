"""The type of an answer: its JSON Schema for the model, and the value of the model's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from mcp_client.tools.schema import Schema, decode_custom, is_pydantic_model, make_strict, schema_of_type

T = TypeVar("T")

_VALUE: Final = "value"


class AnswerType(Generic[T]):
    """The type that an answer shall have.

    Models answer with objects. A type of another form, for example a list, is put into an object with one property.

    Args:
        kind: a dataclass, ``TypedDict``, ``NamedTuple``, ``msgspec.Struct``, pydantic model, or any other type that
            has a JSON form.

    Attributes:
        schema: the JSON Schema of the answer, of the type ``object``.

    Raises:
        TypeError: the type has no JSON form.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        schema = schema_of_type("schema", kind)
        make_strict(schema)
        self._wrapped = schema.get("type") != "object"
        self.schema = _wrapped(schema) if self._wrapped else schema

    def __repr__(self) -> str:
        return getattr(self._kind, "__name__", None) or repr(self._kind)

    def value(self, text: str) -> T:
        """The value of an answer.

        Raises:
            ValueError: the text is not JSON, or does not conform to the type; the error says where.
        """
        if is_pydantic_model(self._kind):
            model: Any = self._kind
            validated: T = model.model_validate_json(text)
            return validated
        if not self._wrapped:
            return msgspec.json.decode(text, type=self._kind, dec_hook=decode_custom)
        found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if _VALUE not in found:
            raise ValueError(f"Object missing required field `{_VALUE}`")
        return msgspec.json.decode(found[_VALUE], type=self._kind, dec_hook=decode_custom)


def _wrapped(schema: Mapping[str, Any]) -> Schema:
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    wrapped: Schema = {
        "type": "object",
        "properties": {_VALUE: inner},
        "required": [_VALUE],
        "additionalProperties": False,
    }
    if "$defs" in schema:
        wrapped["$defs"] = schema["$defs"]
    return wrapped
