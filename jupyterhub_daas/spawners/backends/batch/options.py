"""The facility's options that every batch scheduler's backend has, and what a session's job runs.

Only the settings file gets here, and yet every value has a narrow form: it goes to programs of the cluster.
"""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import Field, model_validator
from typing_extensions import Self

from jupyterhub_daas.core.catalogue import EnvironmentKind, Flavour
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.core.proposals import MountMode
from jupyterhub_daas.spawners.backends.option_types import PlainPath, PlainWords, Variable

Hours = Annotated[float, Field(gt=0, le=24 * 31, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600)]
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]+$", max_length=253)]
Node = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=253)]
Module = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:=,+/@-]*$", max_length=200)]

SINGLE_USER = "jupyterhub.singleuser"


class BatchOptions(Model):
    """Options of a backend.

    `python` is an interpreter on the nodes, of at least Python 3.6, that runs the job's script, and `path`
    the PATH of jobs. `hub_url` is the hub as nodes reach it, default what JupyterHub gives sessions;
    `ca_file` certificates there. `addresses` and `domain` turn a node's name into one that hub and proxy can
    reach. Sessions listen on `listen`. `homes` is where a demo keeps homes. The scheduler is asked every
    `interval_seconds` for all sessions, while some start every `start_interval_seconds`.
    """

    python: PlainPath = "/usr/bin/python3"
    path: str = "/usr/local/bin:/usr/bin:/bin"
    variables: dict[Variable, str] = Field(default_factory=dict)
    hub_url: Annotated[str, Field(pattern=r"^https?://[^\s]+/hub/$")] | None = None
    ca_file: PlainPath | None = None
    addresses: dict[Node, Address] = Field(default_factory=dict)
    domain: Address | None = None
    listen: Address = "0.0.0.0"  # hub and proxy are on other machines
    homes: str | None = None
    interval_seconds: Seconds = 10.0
    start_interval_seconds: Seconds = 1.0
    stop_seconds: Seconds = 60.0
    command_seconds: Seconds = 30.0

    def address_of(self, node: str) -> str:
        """Return the name or address under which hub and proxy reach a node."""
        found = self.addresses.get(node)
        return found or (f"{node}.{self.domain}" if self.domain else node)


class Software(Model):
    """What a profile's sessions run: one of `venv`, `conda`, `image`, or what `modules` bring.

    `command` replaces the usual one. `modules_script` makes the command ``module`` known to a shell.
    `container` is the program that runs an image, and `binds` what comes into it beside the person's home and
    the proposal's folders.
    """

    venv: PlainPath | None = None
    conda: PlainPath | None = None
    modules: tuple[Module, ...] = ()
    modules_script: PlainPath = "/etc/profile.d/modules.sh"
    image: Annotated[str, Field(pattern=r"^[A-Za-z0-9/][A-Za-z0-9_./:@+-]*$", max_length=1000)] | None = None
    container: PlainPath = "/usr/bin/apptainer"
    binds: tuple[PlainPath, ...] = ()
    command: PlainWords | None = None
    default_url: Annotated[str, Field(pattern="^/")] | None = None
    variables: dict[Variable, str] = Field(default_factory=dict)
    start_seconds: Seconds = 180.0
    wait_seconds: Seconds = 3600.0

    @model_validator(mode="after")
    def _one_place_of_software(self) -> Self:
        if sum(each is not None for each in (self.venv, self.conda, self.image)) > 1:
            raise ValueError("name one of venv, conda and image")
        if not (self.venv or self.conda or self.image or self.modules or self.command):
            raise ValueError("name the software: venv, conda, image, modules or command")
        return self

    @property
    def contained(self) -> str:
        """Return the prefix of variables that come into a container; empty without one."""
        if self.image is None:
            return ""
        return "SINGULARITYENV_" if self.container.endswith("singularity") else "APPTAINERENV_"

    def environment(self, path: str) -> dict[str, str]:
        """Return the variables that make the software the first one found."""
        place = self.venv or self.conda
        if place is None:
            return {"PATH": path}
        return {
            "PATH": f"{place}/bin:{path}",
            ("VIRTUAL_ENV" if self.venv else "CONDA_PREFIX"): place,
        }

    def words(self, launch: Launch) -> list[str]:
        """Return the command of a session, each word as the program gets it."""
        place = self.venv or self.conda
        python = f"{place}/bin/python" if place else "python3"
        command = list(self.command or (python, "-m", SINGLE_USER))
        if self.image is not None:
            command = [*self._container(launch), self.image, *command]
        if self.modules:
            command = [*_WITH_MODULES, self.modules_script, str(len(self.modules)), *self.modules, *command]
        return command

    def _container(self, launch: Launch) -> list[str]:
        words = [self.container, "exec", "--cleanenv", "--no-privs"]
        if launch.flavour.gpus:
            words.append("--nv")
        words.extend(f"--bind={each}" for each in self.binds)
        for mount in launch.mounts:
            mode = "ro" if mount.mode is MountMode.READ_ONLY else "rw"
            words.append(f"--bind={mount.source}:{mount.source}:{mode}")
        return words


class BatchPlace(Model):
    """Where in a cluster a job goes, and for how long; each scheduler adds its own words."""

    walltime_hours: Hours = 8.0


class Placed(Software):
    """Software with a place, which may differ for a flavour or a role."""

    @abstractmethod
    def place(self, flavour: Flavour, roles: tuple[Role, ...]) -> BatchPlace:
        """Return where a session of this flavour goes, started by a person with these roles."""


AnyPlace = TypeVar("AnyPlace", bound=BatchPlace)


def choose_place(model: type[AnyPlace], usual: BatchPlace, differing: Iterable[AnyPlace | None]) -> AnyPlace:
    """Return the usual place with what is named by those that differ; the later one counts."""
    values = {name: getattr(usual, name) for name in model.model_fields}
    for each in differing:
        if each is not None:
            values |= {name: getattr(each, name) for name in each.model_fields_set}
    return model(**values)


# The only text of ours for a shell, without a value in it: all of them are its arguments.
_WITH_MODULES = (
    "/bin/bash",
    "-c",
    '. "$1" || exit; n=$2; shift 2; module load "${@:1:n}" || exit; shift "$n"; exec "$@"',
    "modules",
)


def default_url(launch: Launch) -> str:
    """Return the page with which a session opens."""
    if launch.environment.kind is EnvironmentKind.DESKTOP:
        return "/desktop/"
    return f"/lab/tree/proposals/{launch.proposal}"
