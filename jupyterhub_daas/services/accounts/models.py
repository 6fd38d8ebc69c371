"""What comes in and goes out of the account API, beside the models of core."""

from datetime import datetime
from enum import Enum
from typing import Annotated

from pydantic import Field, RootModel, StringConstraints

from jupyterhub_daas.core.links import Link
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import Identifier, Slug
from jupyterhub_daas.core.people import Identity, Role, RoleGrant

# Printable, without control characters: it is shown to people, and PostgreSQL takes no NUL.
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
MAX_PREFERENCES = 50
MAX_FAVOURITES = 500

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=PRINTABLE)
]
PreferenceName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,39}$")]
PreferenceValue = Annotated[str, StringConstraints(max_length=200, pattern=PRINTABLE)]


class AcceptanceRequest(Model):
    """The version of the conditions that the person read and accepts."""

    version: Annotated[str, Field(min_length=1, max_length=40)]


class Acceptance(Model):
    """A version of the conditions, and when the person accepted it."""

    version: str
    accepted_at: datetime


class Acceptances(Model):
    """All versions that a person accepted, the latest first."""

    items: tuple[Acceptance, ...]


class Identifiers(Model):
    """Identifiers of proposals."""

    items: tuple[Identifier, ...]


class Usernames(Model):
    """Usernames."""

    items: tuple[str, ...]


class Preferences(RootModel[Annotated[dict[PreferenceName, PreferenceValue], Field(max_length=50)]]):
    """A person's preferences: at most 50 short texts by name."""


class BlockRequest(Model):
    """Why the person is kept out: she reads it."""

    reason: Reason


class RoleRequest(Model):
    """A role to give; without `expires_at` it holds until it is taken back."""

    instruments: Annotated[tuple[Slug, ...], Field(max_length=50)] = ()
    expires_at: Moment | None = None
    reason: Reason


class RoleSource(str, Enum):
    """Where a role was given: in the settings file, by staff through this API, or by an entitlement."""

    SETTINGS = "settings"
    STAFF = "staff"
    ENTITLEMENT = "entitlement"


class HeldRole(RoleGrant):
    """A role of a person, with where it comes from."""

    source: RoleSource
    reason: str | None = None
    granted_by: str | None = None
    granted_at: datetime | None = None


class HeldRoles(Model):
    """The roles of a person."""

    items: tuple[HeldRole, ...]


class EntitledRole(Model):
    """A role that an entitlement gives; without instruments it holds at all."""

    role: Role
    instruments: Annotated[tuple[Slug, ...], Field(max_length=500)] = ()


class EntitledRoles(Model):
    """All roles that the entitlements of one identity give now."""

    identity: Identity
    roles: Annotated[tuple[EntitledRole, ...], Field(max_length=20)]


Visible = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[!-~]+$")]


class LinkRequest(Model):
    """An identity to link or unlink: staff gives a reason, the hub says with which one she was signed in."""

    issuer: Visible
    subject: Visible
    reason: Reason | None = None
    proven_with: Identity | None = None


class Links(Model):
    """A person's identities."""

    items: tuple[Link, ...]
