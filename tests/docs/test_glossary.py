"""The words of the glossary are the words of the code."""

import pkgutil
import re
from enum import Enum
from importlib import import_module

import pytest

import jupyterhub_daas.core as core
from jupyterhub_daas.core.catalogue import EnvironmentKind
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.core.proposals import DatasetState, MemberRole, MountMode, ProposalState
from jupyterhub_daas.core.reservations import ReservationState
from jupyterhub_daas.core.resources import DIMENSIONS, Resources

from .conftest import DOCS

# These are no model of the core: a border, a process, or all of the pages.
NOT_MODELS = {"Backend", "Session", "Service", "Portal"}
# JupyterHub and other systems say these; we say Session.
FOREIGN = re.compile(r"class (\w*(?:Instance|Lab|Server|Investigation|Flavor)\w*)\b")


def definitions() -> dict[str, str]:
    """Return what the glossary says of each term."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Z]\w+)\n((?:  .*\n)+)", text, re.MULTILINE))


def names_in_core() -> set[str]:
    """Return every name that a module of core defines."""
    modules = [
        import_module(f"jupyterhub_daas.core.{each.name}") for each in pkgutil.iter_modules(core.__path__)
    ]
    return {name for module in modules for name in vars(module)}


def test_every_term_is_a_name_in_the_core() -> None:
    terms = set(definitions())
    assert len(terms) > 25
    assert terms >= NOT_MODELS
    assert terms - NOT_MODELS - names_in_core() == set()


@pytest.mark.parametrize(
    ("term", "values"),
    [
        ("Proposal", ProposalState),
        ("MemberRole", MemberRole),
        ("Role", Role),
        ("Dataset", DatasetState),
        ("Mount", MountMode),
        ("Environment", EnvironmentKind),
        ("Reservation", ReservationState),
    ],
)
def test_a_term_lists_the_values_of_the_code(term: str, values: type[Enum]) -> None:
    text = definitions()[term]
    assert [each.value for each in values if not re.search(rf"\b{each.value}\b", text)] == []


def test_resources_have_the_dimensions_that_the_glossary_lists() -> None:
    text = definitions()["Resources"]
    assert tuple(Resources.model_fields) == DIMENSIONS
    assert [each for each in DIMENSIONS if each not in text] == []


def test_core_uses_no_foreign_word_for_ours() -> None:
    found = {
        each.name: FOREIGN.findall(text)
        for each in pkgutil.iter_modules(core.__path__)
        if (
            text := (DOCS.parent / "jupyterhub_daas" / "core" / f"{each.name}.py").read_text(encoding="utf-8")
        )
    }
    assert {name: words for name, words in found.items() if words} == {}
