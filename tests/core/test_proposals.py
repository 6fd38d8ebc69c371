"""Proposals as they travel; a mount can't climb out of where it belongs."""

from typing import Any

import pytest
from pydantic import ValidationError

from jupyterhub_daas.core.proposals import Dataset, Member, MemberRole, Mount, Page, Proposal, ProposalState


@pytest.mark.parametrize(
    "target",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "/a",
        "/",
        "//a",
        "a//b",
        "a/",
        "./a",
        "a/./b",
        "a\0b",
        "x" * 513,
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_refuses_a_target_outside_the_home(target: str) -> None:
    with pytest.raises(ValidationError):
        Mount.model_validate({"source": "/data/x", "target": target, "mode": "ro"})


@pytest.mark.parametrize(
    "source",
    ["", ".", "a", "../a", "/a/../b", "/..", "/a/", "/a//b", "/./a", "/a\0b", "/" + "x" * 4096],
    ids=lambda text: ascii(text)[:20],
)
def test_refuses_a_source_that_is_not_resolved(source: str) -> None:
    with pytest.raises(ValidationError):
        Mount.model_validate({"source": source, "target": "proposals/x", "mode": "ro"})


@pytest.mark.parametrize("mode", ["", "RO", "r", "rwx", None, 1])
def test_refuses_another_mode(mode: Any) -> None:
    with pytest.raises(ValidationError):
        Mount.model_validate({"source": "/a", "target": "b", "mode": mode})


def test_takes_a_mount() -> None:
    mount = Mount.model_validate(
        {"source": "/data/20180301/raw", "target": "proposals/x..y/raw", "mode": "rw"}
    )
    assert mount.model_dump(mode="json")["mode"] == "rw"


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", "//evil.example", "ftp://x", " https://x", "mailto:a@b", ""],
)
def test_refuses_a_link_that_is_no_page(url: str) -> None:
    with pytest.raises(ValidationError):
        Proposal(identifier="P", title="x", url=url)


@pytest.mark.parametrize(
    "given",
    [
        {"identifier": "../P"},
        {"identifier": "P\n"},
        {"title": "x" * 501},
        {"abstract": "x" * 20_001},
        {"state": "open"},
        {"instruments": [{"name": "ID 21", "title": "x"}]},
        {"members": {}},
    ],
)
def test_refuses_a_proposal_of_another_form(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Proposal.model_validate({"identifier": "P", "title": "x", **given})


def test_a_proposal_is_the_same_after_the_wire() -> None:
    proposal = Proposal.model_validate(
        {
            "identifier": "P",
            "title": "<b>é",
            "instruments": [{"name": "id21", "title": "ID21"}],
            "state": "running",
            "experiments": [
                {
                    "identifier": "P-1",
                    "instrument": "id21",
                    "start": "2026-05-01T08:00:00+02:00",
                    "end": "2026-05-02T08:00:00Z",
                }
            ],
        }
    )
    assert proposal.state is ProposalState.RUNNING
    assert Proposal.model_validate_json(proposal.model_dump_json()) == proposal


def test_a_page_checks_its_items() -> None:
    page = Page[Member].model_validate({"items": [{"username": "amara", "role": "member"}], "total": 1})
    assert page.items[0].role is MemberRole.MEMBER
    for wrong in ({"items": [{"username": "A", "role": "member"}], "total": 1}, {"items": [], "total": -1}):
        with pytest.raises(ValidationError):
            Page[Member].model_validate(wrong)


@pytest.mark.parametrize("given", [{"size": -1}, {"size": 1.5}, {"pid": ""}, {"state": "gone"}])
def test_refuses_a_dataset_of_another_form(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Dataset.model_validate({"pid": "p", "name": "n", "path": "raw/a", **given})


def test_a_dataset_of_which_nothing_is_known_is_not_online() -> None:
    assert Dataset(pid="p", name="n", path="raw/a").state.value == "unknown"
