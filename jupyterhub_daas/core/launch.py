"""A Launch is all that a backend gets to know of a start: validated and resolved, no text of the person's."""

from datetime import datetime
from typing import Any

from pydantic import Field

from jupyterhub_daas.core.catalogue import Catalogue, Environment, Flavour, Profile
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Identifier, SessionId, Slug
from jupyterhub_daas.core.people import Person, Role
from jupyterhub_daas.core.proposals import Mount
from jupyterhub_daas.core.selection import Selection


class Launch(Model):
    """One start: who, what, where, how much, with which folders and until when."""

    session_id: SessionId
    session: Slug
    person: Person
    roles: tuple[Role, ...] = ()
    proposal: Identifier
    instruments: tuple[Slug, ...] = ()
    environment: Environment
    backend: Slug
    profile: Slug
    flavour: Flavour
    options: dict[str, Any] = Field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    variables: dict[str, str] = Field(default_factory=dict)
    expires_at: datetime | None = None


def build_launch(
    selection: Selection,
    catalogue: Catalogue,
    *,
    person: Person,
    roles: tuple[Role, ...] = (),
    instruments: tuple[str, ...] = (),
    mounts: tuple[Mount, ...],
    session_id: str,
    session: str,
    expires_at: datetime | None = None,
) -> Launch:
    """Join a selection with what the facility says about it; the variables are for every process inside."""
    profile: Profile = catalogue.profiles[selection.profile]
    return Launch(
        session_id=session_id,
        session=session,
        person=person,
        roles=roles,
        proposal=selection.proposal,
        instruments=instruments,
        environment=catalogue.environments[selection.environment],
        backend=selection.backend,
        profile=selection.profile,
        flavour=catalogue.flavours[selection.flavour],
        options=profile.options,
        mounts=mounts,
        variables={
            "DAAS_PROPOSAL": selection.proposal,
            "DAAS_SESSION": session,
            "DAAS_SESSION_ID": session_id,
            "DAAS_ENVIRONMENT": selection.environment,
            "DAAS_FLAVOUR": selection.flavour,
        },
        expires_at=expires_at,
    )
