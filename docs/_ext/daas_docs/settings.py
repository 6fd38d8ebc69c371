"""The keys of a YAML file, from the pydantic model that reads it."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from daas_docs import rst
from jupyterhub_daas.core import names
from jupyterhub_daas.core.resources import MAX_BYTES

Schema = Mapping[str, Any]
_REFERENCE = "#/$defs/"
_PATTERNS = {
    names.SLUG: "key (lower-case letters, digits and dashes, a letter first)",
    names.USERNAME: "username",
    names.IDENTIFIER: "identifier",
}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "ge": "at least {}",
    "le": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
}


def render_model(path: str) -> str:
    """Return a section for a model and for each of the models inside it."""
    model = rst.load(path)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"{path} is no model")
    schema = model.model_json_schema(mode="validation")
    definitions: Schema = schema.get("$defs", {})
    found = {model.__name__: schema}
    _collect(schema, definitions, found)
    prefix = model.__name__.lower()
    lines: list[str] = []
    for name, each in found.items():
        lines += [*rst.label(f"{prefix}-{name.lower()}"), *rst.title(_shown(name), "-")]
        lines += [rst.prose(" ".join(each.get("description", "").split())), ""]
        lines += rst.table(("Key", "Value", "Default"), _rows(each, definitions, prefix), (25, 50, 25))
    return "\n".join(lines)


def _shown(name: str) -> str:
    # What a file holds is told apart in the code only.
    return name.removesuffix("InFile")


def _collect(schema: Schema, definitions: Schema, found: dict[str, Any]) -> None:
    for name in _references(schema.get("properties", {})):
        if name not in found and "properties" in definitions[name]:
            found[name] = definitions[name]
            _collect(definitions[name], definitions, found)


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        if "$ref" in part:
            yield part["$ref"].removeprefix(_REFERENCE)
        for each in part.values():
            yield from _references(each)
    elif isinstance(part, list):
        for each in part:
            yield from _references(each)


def _rows(schema: Schema, definitions: Schema, prefix: str) -> Iterator[tuple[str, str, str]]:
    required = set(schema.get("required", ()))
    for name, field in schema["properties"].items():
        # The key of an entry is its place in the file; nobody writes it twice.
        if name == "key" and schema.get("title") in ("Environment", "Flavour", "Profile"):
            continue
        yield rst.code(name), _value(field, definitions, prefix), _default(field, name in required)


def _default(field: Schema, required: bool) -> str:
    if required:
        return "required"
    default = field.get("default")
    if (isinstance(default, dict | list | str) and not default) or "default" not in field:
        return "empty"
    if default is None:
        return "none"
    if isinstance(default, dict):
        return "see there"
    return rst.code(str(default).lower() if isinstance(default, bool) else default)


def _value(field: Schema, definitions: Schema, prefix: str) -> str:
    if "$ref" in field:
        return _reference(field["$ref"].removeprefix(_REFERENCE), definitions, prefix)
    if "anyOf" in field:
        return " or ".join(
            _value(each, definitions, prefix) for each in field["anyOf"] if each.get("type") != "null"
        )
    match field.get("type"):
        case "array":
            inner = _value(field.get("items", {}), definitions, prefix)
            return _bounded(f"list of {inner}", field)
        case "object":
            return _mapping(field, definitions, prefix)
        case "string":
            return _text(field)
        case "integer" if field.get("le") == MAX_BYTES:
            return f"bytes, or a text such as {rst.code('3G')}"
        case "integer":
            return _bounded("whole number", field)
        case "number":
            return _bounded("number", field)
        case "boolean":
            return f"{rst.code('true')} or {rst.code('false')}"
        case _:
            return "any"


def _reference(name: str, definitions: Schema, prefix: str) -> str:
    target = definitions[name]
    if "enum" in target:
        return f"one of {rst.codes(target['enum'])}"
    return f":ref:`{_shown(name)} <{prefix}-{name.lower()}>`"


def _mapping(field: Schema, definitions: Schema, prefix: str) -> str:
    for pattern, entries in field.get("patternProperties", {}).items():
        key = _text({"pattern": pattern}).partition(" (")[0]
        return f"mapping of {key} to {_value(entries, definitions, prefix)}"
    entries = field.get("additionalProperties")
    if not isinstance(entries, Mapping):
        return "mapping"
    keys = field.get("propertyNames")
    of = _value(keys, definitions, prefix) if keys else "text"
    return f"mapping of {of} to {_value(entries, definitions, prefix)}"


def _text(field: Schema) -> str:
    pattern = field.get("pattern")
    if field.get("format") == "date-time":
        return f"moment with its time zone, such as {rst.code('2026-11-30T18:00:00Z')}"
    if pattern in _PATTERNS:
        return _PATTERNS[pattern]
    return _bounded(f"text that fits {rst.code(pattern)}" if pattern else "text", field)


def _bounded(kind: str, field: Schema) -> str:
    bounds = [words.format(field[name]) for name, words in _BOUNDS.items() if name in field]
    return ", ".join([kind, *bounds]).replace("at least 1 characters", "not empty")
