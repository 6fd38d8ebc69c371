"""Starting a session for a proposal, with the person's own token.

What is checked here makes good pages; what counts is checked again by the spawner and by the quota service.
"""

import asyncio
import secrets
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field

from jupyterhub_daas.clients import HubClient
from jupyterhub_daas.clients.hub import HubRefusalError
from jupyterhub_daas.core.access import Standing, check_proposal
from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Environment
from jupyterhub_daas.core.names import Identifier, Slug, session_name
from jupyterhub_daas.core.proposals import Proposal
from jupyterhub_daas.errors import (
    AccountBlockedError,
    ConflictError,
    DaasError,
    ProfileNotAllowedError,
)
from jupyterhub_daas.services.portal.offers import (
    Choice,
    choices_for,
    environments_for,
    only_choice,
    preselected,
    profiles_for,
)
from jupyterhub_daas.services.portal.pages import PageHandler

ATTEMPTS = 5


class _Asked(BaseModel):
    """What a link or a form says; `choice` is a profile and a flavour of it in one."""

    proposal: Identifier
    environment: Slug | None = None
    profile: Slug | None = None
    flavour: Slug | None = None
    choice: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}/[a-z][a-z0-9-]{0,30}$")] | None = None


@dataclass(frozen=True)
class _Offer:
    """What may be started now."""

    standing: Standing
    proposal: Proposal
    environments: tuple[Environment, ...]
    environment: Environment | None
    choices: tuple[Choice, ...]


class LaunchHandler(PageHandler):
    """Ask what is not known, then start."""

    async def get(self) -> None:
        """Show the form; it never starts anything."""
        if not self.get_query_argument("proposal", ""):
            self.see_other(self.look.portal + "proposals")
            return
        asked = self.fields(_Asked)
        offer = await self._offer(asked)
        if not self.asks_for_conditions(offer.standing, self.request.uri or ""):
            self._form(offer)

    async def post(self) -> None:
        """Start if it is clear what, else show the form."""
        asked = self.fields(_Asked)
        offer = await self._offer(asked)
        back = f"{self.look.portal}launch?proposal={asked.proposal}"
        if asked.environment:
            back += f"&environment={asked.environment}"
        if self.asks_for_conditions(offer.standing, back):
            return
        options = self._options(asked, offer)
        if options is None:
            self._form(offer)
            return
        session = await start_session(self.clients.hub, self.me, options, token=self.token)
        self.see_other(f"{self.look.hub}spawn-pending/{self.me}/{session}")

    async def _offer(self, asked: _Asked) -> _Offer:
        token, settings = self.token, self.facility_settings
        standing, proposal, mine, whole, free = await asyncio.gather(
            self.clients.accounts.standing(self.me, token=token),
            self.clients.proposals.proposal(asked.proposal, token=token),
            self.clients.quotas.quota_of_person(self.me, token=token),
            self.clients.quotas.quota_of_proposal(asked.proposal, token=token),
            self._free(),
        )
        if standing.blocked is not None:
            raise AccountBlockedError(f"{standing.blocked.reason} Please contact the user office.")
        check_proposal(proposal)
        roles = standing.roles_for(proposal, self.now)
        environments = environments_for(settings.catalogue, proposal, roles)
        wanted = asked.environment or (environments[0].key if len(environments) == 1 else None)
        environment = next((each for each in environments if each.key == wanted), None)
        if not environments or (wanted and environment is None):
            raise ProfileNotAllowedError(
                "This environment is not offered for your role or for the instrument of this proposal. "
                "Choose another one, or ask your local contact."
            )
        profiles = profiles_for(settings.catalogue, proposal, roles)
        choices = (
            choices_for(settings.catalogue, profiles, environment.key, person=mine, proposal=whole, free=free)
            if environment
            else ()
        )
        return _Offer(standing, proposal, environments, environment, choices)

    async def _free(self) -> dict[str, tuple[Availability, ...]]:
        try:
            found: dict[str, tuple[Availability, ...]] = await self.clients.hub.free(token=self.token)
        except DaasError:
            # It only advises: a form without it is better than none.
            return {}
        return found

    def _options(self, asked: _Asked, offer: _Offer) -> dict[str, Any] | None:
        """Return the options of the start, or None if the person has yet to choose."""
        options: dict[str, Any] = {"proposal": asked.proposal}
        if asked.choice:
            profile, _, flavour = asked.choice.partition("/")
            return {**options, "profile": profile, "flavour": flavour}
        if asked.flavour or asked.profile:
            named = {"environment": asked.environment, "profile": asked.profile, "flavour": asked.flavour}
            return {**options, **{name: value for name, value in named.items() if value}}
        only = only_choice(offer.choices)
        return None if only is None else {**options, "profile": only.profile.key, "flavour": only.flavour.key}

    def _form(self, offer: _Offer) -> None:
        chosen = preselected(offer.choices)
        self.page(
            "launch.html",
            current="proposals",
            proposal=offer.proposal,
            environments=offer.environments,
            environment=offer.environment,
            choices=offer.choices,
            chosen=chosen.value if chosen else "",
            several_backends=len({choice.profile.key for choice in offer.choices}) > 1,
        )


async def start_session(hub: HubClient, person: str, options: dict[str, Any], *, token: str) -> str:
    """Start a session under a name that is free, and return the name."""
    for _ in range(ATTEMPTS):
        taken = await _names(hub, person, token)
        name = session_name(secrets.choice, taken)
        try:
            await hub.start(person, name, options, token=token)
        except HubRefusalError:
            # Another start of the same person may have taken the name since; a refused one leaves no row.
            if name not in await _names(hub, person, token):
                raise
        else:
            return name
    raise ConflictError("Several of your sessions are starting at once. Please try again in a moment.")


async def _names(hub: HubClient, person: str, token: str) -> frozenset[str]:
    user = await hub.user(person, token=token)
    servers = user.get("servers")
    return frozenset(servers) if isinstance(servers, dict) else frozenset()
