"""What a facility says of its cloud, and a profile of its machines: checked when the hub starts."""

import re
from enum import Enum
from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Slug
from jupyterhub_daas.core.people import Role, UnixId
from jupyterhub_daas.spawners.backends.machines import MachineSoftware
from jupyterhub_daas.spawners.backends.machines.order import Share
from jupyterhub_daas.spawners.backends.option_types import Path, Seconds

# The digests that Glance keeps of an image: md5 as `checksum`, the other one as `os_hash_value`.
IMAGE = re.compile(
    r"(?P<name>[^@\s][^@]{0,254})@(?P<algorithm>sha256|sha512|md5):(?P<digest>[0-9a-f]{32,128})"
)

Name = Annotated[str, Field(min_length=1, max_length=255)]


class Placing(str, Enum):
    """Whether machines go to as many of the cloud's hosts as there are, or to as few as will do."""

    SPREAD = "spread"
    PACK = "pack"


class OpenStackOptions(Model):
    """The facility's options for this backend.

    `clouds_file` names a clouds.yaml and `cloud` the entry in it, with an application credential. Machines
    reach the hub at `hub_url`, whose certificate `ca_file` vouches for. `flavors` gives the cloud's flavor of
    each of our flavours, where its name is another. `security_groups` are those of every machine,
    `role_groups` and `instrument_groups` come on top. With `boot_from_volume` a machine's disk is a volume of
    the flavour's storage. `shares` are the file systems that a machine mounts; `groups` gives the numbers of
    the people's groups. `build_seconds` is how long the cloud may take for a machine, `start_seconds` how
    long the machine may take to boot and to start the session. `patience_seconds` is how long the end of a
    session is tried while the cloud does not answer; after that the comparison of hub and cloud carries it
    out.
    """

    cloud: Name
    clouds_file: Path | None = None
    region: Name | None = None
    hub_url: str
    ca_file: Path | None = None
    network: Name
    availability_zone: Name | None = None
    flavors: dict[Slug, Name] = Field(default_factory=dict)
    security_groups: tuple[Name, ...] = ()
    role_groups: dict[Role, tuple[Name, ...]] = Field(default_factory=dict)
    instrument_groups: dict[Slug, tuple[Name, ...]] = Field(default_factory=dict)
    placing: Placing | None = None
    boot_from_volume: bool = False
    volume_type: Name | None = None
    config_drive: bool = True
    shares: tuple[Share, ...] = ()
    home_path: Path = "/home/{username}"
    groups: dict[str, UnixId] = Field(default_factory=dict)
    build_seconds: Seconds = 600.0
    start_seconds: Seconds = 300.0
    request_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    interval_seconds: Annotated[float, Field(ge=0.5, le=60)] = 2.0
    patience_seconds: Seconds = 7200.0


class OpenStackProfileOptions(MachineSoftware):
    """A profile's options: its software, its image, by digest unless it says otherwise, and what differs."""

    image: Annotated[str, Field(min_length=1, max_length=500)]
    allow_name: bool = False
    build_seconds: Seconds | None = None
    start_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _digest_or_name_on_purpose(self) -> Self:
        if not self.allow_name and not IMAGE.fullmatch(self.image):
            raise ValueError(
                "image must be pinned by its digest (name@sha512:…, as `openstack image show` prints "
                "os_hash_value): a name may be another image tomorrow. Set allow_name to use one all the same"
            )
        return self
