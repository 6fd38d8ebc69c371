"""The Podman backend: sessions as containers of one machine's Podman.

Everything of a session carries the hub's and the session's id as labels and is found by these. One question
serves all sessions that are looked after.
"""

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Environment, EnvironmentKind, Flavour, Profile
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.names import SESSION_ID, matches
from jupyterhub_daas.core.queue import sessions_that_fit
from jupyterhub_daas.core.resources import Limits, Resources
from jupyterhub_daas.errors import BackendError, ConfigurationError, NotFoundError
from jupyterhub_daas.spawners.backends.base import Backend, parse_options, refuse_certificates
from jupyterhub_daas.spawners.backends.groups import groups_of
from jupyterhub_daas.spawners.backends.kept_logs import LOG_LINES, KeptLogs, last_lines
from jupyterhub_daas.spawners.backends.names import thing_name
from jupyterhub_daas.spawners.backends.patience import patiently
from jupyterhub_daas.spawners.backends.podman.api import Podman, Refused, join_log
from jupyterhub_daas.spawners.backends.podman.container import (
    CPUS,
    HUB,
    MEMORY,
    SESSION,
    build_container,
    build_volume,
    home_of,
)
from jupyterhub_daas.spawners.backends.podman.options import PodmanOptions, PodmanProfileOptions
from jupyterhub_daas.spawners.backends.podman.session import PodmanSession

log = logging.getLogger(__name__)

PLACE = "DaasSpawner.backends.podman"
# How old the answer to the question for all containers may be.
FRESH_SECONDS = 2.0
RUNNING = ("running", "paused", "stopping")
# Made, and not begun yet: what it will take counts.
MADE = ("created", "configured", "initialized")


@dataclass(frozen=True)
class Ended:
    """How a container ended, in words for its person."""

    status: int
    words: str


