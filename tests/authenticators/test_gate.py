"""Who gets in: every combination of link, person, proposal, role and block, and every outage."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest

from jupyterhub_daas.authenticators.gate import Gate
from jupyterhub_daas.clients.accounts import AccountsClient
from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import (
    AccountBlockedError,
    AccountUnknownError,
    DaasError,
    NoEntryError,
    UpstreamAnswerError,
    UpstreamError,
    UpstreamUnavailableError,
)
from tests.support.directory_services import TOKEN, DirectoryServices

UMBRELLA = Identity(issuer="https://umbrella.example", subject="Amara@umbrella.example")
ACCOUNT = Identity(issuer="file:accounts", subject="amara")
LATER = (datetime.now(timezone.utc) + timedelta(days=1)).isoformat()
EARLIER = (datetime.now(timezone.utc) - timedelta(seconds=1)).isoformat()


def gate_of(services: DirectoryServices, token: str = TOKEN) -> Gate:
    """Return a gate that asks these services."""
    urls = services.urls
    return Gate(ProposalsClient(urls["proposals"], token), AccountsClient(urls["accounts"], token))


@pytest.fixture
async def gate(services: DirectoryServices) -> AsyncIterator[Gate]:
    """A gate that asks the stand-ins."""
    made = gate_of(services)
    yield made
    await made.close()


class Case(NamedTuple):
    """What the facility knows, and what the gate says."""

    linked: bool = True
    known: bool = True
    proposals: int = 1
    role: str = ""
    expires_at: str | None = None
    blocked: bool = False
    refusal: type[DaasError] | None = None
    groups: tuple[str, ...] = ("daas-user",)


CASES = {
    "member": Case(),
    "member of a hundred proposals": Case(proposals=100),
    "not linked": Case(linked=False, refusal=AccountUnknownError),
    "not linked, though a role waits": Case(linked=False, role="admin", refusal=AccountUnknownError),
    "no proposal, no role": Case(proposals=0, refusal=NoEntryError),
    "no proposal, role user": Case(proposals=0, role="user", refusal=NoEntryError),
    "no proposal, role staff": Case(proposals=0, role="staff", groups=("daas-staff", "daas-user")),
    "no proposal, role that ended": Case(proposals=0, role="staff", expires_at=EARLIER, refusal=NoEntryError),
    "no proposal, role that will end": Case(
        proposals=0, role="stakeholder", expires_at=LATER, groups=("daas-stakeholder", "daas-user")
    ),
    "member, role that ended": Case(role="admin", expires_at=EARLIER),
    "member and admin": Case(role="admin", groups=("daas-admin", "daas-user")),
    "instrument scientist": Case(
        proposals=0, role="instrument_scientist", groups=("daas-instrument-scientist", "daas-user")
    ),
    "blocked member": Case(blocked=True, refusal=AccountBlockedError),
    "blocked admin": Case(blocked=True, role="admin", refusal=AccountBlockedError),
    "blocked without proposal": Case(blocked=True, proposals=0, refusal=AccountBlockedError),
}


def arrange(services: DirectoryServices, case: Case) -> None:
    """Let the services know what the case says."""
    services.know("amara", proposals=case.proposals, identity=(UMBRELLA.issuer, UMBRELLA.subject))
    if not case.linked:
        services.identities.clear()
    if case.role:
        services.grant("amara", case.role, case.expires_at)
    if case.blocked:
        services.blocked["amara"] = "Shared the account."


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_the_gate(gate: Gate, services: DirectoryServices, case: Case) -> None:
    arrange(services, case)
    if case.refusal is not None:
        with pytest.raises(case.refusal):
            await gate.resolve(UMBRELLA)
        return
    admission = await gate.resolve(UMBRELLA)
    assert admission.person.username == "amara"
    assert admission.groups == list(case.groups)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_a_facility_account_is_the_person_of_its_name(
    gate: Gate, services: DirectoryServices, known: bool
) -> None:
    if known:
        services.know("amara")
        admission = await gate.resolve(ACCOUNT, facility_account=True)
        assert admission.person.username == "amara"
    else:
        with pytest.raises(AccountUnknownError):
            await gate.resolve(ACCOUNT, facility_account=True)


IMPOSTORS = {
    "subject is a username": Identity(issuer=UMBRELLA.issuer, subject="amara"),
    "letters in other case": Identity(issuer=UMBRELLA.issuer, subject=UMBRELLA.subject.lower()),
    "issuer with a slash": Identity(issuer=UMBRELLA.issuer + "/", subject=UMBRELLA.subject),
    "same subject, other issuer": Identity(issuer="https://other.example", subject=UMBRELLA.subject),
    "scope that ends alike": Identity(issuer=UMBRELLA.issuer, subject="Amara@not-umbrella.example"),
    "claims to be a facility account": Identity(issuer=ACCOUNT.issuer, subject="amara"),
    "address of a path": Identity(issuer=UMBRELLA.issuer, subject="../../people/amara"),
}


@pytest.mark.parametrize("identity", IMPOSTORS.values(), ids=IMPOSTORS)
async def test_refuses_an_identity_that_only_looks_like_one(
    gate: Gate, services: DirectoryServices, identity: Identity
) -> None:
    arrange(services, Case())
    with pytest.raises(AccountUnknownError):
        await gate.resolve(identity)


@pytest.mark.parametrize("subject", ["test@eduteams.org", "test@aai.geant.org", "Test@EduTEAMS.org"])
async def test_refuses_monitoring_identities_even_if_linked(
    gate: Gate, services: DirectoryServices, subject: str
) -> None:
    services.know("amara", identity=(UMBRELLA.issuer, subject))
    with pytest.raises(AccountUnknownError):
        await gate.resolve(Identity(issuer=UMBRELLA.issuer, subject=subject))


@pytest.mark.parametrize("claim", ["voperson_id", "eduperson_unique_id", "eduperson_principal_name"])
def test_refuses_a_monitoring_identity_behind_another_subject(gate: Gate, claim: str) -> None:
    with pytest.raises(AccountUnknownError):
        gate.check_denied({"sub": "x", claim: "test@eduteams.org"})


def test_an_email_is_no_identity(gate: Gate, services: DirectoryServices) -> None:
    gate.check_denied({"sub": "x", "email": "test@eduteams.org"})


@pytest.mark.parametrize("away", ["proposals", "accounts"])
async def test_a_service_that_is_away_is_named_and_is_no_refusal(
    gate: Gate, services: DirectoryServices, away: str
) -> None:
    arrange(services, Case())
    services.away.add(away)
    with pytest.raises(UpstreamUnavailableError) as error:
        await gate.resolve(UMBRELLA)
    assert error.value.details["service"] == away
    assert away in error.value.message


MISFITS: dict[str, tuple[str, int, Any]] = {
    "standing of somebody else": (
        "standing",
        200,
        {"username": "chiara", "conditions_version": "1", "conditions_accepted": True},
    ),
    "standing without content": ("standing", 200, {}),
    "standing absent": ("standing", 404, {"error": {"code": "not_found", "message": "No."}}),
    "our token refused by accounts": (
        "standing",
        401,
        {"error": {"code": "unauthenticated", "message": "No."}},
    ),
    "our token refused by proposals": ("person", 403, {"error": {"code": "access", "message": "No."}}),
    "owner absent": ("owner", 404, {"error": {"code": "not_found", "message": "No."}}),
    "proposals absent": ("proposals", 404, {"error": {"code": "not_found", "message": "No."}}),
    "a page instead of a person": ("person", 200, "<html>"),
    "a page instead of an owner": ("owner", 200, "<html>"),
    "a person who is root": ("person", 200, {"username": "amara", "uid": 0, "gid": 0}),
    "a person with a hostile name": ("person", 200, {"username": "../admin", "uid": 7, "gid": 7}),
    "an owner with a hostile name": ("owner", 200, {"username": "../admin", "disputed": False}),
    "two owners": ("owner", 200, {"username": ["amara", "chiara"], "disputed": False}),
}


@pytest.mark.parametrize(("what", "status", "body"), MISFITS.values(), ids=MISFITS)
async def test_an_answer_that_does_not_fit_is_no_refusal_and_no_entry(
    gate: Gate, services: DirectoryServices, what: str, status: int, body: Any
) -> None:
    arrange(services, Case())
    services.answers[what] = (status, body)
    with pytest.raises(UpstreamAnswerError):
        await gate.resolve(UMBRELLA)


async def test_a_wrong_token_of_ours_is_no_refusal_of_the_person(services: DirectoryServices) -> None:
    arrange(services, Case())
    mistaken = gate_of(services, token="outdated")
    with pytest.raises(UpstreamError):
        await mistaken.resolve(UMBRELLA)
    await mistaken.close()


async def test_another_person_in_the_answer_is_not_taken(gate: Gate, services: DirectoryServices) -> None:
    services.know("amara")
    services.answers["person"] = (200, {"username": "chiara", "uid": 7, "gid": 7})
    with pytest.raises(UpstreamAnswerError):
        await gate.resolve(ACCOUNT, facility_account=True)


async def test_an_identity_that_two_people_claim_is_nobody_s(gate: Gate, services: DirectoryServices) -> None:
    arrange(services, Case())
    services.disputed.add((UMBRELLA.issuer, UMBRELLA.subject))
    with pytest.raises(AccountUnknownError) as refusal:
        await gate.resolve(UMBRELLA)
    assert refusal.value.details["cause"] == "disputed"
