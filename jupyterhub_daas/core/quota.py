"""Quota arithmetic: which limits hold for whom, and whether a request fits.

Limits of three scopes hold at once: the person's, the proposal's and the facility's. The facility's cap binds
even those who bypass the others. No sum of what is held can pass what the models carry.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

from pydantic import Field, field_serializer, field_validator

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import Identifier, Slug, Username
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.core.resources import (
    DIMENSIONS,
    MAX_BYTES,
    MAX_COUNT,
    Limits,
    Resources,
    format_amount,
    in_thousandths,
)
from jupyterhub_daas.errors import QuotaExceededError

CARRIED = Limits(machines=MAX_COUNT, cpus=MAX_COUNT, memory=MAX_BYTES, storage=MAX_BYTES, gpus=MAX_COUNT)


class QuotaScope(str, Enum):
    """Whose limit it is."""

    PERSON = "person"
    PROPOSAL = "proposal"
    FACILITY = "facility"


class Bypass(Model):
    """Who is held by the facility's cap only."""

    people: frozenset[Username] = frozenset()
    roles: frozenset[Role] = frozenset()


class QuotaPolicy(Model):
    """The facility's limits, as the settings file gives them.

    `default` holds for every person; `groups` and `roles` change it (the most generous of several counts);
    `people` changes that again. `proposals` holds for all sessions of a proposal together, with
    `proposal_default` for those not named.
    """

    default: Limits = Limits()
    default_flavour: Slug | None = None
    groups: dict[str, Limits] = Field(default_factory=dict)
    roles: dict[Role, Limits] = Field(default_factory=dict)
    people: dict[Username, Limits] = Field(default_factory=dict)
    proposal_default: Limits = Limits()
    proposals: dict[Identifier, Limits] = Field(default_factory=dict)
    facility: Limits = Limits()
    bypass: Bypass = Bypass()


class Entitlement(Model):
    """What the policy grants a person, before any override; `bypass`: only the facility's cap holds."""

    limits: Limits
    bypass: bool = False


class OverrideRequest(Model):
    """Limits that staff put in place of the policy's; those not named stay. It ends at `expires_at`."""

    limits: Limits
    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]
    expires_at: Moment | None = None

    @field_validator("limits")
    @classmethod
    def _changes_something(cls, limits: Limits) -> Limits:
        if not limits.model_fields_set:
            raise ValueError("must name at least one limit; null is unlimited")
        return limits

    @field_serializer("limits")
    def _only_what_is_set(self, limits: Limits) -> dict[str, Any]:
        # null is unlimited; a limit that is not named must not come back as one.
        return limits.model_dump(exclude_unset=True)


class Override(OverrideRequest):
    """An override as *quotas* keeps it: for whom, recorded by whom and when."""

    scope: QuotaScope
    key: str
    recorded_by: str
    recorded_at: datetime


class QuotaCheck(Model):
    """One scope's limits and what is held of them now."""

    scope: QuotaScope
    key: str
    limits: Limits
    used: Resources


class QuotaDecision(Model):
    """The verdict on a request; when refused, the first limit that it would pass."""

    allowed: bool
    scope: QuotaScope | None = None
    key: str | None = None
    dimension: str | None = None
    limit: float | None = None
    used: float | None = None
    asked: float | None = None


class Quota(Model):
    """Limits, what is held, and what is left; ``None`` is unlimited."""

    limits: Limits
    used: Resources
    available: Limits
    default_flavour: Slug | None = None


def _most_generous(limits: Iterable[Limits]) -> Limits:
    found: dict[str, float | None] = {}
    for each in limits:
        for name in each.model_fields_set:
            value = each.of(name)
            best = found.get(name, -1)
            if value is None or (best is not None and value > best):
                found[name] = value
    return Limits.model_validate(found)


