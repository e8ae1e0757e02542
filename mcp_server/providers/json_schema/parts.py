"""The parts of a JSON Schema: its subschemas, and what its references refer to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

SCHEMAS: Final = ("additionalProperties", "items")
LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
MAPS: Final = ("properties", "$defs", "definitions")
ANNOTATIONS: Final = frozenset(
    (
        "$schema",
        "$id",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
    )
)
"""Keywords that do not constrain a value."""


def inner(schema: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """The direct subschemas with their places, those that are ``true`` or ``false`` included."""
    for key in SCHEMAS:
        if key in schema:
            yield f"{where}.{key}", schema[key]
    for key in LISTS:
        for index, part in enumerate(schema.get(key, ())):
            yield f"{where}.{key}[{index}]", part
    for key in MAPS:
        for name, part in schema.get(key, {}).items():
            yield f"{where}.{key}.{name}", part


def nodes(schema: Any, where: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all its subschemas with their places, except those that are ``true`` or ``false``."""
    waiting = [(where, schema)]
    while waiting:
        place, part = waiting.pop()
        if isinstance(part, dict):
            yield place, part
            waiting += reversed(list(inner(part, place)))


def resolve(root: dict[str, Any], reference: str) -> Any:
    """The schema that ``#``, ``#/$defs/name`` or ``#/definitions/name`` refers to.

    Raises:
        KeyError: there is none, or the reference has another form.
    """
    if reference == "#":
        return root
    start, key, name = (*reference.split("/"), "", "")[:3]
    if start != "#" or key not in ("$defs", "definitions") or reference.count("/") != 2:
        raise KeyError(reference)
    return root[key][name.replace("~1", "/").replace("~0", "~")]


def conjuncts(root: dict[str, Any], schema: Any) -> list[Any]:
    """All schemas that a value of ``schema`` must conform to: itself, those of ``allOf``, and those referred to."""
    found: dict[int, Any] = {}
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if id(part) in found:
            continue
        found[id(part)] = part
        if isinstance(part, dict):
            waiting += part.get("allOf", ())
            if "$ref" in part:
                waiting.append(resolve(root, part["$ref"]))
    return list(found.values())
