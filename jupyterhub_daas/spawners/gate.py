"""The gate that every start passes: form, REST and stored session alike.

Nothing here changes anything: what comes out is what may be reserved and started. Who asks, for which
proposal and what, is asked anew from the services at each start.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from jupyterhub_daas.core.access import allows, check_profile, check_proposal, check_standing
from jupyterhub_daas.core.launch import Launch, build_launch
from jupyterhub_daas.core.lifetimes import Lifetime, lifetime_for
from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.core.proposals import MemberRole, role_of
from jupyterhub_daas.core.reservations import ReservationRequest
from jupyterhub_daas.core.selection import Selection
from jupyterhub_daas.errors import AccountUnknownError, DaasError, NotAMemberError, NotFoundError
from jupyterhub_daas.spawners.deployment import Deployment

Found = TypeVar("Found")


@dataclass(frozen=True)
class Admission:
    """What may start, and what it has to hold for that."""

    selection: Selection
    launch: Launch
    request: ReservationRequest
    role: MemberRole


async def admit(
    deployment: Deployment,
    options: object,
    *,
    username: str,
    session: str,
    session_id: str,
    now: datetime,
) -> Admission:
    """Ask the services about a start with these options, and refuse it or say what it holds."""
    selection = Selection.parse(options, deployment.catalogue)
    accounts, proposals = deployment.accounts, deployment.proposals
    no_account = AccountUnknownError(
        "The facility knows no account of this name. Please ask the user office to check your account."
    )
    if not matches(USERNAME, username):
        raise no_account
    not_a_member = NotAMemberError(
        f"You are not a member of proposal {selection.proposal}, or there is no such proposal. "
        "Ask its principal investigator to add you.",
        field="proposal",
    )
    # Asked at once, judged in this order.
    standing, proposal, members, mounts, person = await asyncio.gather(
        accounts.standing(username),
        proposals.proposal(selection.proposal),
        proposals.members(selection.proposal),
        proposals.mounts(selection.proposal, username),
        proposals.person(username),
        return_exceptions=True,
    )
    standing = _known(standing, no_account)
    check_standing(standing)
    proposal, mounts = _known(proposal, not_a_member), _known(mounts, not_a_member)
    role = role_of(username, _known(members, not_a_member).items)
    if role is None:
        raise not_a_member
    check_proposal(proposal)
    person = _known(person, no_account)
    roles = standing.roles_for(proposal, now)
    instruments = tuple(each.name for each in proposal.instruments)
    selection = Selection.parse(
        options,
        deployment.catalogue,
        offered=lambda profile: allows(profile, roles=roles, instruments=instruments),
    )
    check_profile(deployment.catalogue.profiles[selection.profile], roles=roles, instruments=instruments)
    if person.username != username or proposal.identifier != selection.proposal:
        raise no_account
    held = tuple(sorted(roles, key=lambda role: role.value))
    longest = deployment.backends[selection.backend].longest(
        deployment.catalogue.profiles[selection.profile],
        deployment.catalogue.flavours[selection.flavour],
        held,
    )
    lifetime = lifetime_for(deployment.settings.lifetimes, roles=roles, flavour=selection.flavour).within(
        longest
    )
    launch = build_launch(
        selection,
        deployment.catalogue,
        person=person,
        roles=held,
        instruments=instruments,
        mounts=mounts,
        session_id=session_id,
        session=session,
        expires_at=lifetime.expires_at(now),
    )
    return Admission(selection, launch, _request(launch, instruments, lifetime), role)


def _request(launch: Launch, instruments: tuple[str, ...], lifetime: Lifetime) -> ReservationRequest:
    return ReservationRequest(
        person=launch.person.username,
        proposal=launch.proposal,
        session=launch.session,
        resources=launch.flavour.resources,
        environment=launch.environment.key,
        flavour=launch.flavour.key,
        backend=launch.backend,
        instruments=instruments,
        expires_at=launch.expires_at,
        idle_seconds=None if lifetime.idle is None else round(lifetime.idle.total_seconds()),
    )


def _known(answer: Found | BaseException, absent: DaasError) -> Found:
    """Return an answer, or raise what it was; what is not there becomes `absent`."""
    if isinstance(answer, NotFoundError):
        raise absent from answer
    if isinstance(answer, BaseException):
        raise answer
    return answer
