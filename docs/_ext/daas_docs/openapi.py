"""The contract of a service, from its OpenAPI file."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from daas_docs import rst
from jupyterhub_daas.services.application import openapi_text
from jupyterhub_daas.services.documentation import METHODS

Part = Mapping[str, Any]


def render_service(name: str) -> str:
    """Return the operations of a service and the schemas that they name."""
    document: Part = yaml.safe_load(openapi_text(name))
    lines = [*_paragraphs(document["info"].get("description", ""))]
    lines += [f"Paths are below {rst.code(document['servers'][0]['url'])}.", ""]
    for method, path, operation, parameters in operations(document):
        lines += _operation(name, method, path, operation, parameters, document)
    schemas = document.get("components", {}).get("schemas", {})
    if schemas:
        lines += rst.title("Schemas", "-")
    for key, schema in schemas.items():
        lines += _schema(name, key, schema)
    return "\n".join(lines)


def operations(document: Part) -> Iterator[tuple[str, str, Part, list[Part]]]:
    """Yield method, path, operation and parameters of each operation."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                own = item[method]
                yield method.upper(), path, own, [*item.get("parameters", ()), *own.get("parameters", ())]


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        lines += [rst.prose(" ".join(paragraph.split())), ""]
    return lines


def _operation(
    name: str, method: str, path: str, operation: Part, parameters: list[Part], document: Part
) -> list[str]:
    lines = rst.title(f"{method} {path}", "-")
    lines += _paragraphs(operation.get("summary", "")) + _paragraphs(operation.get("description", ""))
    rows = []
    for given in parameters:
        each = _resolve(given, document)
        kind = each["in"] + (", required" if each.get("required") else "")
        value = _kind(name, each.get("schema", {}))
        rows.append((rst.code(each["name"]), kind, value, rst.prose(each.get("description", ""))))
    if rows:
        lines += rst.table(("Parameter", "In", "Value", "Meaning"), rows, (20, 20, 25, 35))
    if "requestBody" in operation:
        lines += [f"Body: {_content(name, _resolve(operation['requestBody'], document))}", ""]
    answers = []
    for status, given in operation["responses"].items():
        answer = _resolve(given, document)
        answers.append((str(status), rst.prose(answer.get("description", "")), _content(name, answer)))
    return lines + rst.table(("Status", "Meaning", "Content"), answers, (15, 55, 30))


def _content(name: str, part: Part) -> str:
    return " or ".join(
        _kind(name, each.get("schema", {})) if kind == "application/json" else rst.code(kind)
        for kind, each in part.get("content", {}).items()
    )


def _resolve(part: Part, document: Part) -> Part:
    if "$ref" not in part:
        return part
    found: Any = document
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _kind(name: str, schema: Part) -> str:
    """Return the name of a schema in a few words."""
    if "$ref" in schema:
        key = schema["$ref"].rsplit("/", 1)[-1]
        return f":ref:`{key} <api-{name}-{key.lower()}>`"
    for joined in ("anyOf", "oneOf", "allOf"):
        if joined in schema:
            return " or ".join(_kind(name, each) for each in schema[joined])
    if "enum" in schema:
        return f"one of {rst.codes(schema['enum'])}"
    if "const" in schema:
        return rst.code(schema["const"])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_kind(name, schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"mapping to {_kind(name, schema['additionalProperties'])}"
    if kind == "object" and "items" in schema.get("properties", {}):
        return f"page of {_kind(name, schema['properties']['items'].get('items', {}))}"
    return str(schema.get("format", kind)) if kind == "string" else str(kind)


def _schema(name: str, key: str, schema: Part) -> list[str]:
    lines = [*rst.label(f"api-{name}-{key.lower()}"), *rst.title(key, "~")]
    lines += _paragraphs(schema.get("description", ""))
    properties = schema.get("properties")
    if not properties:
        return [*lines, _kind(name, schema), ""]
    required = set(schema.get("required", ()))
    rows = [
        (
            rst.code(each),
            _kind(name, value),
            "always" if each in required else "",
            rst.prose(value.get("description", "")),
        )
        for each, value in properties.items()
    ]
    return lines + rst.table(("Field", "Value", "Present", "Meaning"), rows, (25, 25, 10, 40))
