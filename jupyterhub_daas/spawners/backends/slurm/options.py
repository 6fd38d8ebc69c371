"""The facility's options for Slurm: where the programs are, and where in the cluster a profile's jobs go."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from typing_extensions import Self

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Slug, Username
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.spawners.backends.batch.options import (
    BatchOptions,
    BatchPlace,
    Placed,
    choose_place,
)
from jupyterhub_daas.spawners.backends.batch.ssh import SshOptions
from jupyterhub_daas.spawners.backends.option_types import PlainPath, PlainWords

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@+-]*$", max_length=200)]
Constraint = Annotated[str, Field(pattern=r"^[A-Za-z0-9_(\[][A-Za-z0-9_.:&|*()\[\],=-]*$", max_length=400)]
OWN_NAMES = ("127.0.0.1", "::1", "localhost")


class RestOptions(Model):
    """slurmrestd, and how to get people's tokens for it.

    `token_command` is run with a person's name as its last word and prints a token whose `claim` is that
    name. Jobs are listed as `account`, an account of the cluster without rights. `ca_file` holds certificates
    for `url`, which is of https unless it is this machine's own.
    """

    url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$")]
    ca_file: PlainPath | None = None
    token_command: PlainWords
    claim: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{1,200}$")] = "sun"
    account: Username = "daas-hub"

    @model_validator(mode="after")
    def _keep_tokens_secret(self) -> Self:
        if not self.url.startswith("https:") and urlsplit(self.url).hostname not in OWN_NAMES:
            raise ValueError("url: people's tokens go there, so it has to be https")
        return self


class SlurmOptions(BatchOptions):
    """Options of the backend.

    `programs` is the folder of sbatch, squeue, scancel and sinfo, `conf` the configuration that they read. A
    hub that is not root becomes the person with `sudo`. A hub that is not on the cluster has `ssh` or `rest`
    instead.
    """

    programs: PlainPath = "/usr/bin"
    conf: PlainPath | None = None
    sudo: PlainPath = "/usr/bin/sudo"
    ssh: SshOptions | None = None
    rest: RestOptions | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.ssh is not None and self.rest is not None:
            raise ValueError("name one of ssh and rest")
        return self


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
