"""The facility's options for Slurm: where the programs are, and where in the cluster a profile's jobs go."""

from typing import Annotated

from pydantic import Field

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.core.names import Slug
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.spawners.backends.batch.options import (
    BatchOptions,
    BatchPlace,
    Path,
    Placed,
    choose_place,
)

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@+-]*$", max_length=200)]
Constraint = Annotated[str, Field(pattern=r"^[A-Za-z0-9_(\[][A-Za-z0-9_.:&|*()\[\],=-]*$", max_length=400)]


class SlurmOptions(BatchOptions):
    """Options of the backend.

    `programs` is the folder of sbatch, squeue, scancel and sinfo, `conf` the configuration that they read. A
    hub that is not root becomes the person with `sudo`.
    """

    programs: Path = "/usr/bin"
    conf: Path | None = None
    sudo: Path = "/usr/bin/sudo"


class Place(BatchPlace):
    """Where in the cluster a job goes, and for how long."""

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    slurm_reservation: Word | None = None
    constraint: Constraint | None = None
    gpu_type: Word | None = None


class SlurmSoftware(Placed, Place):
    """A profile's options: software, place, and what differs for a flavour or a role; the later one
    counts."""

    flavours: dict[Slug, Place] = Field(default_factory=dict)
    roles: dict[Role, Place] = Field(default_factory=dict)

    def place(self, flavour: Flavour, roles: tuple[Role, ...]) -> Place:
        """Return where a session of this flavour goes, started by a person with these roles."""
        differing = [each for role, each in self.roles.items() if role in roles]
        return choose_place(Place, self, [self.flavours.get(flavour.key), *differing])
