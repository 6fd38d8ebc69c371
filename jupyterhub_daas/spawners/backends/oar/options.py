"""The facility's options for OAR: where the programs are, and where in the cluster a profile's jobs go."""

from typing import Annotated

from pydantic import Field

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.core.names import Slug
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.spawners.backends.batch.options import (
    BatchOptions,
    BatchPlace,
    Placed,
    choose_place,
)
from jupyterhub_daas.spawners.backends.option_types import PlainPath

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@=+-]*$", max_length=200)]
Property = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]
Condition = Annotated[str, Field(pattern=r"^[A-Za-z0-9_(][A-Za-z0-9_.,:%'() <>=!-]*$", max_length=1000)]


class OarOptions(BatchOptions):
    """Options of the backend.

    `programs` is the folder of oarsub, oarstat, oardel and oarnodes. A hub that is not root becomes the
    person with `sudo`. `host`, `core` and `gpu` are the names that the cluster gives to the properties of its
    resources. OAR allots no memory: with `memory_per_core`, in MiB, a session gets as many cores as come with
    its memory.
    """

    programs: PlainPath = "/usr/bin"
    sudo: PlainPath = "/usr/bin/sudo"
    host: Property = "host"
    core: Property = "core"
    gpu: Property = "gpu"
    memory_per_core: Annotated[int, Field(ge=1)] | None = None


class Place(BatchPlace):
    """Where in the cluster a job goes, and for how long; `properties` is a condition in OAR's words."""

    queue: Word | None = None
    project: Word | None = None
    properties: Condition | None = None
    types: tuple[Word, ...] = ()


class OarSoftware(Placed, Place):
    """A profile's options: software, place, and what differs for a flavour or a role; the later one
    counts."""

    flavours: dict[Slug, Place] = Field(default_factory=dict)
    roles: dict[Role, Place] = Field(default_factory=dict)

    def place(self, flavour: Flavour, roles: tuple[Role, ...]) -> Place:
        """Return where a session of this flavour goes, started by a person with these roles."""
        differing = [each for role, each in self.roles.items() if role in roles]
        return choose_place(Place, self, [self.flavours.get(flavour.key), *differing])
