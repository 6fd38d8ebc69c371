"""What a facility says of its Podman, and a profile of its containers: checked when the hub starts."""

import re
from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.resources import Bytes, Cpus
from jupyterhub_daas.spawners.backends.option_types import Path, Seconds, Words

DIGEST = re.compile(r"[a-z0-9][A-Za-z0-9._/:-]*@sha256:[0-9a-f]{64}")


class Folder(Model):
    """A folder of the machine that each session sees, read-only unless said otherwise."""

    source: Path
    path: Path
    read_only: bool = True


class Reserve(Model):
    """What of the machine is not for sessions."""

    cpus: Cpus = 0.0
    memory: Bytes = 0


class PodmanOptions(Model):
    """The facility's options for this backend.

    `socket` is where Podman's service listens, and `network` the network of sessions, on which the hub must
    be reached. `homes` is the folder of the people's homes, each named by its username; without it each
    person has a volume of Podman's, which stays when a session goes. `processes` is how many a session may
    have. `patience_seconds` is how long the end of a session is tried while Podman does not answer; after
    that the comparison of hub and backend carries it out.
    """

    socket: Path = "/run/podman/podman.sock"
    network: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")] = "podman"
    homes: Path | None = None
    home_path: Path = "/home/{username}"
    command: Words = ("jupyterhub-singleuser",)
    variables: dict[str, str] = Field(default_factory=dict)
    folders: tuple[Folder, ...] = ()
    reserve: Reserve = Reserve()
    processes: Annotated[int, Field(ge=64, le=1_000_000)] = 4096
    port: Annotated[int, Field(gt=1023, lt=65_536)] = 8888
    start_seconds: Seconds = 120.0
    grace_seconds: Annotated[int, Field(ge=0, le=300)] = 10
    request_seconds: Seconds = 60.0
    patience_seconds: Seconds = 7200.0


class PodmanProfileOptions(Model):
    """A profile's options: its image, by digest unless it says otherwise, and what differs for it."""

    image: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\s]+$")]
    allow_tag: bool = False
    command: Words | None = None
    default_url: Annotated[str, Field(pattern="^/")] | None = None
    variables: dict[str, str] = Field(default_factory=dict)
    start_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _digest_or_tag_on_purpose(self) -> Self:
        if not self.allow_tag and not DIGEST.fullmatch(self.image):
            raise ValueError(
                "image must be pinned by its digest (name@sha256:…): a tag may name other software tomorrow. "
                "Set allow_tag to use one all the same"
            )
        return self
