"""The child spawner of the OpenStack backend: one machine per session.

All that can fail, fails in `start`, apart and in a sentence: what the cloud refuses, what it cannot build,
what takes too long, a machine that boots and never reports. `poll` says that a session ended only when cloud
or machine said so; `stop` returns only when nothing of it is left.
"""

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

from jupyterhub_daas.errors import (
    BackendError,
    BackendUnavailableError,
    DaasError,
    SessionLostError,
    StartTimeoutError,
)
from jupyterhub_daas.spawners import rows
from jupyterhub_daas.spawners.backends.machines import Bootstrap, Ended
from jupyterhub_daas.spawners.backends.openstack import words
from jupyterhub_daas.spawners.backends.openstack.cloud import CREDENTIAL, lets_in
from jupyterhub_daas.spawners.backends.openstack.server import Machine
from jupyterhub_daas.spawners.backends.openstack.words import Phase
from jupyterhub_daas.spawners.backends.watched import WatchedSession

if TYPE_CHECKING:
    from jupyterhub_daas.spawners.backends.openstack.backend import OpenStackBackend

_WHY_ENDED = {
    Ended.ACCOUNT: "The machine could not make your account.",
    Ended.MOUNT: "The machine could not mount your folders.",
    Ended.COMMAND: "The machine's image lacks the software of this environment.",
    Ended.LISTEN: "The software on the machine did not come up.",
}


