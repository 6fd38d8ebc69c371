"""The local backend: sessions as processes of the hub's machine.

In production the hub runs as root and each session as the person's own account. In a demo the hub is an
ordinary person and all sessions share her account, each with a home of its own: nothing then separates them.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from jupyterhub.utils import random_port
from pydantic import Field

from jupyterhub_daas.core.catalogue import Environment, EnvironmentKind, Flavour, Profile
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.people import Person
from jupyterhub_daas.errors import BackendError, ConfigurationError
from jupyterhub_daas.spawners.backends.base import Backend, parse_options, refuse_certificates
from jupyterhub_daas.spawners.backends.local import processes
from jupyterhub_daas.spawners.backends.local.accounts import (
    Account,
    account_named,
    find_account,
    shared_account,
)
from jupyterhub_daas.spawners.backends.local.control_groups import (
    ControlGroups,
    Limiting,
    NoControlGroupsError,
    find_groups,
)
from jupyterhub_daas.spawners.backends.local.logs import Logs, read_end
from jupyterhub_daas.spawners.backends.local.session import LocalSession

log = logging.getLogger("jupyterhub_daas.spawners")

DESKTOP_SCRIPT = Path(__file__).with_name("desktop.sh")
KILL_SECONDS = 10.0

Words = Annotated[tuple[str, ...], Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class LocalOptions(Model):
    """The facility's options for this backend.

    `command` starts the single-user server and `python` runs the supervisor: both must be readable for the
    people. `limits` says whether sessions are held to the memory and cpus of their flavour. `homes` is where
    a demo keeps the homes; `path` is the PATH of sessions; `variables` are added.
    """

    limits: Limiting = Limiting.AUTO
    homes: str | None = None
    command: Words = (sys.executable, "-m", "jupyterhub.singleuser")
    python: str = sys.executable
    path: str = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    variables: dict[str, str] = Field(default_factory=dict)
    grace_seconds: Seconds = 5.0
    start_seconds: Seconds = 60.0


class LocalProfileOptions(Model):
    """A profile's options: another command, the page that a session opens with, more variables, more time."""

    command: Words | None = None
    default_url: Annotated[str, Field(pattern="^/")] | None = None
    variables: dict[str, str] = Field(default_factory=dict)
    start_seconds: Seconds | None = None


