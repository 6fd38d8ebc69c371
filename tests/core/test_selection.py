"""Whatever a person sends becomes a Selection of what is offered, or a SelectionError that says why."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_daas.core.catalogue import Catalogue
from jupyterhub_daas.core.names import IDENTIFIER
from jupyterhub_daas.core.selection import MAX_DATASETS, Selection
from jupyterhub_daas.errors import (
    InvalidOptionError,
    SelectionError,
    UnknownEnvironmentError,
    UnknownFlavourError,
    UnknownProfileError,
)

CATALOGUE = Catalogue.model_validate(
    {
        "environments": {
            "jupyter": {"title": "Jupyter", "kind": "jupyter"},
            "desktop": {"title": "Desktop", "kind": "desktop"},
            "vm": {"title": "Not offered on any backend", "kind": "vm"},
        },
        "flavours": {
            key: {"title": key, "cpus": 1, "memory": "1G"} for key in ("small", "medium", "large", "huge")
        },
        "profiles": {
            "jupyter": {"environment": "jupyter", "backend": "local", "flavours": ["small", "medium"]},
            "jupyter-slurm": {"environment": "jupyter", "backend": "slurm", "flavours": ["large"]},
            "jupyter-podman": {
                "environment": "jupyter",
                "backend": "podman",
                "flavours": ["small", "medium"],
                "default_flavour": "medium",
            },
            "desktop": {"environment": "desktop", "backend": "local", "flavours": ["small"]},
        },
    }
)


def parse(**options: Any) -> Selection:
    return Selection.parse({"proposal": "20180301", **options}, CATALOGUE)


@pytest.mark.parametrize(
    ("offered", "options", "profile"),
    [
        pytest.param({"jupyter", "jupyter-slurm"}, {}, "jupyter", id="the first of all"),
        pytest.param(
            {"jupyter-slurm", "jupyter-podman"}, {}, "jupyter-slurm", id="the first that is offered"
        ),
        pytest.param(
            {"jupyter-slurm", "jupyter-podman"}, {"flavour": "small"}, "jupyter-podman", id="with the flavour"
        ),
        pytest.param({"jupyter-slurm"}, {"profile": "jupyter"}, "jupyter", id="named, though not offered"),
        pytest.param(set(), {}, "jupyter", id="none is offered: the first, to be refused"),
    ],
)
def test_takes_the_first_profile_that_is_offered(
    offered: set[str], options: dict[str, Any], profile: str
) -> None:
    asked = {"proposal": "20180301", "environment": "jupyter", **options}
    assert Selection.parse(asked, CATALOGUE, offered=lambda each: each.key in offered).profile == profile


@pytest.mark.parametrize(
    ("options", "profile", "flavour"),
    [
        pytest.param({"environment": "jupyter"}, "jupyter", "small", id="environment only: first profile"),
        pytest.param({"environment": "desktop"}, "desktop", "small", id="the one profile"),
        pytest.param({"environment": "jupyter", "flavour": "medium"}, "jupyter", "medium", id="flavour"),
        pytest.param(
            {"environment": "jupyter", "flavour": "large"}, "jupyter-slurm", "large", id="profile that has it"
        ),
        pytest.param({"environment": "jupyter", "backend": "slurm"}, "jupyter-slurm", "large", id="backend"),
        pytest.param({"profile": "jupyter-podman"}, "jupyter-podman", "medium", id="profile's default"),
        pytest.param(
            {"profile": "jupyter-podman", "environment": "jupyter", "backend": "podman", "flavour": "small"},
            "jupyter-podman",
            "small",
            id="everything named",
        ),
        pytest.param(
            {"environment": "jupyter", "flavour": None, "backend": None}, "jupyter", "small", id="nulls"
        ),
    ],
)
def test_chooses_what_is_meant(options: dict[str, Any], profile: str, flavour: str) -> None:
    selection = parse(**options)
    assert (selection.profile, selection.flavour) == (profile, flavour)
    assert selection.backend == CATALOGUE.profiles[profile].backend
    assert selection.environment == CATALOGUE.profiles[profile].environment


HOSTILE_TEXTS = [
    "../../etc/passwd",
    "..",
    "a\nb",
    "a\n",
    "'; DROP TABLE x; --",
    '"',
    "$(id)",
    "`id`",
    "jupyter\0",
    "juрyter",  # Cyrillic r
    "ｊupyter",
    "jupyter\u200b",
    "\ud800",
    "x" * 10_240,
    "",
    " ",
]
HOSTILE_VALUES = [
    0,
    -1,
    1.5,
    float("nan"),
    float("inf"),
    True,
    [],
    {},
    ["jupyter"],
    pytest.param(object(), id="an object"),
    10**400,
]
FIELDS = ("proposal", "environment", "backend", "profile", "flavour")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [*HOSTILE_TEXTS, *HOSTILE_VALUES], ids=lambda value: ascii(value)[:25])
def test_refuses_a_hostile_value(field: str, value: Any) -> None:
    with pytest.raises(SelectionError) as caught:
        parse(**{"environment": "jupyter", field: value})
    assert caught.value.field == field
    # The person's own text is not repeated, and the message can be logged and shown.
    assert len(caught.value.message) < 300
    assert "\n" not in caught.value.message
    caught.value.message.encode()


@pytest.mark.parametrize(
    ("options", "error", "field"),
    [
        ({}, InvalidOptionError, "environment"),
        ({"environment": "lab"}, UnknownEnvironmentError, "environment"),
        ({"environment": "vm"}, UnknownProfileError, "profile"),
        ({"environment": "Jupyter"}, InvalidOptionError, "environment"),
        ({"environment": "jupyter", "flavour": "tiny"}, UnknownFlavourError, "flavour"),
        ({"environment": "jupyter", "flavour": "huge"}, UnknownFlavourError, "flavour"),
        ({"environment": "desktop", "flavour": "large"}, UnknownFlavourError, "flavour"),
        ({"profile": "jupyter", "flavour": "large"}, UnknownFlavourError, "flavour"),
        ({"profile": "none"}, UnknownProfileError, "profile"),
        ({"profile": "jupyter", "environment": "desktop"}, UnknownProfileError, "profile"),
        ({"profile": "jupyter", "backend": "slurm"}, UnknownProfileError, "profile"),
        ({"environment": "desktop", "backend": "podman"}, UnknownProfileError, "profile"),
        ({"environment": "jupyter", "cpus": 1000}, InvalidOptionError, "cpus"),
        ({"environment": "jupyter", "memory": "1T"}, InvalidOptionError, "memory"),
        ({"environment": "jupyter", "uid": 0}, InvalidOptionError, "uid"),
        ({"environment": "jupyter", "options": {"cmd": "x"}}, InvalidOptionError, "options"),
        ({"environment": "jupyter", "mounts": []}, InvalidOptionError, "mounts"),
        ({"environment": "jupyter", "__class__": 1}, InvalidOptionError, "__class__"),
        ({"environment": "jupyter", "x" * 10_000: 1}, InvalidOptionError, "x" * 60),
    ],
)
def test_refuses_what_is_not_offered(
    options: dict[str, Any], error: type[SelectionError], field: str
) -> None:
    with pytest.raises(SelectionError) as caught:
        parse(**options)
    assert type(caught.value) is error
    assert caught.value.field == field
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "options", [None, [], "", "jupyter", 5, True, pytest.param(object(), id="an object"), [("proposal", "P")]]
)
def test_refuses_what_is_no_object(options: object) -> None:
    with pytest.raises(InvalidOptionError):
        Selection.parse(options, CATALOGUE)


def test_a_proposal_must_be_named() -> None:
    with pytest.raises(InvalidOptionError, match="'proposal' is missing"):
        Selection.parse({"environment": "jupyter"}, CATALOGUE)


@pytest.mark.parametrize(
    "datasets",
    [
        "one",
        [""],
        ["x" * 201],
        [5],
        [None],
        [["x"]],
        {"a": 1},
        ["x"] * (MAX_DATASETS + 1),
        ["a\nb"],
        ["a\0"],
        ["\x1b[31m"],
        ["\ud800"],
    ],
    ids=lambda value: ascii(value)[:25],
)
def test_refuses_datasets_of_another_form(datasets: Any) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        parse(environment="jupyter", datasets=datasets)
    assert (caught.value.field or "").startswith("datasets")


def test_nothing_is_offered_by_an_empty_catalogue() -> None:
    for options in ({"environment": "jupyter"}, {"profile": "jupyter"}):
        with pytest.raises(SelectionError):
            Selection.parse({"proposal": "P", **options}, Catalogue())


# --- for all inputs

ANY_TEXT = st.text(alphabet=st.characters(), max_size=20)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["jupyter", "desktop", "vm", "local", "slurm", "podman", "jupyter-slurm", "small", "large"]
)
FIELD = st.sampled_from([*FIELDS, "datasets"])
PROPOSALS = st.from_regex(IDENTIFIER, fullmatch=True)
DATASETS = st.lists(
    st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0xD7FF, exclude_characters="\x7f"),
        min_size=1,
        max_size=9,
    ),
    max_size=3,
)


@given(st.dictionaries(FIELD | ANY_TEXT, ANY_JSON | NAMES, max_size=7) | ANY_JSON)
def test_raises_nothing_but_a_selection_error(options: Any) -> None:
    try:
        selection = Selection.parse(options, CATALOGUE)
    except SelectionError as error:
        error.message.encode()
        return
    assert selection.flavour in CATALOGUE.profiles[selection.profile].flavours


@given(
    PROPOSALS,
    st.fixed_dictionaries(
        {}, optional={**{field: st.none() | NAMES for field in FIELDS[1:]}, "datasets": DATASETS}
    ),
)
def test_parsing_the_options_again_changes_nothing(proposal: str, options: dict[str, Any]) -> None:
    try:
        selection = Selection.parse({**options, "proposal": proposal}, CATALOGUE)
    except SelectionError:
        return
    canonical = selection.options()
    assert Selection.parse(canonical, CATALOGUE) == selection
    # As the hub stores them with the session.
    assert Selection.parse(json.loads(json.dumps(canonical)), CATALOGUE).options() == canonical
    for field, value in options.items():
        assert value in (None, canonical[field])


def test_a_stored_selection_is_refused_once_it_is_no_longer_offered() -> None:
    stored = parse(profile="jupyter-slurm").options()
    offer = CATALOGUE.model_dump(mode="json")
    del offer["profiles"]["jupyter-slurm"]
    with pytest.raises(UnknownProfileError):
        Selection.parse(stored, Catalogue.model_validate(offer))
