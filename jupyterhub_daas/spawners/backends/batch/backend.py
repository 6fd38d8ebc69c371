"""What the backends of batch schedulers have in common, above a transport."""

import asyncio
import math
import os
import time
from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from jupyterhub_daas.core.catalogue import Environment, Flavour, Profile
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.people import Person, Role
from jupyterhub_daas.errors import BackendError, ConfigurationError, NotFoundError
from jupyterhub_daas.spawners.backends.base import Backend, parse_options, refuse_certificates
from jupyterhub_daas.spawners.backends.batch.accounts import (
    JobAccount,
    account_of_job,
    cluster_account,
    far_account,
    local_account,
    shared_job_account,
)
from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest, Phase, margin
from jupyterhub_daas.spawners.backends.batch.options import BatchOptions, BatchPlace, Placed, default_url
from jupyterhub_daas.spawners.backends.batch.session import BatchSession
from jupyterhub_daas.spawners.backends.batch.transport import Transport
from jupyterhub_daas.spawners.backends.batch.watch import Watch
from jupyterhub_daas.spawners.turnstile import Turnstile

MIB = 1 << 20
# Where jobs keep their logs, in the person's home.
OWN = ".daas"


class BatchBackend(Backend):
    """Sessions as jobs of a scheduler."""

    own_queue = True
    transport: Transport
    options: BatchOptions
    software_model: ClassVar[type[Placed]]
    # Whether a job's script is a file in the person's home, which it removes.
    script_is_file: ClassVar[bool] = False

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        self._witness: asyncio.Future[Any] | None = None
        # Accounts are looked up several at once, and jobs submitted in the order of their starts.
        self.lookups = Turnstile()
        self.submissions = asyncio.Lock()
        # Where sessions of a flavour may go, by profile: a profile names places, a flavour does not.
        self._offers: dict[str, tuple[tuple[str, ...], Placed]] = {}
        # Jobs call back to the session that waits for them.
        self.sessions: WeakValueDictionary[str, BatchSession] = WeakValueDictionary()

    def use(self, transport: Transport, options: BatchOptions) -> None:
        """Set the way to the scheduler."""
        if self.shared_account and runs_as_root():
            raise ConfigurationError(
                "A hub that runs as root cannot share its account with sessions.",
                field="DaasSpawner.shared_account",
            )
        self.transport, self.options = transport, options
        self.watch = Watch(transport, options.start_interval_seconds)
        if self.shared_account and options.homes is None:
            place = f"DaasSpawner.backends.{self.key}.homes"
            raise ConfigurationError(
                f"{place}: a shared account needs a folder for the people's homes.", field=place
            )

    def witness(self) -> "asyncio.Future[Any]":
        """Return a task that waits for nothing, and is over once somebody cancels all tasks of the hub."""
        if self._witness is None:
            self._witness = asyncio.ensure_future(asyncio.Event().wait())
        return self._witness

    # --- what a scheduler knows

    @abstractmethod
    def why_waiting(self, job: Job) -> str:
        """Say why a job waits; raise where it would wait for ever."""

    @abstractmethod
    def why_ended(self, job: Job | None, when: str) -> str:
        """Say why a session ended."""

    # --- where jobs go, and for how long

    def longest(self, profile: Profile, flavour: Flavour, roles: tuple[Role, ...]) -> timedelta | None:
        """Return the walltime, less what an end in order needs."""
        own = parse_options(self.software_model, profile.options, f"profiles.{profile.key}.options")
        walltime = timedelta(hours=own.place(flavour, roles).walltime_hours)
        return walltime - margin(walltime)

    def place_of(self, software: Placed, launch: Launch) -> tuple[BatchPlace, int]:
        """Return the scheduler's own options of a start, and its walltime in minutes."""
        place = software.place(launch.flavour, launch.roles)
        minutes = math.ceil(place.walltime_hours * 60)
        if launch.expires_at is not None:
            # A session that ends earlier finds a place earlier; the rest is for its end in order.
            left = launch.expires_at - datetime.now(timezone.utc)
            minutes = min(minutes, max(1, math.ceil(left.total_seconds() / 60) + 2))
        return place, minutes

    # --- children

    def child_classes(self) -> tuple[type[BatchSession], ...]:
        """Return the class of this backend's children."""
        return (BatchSession,)

    def check_profile(self, profile: Profile, environment: Environment) -> None:
        """Refuse a profile whose options are wrong."""
        software = parse_options(self.software_model, profile.options, f"profiles.{profile.key}.options")
        self._offers[profile.key] = profile.flavours, software

    def places_for(self, flavour: Flavour) -> list[BatchPlace]:
        """Return where the profiles that offer a flavour let its sessions go."""
        offers = [software for keys, software in self._offers.values() if flavour.key in keys]
        return [software.place(flavour, ()) for software in offers]

    def build_child(self, launch: Launch, given: Mapping[str, Any]) -> BatchSession:
        """Build the spawner of a new session."""
        refuse_certificates(given, f"Backend '{self.key}'")
        software = self.software_of(launch)
        child = self.restore_child(launch.session_id, given)
        child.launch = launch
        child.default_url = software.default_url or default_url(launch)
        child.mem_limit = launch.flavour.memory or None
        child.cpu_limit = launch.flavour.cpus or None
        # The start itself watches both parts of this; here the hub learns how long it may take in all.
        child.start_timeout = math.ceil(software.wait_seconds + software.start_seconds)
        child.http_timeout = math.ceil(min(software.start_seconds, 120))
        return child

    def restore_child(self, session_id: str, given: Mapping[str, Any]) -> BatchSession:
        """Build the spawner of a session whose job is there already."""
        child = BatchSession(backend=self, session_id=session_id, **given)
        self.sessions[session_id] = child
        return child

    def stops_at(self, session_id: str) -> datetime | None:
        """Return when a session has to end for the scheduler not to kill it."""
        session = self.sessions.get(session_id)
        return None if session is None else session.stops_at

    def software_of(self, launch: Launch) -> Placed:
        """Return the profile's options."""
        return parse_options(self.software_model, launch.options, f"profiles.{launch.profile}.options")

    async def account_of(self, person: Person) -> JobAccount:
        """Return whose account a person's jobs have."""
        if self.shared_account:
            return await shared_job_account(person, str(self.options.homes))
        return await local_account(person) if self.knows_accounts else cluster_account(person)

    async def find_account(self, name: str) -> JobAccount:
        """Return the account under whose name a job runs."""
        return await account_of_job(name) if self.knows_accounts else await far_account(name)

    @property
    def knows_accounts(self) -> bool:
        """Tell whether the hub's machine has the cluster's accounts."""
        return True

    def build_order(self, launch: Launch, environment: dict[str, str], account: JobAccount) -> dict[str, Any]:
        """Return what the job fetches: its command and environment, nothing of the hub's own."""
        software = self.software_of(launch)
        environment.pop("JUPYTERHUB_SERVICE_URL", None)
        return {
            "command": software.words(launch),
            "environment": {
                **software.environment(self.options.path),
                **self.options.variables,
                **environment,
                **software.variables,
                **launch.variables,
            },
            "listen": self.options.listen,
            "prefix": environment["JUPYTERHUB_SERVICE_PREFIX"],
            "folder": f"proposals/{launch.proposal}",
            "links": {mount.target: mount.source for mount in launch.mounts},
            "contained": software.contained,
        }

    def build_request(self, launch: Launch, account: JobAccount, *, name: str, script: str) -> JobRequest:
        """Return the job of a launch."""
        place, minutes = self.place_of(self.software_of(launch), launch)
        return JobRequest(
            name=name,
            account=account,
            script=script,
            cpus=max(1, math.ceil(launch.flavour.cpus)),
            memory=max(1, math.ceil(launch.flavour.memory / MIB)),
            gpus=launch.flavour.gpus,
            minutes=minutes,
            place=place,
        )

    # --- its log

    async def read_log(self, session_id: str, *, lines: int) -> str:
        """Return the last lines of what a session wrote, read as the person whose job it is."""
        session = self.sessions.get(session_id)
        if session is None or not session.log_name:
            raise NotFoundError("The log of a session that ended is in the folder .daas of your home.")
        if self.shared_account:
            account = JobAccount(session.user.name, os.geteuid(), os.getegid())
            home = f"{self.options.homes}/{session.user.name}"
        else:
            account = await self.find_account(session.user.name)
            home = account.home or ""
        text = await self.transport.read_file(account, f"{home}/{OWN}/{session.log_name}", lines=lines)
        if text is None:
            raise NotFoundError(
                f"The session has written no log yet to {OWN}/{session.log_name} in your home."
            )
        return text

    # --- reconciliation

    async def things(self) -> frozenset[str]:
        """Return the session ids of all jobs of this hub that have not ended."""
        snapshot = await self.watch.look(after=time.monotonic(), age=math.inf)
        return frozenset(key for key, job in snapshot.jobs.items() if job.phase is not Phase.ENDED)

    async def remove(self, session_id: str) -> None:
        """Cancel a session's job until the scheduler no longer has it; raise if that is not known in time."""
        deadline = time.monotonic() + self.options.stop_seconds
        cancelled = ""
        while True:
            snapshot = await self.watch.look(after=time.monotonic(), age=math.inf)
            job = snapshot.jobs.get(session_id)
            if job is None or job.phase is Phase.ENDED:
                return
            if job.id != cancelled:
                await self.transport.cancel(job)
                cancelled = job.id
            if time.monotonic() > deadline:
                raise BackendError(
                    "The session's job does not end. It is looked after again; please tell the support team.",
                    job=job.id,
                )
            await asyncio.sleep(min(0.2, self.options.start_interval_seconds))


def runs_as_root() -> bool:
    """Tell whether the hub is root."""
    return os.geteuid() == 0
