"""The JSON Schema of the configuration file: it accepts what the server accepts, and editors see what is wrong."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_server.plugins import KINDS, Registry
from mcp_server.settings import load
from mcp_server.settings.schema import json_schema
from tests.packages import install

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "docs" / "config.md",
    ROOT / "docs" / "setup.md",
    ROOT / "docs" / "routing.md",
    ROOT / "docs" / "limits.md",
]
PAGES += sorted((ROOT / "docs" / "providers").glob("*.md"))
EXAMPLES = [
    block for page in PAGES for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
]
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": int | float}
ANNOTATIONS = {"$schema", "title", "description", "default", "definitions"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema as the command prints it."""
    decoded: dict[str, Any] = json.loads(json.dumps(json_schema(Registry())))
    return decoded


def errors(value: Any, schema: Any, root: dict[str, Any], where: str = "") -> Iterator[str]:
    """What is wrong with a value, by the keywords that the schema uses. An unknown keyword fails."""
    if isinstance(schema, bool):
        if not schema:
            yield f"{where}: nothing is allowed"
        return
    rest = {keyword: rule for keyword, rule in schema.items() if keyword not in ANNOTATIONS}
    if "$ref" in rest:
        assert set(schema) == {"$ref"}, "beside a reference nothing else counts"
        yield from errors(value, root["definitions"][rest["$ref"].removeprefix("#/definitions/")], root, where)
        return
    properties = rest.pop("properties", {})
    for keyword, rule in rest.items():
        match keyword:
            case "type":
                if not isinstance(value, TYPES[rule]) or (isinstance(value, bool) and rule != "boolean"):
                    yield f"{where}: is not of the type {rule}"
                    return
            case "additionalProperties":
                for key, inner in value.items():
                    yield from errors(inner, properties.get(key, rule), root, f"{where}.{key}")
            case "propertyNames":
                for key in value:
                    yield from errors(key, rule, root, f"{where}.{key}")
            case "required":
                yield from [f"{where}.{key}: must be set" for key in rule if key not in value]
            case "items":
                for inner in value:
                    yield from errors(inner, rule, root, where)
            case "allOf":
                for choice in rule:
                    yield from errors(value, choice, root, where)
            case "oneOf" | "anyOf":
                found = [list(errors(value, choice, root, where)) for choice in rule]
                passed = sum(not wrong for wrong in found)
                if passed == 0 or (keyword == "oneOf" and passed > 1):
                    yield f"{where}: {passed} of the choices fit: {min(found, key=len)}"
            case "enum" | "const":
                if value not in (rule if keyword == "enum" else [rule]):
                    yield f"{where}: {value} is not one of {rule}"
            case "pattern":
                if not re.search(rule, value):
                    yield f"{where}: {value} does not match {rule}"
            case "minimum" | "maximum":
                if (value < rule) if keyword == "minimum" else (value > rule):
                    yield f"{where}: {value} is out of range"
            case "minLength" | "minItems" | "maxItems":
                if (len(value) < rule) if keyword.startswith("min") else (len(value) > rule):
                    yield f"{where}: has the length {len(value)}"
            case _:
                raise AssertionError(f"{where}: the keyword {keyword} is unknown")


def problems(text: str, schema: dict[str, Any]) -> list[str]:
    """What an editor would mark in a file."""
    return list(errors(tomllib.loads(text), schema, schema))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_documentation_is_valid(example: str, schema: dict[str, Any]) -> None:
    """As it is for the server."""
    if "entry-points" not in example:
        assert problems(example, schema) == []


@pytest.mark.parametrize(
    "text",
    [
        'server.adress = "x:1"',
        "sever.address = 1",
        "server = 3",
        "server.drain_timeout = -1",
        "window.max_messages = 1.5",
        "window.max_messages = true",
        'store.type = "redis"',
        'store.path = ""',
        'log.level = "loud"',
        'models.aliases."a/b" = "local/smollm2-135m"',
        "models.routes.r.targets = []",
        'models.settings."*".capabilities = ["chat", "fly"]',
        'models.settings."*".price.currency = "euro"',
        "providers.x = {}",
        'providers.x.type = "llamacpp"',
        'providers.x.type = "custom"',
        'providers.X = { type = "custom", class = "a:B" }',
        'providers.x = { type = "openai", api_kye = "k" }',
        'providers.x = { type = "openai", api_key = { path = "k" } }',
        'providers.x = { type = "huggingface", models.m = { device = "cpu" } }',
        "middleware.nope = {}",
    ],
)
def test_what_the_server_refuses_is_invalid(text: str, schema: dict[str, Any], tmp_path: Path) -> None:
    """Unknown keys, wrong types and values out of range."""
    assert problems(text, schema)
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises(Exception, match=r"settings\.toml"):
        load(tmp_path / "settings.toml", {})


def test_every_key_is_described(schema: dict[str, Any]) -> None:
    """So that an editor shows what it means."""
    for name, definition in schema["definitions"].items():
        assert definition["description"], name
        for key, inner in definition.get("properties", {}).items():
            assert "description" in inner or "$ref" in inner, f"{name}.{key}"


def test_every_built_in_plug_in_has_its_table(schema: dict[str, Any]) -> None:
    """Chosen by the key ``type``, which only the default store does without."""
    for kind in ("providers", "stores"):
        for name in KINDS[kind].built_in:
            table = schema["definitions"][f"{kind}.{name}"]
            assert table["properties"]["type"]["const"] == name
            assert ("type" in table.get("required", [])) == (name != "sqlite")


PLUG_INS = '''
from mcp_server.settings import PluginSettings, ProviderSettings


class Mine(ProviderSettings):
    """My models."""

    size: int = 3
    """How large they are."""


class Audit(PluginSettings):
    """My log."""


def plain(call):
    ...
'''


def test_installed_plug_ins_are_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the tables that they declare."""
    monkeypatch.syspath_prepend(tmp_path)
    entry_points = """
    [project.entry-points]
    "contextprotocol.providers" = { mine = "schema_plug_ins:Mine", old = "schema_plug_ins:plain" }
    "contextprotocol.middleware" = { audit = "schema_plug_ins:Audit", plain = "schema_plug_ins:plain" }
    """
    install(tmp_path, "schema_plug_ins", PLUG_INS, entry_points)
    schema = json_schema(Registry())
    mine = schema["definitions"]["providers.mine"]
    assert mine["description"] == "My models."
    assert mine["properties"]["size"] == {"type": "integer", "description": "How large they are.", "default": 3}
    assert "providers.old" not in schema["definitions"]
    good = '[providers.x]\ntype = "mine"\nsize = 4\n[middleware.audit]\n[middleware.plain]\n'
    assert problems(good + '[middleware.second]\ntype = "audit"', schema) == []
    assert problems(good.replace("size", "length"), schema)
    assert problems(good + "[middleware.second]", schema)
    assert problems(good + '[middleware.second]\ntype = "third"', schema)
