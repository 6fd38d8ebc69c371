"""Who may start what: truth tables. What no rule allows is refused."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from jupyterhub_daas.core.access import (
    Block,
    Standing,
    allowed_profiles,
    allows,
    check_profile,
    check_proposal,
    check_standing,
    may_enter,
)
from jupyterhub_daas.core.catalogue import Catalogue, Profile
from jupyterhub_daas.core.people import Role, RoleGrant
from jupyterhub_daas.core.proposals import Instrument, Proposal, ProposalState
from jupyterhub_daas.errors import (
    AccountBlockedError,
    ConditionsNotAcceptedError,
    DaasError,
    ProfileNotAllowedError,
    ProposalClosedError,
)

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
BLOCK = Block(reason="Lost the key.", since=NOW)
USER, ADMIN, SCIENTIST = Role.USER, Role.ADMIN, Role.INSTRUMENT_SCIENTIST


def standing(**given: Any) -> Standing:
    return Standing.model_validate(
        {"username": "amara", "conditions_version": "2", "conditions_accepted": True, **given}
    )


@pytest.mark.parametrize(
    ("proposals", "roles", "enters"),
    [
        pytest.param(0, set(), False, id="nothing"),
        pytest.param(0, {USER}, False, id="a user without proposal"),
        pytest.param(1, {USER}, True, id="a user with a proposal"),
        pytest.param(1, set(), True, id="a proposal without role"),
        *(pytest.param(0, {USER, role}, True, id=role.value) for role in Role if role is not USER),
    ],
)
def test_entry_needs_a_proposal_or_a_role(proposals: int, roles: set[Role], enters: bool) -> None:
    assert may_enter(proposals=proposals, roles=roles) is enters


@pytest.mark.parametrize(
    ("blocked", "accepted", "error"),
    [
        pytest.param(None, True, None, id="free"),
        pytest.param(None, False, ConditionsNotAcceptedError, id="conditions not accepted"),
        pytest.param(BLOCK, True, AccountBlockedError, id="blocked"),
        pytest.param(BLOCK, False, AccountBlockedError, id="blocked is said first"),
    ],
)
def test_standing(blocked: Block | None, accepted: bool, error: type[DaasError] | None) -> None:
    given = standing(blocked=blocked, conditions_accepted=accepted)
    if error is None:
        check_standing(given)
        return
    with pytest.raises(error) as caught:
        check_standing(given)
    if blocked is not None:
        assert "Lost the key." in caught.value.message


@pytest.mark.parametrize("field", ["conditions_accepted", "conditions_version", "username"])
def test_refuses_a_standing_that_leaves_something_open(field: str) -> None:
    # A service of a facility's own that forgets a field must not let anybody in.
    content = standing().model_dump(exclude={field})
    with pytest.raises(ValidationError):
        Standing.model_validate(content)


def test_only_roles_in_force_count() -> None:
    given = standing(
        roles=(
            RoleGrant(role=ADMIN, expires_at=NOW),
            RoleGrant(role=SCIENTIST, expires_at=NOW + timedelta(seconds=1)),
        )
    )
    assert given.roles_now(NOW) == {USER, SCIENTIST}
    assert given.roles_now(NOW + timedelta(seconds=1)) == {USER}


@pytest.mark.parametrize(
    ("instruments", "there", "roles"),
    [
        pytest.param((), ("id19",), {USER, SCIENTIST}, id="a role for all instruments"),
        pytest.param(("id21",), ("id21", "id19"), {USER, SCIENTIST}, id="one of the proposal's instruments"),
        pytest.param(("id21",), ("id19",), {USER}, id="another instrument"),
        pytest.param(("id21",), (), {USER}, id="a proposal without instrument"),
    ],
)
def test_a_role_for_some_instruments_counts_only_at_these(
    instruments: tuple[str, ...], there: tuple[str, ...], roles: set[Role]
) -> None:
    proposal = Proposal(
        identifier="20180301",
        title="Trace elements",
        instruments=tuple(Instrument(name=name, title=name) for name in there),
    )
    given = standing(roles=(RoleGrant(role=SCIENTIST, instruments=instruments),))
    assert given.roles_for(proposal, NOW) == roles


@pytest.mark.parametrize(
    ("state", "starts"),
    [
        (ProposalState.ACCEPTED, True),
        (ProposalState.RUNNING, True),
        (ProposalState.FINISHED, True),
        (ProposalState.CLOSED, False),
    ],
)
def test_nothing_starts_for_a_closed_proposal(state: ProposalState, starts: bool) -> None:
    proposal = Proposal(identifier="P", title="x", state=state)
    if starts:
        check_proposal(proposal)
        return
    with pytest.raises(ProposalClosedError, match="P is closed"):
        check_proposal(proposal)


def test_the_table_of_states_is_complete() -> None:
    assert len(ProposalState) == 4


def profile(key: str = "p", **given: Any) -> Profile:
    return Profile.model_validate(
        {"key": key, "environment": "jupyter", "backend": "local", "flavours": ["small"], **given}
    )


@pytest.mark.parametrize(
    ("instruments", "roles", "at", "held", "allowed"),
    [
        pytest.param((), (), (), (), True, id="for everybody everywhere"),
        pytest.param((), (), ("id21",), (USER,), True, id="for everybody, at an instrument"),
        pytest.param(("id21",), (), ("id21",), (USER,), True, id="at its instrument"),
        pytest.param(("id21",), (), ("id19",), (USER,), False, id="at another instrument"),
        pytest.param(("id21",), (), (), (USER,), False, id="a proposal without instrument"),
        pytest.param(("id21", "id19"), (), ("bm05", "id19"), (USER,), True, id="one of several"),
        pytest.param((), (ADMIN,), ("id21",), (USER, ADMIN), True, id="with its role"),
        pytest.param((), (ADMIN,), ("id21",), (USER,), False, id="without its role"),
        pytest.param((), (ADMIN,), ("id21",), (), False, id="without any role"),
        pytest.param((), (USER,), (), (USER,), True, id="for users"),
        pytest.param((), (ADMIN, SCIENTIST), (), (USER, SCIENTIST), True, id="one of several roles"),
        pytest.param(("id21",), (ADMIN,), ("id21",), (USER,), False, id="instrument fits, role does not"),
        pytest.param(("id21",), (ADMIN,), ("id19",), (ADMIN,), False, id="role fits, instrument does not"),
        pytest.param(("id21",), (ADMIN,), ("id21",), (ADMIN,), True, id="both fit"),
    ],
)
def test_profiles(
    instruments: tuple[str, ...],
    roles: tuple[Role, ...],
    at: tuple[str, ...],
    held: tuple[Role, ...],
    allowed: bool,
) -> None:
    given = profile(instruments=instruments, roles=roles)
    assert allows(given, roles=held, instruments=at) is allowed
    if allowed:
        check_profile(given, roles=held, instruments=at)
        return
    with pytest.raises(ProfileNotAllowedError):
        check_profile(given, roles=held, instruments=at)


def test_offers_in_the_order_of_the_file() -> None:
    catalogue = Catalogue.model_validate(
        {
            "environments": {"jupyter": {"title": "J", "kind": "jupyter"}},
            "flavours": {"small": {"title": "S", "cpus": 1, "memory": 1}},
            "profiles": {
                key: profile(key, **given).model_dump(mode="json")
                for key, given in {"z": {}, "m": {"roles": ("admin",)}, "a": {}}.items()
            },
        }
    )
    assert [each.key for each in allowed_profiles(catalogue, roles={USER}, instruments=())] == ["z", "a"]
    assert [each.key for each in allowed_profiles(catalogue, roles={ADMIN}, instruments=())] == [
        "z",
        "m",
        "a",
    ]
