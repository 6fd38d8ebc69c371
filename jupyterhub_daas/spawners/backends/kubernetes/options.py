"""What a facility says of its cluster, and a profile of its pods: checked when the hub starts."""

import re
from enum import Enum
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.resources import Bytes, Cpus
from jupyterhub_daas.spawners.backends.option_types import Path, Seconds, Words

DIGEST = r"^[a-z0-9][A-Za-z0-9._/:-]*@sha256:[0-9a-f]{64}$"
NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"

Name = Annotated[str, Field(pattern=NAME, max_length=253)]


def _below(path: str) -> str:
    if not path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("must be a relative path without '..'")
    return path


class Nfs(Model):
    """A folder that a file server exports."""

    server: Annotated[str, Field(min_length=1, max_length=253)]
    path: Path


class Volume(Model):
    """Where files come from: exactly one of a folder of the nodes, an NFS export, and a claim."""

    host_path: Path | None = None
    nfs: Nfs | None = None
    claim: Name | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(each is not None for each in (self.host_path, self.nfs, self.claim)) != 1:
            raise ValueError("give one of host_path, nfs and claim")
        return self


class Home(Volume):
    """The people's homes; `sub_path` is a person's own folder in the volume, which must exist."""

    sub_path: Annotated[str, Field(max_length=4096), AfterValidator(_below)] = "{username}"


class Data(Volume):
    """Where the folders of proposals below `prefix` come from: `prefix` is how the directory writes them."""

    prefix: Path


class Extra(Volume):
    """One more volume for every session, read-only unless said otherwise: software, say."""

    path: Path
    read_only: bool = True


class Toleration(Model):
    """A taint of nodes that sessions put up with."""

    key: str | None = None
    operator: Annotated[str, Field(pattern="^(Exists|Equal)$")] = "Exists"
    value: str | None = None
    effect: Annotated[str, Field(pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$")] | None = None


class Placing(str, Enum):
    """Whether sessions are put on as many nodes as there are, or on as few as will do."""

    SPREAD = "spread"
    FILL = "fill"


class Pull(str, Enum):
    """When a node fetches an image."""

    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"
    NEVER = "Never"


class Reserve(Model):
    """What of each node is not for sessions, beyond what the cluster itself keeps back."""

    cpus: Cpus = 0.0
    memory: Bytes = 0


class PodOptions(Model):
    """What backend and profiles may say of pods; a profile's word counts where both speak.

    `account_files` gives the session an ``/etc/passwd`` and ``/etc/group`` with the person in them.
    `wait_seconds` is how long a session may wait for a node, `start_seconds` how long it may take on it.
    """

    command: Words = ("jupyterhub-singleuser",)
    variables: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[Extra, ...] = ()
    account_files: bool = True
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    priority_class: Name | None = None
    runtime_class: Name | None = None
    pull_policy: Pull = Pull.IF_NOT_PRESENT
    pull_secrets: tuple[Name, ...] = ()
    wait_seconds: Seconds = 3600.0
    start_seconds: Seconds = 300.0


class KubernetesOptions(PodOptions):
    """The facility's options for this backend.

    `kubeconfig` names the hub's access and `context` one of its contexts; without them the hub runs in the
    cluster and uses its own service account. Sessions run in `namespace`, which the facility makes.
    `home_path` is a person's home in a session; without `home` it is empty at each start and goes with the
    session. `groups` gives the numbers of groups that the hub's machine does not know. `patience_seconds` is
    how long the end of a session is tried while the cluster does not answer; after that the comparison of
    hub and cluster carries it out.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: Name = "daas-sessions"
    home: Home | None = None
    home_path: Annotated[Path, Field(pattern=r"^[^:\s]+$")] = "/home/{username}"
    data: tuple[Data, ...] = ()
    groups: dict[str, Annotated[int, Field(gt=0, lt=(1 << 32) - 1)]] = Field(default_factory=dict)
    placing: Placing | None = None
    gpu_resource: str = "nvidia.com/gpu"
    reserve: Reserve = Reserve()
    port: Annotated[int, Field(gt=1023, lt=65_536)] = 8888
    grace_seconds: Annotated[int, Field(ge=0, le=300)] = 10
    request_seconds: Seconds = 15.0
    patience_seconds: Seconds = 7200.0


class KubernetesProfileOptions(PodOptions):
    """A profile's options: its image, by digest unless it says otherwise, and what differs for its pods."""

    image: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\s]+$")]
    allow_tag: bool = False
    default_url: Annotated[str, Field(pattern="^/")] | None = None

    @model_validator(mode="after")
    def _digest_or_tag_on_purpose(self) -> Self:
        if not self.allow_tag and not re.fullmatch(DIGEST.strip("^$"), self.image):
            raise ValueError(
                "image must be pinned by its digest (name@sha256:…): a tag may name other software tomorrow. "
                "Set allow_tag to use one all the same"
            )
        return self

    def over(self, backend: KubernetesOptions) -> PodOptions:
        """Join with the backend's options: sequences and mappings add up, other values replace."""
        own = {name: getattr(self, name) for name in self.model_fields_set & PodOptions.model_fields.keys()}
        for name, value in own.items():
            before = getattr(backend, name)
            if name != "command" and isinstance(value, dict):
                own[name] = {**before, **value}
            elif name != "command" and isinstance(value, tuple):
                own[name] = (*before, *value)
        kept = {name: getattr(backend, name) for name in PodOptions.model_fields}
        return PodOptions.model_construct(**{**kept, **own})
