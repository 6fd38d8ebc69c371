"""Render an OpenAPI file as one page that needs no script and nothing from elsewhere."""

from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment

METHODS = ("get", "put", "post", "patch", "delete")


def render_documentation(openapi: str) -> str:
    """Return the page for an OpenAPI text of ours."""
    document: dict[str, Any] = yaml.safe_load(openapi)
    template = files("jupyterhub_daas.services").joinpath("documentation.html").read_text(encoding="utf-8")
    # Most parts of an OpenAPI file may be left out: what is not there is written as nothing.
    environment = Environment(autoescape=True, trim_blocks=True)
    operations = [
        (path, method, item[method], [*item.get("parameters", ()), *item[method].get("parameters", ())])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]
    return environment.from_string(template).render(
        document=document, operations=operations, schema_name=_schema_name, resolve=_resolver(document)
    )


def _resolver(document: dict[str, Any]) -> Any:
    def resolve(item: dict[str, Any]) -> dict[str, Any]:
        reference = item.get("$ref")
        if reference is None:
            return item
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        return dict(found)

    return resolve


def _schema_name(schema: dict[str, Any] | None) -> str:
    if not schema:
        return ""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(_schema_name(each) for each in schema.get("anyOf") or schema["oneOf"])
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_schema_name(schema.get('items'))}"
    return str(kind)