class OpenStackSession(WatchedSession):
    """Start, watch and end the machine of one session."""

    def __init__(self, **given: Any) -> None:
        self.build_seconds, self.start_seconds = 600.0, 300.0
        # The machine's address, known once it has its port.
        self.host = ""
        # Its machine of the bank, if it has one.
        self.machine_id = ""
        self._since = float("-inf")
        super().__init__(**given)
        self.bootstrap = Bootstrap(
            self.session_id, name=self.name, person=self.user.name, keep=lambda: self._keep()
        )

    @property
    def _openstack(self) -> "OpenStackBackend":
        return cast("OpenStackBackend", self.backend)

    def _keep(self) -> None:
        rows.keep_state(self, {**(self.orm_spawner.state or {}), "child": self.get_state()})

    # --- the start

    async def _come_up(self) -> str:
        if (place := await self._from_the_bank()) is not None:
            return place
        self._news.say(52, "Asking the cloud for a machine")
        try:
            await asyncio.wait_for(self._openstack.begin(self, self._started), self.build_seconds)
            self._since = time.monotonic()
            self._news.say(56, "The cloud builds the machine")
            await asyncio.wait_for(self._wait_until_it_is_built(), self.build_seconds)
        except BackendUnavailableError as error:
            if lets_in(error):
                raise
            raise BackendError(
                "The cloud does not accept the portal's credential. Please tell the support team, code "
                f"{CREDENTIAL}.",
                reason=CREDENTIAL,
            ) from error
        except asyncio.TimeoutError:
            raise self._late("The cloud did not build the machine in time.") from None
        self._news.say(70, "The machine boots")
        try:
            return await asyncio.wait_for(self._wait_for_its_report(), self.start_seconds)
        except asyncio.TimeoutError:
            message = (
                "The machine started the session, which does not listen."
                if self.bootstrap.fetched
                else "The machine was built, and never reported to the portal."
            )
            raise self._late(message) from None

    async def _from_the_bank(self) -> str | None:
        openstack, launch = self._openstack, self._started
        if openstack.bank is None:
            return None
        order = await openstack.order_of(self, launch)

        async def wait() -> str:
            self._since = time.monotonic()
            self._news.say(70, "A machine was ready")
            return await self._wait_for_its_report()

        return await openstack.from_the_bank(self, launch, order, wait)

    def _too_late(self) -> StartTimeoutError:
        return self._late("The machine did not come up in time.")

    def _late(self, what: str) -> StartTimeoutError:
        return StartTimeoutError(f"{what} Please try again. If it happens twice, tell support.")

    async def _look(self) -> Machine | None:
        return await self._openstack.look(self.session_id, since=self._since)

    async def _wait_until_it_is_built(self) -> None:
        while True:
            try:
                found = await self._look()
            except BackendUnavailableError as error:
                if not lets_in(error):
                    raise
                self._news.say(56, f"{error.message} Trying again.")
                await asyncio.sleep(self._openstack.options.interval_seconds)
                continue
            if found is None:
                raise SessionLostError(
                    "The session ended while it was starting: somebody removed its machine."
                )
            if found.phase is Phase.FAILED:
                self.log.error("Session %s: the cloud's fault is %r", self.session_id, found.fault)
                raise words.fault(found.fault).error()
            if found.phase is not Phase.BUILDING:
                self.bootstrap.expect(found.addresses)
                return
            await asyncio.sleep(self._openstack.options.interval_seconds)

    async def _wait_for_its_report(self) -> str:
        """Return where the session is once its machine says that it listens."""
        while True:
            self.bootstrap.changed.clear()
            self._fail_if_it_ended()
            if self.bootstrap.fetched:
                self._news.say(78, "The machine has its session")
            if self.bootstrap.port:
                return self._url()
            try:
                self._fail_if_it_is_off(await self._look())
            except BackendUnavailableError as error:
                self.log.warning("Session %s: %s", self.session_id, error.message)
            waiting = asyncio.ensure_future(self.bootstrap.changed.wait())
            await asyncio.wait({waiting}, timeout=self._openstack.options.interval_seconds)
            waiting.cancel()

    def _fail_if_it_ended(self) -> None:
        ended = self.bootstrap.ended
        if ended is None:
            return
        known = _WHY_ENDED.get(ended.ended)
        if known is not None:
            code = f"machine-{ended.ended.value}"
            raise BackendError(f"{known} Please tell the support team, code {code}.", reason=code)
        raise SessionLostError(
            f"The session ended while it was starting (exit status {ended.status}).", status=ended.status
        )

    def _fail_if_it_is_off(self, found: Machine | None) -> None:
        if found is None:
            raise SessionLostError("The session ended while it was starting: somebody removed its machine.")
        if found.phase in (Phase.ENDED, Phase.FAILED):
            self._fail_if_it_ended()
            raise SessionLostError("The session ended while it was starting: its machine is off.")

    def _url(self) -> str:
        found = self.bootstrap.addresses[0] if self.machine_id else self.host
        host = f"[{found}]" if ":" in found else found
        return f"http://{host}:{self.bootstrap.port}"

    # --- life and end

    async def poll(self) -> int | None:
        """Return None unless cloud or machine says that the session ended; then nothing of it is left."""
        ended = self.bootstrap.ended
        try:
            found = await self._look()
            if found is not None and ended is None and found.phase in (Phase.BUILDING, Phase.RUNNING):
                return None
            self.log.warning(
                "Session %s ended: machine %s, %s",
                self.session_id,
                "gone" if found is None else found.phase.value,
                "it said nothing" if ended is None else ended.ended.value,
            )
            if found is not None:
                await self._openstack.keep_log(self.session_id)
            await self._openstack.remove(self.session_id)
        except BackendError as error:
            # Unknown is not ended.
            self.log.warning("State of session %s unknown, kept: %s", self.session_id, error.message)
            return None
        return 1 if ended is None else ended.status

    async def stop(self, now: bool = False) -> None:
        """End the session and return when nothing of it is left, however long the cloud is away."""
        await self._openstack.end(self.session_id)

    async def get_url(self) -> str:
        """Return where the session is; after a restart of the hub once its machine has reported."""
        url = str(self.server.url)
        if self.bootstrap.port and self.server.port == self.bootstrap.port:
            return url
        try:
            place = await asyncio.wait_for(self._wait_for_its_report(), self.start_seconds)
            return f"{place}{self.server.base_url}"
        except (DaasError, asyncio.TimeoutError) as error:
            # The hub finds nobody there, and ends what is left.
            self.log.warning("Session %s did not come up: %r", self.session_id, error)
            return url

    def get_state(self) -> dict[str, Any]:
        """Return what a later hub process needs; no secret is in it."""
        return {
            **super().get_state(),
            "host": self.host,
            "machine_id": self.machine_id,
            "bootstrap": self.bootstrap.dump(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what an earlier hub process recorded."""
        super().load_state(state)
        self.host = str(state.get("host", ""))
        self.bootstrap.load(state.get("bootstrap"))
        if state.get("machine_id"):
            self._openstack.took(self, str(state["machine_id"]))
