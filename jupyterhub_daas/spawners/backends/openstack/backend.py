"""The OpenStack backend: sessions as servers of one project of a cloud.

It has the rights of one application credential in that project. One question serves all sessions that are
looked after, however many there are.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Environment, Flavour, Profile
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.errors import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    NotFoundError,
)
from jupyterhub_daas.spawners.backends.base import parse_options, refuse_certificates
from jupyterhub_daas.spawners.backends.groups import groups_of
from jupyterhub_daas.spawners.backends.kept_logs import LOG_LINES, KeptLogs, last_lines
from jupyterhub_daas.spawners.backends.machines import (
    MachineBackend,
    MachineOrder,
    build_order,
    build_user_data,
    check_hub_url,
)
from jupyterhub_daas.spawners.backends.machines.idle import IdleMachines
from jupyterhub_daas.spawners.backends.openstack import capacity
from jupyterhub_daas.spawners.backends.openstack.bank import OpenStackBank
from jupyterhub_daas.spawners.backends.openstack.cloud import Cloud, Refused, telling, told
from jupyterhub_daas.spawners.backends.openstack.options import OpenStackOptions, OpenStackProfileOptions
from jupyterhub_daas.spawners.backends.openstack.project import Project
from jupyterhub_daas.spawners.backends.openstack.server import Machine, Parts, Subject
from jupyterhub_daas.spawners.backends.openstack.session import OpenStackSession
from jupyterhub_daas.spawners.backends.patience import patiently
from jupyterhub_daas.spawners.turnstile import Turnstile

log = logging.getLogger(__name__)

PLACE = "DaasSpawner.backends.openstack"
# How long one attempt to remove a machine may take before somebody is told.
REMOVE_SECONDS = 300.0


class OpenStackBackend(MachineBackend):
    """Run sessions on machines of a cloud."""

    key = "openstack"
    keeps_machines = True

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        self.options = parse_options(OpenStackOptions, options, PLACE)
        check_hub_url(self.options.hub_url, f"{PLACE}.hub_url")
        self._ca = _read_ca(self.options.ca_file)
        self.cloud = Cloud(self.options)
        self.cloud.region()
        self.project = Project(self.cloud, self.options, hub_id)
        self.bank: OpenStackBank | None = None
        self.bank_project = Project(self.cloud, self.options, f"{hub_id}-bank")
        self._strays = frozenset[str]()
        self._asking = asyncio.Lock()
        self._asked, self._known = float("-inf"), dict[str, Machine]()
        self._failed: tuple[float, BackendError] | None = None
        self._making: dict[str, asyncio.Task[None]] = {}
        self._lookups = Turnstile()
        self._logs = KeptLogs()

    def child_classes(self) -> tuple[type[OpenStackSession], ...]:
        """Return the class of this backend's children."""
        return (OpenStackSession,)

    def check_profile(self, profile: Profile, environment: Environment) -> None:
        """Refuse a profile whose options are wrong."""
        parse_options(OpenStackProfileOptions, profile.options, f"profiles.{profile.key}.options")

    def open_bank(self, idle: IdleMachines) -> OpenStackBank:
        """Keep machines ready in the same project, apart from those of sessions."""
        self.bank = OpenStackBank(self, idle)
        return self.bank

    async def fit(self, machine_id: str, launch: Launch) -> None:
        """Give a machine of the bank the security groups of its session."""
        groups = self._groups_for(launch)
        if self.bank is not None and groups != list(self.options.security_groups):
            await self.bank.open_to(machine_id, groups)

    # --- children

    def build_child(self, launch: Launch, given: Mapping[str, Any]) -> OpenStackSession:
        """Build the spawner of a new session."""
        refuse_certificates(given, "The OpenStack backend")
        own = self._own(launch)
        child = self.restore_child(launch.session_id, given)
        child.launch = launch
        child.default_url = own.opens_with(launch)
        child.build_seconds = own.build_seconds or self.options.build_seconds
        child.start_seconds = own.start_seconds or self.options.start_seconds
        # The start itself watches its parts; here the hub learns how long it may take in all.
        child.start_timeout = math.ceil(2 * child.build_seconds + child.start_seconds + 2)
        child.http_timeout = math.ceil(min(child.start_seconds, 120))
        child.mem_limit = launch.flavour.memory or None
        child.cpu_limit = launch.flavour.cpus or None
        return child

    def restore_child(self, session_id: str, given: Mapping[str, Any]) -> OpenStackSession:
        """Build the spawner of a session that runs already."""
        child = OpenStackSession(backend=self, session_id=session_id, **given)
        self.bootstraps[session_id] = child.bootstrap
        return child

    def _own(self, launch: Launch) -> OpenStackProfileOptions:
        return parse_options(OpenStackProfileOptions, launch.options, f"profiles.{launch.profile}.options")

    # --- a session's machine

    async def begin(self, child: OpenStackSession, launch: Launch) -> None:
        """Make the machine of a session; tries as long as the cloud does not answer."""
        making = asyncio.ensure_future(self._make(child, launch))
        self._making[launch.session_id] = making
        try:
            await making
        except Refused as refused:
            # What was found of the cloud before may be another today.
            self.project.forget()
            raise told(refused) from refused
        finally:
            self._making.pop(launch.session_id, None)

    async def _make(self, child: OpenStackSession, launch: Launch) -> None:
        own = self._own(launch)
        parts = await self.find_parts(own, launch.flavour.key, self._groups_for(launch))
        order = await self.order_of(child, launch)
        code = child.bootstrap.issue(order, minutes=(child.build_seconds + child.start_seconds) / 60)

        def expect(addresses: tuple[str, ...]) -> None:
            # Known before the machine boots: whoever comes from elsewhere is refused. Both are kept at once.
            child.host = addresses[0]
            child.bootstrap.expect(addresses)

        await self.project.make_machine(
            Subject.of(launch), parts, self.user_data(launch.session_id, code), expect
        )

    async def find_parts(self, own: OpenStackProfileOptions, flavour: str, groups: Sequence[str]) -> Parts:
        """Find what a machine of a profile is made of; tries as long as the cloud does not answer."""
        flavor = self.options.flavors.get(flavour, flavour)
        parts: Parts = await self.project.patiently(
            lambda: self.project.find_parts(own.image, flavor, groups)
        )
        return parts

    def _groups_for(self, launch: Launch) -> list[str]:
        more = [self.options.role_groups.get(role, ()) for role in launch.roles]
        more += [self.options.instrument_groups.get(each, ()) for each in launch.instruments]
        return list(
            dict.fromkeys([*self.options.security_groups, *(name for names in more for name in names)])
        )

    async def order_of(self, child: OpenStackSession, launch: Launch) -> MachineOrder:
        """Return what a session's machine fetches; who asked first has it first, and claims first."""
        async with self._lookups.passing():
            groups = await asyncio.to_thread(groups_of, launch.person, self.options.groups)
        return build_order(
            launch,
            self._own(launch),
            self._environment(child),
            groups=groups,
            home=self.options.home_path.replace("{username}", launch.person.username),
            shares=self.options.shares,
        )

    def user_data(self, machine_id: str, code: str) -> str:
        """Return what a machine is given; all else it fetches with the code in it."""
        return build_user_data(hub_url=self.options.hub_url, session_id=machine_id, code=code, ca=self._ca)

    def _environment(self, child: OpenStackSession) -> dict[str, str]:
        """Return the environment of a session, with the hub as machines reach it."""
        given = {key: str(value) for key, value in child.get_env().items() if value is not None}
        before, after = given["JUPYTERHUB_API_URL"].rstrip("/"), f"{self.options.hub_url}api"
        return {
            key: after + value[len(before) :] if value.startswith(before) else value
            for key, value in given.items()
        }

    async def look(self, session_id: str, *, since: float) -> Machine | None:
        """Return a session's machine as it was at `since` or later; None if the cloud has none."""
        loop = asyncio.get_running_loop()
        came = loop.time()
        async with self._asking:
            if self._asked < max(since, came - self.options.interval_seconds):
                if self._failed is not None and self._failed[0] > came:
                    # Whoever waited for an answer that did not come need not wait as long for the next one.
                    raise self._failed[1]
                begun = loop.time()
                try:
                    listed = await self.project.machines()
                    if self.bank is not None or self.claimed:
                        listed += await self.bank_project.machines()
                except Refused as refused:
                    raise told(refused) from refused
                except BackendError as error:
                    self._failed = loop.time(), error
                    raise
                self._known = {each.session_id: each for each in listed}
                self._asked = begun
            return self._known.get(self.claimed.get(session_id, session_id))

    # --- the end

    async def things(self) -> frozenset[str]:
        """Return the session ids of all machines, ports and volumes of this hub."""
        with telling():
            found, banked = await asyncio.gather(self.project.sessions(), self.bank_project.sessions())
        found |= {session for session, machine in self.claimed.items() if machine in banked}
        # Where there is no bank any more nobody else looks after what it had.
        self._strays = banked - set(self.claimed.values()) if self.bank is None else frozenset()
        return found | self._strays

    async def ask_for_the_end(self, session_id: str) -> None:
        """End a session at once, as far as the cloud answers; the end that follows makes sure."""
        try:
            await self.remove(session_id)
        except BackendError as error:
            log.warning("Session %s is ended later: %s", session_id, error)

    async def end(self, session_id: str) -> None:
        """End a session and return when nothing of it is left; wait for a cloud that is away."""
        await patiently(lambda: self.remove(session_id), self.options.patience_seconds)

    async def remove(self, session_id: str) -> None:
        """End all that carries this session's id; raise if that is not known in time."""
        making = self._making.get(session_id)
        if making is not None and not making.done():
            # What was begun is waited for: what it made must be known, to be ended.
            making.cancel()
            await asyncio.wait({making})
        try:
            await asyncio.wait_for(self._remove(session_id), REMOVE_SECONDS)
        except Refused as refused:
            raise told(refused) from refused
        except asyncio.TimeoutError:
            raise BackendUnavailableError("The cloud does not end the machine.", session=session_id) from None
        self.over(session_id)

    async def _remove(self, session_id: str) -> None:
        await self.project.remove(session_id)
        machine_id = self.claimed.get(session_id, session_id if session_id in self._strays else "")
        if machine_id:
            # Its record, if there is one, goes with the bank's next round.
            await self.bank_project.remove(machine_id)

    # --- what pages show

    async def resources(self, flavours: Sequence[Flavour]) -> tuple[Availability, ...]:
        """Count what the project's limits leave; whether a host has room the cloud tells nobody."""
        try:
            limits, flavors = await asyncio.gather(
                self.cloud.ask(lambda c: c.compute.get_limits().absolute),
                self.cloud.ask(lambda c: list(c.compute.flavors())),
            )
        except Refused as refused:
            raise told(refused) from refused
        sizes = {each.name: capacity.Size(each.vcpus, each.ram) for each in flavors}
        return capacity.count(flavours, self.options.flavors, sizes, capacity.read(limits))

    async def read_log(self, session_id: str, *, lines: int) -> str:
        """Return the last lines of a machine's console, for some while also of one that ended."""
        text = await self._console(session_id, lines)
        if text is None:
            text = self._logs.read(session_id)
        if text is None:
            raise NotFoundError("The machine has written nothing yet, or its console went with it.")
        return last_lines(text, lines)

    async def _console(self, session_id: str, lines: int) -> str | None:
        found = await self.look(session_id, since=float("-inf"))
        if found is None:
            return None
        try:
            answer = await self.cloud.ask(
                lambda c: c.compute.get_server_console_output(found.id, length=lines)
            )
        except Refused:
            return None
        return str(answer.get("output") or "")

    async def keep_log(self, session_id: str) -> None:
        """Keep the end of a console that is about to go with its machine."""
        with contextlib.suppress(BackendError):
            text = await self._console(session_id, LOG_LINES)
            if text:
                self._logs.keep(session_id, text)


def _read_ca(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ConfigurationError(
            f"{PLACE}.ca_file: it cannot be read ({error.strerror}).", field=f"{PLACE}.ca_file"
        ) from error
