"""People, identities and roles.

An identity is the pair (issuer, subject) and nothing a person can change; it belongs to at most one Person.
"""

from datetime import datetime
from enum import Enum
from typing import Annotated

from pydantic import Field

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import Slug, Username

GROUP_PREFIX = "daas-"

# 0 is root; the highest one means "leave it as it is" to the kernel, which may be root again.
UnixId = Annotated[int, Field(gt=0, lt=(1 << 32) - 1)]


class Identity(Model):
    """Who an identity provider says it is: compared exactly, letter case included."""

    issuer: Annotated[str, Field(min_length=1, max_length=255)]
    subject: Annotated[str, Field(min_length=1, max_length=255)]

    @property
    def plain(self) -> bool:
        """Tell whether both are of printable characters: no other has a link, nor fits every store."""
        return (self.issuer + self.subject).isprintable()


class Person(Model):
    """A human with a facility account; uid and gid are the Unix account's, never 0."""

    username: Username
    uid: UnixId
    gid: UnixId
    groups: tuple[str, ...] = ()
    display_name: Annotated[str, Field(max_length=200)] = ""
    email: Annotated[str, Field(max_length=254)] | None = None


class Role(str, Enum):
    """What a person may do beyond being a member of proposals."""

    USER = "user"
    STAFF = "staff"
    INSTRUMENT_SCIENTIST = "instrument_scientist"
    SUPPORT = "support"
    ADMIN = "admin"
    STAKEHOLDER = "stakeholder"
    TEACHER = "teacher"


class RoleGrant(Model):
    """A role that a person holds; `instruments` limits it to these, `expires_at` ends it."""

    role: Role
    instruments: tuple[Slug, ...] = ()
    expires_at: Moment | None = None

    def holds(self, now: datetime) -> bool:
        """Tell whether the grant is still in force."""
        return self.expires_at is None or now < self.expires_at


def roles_in_force(grants: tuple[RoleGrant, ...], now: datetime) -> frozenset[Role]:
    """Return the roles of these grants that have not expired."""
    return frozenset(grant.role for grant in grants if grant.holds(now))


def group_of(role: Role) -> str:
    """Return the hub's group whose members hold this role."""
    return GROUP_PREFIX + role.value.replace("_", "-")
