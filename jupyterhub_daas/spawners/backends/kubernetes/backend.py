"""The Kubernetes backend: sessions as pods in one namespace.

It has the rights of one Role in that namespace and no others. Everything of a session carries the hub's and
the session's id as labels and is found by these.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Environment, EnvironmentKind, Flavour, Profile
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.names import SESSION_ID, matches
from jupyterhub_daas.errors import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    NoCapacityError,
    NotFoundError,
)
from jupyterhub_daas.spawners.backends.base import Backend, parse_options, refuse_certificates
from jupyterhub_daas.spawners.backends.groups import groups_of
from jupyterhub_daas.spawners.backends.kept_logs import LOG_LINES, KeptLogs, last_lines
from jupyterhub_daas.spawners.backends.kubernetes import capacity
from jupyterhub_daas.spawners.backends.kubernetes.cluster import Cluster, Refused
from jupyterhub_daas.spawners.backends.kubernetes.mirror import Mirror
from jupyterhub_daas.spawners.backends.kubernetes.options import (
    KubernetesOptions,
    KubernetesProfileOptions,
    PodOptions,
)
from jupyterhub_daas.spawners.backends.kubernetes.pod import (
    CONTAINER,
    SESSION,
    Object,
    build_pod,
    build_secret,
    home_of,
    object_name,
    selector,
)
from jupyterhub_daas.spawners.backends.kubernetes.session import KubernetesSession
from jupyterhub_daas.spawners.backends.patience import patiently
from jupyterhub_daas.spawners.turnstile import Turnstile

log = logging.getLogger(__name__)

PLACE = "DaasSpawner.backends.kubernetes"
# How long a question waits for the first complete copy of the pods.
LOAD_SECONDS = 5.0
# How often the cluster is asked again whether a pod is gone, should its word have got lost.
ASK_SECONDS = 3.0


class KubernetesBackend(Backend):
    """Run sessions on a cluster."""

    key = "kubernetes"

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        self.options = parse_options(KubernetesOptions, options, PLACE)
        kubeconfig = self.options.kubeconfig
        if kubeconfig is not None and not Path(kubeconfig).is_file():
            raise ConfigurationError(
                f"{PLACE}.kubeconfig: there is no such file.", field=f"{PLACE}.kubeconfig"
            )
        self.cluster = Cluster(self.options)
        self.pods = Mirror(self.cluster, "list_namespaced_pod", label_selector=selector(hub_id))
        mine = object_name(hub_id, "")
        self._events = Mirror(
            self.cluster,
            "list_namespaced_event",
            keep=lambda event: event["involvedObject"].get("name", "").startswith(mine),
            field_selector="involvedObject.kind=Pod",
        )
        self._counts_nodes = True
        # Where sessions of a flavour may go, by profile: a profile names nodes, a flavour does not.
        self._offers: dict[str, tuple[tuple[str, ...], PodOptions]] = {}
        self._logs = KeptLogs()
        self._lookups = Turnstile()
        self._making = asyncio.Lock()

    def child_classes(self) -> tuple[type[KubernetesSession], ...]:
        """Return the class of this backend's children."""
        return (KubernetesSession,)

    def check_profile(self, profile: Profile, environment: Environment) -> None:
        """Refuse a profile whose kind or options this backend does not know."""
        place = f"profiles.{profile.key}"
        own = parse_options(KubernetesProfileOptions, profile.options, f"{place}.options")
        self._offers[profile.key] = profile.flavours, own.over(self.options)
        if environment.kind is EnvironmentKind.VM:
            raise ConfigurationError(f"{place}: backend '{self.key}' starts no machines.", field=place)

    # --- children

    def build_child(self, launch: Launch, given: Mapping[str, Any]) -> KubernetesSession:
        """Build the spawner of a new session."""
        refuse_certificates(given, "The Kubernetes backend")
        own = self._own(launch)
        child = self.restore_child(launch.session_id, given)
        child.launch = launch
        child.default_url = own.default_url or _default_url(launch)
        child.notebook_dir = home_of(self.options, launch.person.username)
        times = own.over(self.options)
        child.wait_seconds, child.start_seconds = times.wait_seconds, times.start_seconds
        # The start itself watches both parts of this; here the hub learns how long it may take in all.
        child.start_timeout = math.ceil(times.wait_seconds + times.start_seconds)
        child.http_timeout = math.ceil(min(times.start_seconds, 120))
        child.mem_limit = launch.flavour.memory or None
        child.cpu_limit = launch.flavour.cpus or None
        return child

    def restore_child(self, session_id: str, given: Mapping[str, Any]) -> KubernetesSession:
        """Build the spawner of a session that runs already."""
        return KubernetesSession(backend=self, session_id=session_id, port=self.options.port, **given)

    def _own(self, launch: Launch) -> KubernetesProfileOptions:
        return parse_options(KubernetesProfileOptions, launch.options, f"profiles.{launch.profile}.options")

    # --- a session's objects

    async def begin(self, child: KubernetesSession, launch: Launch) -> None:
        """Make the objects of a session; tries as long as the cluster does not answer."""
        self.pods.begin()
        self._events.begin()
        own, person = self._own(launch), launch.person
        # Looked up several at once; then pods are made in the order in which they were asked for.
        async with self._lookups.passing():
            groups = await asyncio.to_thread(groups_of, person, self.options.groups)
        home = home_of(self.options, person.username)
        pod_options = own.over(self.options)
        pod = build_pod(
            launch,
            hub_id=self.hub_id,
            image=own.image,
            options=self.options,
            pod=pod_options,
            environment={
                **child.get_env(),
                **pod_options.variables,
                **launch.variables,
                "HOME": home,
                "USER": person.username,
                "LOGNAME": person.username,
                "DAAS_FOLDER": f"{home}/proposals/{launch.proposal}",
            },
            groups=groups,
        )
        made = await patiently(lambda: self._create(launch, pod), child.start_timeout)
        secret = build_secret(made, child.api_token)
        await patiently(lambda: self._create_secret(secret), child.start_timeout)

    async def _create(self, launch: Launch, pod: Object) -> Object:
        try:
            async with self._making:
                made: Object = await self.cluster.ask("create_namespaced_pod", body=pod)
        except Refused as refused:
            if refused.status == 409:
                # Made by an attempt whose answer was lost: no other session has this name.
                return await self._made_before(launch)
            raise _told(refused) from refused
        return made

    async def _made_before(self, launch: Launch) -> Object:
        found = await self._list(launch.session_id)
        if not found:
            raise BackendUnavailableError("The cluster does not answer now.")
        return found[0]

    async def _create_secret(self, secret: Object) -> None:
        try:
            await self.cluster.ask("create_namespaced_secret", body=secret)
        except Refused as refused:
            if refused.status != 409:
                raise _told(refused) from refused

    async def _list(self, session_id: str | None = None) -> list[Object]:
        found, _ = await self.cluster.list_all(
            "list_namespaced_pod", label_selector=selector(self.hub_id, session_id)
        )
        return found

    def events_of(self, pod: Object) -> list[Object]:
        """Return the cluster's events of this very pod, the oldest first."""
        uid = pod["metadata"]["uid"]
        found = [e for e in self._events.objects.values() if e["involvedObject"].get("uid") == uid]
        return sorted(found, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))

    async def find(self, session_id: str) -> Object | None:
        """Return a session's pod; None only if the cluster itself says that there is none."""
        await self.pods.loaded(LOAD_SECONDS)
        known: Object | None = self.pods.objects.get(object_name(self.hub_id, session_id))
        if known is not None:
            return known
        # The copy may be older than the pod.
        found = await self._list(session_id)
        return found[0] if found else None

    # --- the end

    async def things(self) -> frozenset[str]:
        """Return the session ids of all pods of this hub."""
        labels = [pod["metadata"]["labels"] for pod in await self._list()]
        return frozenset(each[SESSION] for each in labels if matches(SESSION_ID, each.get(SESSION)))

    async def ask_for_the_end(self, session_id: str) -> None:
        """Ask the cluster to end a session at once, and don't wait; the end that follows makes sure."""
        try:
            await self._delete(session_id, now=True)
        except BackendError as error:
            log.warning("Session %s is ended later: %s", session_id, error)

    async def end(self, session_id: str, *, now: bool) -> None:
        """End a session and return when nothing of it is left; wait for a cluster that is away."""
        await self._end(session_id, now=now, patience=self.options.patience_seconds)

    async def remove(self, session_id: str) -> None:
        """End all that carries this session's id; raise if the cluster does not answer."""
        await self._end(session_id, now=True, patience=self.options.request_seconds)

    async def _end(self, session_id: str, *, now: bool, patience: float) -> None:
        self.pods.begin()
        name = object_name(self.hub_id, session_id)
        loop = asyncio.get_running_loop()
        while await patiently(lambda: self._delete(session_id, now=now), patience):
            again = loop.time() + ASK_SECONDS
            while loop.time() < again and (name in self.pods.objects or not self.pods.current):
                await self.pods.news(again - loop.time())
            await asyncio.sleep(0)

    async def _delete(self, session_id: str, *, now: bool) -> bool:
        """Ask for the end of a pod; tell whether it is still there."""
        grace = 1 if now else self.options.grace_seconds
        try:
            await self.cluster.ask(
                "delete_namespaced_pod",
                name=object_name(self.hub_id, session_id),
                grace_period_seconds=grace,
            )
        except Refused as refused:
            if refused.status == 404:
                return False
            raise _told(refused) from refused
        return True

    # --- what pages show

    async def resources(self, flavours: Sequence[Flavour]) -> tuple[Availability, ...]:
        """Count from the nodes and the pods of the namespace; empty without the right to see nodes."""
        found = await self._nodes_and_pods()
        if found is None:
            return ()
        counted = []
        for flavour in flavours:
            offers = [pod for keys, pod in self._offers.values() if flavour.key in keys]
            counted.append(capacity.count(flavour, *found, self.options, offers or [self.options]))
        return tuple(counted)

    async def _nodes_and_pods(self) -> tuple[list[Object], list[Object]] | None:
        try:
            (nodes, _), (pods, _) = await asyncio.gather(
                self.cluster.list_all("list_node", namespaced=False),
                self.cluster.list_all("list_namespaced_pod"),
            )
        except Refused as refused:
            if self._counts_nodes:
                log.warning("What is free on the cluster is not counted: %s", refused.words)
            self._counts_nodes = False
            return None
        self._counts_nodes = True
        return nodes, pods

    async def why_it_fits_nowhere(self, launch: Launch) -> str:
        """Say why no node would be large enough for a session even if it were empty; else nothing."""
        with contextlib.suppress(BackendError):
            if (found := await self._nodes_and_pods()) is not None:
                offer = self._own(launch).over(self.options)
                counted = capacity.count(launch.flavour, *found, self.options, [offer])
                return "" if counted.fits else counted.reason
        return ""

    async def read_log(self, session_id: str, *, lines: int) -> str:
        """Return the last lines that a session wrote, for some while also of one that ended."""
        try:
            return await self._read_log(session_id, lines)
        except Refused as refused:
            if refused.status not in (400, 404):
                raise _told(refused) from refused
        kept = self._logs.read(session_id)
        if kept is None:
            raise NotFoundError("The session has written nothing yet, or its log went with it.")
        return last_lines(kept, lines)

    async def _read_log(self, session_id: str, lines: int) -> str:
        name = object_name(self.hub_id, session_id)
        return await self.cluster.read(
            "read_namespaced_pod_log", name=name, container=CONTAINER, tail_lines=lines
        )

    async def keep_log(self, session_id: str) -> None:
        """Keep the end of a log that is about to go with its pod."""
        with contextlib.suppress(Refused, BackendError):
            self._logs.keep(session_id, await self._read_log(session_id, LOG_LINES))


def _default_url(launch: Launch) -> str:
    if launch.environment.kind is EnvironmentKind.DESKTOP:
        return "/desktop/"
    if launch.environment.kind is EnvironmentKind.WEB:
        return "/"
    return f"/lab/tree/proposals/{launch.proposal}" if launch.mounts else "/lab"


def _told(refused: Refused) -> BackendError:
    """Turn the API's no into words for a person; its own are in the log."""
    log.error("The cluster refused: %s", refused)
    if refused.status == 403 and "exceeded quota" in refused.words:
        return NoCapacityError(
            "The part of the cluster that is set aside for sessions is full. Please try again later, or with "
            "a smaller size."
        )
    if refused.status in (401, 403):
        return BackendError(
            "The portal lacks a right on the cluster. Please tell the support team, code cluster-rights."
        )
    return BackendError(
        "The cluster does not accept the session. Please tell the support team, "
        f"code cluster-{refused.status}."
    )
