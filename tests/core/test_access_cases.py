"""The truth table of access by the pure rules alone; the same rows run in a portal in tests/portal."""

from contextlib import suppress
from datetime import datetime, timezone

import pytest

from jupyterhub_daas.core.access import Block, Standing, check_proposal, check_standing, may_enter
from jupyterhub_daas.core.proposals import Member, Proposal, role_of
from jupyterhub_daas.errors import AccessError
from jupyterhub_daas.roles import STAFF_SCOPES
from tests.support.access_cases import CASES, NOTHING, Case, May

SEES_ALL = "custom:daas:proposals:read"
NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)


def decide(case: Case) -> May:
    """Return what the rules say of a case."""
    standing = Standing(
        username="amara",
        blocked=Block(reason="Test.", since=NOW) if case.blocked else None,
        conditions_version="1",
        conditions_accepted=case.accepted,
        roles=case.roles,
    )
    team = (Member(username="amara", display_name="Amara", role=case.on),) if case.on else ()
    proposals = int(case.on is not None) + int(case.elsewhere)
    entered = case.linked and case.known and not case.blocked
    if not entered or not may_enter(proposals=proposals, roles=standing.roles_now(NOW)):
        return NOTHING
    is_on = role_of("amara", team) is not None
    reads = any(SEES_ALL in STAFF_SCOPES.get(role, ()) for role in standing.roles_now(NOW))
    started = False
    proposal = Proposal(
        identifier="P",
        title="x",
        state="running",
        embargo_until=datetime(2099, 1, 1, tzinfo=timezone.utc) if case.embargo else None,
    )
    with suppress(AccessError):
        check_standing(standing)
        check_proposal(proposal)
        started = is_on
    return May(log_in=True, see=is_on or reads, start=started, read_raw=started)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_access(case: Case) -> None:
    assert decide(case) == case.may


def test_each_case_has_its_own_id() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
