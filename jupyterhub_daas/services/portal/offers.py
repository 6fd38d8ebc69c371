"""What a person may start for a proposal, and what each choice would take of the quota. Pure.

This only advises: the spawner applies the same rules again, and the quota is decided where it is kept.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from jupyterhub_daas.core.access import STARTABLE, allowed_profiles
from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Catalogue, Environment, Flavour, Profile
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.core.proposals import Proposal
from jupyterhub_daas.core.quota import Quota, QuotaCheck, QuotaScope, decide, refusal
from jupyterhub_daas.core.resources import DIMENSIONS


class Cost(Model):
    """What a choice takes of one dimension; `left` is what remains then, None is unlimited."""

    dimension: str
    asked: float
    after: float
    left: float | None


class Choice(Model):
    """One flavour of one profile; `reason` says why it does not fit, and is empty if it does.

    `free` is what its backend says, None if it did not say it.
    """

    profile: Profile
    flavour: Flavour
    default: bool
    costs: tuple[Cost, ...]
    reason: str = ""
    free: Availability | None = None

    @property
    def value(self) -> str:
        """Return the choice as a form carries it."""
        return f"{self.profile.key}/{self.flavour.key}"

    @property
    def fits(self) -> bool:
        """Tell whether the quota has room for it."""
        return not self.reason


def profiles_for(catalogue: Catalogue, proposal: Proposal, roles: Collection[Role]) -> tuple[Profile, ...]:
    """Return the profiles that a person may start for a proposal."""
    if proposal.state not in STARTABLE:
        return ()
    instruments = {instrument.name for instrument in proposal.instruments}
    return allowed_profiles(catalogue, roles=roles, instruments=instruments)


def environments_for(
    catalogue: Catalogue, proposal: Proposal, roles: Collection[Role]
) -> tuple[Environment, ...]:
    """Return the environments that a person may start for a proposal, in the order of the file."""
    offered = {profile.environment for profile in profiles_for(catalogue, proposal, roles)}
    return tuple(environment for key, environment in catalogue.environments.items() if key in offered)


def choices_for(
    catalogue: Catalogue,
    profiles: Collection[Profile],
    environment: str,
    *,
    person: Quota,
    proposal: Quota,
    free: Mapping[str, Collection[Availability]] = MappingProxyType({}),
) -> tuple[Choice, ...]:
    """Return every flavour of an environment, with its cost and whether it fits.

    `free` is what the backends say, by profile.
    """
    fitting = [profile for profile in profiles if profile.environment == environment]
    choices = []
    for profile in fitting:
        for key in profile.flavours:
            flavour = catalogue.flavours[key]
            known = next((each for each in free.get(profile.key, ()) if each.flavour == key), None)
            choices.append(
                Choice(
                    profile=profile,
                    flavour=flavour,
                    default=key == profile.default_flavour,
                    costs=_costs(flavour, person),
                    reason=_never(known) or _reason(flavour, person, proposal),
                    free=known,
                )
            )
    return tuple(choices)


def preselected(choices: Collection[Choice]) -> Choice | None:
    """Return the choice that a form suggests: a default that fits, else the first that fits."""
    fitting = [choice for choice in choices if choice.fits]
    return next((choice for choice in fitting if choice.default), fitting[0] if fitting else None)


def only_choice(choices: Collection[Choice]) -> Choice | None:
    """Return the choice if there is but one that makes sense: then nobody needs to be asked."""
    fitting = [choice for choice in choices if choice.fits]
    return fitting[0] if len(fitting) == 1 else None


def _costs(flavour: Flavour, person: Quota) -> tuple[Cost, ...]:
    costs = []
    for dimension in DIMENSIONS:
        asked = getattr(flavour.resources, dimension)
        if not asked:
            continue
        used, limit = getattr(person.used, dimension), person.limits.of(dimension)
        left = None if limit is None else max(0, limit - used - asked)
        costs.append(Cost(dimension=dimension, asked=asked, after=used + asked, left=left))
    return tuple(costs)


def _never(known: Availability | None) -> str:
    if known is None or known.fits:
        return ""
    return known.reason or "This size is larger than anything there is."


def _reason(flavour: Flavour, person: Quota, proposal: Quota) -> str:
    checks = [
        QuotaCheck(scope=QuotaScope.PERSON, key="person", limits=person.limits, used=person.used),
        QuotaCheck(scope=QuotaScope.PROPOSAL, key="proposal", limits=proposal.limits, used=proposal.used),
    ]
    decision = decide(flavour.resources, checks)
    return "" if decision.allowed else refusal(decision).message