def person_limits(
    policy: QuotaPolicy, username: str, *, roles: Collection[Role], groups: Collection[str]
) -> Limits:
    """Return the limits of a person, before any override that staff recorded."""
    if bypasses(policy, username, roles):
        return Limits()
    changes = [policy.groups[group] for group in sorted(groups) if group in policy.groups]
    changes += [policy.roles[role] for role in sorted(roles) if role in policy.roles]
    limits = policy.default.merged(_most_generous(changes))
    return limits.merged(policy.people[username]) if username in policy.people else limits


def entitlement(
    policy: QuotaPolicy, username: str, *, roles: Collection[Role], groups: Collection[str]
) -> Entitlement:
    """Return what the policy grants a person with these roles and groups."""
    return Entitlement(
        limits=person_limits(policy, username, roles=roles, groups=groups),
        bypass=bypasses(policy, username, roles),
    )


def bypasses(policy: QuotaPolicy, username: str, roles: Collection[Role]) -> bool:
    """Tell whether only the facility's cap holds this person."""
    return username in policy.bypass.people or bool(policy.bypass.roles.intersection(roles))


def proposal_limits(policy: QuotaPolicy, identifier: str) -> Limits:
    """Return the limits of all sessions of a proposal together."""
    own = policy.proposals.get(identifier)
    return policy.proposal_default.merged(own) if own is not None else policy.proposal_default


def facility_limits(policy: QuotaPolicy) -> Limits:
    """Return the facility's cap: where the policy sets none, what the models can carry."""
    own = {name: value for name in DIMENSIONS if (value := policy.facility.of(name)) is not None}
    return CARRIED.model_copy(update=own)


def decide(asked: Resources, checks: Iterable[QuotaCheck]) -> QuotaDecision:
    """Decide whether a request fits all the limits that hold for it."""
    for check in checks:
        for dimension in DIMENSIONS:
            limit, used = check.limits.of(dimension), getattr(check.used, dimension)
            wanted = getattr(asked, dimension)
            # A session that asks for none of a dimension is not refused for others' use of it.
            if limit is not None and wanted > 0 and in_thousandths(used + wanted) > limit:
                return QuotaDecision(
                    allowed=False,
                    scope=check.scope,
                    key=check.key,
                    dimension=dimension,
                    limit=limit,
                    used=used,
                    asked=wanted,
                )
    return QuotaDecision(allowed=True)


def quota_of(limits: Limits, used: Resources, default_flavour: str | None) -> Quota:
    """Set limits against what is held; what is left is never below zero."""
    left = {
        name: None if (limit := limits.of(name)) is None else _left(limit, getattr(used, name))
        for name in DIMENSIONS
    }
    for name in DIMENSIONS:
        # Only cpus have fractions; the other dimensions are whole numbers in every sum.
        value = left[name]
        if value is not None and name != "cpus":
            left[name] = int(value)
    return Quota(
        limits=limits,
        used=used,
        available=Limits.model_validate(left),
        default_flavour=default_flavour,
    )


def _left(limit: float, used: float) -> float:
    return max(0, in_thousandths(limit - used))


_WHOSE = {
    QuotaScope.PERSON: "your quota",
    QuotaScope.PROPOSAL: "the quota of the proposal",
    QuotaScope.FACILITY: "the capacity of the facility",
}


def refusal(decision: QuotaDecision) -> QuotaExceededError:
    """Say which limit is in the way, how much is used and asked, and what to do."""
    scope, dimension = decision.scope or QuotaScope.PERSON, decision.dimension or "machines"
    limit, used, asked = (
        format_amount(dimension, value) for value in (decision.limit, decision.used, decision.asked)
    )
    advice = (
        "Stop a session that you no longer need, or choose a smaller flavour."
        if scope is QuotaScope.PERSON
        else "Try again later, or choose a smaller flavour."
    )
    return QuotaExceededError(
        f"This start does not fit {_WHOSE[scope]} for {dimension}: {used} of {limit} used, {asked} asked. "
        f"{advice}",
        dimension=dimension,
        scope=scope.value,
        limit=decision.limit,
        used=decision.used,
        asked=decision.asked,
    )
