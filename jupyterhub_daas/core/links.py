"""Whose identity is this: what the facility's directory says, joined with what people and staff linked here.

Only a link leads from an identity to a person. Where the two sources disagree and nobody of the staff has
decided, the identity is nobody's: nobody gets into another person's account by a slip of either.
"""

from enum import Enum
from typing import Annotated, NamedTuple

from pydantic import Field

from jupyterhub_daas.core.entitlements import EntitlementSource
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import Username
from jupyterhub_daas.core.people import Identity, Role


class LinkSource(str, Enum):
    """Who made a link: the facility's directory, the person who proved both sides, or staff."""

    DIRECTORY = "directory"
    PERSON = "person"
    STAFF = "staff"


class Link(Model):
    """An identity that leads to a person; `linked_at` is None for one that was never used here."""

    identity: Identity
    username: Username
    source: LinkSource
    linked_at: Moment | None = None
    linked_by: str | None = None
    reason: str | None = None


class Owner(Model):
    """The person behind an identity; `disputed`: directory and portal name different ones."""

    username: Username | None = None
    disputed: bool = False


class LostIdentity(Identity):
    """An identity that was taken from a person, and whether the sessions that she runs go on."""

    keep_sessions: bool = False


class Held(NamedTuple):
    """What is kept of an identity: the link in force, or whom it was taken from by hand at last."""

    username: str | None = None
    source: LinkSource | None = None
    withdrawn: str | None = None


NOBODY = Owner()


def owner_of(*, directory: str | None, held: Held) -> Owner:
    """Return whose an identity is, from what the directory says of it and what is kept.

    A link by staff overrules the directory. One that was taken away by hand does not come back because the
    directory still has it: only another person there, or another link here, does that.
    """
    said = directory if directory != held.withdrawn else None
    if held.username is None or held.source is LinkSource.DIRECTORY:
        return Owner(username=said)
    if held.source is LinkSource.PERSON and said not in (None, held.username):
        return Owner(disputed=True)
    return Owner(username=held.username)


class SessionsPolicy(str, Enum):
    """What becomes of a person's sessions when an identity is taken from her."""

    END = "end"
    KEEP = "keep"


class IdentitySettings(Model):
    """What becomes of sessions when an identity is taken away, and which entitlements count.

    A role by an entitlement holds for ``entitled_hours`` since the provider last said so.
    """

    sessions_when_unlinked: SessionsPolicy = SessionsPolicy.END
    entitlements: Annotated[tuple[EntitlementSource, ...], Field(max_length=50)] = ()
    entitled_hours: Annotated[float, Field(gt=0, le=24 * 365)] = 12.0

    def gives(self, issuer: str, role: Role) -> bool:
        """Tell whether an entitlement of this issuer can give this role."""
        return any(
            rule.role is role
            for source in self.entitlements
            if source.issuer == issuer
            for rule in source.rules
        )