class LocalBackend(Backend):
    """Run sessions on this machine."""

    key = "local"

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        self.options = parse_options(LocalOptions, options, "DaasSpawner.backends.local")
        self._logs = Logs()
        self._groups = self._find_groups()
        root = os.geteuid() == 0
        if shared_account and root:
            raise ConfigurationError(
                "A hub that runs as root cannot share its account with sessions: run the hub as an ordinary "
                "account, or leave DaasSpawner.shared_account off so that sessions run as the people's own.",
                field="DaasSpawner.shared_account",
            )
        if not shared_account and not root:
            raise ConfigurationError(
                "Only a hub that runs as root can start sessions under the people's own accounts. For a demo "
                "set DaasSpawner.shared_account.",
                field="DaasSpawner.shared_account",
            )
        if shared_account and self.options.homes is None:
            raise ConfigurationError(
                "DaasSpawner.backends.local.homes: a shared account needs a folder for the people's homes.",
                field="DaasSpawner.backends.local.homes",
            )

    def _find_groups(self) -> ControlGroups | None:
        limits = self.options.limits
        # A demo's sessions are nobody's but the hub's own, and it has no rights to make groups.
        if limits is Limiting.OFF or (limits is Limiting.AUTO and self.shared_account):
            return None
        try:
            groups = find_groups(self.hub_id)
        except NoControlGroupsError as error:
            words = f"This machine does not let us hold sessions to their memory and CPUs ({error})."
            if limits is Limiting.REQUIRED:
                field = "DaasSpawner.backends.local.limits"
                raise ConfigurationError(f"{field}: {words}", field=field) from error
            log.warning("%s A session can take all that the machine has.", words)
            return None
        groups.sweep()
        return groups

    def limit(self, session_id: str, flavour: Flavour, pid: int) -> None:
        """Hold a process, and with it all that it will start, to a flavour. Blocks for a moment."""
        if self._groups is None:
            return
        try:
            self._groups.make(session_id, flavour)
            self._groups.enter(session_id, pid)
        except OSError as error:
            raise BackendError(
                "The session cannot be held to its size. Please tell the support team.", cause=str(error)
            ) from error

    def child_classes(self) -> tuple[type[LocalSession], ...]:
        """Return the class of this backend's children."""
        return (LocalSession,)

    def check_profile(self, profile: Profile, environment: Environment) -> None:
        """Refuse a profile whose kind or options this backend does not know."""
        place = f"profiles.{profile.key}"
        options = parse_options(LocalProfileOptions, profile.options, f"{place}.options")
        kinds = (EnvironmentKind.JUPYTER, EnvironmentKind.DESKTOP)
        if environment.kind not in kinds and options.command is None:
            raise ConfigurationError(
                f"{place}.options.command: backend 'local' needs the command of a {environment.kind.value} "
                "environment.",
                field=f"{place}.options.command",
            )
        if environment.kind is EnvironmentKind.DESKTOP and not os.access(DESKTOP_SCRIPT, os.X_OK):
            raise ConfigurationError(f"{DESKTOP_SCRIPT} must be executable.", field=place)

    def build_child(self, launch: Launch, given: Mapping[str, Any]) -> LocalSession:
        """Build the spawner of a new session."""
        refuse_certificates(given, "The local backend")
        own = parse_options(LocalProfileOptions, launch.options, f"profiles.{launch.profile}.options")
        child = self.restore_child(launch.session_id, given)
        child.launch = launch
        child.cmd = list(own.command or self.options.command)
        child.default_url = own.default_url or _default_url(launch)
        child.variables = {**self.options.variables, **_variables(launch), **own.variables}
        child.start_timeout = round(own.start_seconds or self.options.start_seconds)
        child.mem_limit = launch.flavour.memory or None
        child.cpu_limit = launch.flavour.cpus or None
        # Chosen before the start, so that it is recorded before there is anything to lose.
        child.port = random_port()
        return child

    def restore_child(self, session_id: str, given: Mapping[str, Any]) -> LocalSession:
        """Build the spawner of a session that runs already."""
        child = LocalSession(backend=self, session_id=session_id, **given)
        self._logs.remember(session_id, child.user.name, child.name)
        return child

    async def find_account(self, person: Person) -> Account:
        """Return the Unix account of a session of this person."""
        if not self.shared_account:
            return await asyncio.to_thread(find_account, person)
        return await asyncio.to_thread(shared_account, person, Path(str(self.options.homes)))

    async def read_log(self, session_id: str, *, lines: int) -> str:
        """Return the last lines of what a session wrote, read as the person whose it is."""
        file = self._logs.find(session_id)
        if self.shared_account:
            return await read_end(f"{self.options.homes}/{file.username}", file, lines=lines, identity={})
        account = await asyncio.to_thread(account_named, file.username)
        return await read_end(account.home, file, lines=lines, identity=account.identity)

    async def things(self) -> frozenset[str]:
        """Return the session ids of all processes of this hub's sessions."""
        return await asyncio.to_thread(processes.find_sessions, self.hub_id)

    async def remove(self, session_id: str) -> None:
        """Kill all processes of a session."""
        left = await asyncio.to_thread(processes.end_family, self.hub_id, session_id, seconds=KILL_SECONDS)
        if left:
            raise BackendError(
                "Some processes of the session could not be ended. Please tell the support team.",
                processes=sorted(left.members),
            )
        if self._groups is not None:
            await asyncio.to_thread(self._groups.remove, session_id)


def _default_url(launch: Launch) -> str:
    if launch.environment.kind is EnvironmentKind.DESKTOP:
        return "/desktop/"
    return f"/lab/tree/proposals/{launch.proposal}"


def _variables(launch: Launch) -> dict[str, str]:
    if launch.environment.kind is EnvironmentKind.DESKTOP:
        return {"JUPYTER_REMOTE_DESKTOP_PROXY_XSTARTUP": str(DESKTOP_SCRIPT)}
    return {}
