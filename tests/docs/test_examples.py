"""What the guides tell people to write is accepted by the code that reads it."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from jupyterhub_daas.authenticators import DaasAuthenticator
from jupyterhub_daas.core.quota import OverrideRequest
from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.services.accounts.models import BlockRequest, RoleRequest
from jupyterhub_daas.services.proposals.connectors.file import FileConnector
from jupyterhub_daas.services.proposals.roots import Roots
from jupyterhub_daas.spawners import DaasSpawner

from .conftest import DOCS

_BLOCK = re.compile(
    r"^(?P<indent> *)```\{code-block\} \w+\n *:caption: (?P<name>\S+)\n\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_BODY = re.compile(r"-d '(\{.*?\})'", re.DOTALL)


def blocks(name: str) -> Iterator[tuple[str, str]]:
    """Yield the examples of a file, with the page that each stands on."""
    for page in sorted(DOCS.rglob("*.md")):
        for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
            if found["name"] == name:
                indent = len(found["indent"])
                lines = [line[indent:] for line in found["text"].splitlines()]
                yield page.name, "\n".join(lines) + "\n"


def bodies(page: str) -> list[dict[str, object]]:
    """Return the JSON bodies of a page's examples."""
    text = (DOCS / "how-to" / page).read_text(encoding="utf-8")
    return [json.loads(body) for body in _BODY.findall(text)]


def merged(parts: list[str]) -> dict[str, object]:
    """Return examples of one file as the whole file."""
    whole: dict[str, object] = {}
    for part in parts:
        for key, value in yaml.safe_load(part).items():
            known = whole.get(key)
            whole[key] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    return whole


def test_the_settings_of_the_guide_are_accepted_as_one_file() -> None:
    parts = [text for _, text in blocks("daas.yaml")]
    assert len(parts) >= 6
    settings = Settings.parse(merged(parts))
    missing = set(Settings.model_fields) - settings.model_fields_set
    assert missing == set(), "a section has no example"


def test_the_facility_directory_of_the_guide_is_accepted(tmp_path: Path) -> None:
    (text,) = [text for _, text in blocks("facility.yaml")]
    file = tmp_path / "facility.yaml"
    file.write_text(text)
    snapshot = FileConnector(file, Roots([tmp_path / "roots"])).read()
    assert [len(snapshot.people), len(snapshot.instruments), len(snapshot.proposals)] == [3, 1, 1]
    assert snapshot.proposals[0].datasets


@pytest.mark.parametrize(("page", "text"), list(blocks("jupyterhub_config.py")))
def test_configuration_sets_traits_that_exist(page: str, text: str) -> None:
    classes = {cls.__name__: cls for cls in (DaasAuthenticator, DaasSpawner)}
    named = [
        (node.value.attr, node.attr)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and isinstance(node.value.value, ast.Name)
        and node.value.value.id == "c"
    ]
    assert named, page
    unknown = [
        name
        for cls, name in named
        if cls in classes and name not in classes[cls].class_trait_names(config=True)
    ]
    assert unknown == []


def test_the_requests_of_the_guides_fit_the_contract() -> None:
    (override,) = bodies("quotas.md")
    assert OverrideRequest.model_validate_json(json.dumps(override)).limits.machines == 40
    block, role = bodies("people.md")
    assert BlockRequest.model_validate(block).reason
    assert RoleRequest.model_validate_json(json.dumps(role)).instruments == ("id21",)
