"""What a machine fetches for its session: who, what to run, what to mount. Pure; nothing of the hub's own.

Every kind of session is one server that asks the hub who may enter, on one port: JupyterLab itself, a desktop
by noVNC behind it, or any other web application behind it.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from jupyterhub_daas.core.catalogue import EnvironmentKind
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Username
from jupyterhub_daas.core.people import UnixId
from jupyterhub_daas.core.proposals import Mount
from jupyterhub_daas.spawners.backends.option_types import PlainPath, PlainWords, Variable

Port = Annotated[int, Field(ge=1024, le=65535)]

SINGLE_USER = ("jupyterhub-singleuser",)
# The path below which a profile's own web application is found.
APPLICATION = "application"


class Share(Model):
    """A file system that a machine mounts, as ``mount -t TYPE -o OPTIONS DEVICE PATH`` does."""

    device: Annotated[str, Field(pattern=r"^[A-Za-z0-9_/\[][A-Za-z0-9_./+@:=\[\]-]*$", max_length=500)]
    path: PlainPath
    type: Annotated[str, Field(pattern=r"^[a-z0-9.]+$", max_length=40)] = "nfs4"
    options: Annotated[str, Field(pattern=r"^[A-Za-z0-9_=.,:/-]+$", max_length=500)] = "nosuid,nodev"


class MachineSoftware(Model):
    """What a profile's machines run.

    `command` is the server that asks the hub who may enter. `application` is a web application behind it: a
    command in which ``{port}`` stands for the port at which it has to listen on the machine's own address.
    """

    command: PlainWords = SINGLE_USER
    application: PlainWords | None = None
    default_url: Annotated[str, Field(pattern="^/")] | None = None
    port: Port = 8888
    path: str = "/opt/daas/bin:/usr/local/bin:/usr/bin:/bin"
    variables: dict[Variable, str] = Field(default_factory=dict)

    def words(self) -> tuple[str, ...]:
        """Return the command of a session."""
        if self.application is None:
            return self.command
        servers = {APPLICATION: {"command": list(self.application), "timeout": 60}}
        return (*self.command, f"--ServerProxy.servers={json.dumps(servers)}")

    def opens_with(self, launch: Launch) -> str:
        """Return the page with which a session opens."""
        if self.default_url:
            return self.default_url
        if self.application is not None:
            return f"/{APPLICATION}/"
        if launch.environment.kind is EnvironmentKind.DESKTOP:
            return "/desktop/"
        return f"/lab/tree/proposals/{launch.proposal}"


class MachineOrder(Model):
    """All that a machine gets to know of its session."""

    username: Username
    uid: UnixId
    gid: UnixId
    groups: dict[str, UnixId] = Field(default_factory=dict)
    home: PlainPath
    command: PlainWords
    environment: dict[Variable, str]
    port: Port
    prefix: str
    folder: str
    shares: tuple[Share, ...] = ()
    mounts: tuple[Mount, ...] = ()


def build_order(
    launch: Launch,
    software: MachineSoftware,
    environment: Mapping[str, str],
    *,
    groups: Mapping[str, int],
    home: str,
    shares: tuple[Share, ...] = (),
) -> MachineOrder:
    """Join a launch with the profile's software; `environment` is what the hub gives the session's server.

    `groups` are the numbers of the person's groups, `home` her home folder on the machine.
    """
    given = {name: value for name, value in environment.items() if name != "JUPYTERHUB_SERVICE_URL"}
    own: dict[str, Any] = {**software.variables, **launch.variables}
    return MachineOrder(
        username=launch.person.username,
        uid=launch.person.uid,
        gid=launch.person.gid,
        groups=dict(groups),
        home=home,
        command=software.words(),
        environment={"PATH": software.path, **given, **own},
        port=software.port,
        prefix=environment["JUPYTERHUB_SERVICE_PREFIX"],
        folder=f"proposals/{launch.proposal}",
        shares=shares,
        mounts=launch.mounts,
    )
