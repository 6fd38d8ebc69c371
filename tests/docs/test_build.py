"""The documentation builds, needs nothing from elsewhere, and names only what is there."""

import re

import pytest

from jupyterhub_daas import __version__

from .conftest import DOCS, ROOT, Built

PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
_PATH = re.compile(r"`((?:jupyterhub_daas|tests|scripts|demo|docs|benchmarks)/[A-Za-z0-9_./-]*)(?:::(\w+))?`")
_LOADED = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=["'](?:https?:)?//[^"']*""")
MAX_LINES = 400
THREATS = ("threat-model.md", "threat-model-backends.md")


def test_builds_without_a_warning(built: Built) -> None:
    assert built.status == 0, built.said


def test_is_of_this_version(built: Built) -> None:
    assert __version__ in built.text("index.html")


def test_loads_nothing_from_elsewhere(built: Built) -> None:
    pages = list(built.folder.rglob("*.html"))
    assert len(pages) > 20
    found = {page.name: _LOADED.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert {name: loaded for name, loaded in found.items() if loaded} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_names_files_and_tests_that_exist(page: object) -> None:
    text = DOCS.joinpath(str(page)).read_text(encoding="utf-8")
    missing = []
    for path, test in _PATH.findall(text):
        file = ROOT / path
        if not file.exists() or (test and f"def {test}(" not in file.read_text(encoding="utf-8")):
            missing.append(f"{path}::{test}" if test else path)
    assert missing == []


def test_the_readme_leads_to_pages_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"[^!]\[[^\]]+\]\(([^)#:]+)\)", text)
    assert any(link.startswith("docs/") for link in links)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_threat_model_names_a_test_for_its_measures() -> None:
    texts = [(DOCS / name).read_text(encoding="utf-8") for name in THREATS]
    threats = [each for text in texts for each in text.partition("## Threats")[2].split("\n### ")[1:]]
    assert len(threats) >= 10
    without = [
        each.splitlines()[0]
        for each in threats
        if "**Measures.**" not in each or ("**Shown by**" not in each and "**Remains.**" not in each)
    ]
    assert without == []


def test_files_are_short() -> None:
    files = [*PAGES, *DOCS.rglob("*.rst"), *DOCS.rglob("*.py")]
    long = {str(path): count for path in files if (count := len(path.read_text().splitlines())) > MAX_LINES}
    assert long == {}
