"""What a person is offered for a proposal, and what each choice would take of her quota."""

import pytest

from jupyterhub_daas.core.catalogue import Catalogue
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.core.proposals import Instrument, Proposal, ProposalState
from jupyterhub_daas.core.quota import Quota, quota_of
from jupyterhub_daas.core.resources import Limits, Resources
from jupyterhub_daas.services.portal.offers import (
    choices_for,
    environments_for,
    only_choice,
    preselected,
    profiles_for,
)

CATALOGUE = Catalogue.model_validate(
    {
        "environments": {
            "jupyter": {"title": "Jupyter", "kind": "jupyter"},
            "desktop": {"title": "Desktop", "kind": "desktop"},
            "expert": {"title": "Expert", "kind": "desktop"},
        },
        "flavours": {
            "small": {"title": "Small", "cpus": 1, "memory": "3G", "storage": "5G"},
            "large": {"title": "Large", "cpus": 4, "memory": "12G", "storage": "20G"},
        },
        "profiles": {
            "jupyter": {
                "environment": "jupyter",
                "backend": "local",
                "flavours": ["small", "large"],
                "default_flavour": "large",
            },
            "desktop": {
                "environment": "desktop",
                "backend": "local",
                "flavours": ["small"],
                "instruments": ["id21"],
            },
            "expert": {
                "environment": "expert",
                "backend": "local",
                "flavours": ["small"],
                "roles": ["support"],
            },
        },
    }
)
UNLIMITED = quota_of(Limits(), Resources(), None)


def proposal(*instruments: str, state: ProposalState = ProposalState.RUNNING) -> Proposal:
    return Proposal(
        identifier="20180301",
        title="Roots",
        instruments=tuple(Instrument(name=name, title=name.upper()) for name in instruments),
        state=state,
    )


def quota(**used: object) -> Quota:
    limits = Limits.model_validate({"machines": 5, "cpus": 10, "memory": "30G", "storage": "80G", "gpus": 0})
    return quota_of(limits, Resources.model_validate(used), "small")


@pytest.mark.parametrize(
    ("instruments", "roles", "expected"),
    [
        pytest.param(("id21",), {Role.USER}, ["jupyter", "desktop"], id="instrument of the profile"),
        pytest.param(("id16",), {Role.USER}, ["jupyter"], id="another instrument"),
        pytest.param((), {Role.USER}, ["jupyter"], id="no instrument"),
        pytest.param(("id21",), {Role.USER, Role.SUPPORT}, ["jupyter", "desktop", "expert"], id="role"),
    ],
)
def test_offers_environments_by_instrument_and_role(
    instruments: tuple[str, ...], roles: set[Role], expected: list[str]
) -> None:
    found = environments_for(CATALOGUE, proposal(*instruments), roles)
    assert [each.key for each in found] == expected


def test_offers_nothing_for_a_closed_proposal() -> None:
    assert environments_for(CATALOGUE, proposal("id21", state=ProposalState.CLOSED), {Role.USER}) == ()


def choices(environment: str, person: Quota = UNLIMITED, whole: Quota = UNLIMITED):  # type: ignore[no-untyped-def]
    profiles = profiles_for(CATALOGUE, proposal("id21"), {Role.USER})
    return choices_for(CATALOGUE, profiles, environment, person=person, proposal=whole)


def test_says_what_a_flavour_takes_of_the_quota() -> None:
    small, _ = choices("jupyter", quota(machines=3, cpus=3, memory="9G", storage="15G"))
    left = {cost.dimension: (cost.asked, cost.after, cost.left) for cost in small.costs}
    gig = 1 << 30
    assert left == {
        "machines": (1, 4, 1),
        "cpus": (1, 4, 6),
        "memory": (3 * gig, 12 * gig, 18 * gig),
        "storage": (5 * gig, 20 * gig, 60 * gig),
    }


def test_says_why_a_flavour_does_not_fit_the_person() -> None:
    small, large = choices("jupyter", quota(machines=3, cpus=7))
    assert small.fits
    assert not large.fits
    assert "7 of 10 used, 4 asked" in large.reason
    assert "your quota" in large.reason


def test_says_that_it_is_the_proposal_that_has_no_room() -> None:
    small, _ = choices("jupyter", whole=quota(machines=5))
    assert "quota of the proposal for machines: 5 of 5 used" in small.reason


def test_suggests_the_default_if_it_fits_and_else_one_that_does() -> None:
    suggested = preselected(choices("jupyter"))
    assert suggested is not None
    assert suggested.value == "jupyter/large"
    smaller = preselected(choices("jupyter", quota(cpus=8)))
    assert smaller is not None
    assert smaller.value == "jupyter/small"
    assert preselected(choices("jupyter", quota(machines=5))) is None


@pytest.mark.parametrize(
    ("environment", "used", "expected"),
    [
        pytest.param("desktop", {}, "desktop/small", id="one flavour"),
        pytest.param("jupyter", {}, None, id="two that fit"),
        pytest.param("jupyter", {"cpus": 8}, "jupyter/small", id="one of two fits"),
        pytest.param("desktop", {"machines": 5}, None, id="none fits"),
    ],
)
def test_asks_nobody_if_only_one_choice_makes_sense(
    environment: str, used: dict[str, object], expected: str | None
) -> None:
    only = only_choice(choices(environment, quota(**used)))
    assert (only.value if only else None) == expected