class PodmanBackend(Backend):
    """Run sessions in containers of one machine."""

    key = "podman"

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        self.options = parse_options(PodmanOptions, options, PLACE)
        self._api = Podman(self.options.socket, self.options.request_seconds)
        self._known: frozenset[str] = frozenset()
        self._asked = float("-inf")
        self._asking = asyncio.Lock()
        self._logs = KeptLogs()

    def child_classes(self) -> tuple[type[PodmanSession], ...]:
        """Return the class of this backend's children."""
        return (PodmanSession,)

    def check_profile(self, profile: Profile, environment: Environment) -> None:
        """Refuse a profile whose kind or options this backend does not know."""
        place = f"profiles.{profile.key}"
        parse_options(PodmanProfileOptions, profile.options, f"{place}.options")
        if environment.kind is EnvironmentKind.VM:
            raise ConfigurationError(f"{place}: backend '{self.key}' starts no machines.", field=place)

    # --- children

    def build_child(self, launch: Launch, given: Mapping[str, Any]) -> PodmanSession:
        """Build the spawner of a new session."""
        refuse_certificates(given, "The Podman backend")
        own = self._own(launch)
        child = self.restore_child(launch.session_id, given)
        child.launch = launch
        child.default_url = own.default_url or _default_url(launch)
        child.notebook_dir = home_of(self.options, launch.person.username)
        child.start_timeout = math.ceil(own.start_seconds or self.options.start_seconds)
        child.mem_limit = launch.flavour.memory or None
        child.cpu_limit = launch.flavour.cpus or None
        return child

    def restore_child(self, session_id: str, given: Mapping[str, Any]) -> PodmanSession:
        """Build the spawner of a session that runs already."""
        return PodmanSession(backend=self, session_id=session_id, port=self.options.port, **given)

    def _own(self, launch: Launch) -> PodmanProfileOptions:
        return parse_options(PodmanProfileOptions, launch.options, f"profiles.{launch.profile}.options")

    # --- a session's container

    async def begin(self, child: PodmanSession, launch: Launch) -> None:
        """Make and start the container of a session; tries as long as Podman does not answer."""
        own, person = self._own(launch), launch.person
        home = home_of(self.options, person.username)
        request = build_container(
            launch,
            hub_id=self.hub_id,
            image=own.image,
            command=[*(own.command or self.options.command), *child.get_args()],
            options=self.options,
            environment={
                **{key: str(value) for key, value in child.get_env().items() if value is not None},
                **self.options.variables,
                **own.variables,
                **launch.variables,
                "HOME": home,
                "USER": person.username,
                "LOGNAME": person.username,
                "DAAS_FOLDER": f"{home}/proposals/{launch.proposal}",
            },
            gids=list((await asyncio.to_thread(groups_of, person, {})).values()),
        )
        if self.options.homes is None:
            await patiently(
                lambda: self._make("volumes", build_volume(launch, self.hub_id)), child.start_timeout
            )
        await patiently(lambda: self._make("containers", request), child.start_timeout)
        await patiently(lambda: self._start(launch.session_id), child.start_timeout)

    async def _make(self, what: str, request: dict[str, Any]) -> None:
        try:
            await self._api.ask("POST", f"{what}/create", body=request)
        except Refused as refused:
            # Made before, or by an attempt whose answer was lost: nobody else uses this name.
            if (
                refused.status == 409
                or "already exists" in refused.words
                or "already in use" in refused.words
            ):
                return
            raise _told(refused) from refused

    async def _start(self, session_id: str) -> None:
        try:
            await self._api.ask("POST", f"containers/{thing_name(self.hub_id, session_id)}/start")
        except Refused as refused:
            raise _told(refused) from refused

    async def look(self, session_id: str) -> str | Ended | None:
        """Return the address of a session that runs, how it ended, or None if there is no such container.

        One that was made and not begun has no address yet.
        """
        try:
            found = await self._api.ask("GET", f"containers/{thing_name(self.hub_id, session_id)}/json")
        except Refused as refused:
            if refused.is_missing:
                return None
            raise _told(refused) from refused
        state = found["State"]
        if state["Status"] in MADE:
            return ""
        if state["Status"] in RUNNING:
            networks = found["NetworkSettings"].get("Networks") or {}
            return str(networks.get(self.options.network, {}).get("IPAddress") or "")
        status = int(state.get("ExitCode") or 0)
        if state.get("OOMKilled"):
            return Ended(status or 137, "The session needed more memory than its size has, and was ended.")
        return Ended(status, f"The session ended while it was starting (exit status {status}).")

    async def runs(self, session_id: str, *, since: float) -> bool:
        """Tell whether a session's container ran when all were last asked for, at `since` or later."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if self._asked < max(since, loop.time() - FRESH_SECONDS):
                begun = loop.time()
                listed = await self._list()
                self._known = frozenset(
                    each["Labels"][SESSION] for each in listed if each["State"] in RUNNING
                )
                self._asked = begun
            return session_id in self._known

    async def _list(self) -> list[dict[str, Any]]:
        filters = {"label": [f"{HUB}={self.hub_id}"]}
        query = {"all": "true", "filters": json.dumps(filters)}
        try:
            return await self._api.ask("GET", "containers/json", query=query) or []
        except Refused as refused:
            raise _told(refused) from refused

    # --- the end

    async def things(self) -> frozenset[str]:
        """Return the session ids of all containers of this hub."""
        labels = [each["Labels"] for each in await self._list()]
        return frozenset(each[SESSION] for each in labels if matches(SESSION_ID, each.get(SESSION)))

    async def ask_for_the_end(self, session_id: str) -> None:
        """End a session at once, as far as Podman answers; the end that follows makes sure."""
        try:
            await self._delete(session_id, now=True)
        except BackendError as error:
            log.warning("Session %s is ended later: %s", session_id, error)

    async def end(self, session_id: str, *, now: bool) -> None:
        """End a session and return when nothing of it is left; wait for a Podman that is away."""
        await patiently(lambda: self._delete(session_id, now=now), self.options.patience_seconds)

    async def remove(self, session_id: str) -> None:
        """End all that carries this session's id; raise if Podman does not answer."""
        await self._delete(session_id, now=True)

    async def _delete(self, session_id: str, *, now: bool) -> None:
        """Stop, then kill, then remove; all of it is over when Podman answers."""
        seconds = 0 if now else self.options.grace_seconds
        name = thing_name(self.hub_id, session_id)
        try:
            if not now:
                await self.keep_log(session_id)
            await self._api.ask(
                "DELETE", f"containers/{name}", query={"force": "true", "timeout": str(seconds), "v": "true"}
            )
        except Refused as refused:
            if not refused.is_missing:
                raise _told(refused) from refused

    # --- what pages show

    async def resources(self, flavours: Sequence[Flavour]) -> tuple[Availability, ...]:
        """Count what the machine has, less what is kept back and what the limits of sessions add up to."""
        info = (await self._api.ask("GET", "info"))["host"]
        kept = self.options.reserve
        capacity = Limits(
            cpus=max(0, info["cpus"] - kept.cpus), memory=max(0, info["memTotal"] - kept.memory)
        )
        used = Resources()
        for each in await self._list():
            if each["State"] in RUNNING + MADE:
                labels = each["Labels"]
                used += Resources(cpus=float(labels.get(CPUS, 0)), memory=int(labels.get(MEMORY, 0)))
        return tuple(_availability(flavour, used, capacity) for flavour in flavours)

    async def read_log(self, session_id: str, *, lines: int) -> str:
        """Return the last lines that a session wrote, for some while also of one that ended."""
        try:
            return await self._read_log(session_id, lines)
        except Refused as refused:
            if not refused.is_missing:
                raise _told(refused) from refused
        kept = self._logs.read(session_id)
        if kept is None:
            raise NotFoundError("The session has written nothing yet, or its log went with it.")
        return last_lines(kept, lines)

    async def _read_log(self, session_id: str, lines: int) -> str:
        query = {"stdout": "true", "stderr": "true", "tail": str(lines)}
        path = f"containers/{thing_name(self.hub_id, session_id)}/logs"
        return join_log(await self._api.read("GET", path, query=query))

    async def keep_log(self, session_id: str) -> None:
        """Keep the end of a log that is about to go with its container."""
        with contextlib.suppress(Refused, BackendError):
            self._logs.keep(session_id, await self._read_log(session_id, LOG_LINES))


