"""The child spawner of the Kubernetes backend: one pod per session.

All that can fail, fails in `start`, in seconds where the cluster knows that it will not work, and in a
sentence. `poll` says that a session ended only when the cluster said so; `stop` returns only when nothing of
it is left.
"""

import time
from typing import TYPE_CHECKING, Any, cast

from jupyterhub_daas.errors import (
    BackendError,
    BackendUnavailableError,
    NoCapacityError,
    SessionLostError,
    StartTimeoutError,
)
from jupyterhub_daas.spawners.backends.kubernetes import reading
from jupyterhub_daas.spawners.backends.kubernetes.clock import Clock
from jupyterhub_daas.spawners.backends.kubernetes.pod import SECRET_VARIABLES, object_name
from jupyterhub_daas.spawners.backends.watched import WatchedSession

if TYPE_CHECKING:
    from jupyterhub_daas.spawners.backends.kubernetes.backend import KubernetesBackend

LOOK_SECONDS = 2.0
# How long a session waits before it is asked whether any node is large enough: by then a cluster that grows
# has said that it does.
PATIENCE_SECONDS = 20.0

Pod = dict[str, Any]


class KubernetesSession(WatchedSession):
    """Start, watch and end the pod of one session."""

    def __init__(self, **given: Any) -> None:
        self._told_of: set[str] = set()
        self._grows = False
        self.wait_seconds, self.start_seconds = 3600.0, 300.0
        self._clock = Clock()
        super().__init__(**given)

    @property
    def _kubernetes(self) -> "KubernetesBackend":
        return cast("KubernetesBackend", self.backend)

    @property
    def _name(self) -> str:
        return object_name(self._kubernetes.hub_id, self.session_id)

    def get_env(self) -> dict[str, str]:
        """Return the session's environment, its token left out: that is no part of a pod."""
        environment = {key: value for key, value in super().get_env().items() if value is not None}
        return {key: str(value) for key, value in environment.items() if key not in SECRET_VARIABLES}

    # --- the start

    def _too_late(self) -> StartTimeoutError:
        message = "The session did not come up in time. Please try again. If it happens twice, tell support"
        return StartTimeoutError(message + (f": it was at “{self._news.last}”." if self._news.last else "."))

    async def _come_up(self) -> str:
        kubernetes = self._kubernetes
        await kubernetes.begin(self, self._started)
        await self._wait_for_a_node()
        self._clock.wind(self.start_seconds)
        host = await self._wait_until_it_runs()
        self._news.say(80, "Waiting for the session to answer")
        await self._wait_until_it_listens(host)
        return self._url(host)

    def _url(self, host: str) -> str:
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def _wait_for_a_node(self) -> None:
        pods, seen, asked = self._kubernetes.pods, False, False
        self._clock.wind(self.wait_seconds)
        while True:
            pod = pods.objects.get(self._name)
            if pod is not None:
                seen = True
                self._tell_events(pod)
                self._fail_if_it_ended(pod)
                if not reading.is_waiting_for_a_node(pod):
                    return
            elif seen:
                self._fail_if_it_was_removed()
            if self._clock.is_over(pods.current):
                raise NoCapacityError(
                    "No machine of the cluster had room in time. Please try later, or with a smaller size."
                )
            if pod is not None and not asked and self._clock.passed > PATIENCE_SECONDS:
                asked = True
                await self._fail_if_it_fits_nowhere()
            await pods.news(LOOK_SECONDS)

    async def _fail_if_it_fits_nowhere(self) -> None:
        if self._grows:
            return
        if why := await self._kubernetes.why_it_fits_nowhere(self._started):
            raise NoCapacityError(f"{why} Please choose a smaller size, or tell the support team.")

    async def _wait_until_it_runs(self) -> str:
        """Return the address of the pod once its session runs."""
        pods, stuck_since = self._kubernetes.pods, 0.0
        while True:
            pod = pods.objects.get(self._name)
            if pod is None:
                self._fail_if_it_was_removed()
            else:
                self._tell_events(pod)
                self._fail_if_it_ended(pod)
                if (host := reading.address(pod)) is not None:
                    return host
                stuck_since = self._fail_if_it_is_hopeless(pod, stuck_since)
            if self._clock.is_over(pods.current):
                raise self._too_late()
            await pods.news(LOOK_SECONDS)

    def _fail_if_it_was_removed(self) -> None:
        if self._kubernetes.pods.current:
            raise SessionLostError("The session ended while it was starting: somebody removed it.")

    def _fail_if_it_ended(self, pod: Pod) -> None:
        found = reading.ending(pod)
        if found is None:
            return
        self.log.warning("Session %s ended at its start: %s", self.session_id, found)
        raise SessionLostError(reading.why_it_ended(found), status=found.status, reason=found.reason)

    def _fail_if_it_is_hopeless(self, pod: Pod, since: float) -> float:
        found = reading.trouble(pod)
        if found is None:
            return 0.0
        since = since or time.monotonic()
        if time.monotonic() - since < found.patience:
            return since
        self.log.error("Session %s cannot come up: %s", self.session_id, found.detail)
        raise BackendError(
            f"{found.message} Please tell the support team, code {found.code}.", reason=found.code
        )

    async def _wait_until_it_listens(self, host: str) -> None:
        pods, pause = self._kubernetes.pods, 0.05
        while True:
            if await self._listens(host):
                return
            pod = pods.objects.get(self._name)
            if pod is None:
                self._fail_if_it_was_removed()
            else:
                self._fail_if_it_ended(pod)
            if self._clock.is_over(pods.current):
                raise self._too_late()
            await pods.news(pause)
            pause = min(pause * 1.2, 0.25)

    # --- progress

    def _tell_events(self, pod: Pod) -> None:
        """Tell the person what the cluster's events of this very pod mean."""
        kubernetes = self._kubernetes
        waits = reading.is_waiting_for_a_node(pod)
        before = reading.place_in_line(pod, kubernetes.pods.objects.values()) if waits else 0
        for event in kubernetes.events_of(pod):
            if event.get("reason") == "FailedScheduling" and not waits:
                continue
            key = f"{event['metadata']['uid']}{event.get('count')}{before}"
            if key in self._told_of:
                continue
            self._told_of.add(key)
            self.log.debug("Session %s: %s %s", self.session_id, event.get("reason"), event.get("message"))
            self._grows = self._grows or event.get("reason") == "TriggeredScaleUp"
            if (found := reading.words(event, before=before)) is not None:
                self._news.say(*found)

    # --- life and end

    async def poll(self) -> int | None:
        """Return None unless the cluster says that the session ended; then nothing of it is left."""
        try:
            pod = await self._kubernetes.find(self.session_id)
            if pod is None:
                return 1
            found = reading.ending(pod)
            if found is None:
                return None
            self.log.warning("Session %s ended: %s", self.session_id, found)
            await self._kubernetes.keep_log(self.session_id)
            await self._kubernetes.remove(self.session_id)
        except BackendUnavailableError:
            # Unknown is not ended.
            return None
        return found.status

    async def stop(self, now: bool = False) -> None:
        """End the session and return when nothing of it is left, however long the cluster is away."""
        await self._kubernetes.end(self.session_id, now=now)

    async def get_url(self) -> str:
        """Return where the session is reached: what the cluster says, if it is known already."""
        pod = self._kubernetes.pods.objects.get(self._name)
        host = reading.address(pod) if pod is not None else None
        if host is None:
            return str(await super().get_url())
        return f"{self._url(host)}{self.server.base_url}"

    def get_state(self) -> dict[str, Any]:
        """Return what a later hub process needs: the name follows from the session id."""
        return {**super().get_state(), "port": self.port}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what an earlier hub process recorded."""
        super().load_state(state)
        if state.get("port"):
            self.port = int(state["port"])
