"""Who may start what. Everything is refused unless a rule here allows it."""

from collections.abc import Collection
from datetime import datetime
from typing import Annotated

from pydantic import Field

from jupyterhub_daas.core.catalogue import Catalogue, Profile
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Username
from jupyterhub_daas.core.people import Role, RoleGrant, roles_in_force
from jupyterhub_daas.core.proposals import Proposal, ProposalState
from jupyterhub_daas.errors import (
    AccountBlockedError,
    ConditionsNotAcceptedError,
    ProfileNotAllowedError,
    ProposalClosedError,
)

STARTABLE = frozenset({ProposalState.ACCEPTED, ProposalState.RUNNING, ProposalState.FINISHED})
ENTRY_ROLES = frozenset(Role) - {Role.USER}


class Block(Model):
    """Why and since when a person is kept out."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    since: datetime


class Standing(Model):
    """What *accounts* knows of a person when something is to start."""

    username: Username
    blocked: Block | None = None
    conditions_version: str
    conditions_accepted: bool
    accepted_at: datetime | None = None
    roles: tuple[RoleGrant, ...] = ()

    def roles_now(self, now: datetime) -> frozenset[Role]:
        """Return the roles in force; everybody with an account is a user."""
        return roles_in_force(self.roles, now) | {Role.USER}

    def roles_for(self, proposal: Proposal, now: datetime) -> frozenset[Role]:
        """Return the roles that count at this proposal: one for some instruments counts only at these."""
        there = {instrument.name for instrument in proposal.instruments}
        counting = tuple(
            grant for grant in self.roles if not grant.instruments or there & {*grant.instruments}
        )
        return roles_in_force(counting, now) | {Role.USER}


def may_enter(*, proposals: int, roles: Collection[Role]) -> bool:
    """Tell whether a known person gets in: by an own proposal or by a role beyond *user*."""
    return proposals > 0 or bool(ENTRY_ROLES.intersection(roles))


def check_standing(standing: Standing) -> None:
    """Raise unless the person is free to start something."""
    if standing.blocked is not None:
        raise AccountBlockedError(
            f"Your account is blocked: {standing.blocked.reason} Please contact the user office."
        )
    if not standing.conditions_accepted:
        raise ConditionsNotAcceptedError(
            "Please read and accept the conditions of use first: open 'Proposals' in the portal, "
            "it shows them to you. Then start again."
        )


def check_proposal(proposal: Proposal) -> None:
    """Raise if nothing may start for this proposal."""
    if proposal.state not in STARTABLE:
        raise ProposalClosedError(
            f"Proposal {proposal.identifier} is {proposal.state.value}. Ask your local contact to reopen it."
        )


def allows(profile: Profile, *, roles: Collection[Role], instruments: Collection[str]) -> bool:
    """Tell whether a profile is offered to a person with these roles, for a proposal at these instruments."""
    if profile.roles and not set(profile.roles).intersection(roles):
        return False
    return not profile.instruments or bool(set(profile.instruments).intersection(instruments))


def allowed_profiles(
    catalogue: Catalogue, *, roles: Collection[Role], instruments: Collection[str]
) -> tuple[Profile, ...]:
    """Return the profiles that a person may start, in the order of the file."""
    return tuple(
        profile
        for profile in catalogue.profiles.values()
        if allows(profile, roles=roles, instruments=instruments)
    )


def check_profile(profile: Profile, *, roles: Collection[Role], instruments: Collection[str]) -> None:
    """Raise unless the profile is offered to this person for this proposal."""
    if not allows(profile, roles=roles, instruments=instruments):
        raise ProfileNotAllowedError(
            "This environment is not offered for your role or for the instrument of this proposal. "
            "Choose another one, or ask your local contact."
        )