def _availability(flavour: Flavour, used: Resources, capacity: Limits) -> Availability:
    if flavour.gpus:
        reason = "Sessions on this machine get no GPU."
        return Availability(flavour=flavour.key, fits=False, free=0, reason=reason)
    if sessions_that_fit(flavour.resources, Resources(), capacity) == 0:
        reason = "This size is larger than the machine."
        return Availability(flavour=flavour.key, fits=False, free=0, reason=reason)
    return Availability(flavour=flavour.key, free=sessions_that_fit(flavour.resources, used, capacity))


def _default_url(launch: Launch) -> str:
    if launch.environment.kind is EnvironmentKind.DESKTOP:
        return "/desktop/"
    if launch.environment.kind is EnvironmentKind.WEB:
        return "/"
    return f"/lab/tree/proposals/{launch.proposal}" if launch.mounts else "/lab"


def _told(refused: Refused) -> BackendError:
    """Turn Podman's no into words for a person; its own are in the log."""
    log.error("Podman refused: %s", refused)
    if "no such image" in refused.words or "image not known" in refused.words:
        return BackendError(
            "The software of this environment is not on the machine. Please tell the support team, "
            "code podman-image."
        )
    if "no such file or directory" in refused.words:
        return BackendError(
            "A folder of the proposal or your home is not on the machine. Please tell the support team, "
            "code podman-folder."
        )
    return BackendError(
        f"Podman does not accept the session. Please tell the support team, code podman-{refused.status}."
    )
