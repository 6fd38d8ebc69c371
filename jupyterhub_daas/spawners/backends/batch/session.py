"""The child spawner of batch backends: one session is one job.

The job is known by its name, which is recorded before it is submitted. What the scheduler does not say for
certain is not taken for an end: a session that waits, is suspended or cannot be asked for is kept.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from jupyterhub.spawner import Spawner
from traitlets import Any as AnyTrait
from traitlets import Instance, Unicode, default

from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.errors import (
    BackendError,
    BackendUnavailableError,
    DaasError,
    NoCapacityError,
    NotFoundError,
    SessionLostError,
    StartTimeoutError,
)
from jupyterhub_daas.spawners import rows
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest, Phase
from jupyterhub_daas.spawners.backends.batch.script import Given, build_script
from jupyterhub_daas.spawners.backends.names import thing_name
from jupyterhub_daas.spawners.backends.news import StartNews
from jupyterhub_daas.spawners.backends.ticket import Ticket, seal, unseal

if TYPE_CHECKING:
    from jupyterhub_daas.spawners.backends.batch.backend import BatchBackend

WAITING, RUNNING, LISTENING = 55, 70, 80


class BatchSession(Spawner):  # type: ignore[misc]  # jupyterhub ships no types
    """Submit, watch and end the job of one session."""

    backend = AnyTrait(help="The BatchBackend that built this spawner.")
    session_id = Unicode(help="The id in the job's name.")
    launch = Instance(Launch, allow_none=True, help="What to start; None once it runs.")

    def __init__(self, **given: Any) -> None:
        self.ticket = Ticket()
        self.sealed = ""
        # Seconds that a start may wait for its place, and then for its server.
        self._patience = (0.0, 0.0)
        self.job_id = self.log_name = ""
        # When, by the monotonic clock, the job was last known to be there: what was asked before does not
        # count.
        self._there_at = float("-inf")
        self.stops_at: datetime | None = None
        self._since = time.time()
        self._news = StartNews()
        self._changed = asyncio.Event()
        self._given_up = False
        super().__init__(**given)

    @default("env_keep")
    def _keep_nothing(self) -> list[str]:
        return []

    @default("poll_interval")
    def _poll_as_often_as_we_ask(self) -> int:
        return max(1, round(self._batch.options.interval_seconds))

    @property
    def _batch(self) -> "BatchBackend":
        return cast("BatchBackend", self.backend)

    # --- the start

    async def start(self) -> tuple[str, int]:
        """Submit the job and wait until its server listens."""
        launch = self.launch
        if launch is None:
            raise SessionLostError("A session that runs already cannot be started again.")
        submission: asyncio.Future[str] | None = None
        hub_ends = self._batch.witness()
        try:
            async with self._batch.lookups.passing():
                account = await self._batch.account_of(launch.person)
            request = self._prepare(launch, account)
            self.tell(WAITING - 3, "Asking the cluster for a place")
            submission = asyncio.ensure_future(self._submit(request))
            # A submission that has begun is never left alone: what it made must be known, to be ended.
            self.job_id = await asyncio.shield(submission)
            self._there_at = time.monotonic()
            self.log.info(
                "Submitted session %s of %s as job %s", self.session_id, self.user.name, self.job_id
            )
            self._keep()
            return await self._wait_for_port()
        except asyncio.CancelledError:
            # The hub that ends in order cancels all of its tasks: the next one finds the job and goes on.
            await asyncio.sleep(0)
            if not hub_ends.done():
                await asyncio.shield(self._abandon(submission))
            raise
        except BaseException:
            await asyncio.shield(self._abandon(submission))
            raise
        finally:
            self._news.end()
            self._changed.set()

    async def _submit(self, request: JobRequest) -> str:
        """Submit the job, as soon as the scheduler answers."""
        told = ""
        while True:
            try:
                # One after the other: the scheduler gets them in the order in which they were asked for.
                async with self._batch.submissions:
                    self._check_wanted()
                    return await self._batch.transport.submit(request)
            except BackendUnavailableError as error:
                told = self._tell_once(told, WAITING - 2, f"{error.message} Trying again.")
            # It may have taken the job and only failed to say so: who submits twice has two.
            found = await self._find_submitted()
            if found:
                return found

    async def _find_submitted(self) -> str:
        while True:
            self._check_wanted()
            self._check_wait()
            await asyncio.sleep(self._batch.options.start_interval_seconds)
            with contextlib.suppress(BackendUnavailableError):
                snapshot = await self._batch.watch.look(after=time.monotonic(), age=0)
                job = snapshot.jobs.get(self.session_id)
                return job.id if job is not None else ""

    def _prepare(self, launch: Launch, account: JobAccount) -> JobRequest:
        self.ticket, code = Ticket.issue()
        self._since, self.log_name = time.time(), f"{launch.session}.log"
        order = self._batch.build_order(launch, self.get_env(), account)
        self.sealed = seal(order, code)
        software = self._batch.software_of(launch)
        self._patience = software.wait_seconds, software.start_seconds
        given = Given(
            url=f"{self._hub_url(order)}daas/jobs/{self.session_id}/",
            code=code,
            uid=account.uid,
            gid=account.gid,
            groups=() if account.home else launch.person.groups,
            home=account.home,
            log=self.log_name,
            ca=self._batch.options.ca_file,
            is_file=self._batch.script_is_file,
        )
        # Before there is a job: whatever happens next, it will find its session.
        self._keep()
        return self._batch.build_request(
            launch,
            account,
            name=thing_name(self._batch.hub_id, self.session_id),
            script=build_script(given, python=self._batch.options.python),
        )

    def _hub_url(self, order: Mapping[str, Any]) -> str:
        api: str = order["environment"]["JUPYTERHUB_API_URL"]
        return self._batch.options.hub_url or api.rstrip("/").removesuffix("api")

    def _keep(self) -> None:
        rows.keep_state(self, {**(self.orm_spawner.state or {}), "child": self.get_state()})

    async def _abandon(self, submission: "asyncio.Future[str] | None") -> None:
        """End what a start that failed or was cancelled may have made."""
        if submission is None:
            return
        self._given_up = True
        try:
            with contextlib.suppress(BackendError):
                await submission
            await self._batch.remove(self.session_id)
        except BackendError as error:
            # The hub asks for the end again, and reconciliation after that.
            self.log.warning("The job of session %s is ended later: %s", self.session_id, error.message)

    async def _wait_for_port(self) -> tuple[str, int]:
        running_since: float | None = None
        told = ""
        while True:
            self._changed.clear()
            try:
                job = await self._job(age=self._batch.options.start_interval_seconds)
            except BackendError as error:
                told = self._tell_once(told, WAITING, f"{error.message} Your place is kept.")
                continue
            if job is None or job.phase is Phase.ENDED:
                raise SessionLostError(self._batch.why_ended(job, "while it was starting"))
            if job.phase is Phase.WAITING:
                told = self._tell_once(told, WAITING, self._batch.why_waiting(job))
                self._check_wait()
            elif self.ticket.port and job.node:
                return self._batch.options.address_of(job.node), self.ticket.port
            else:
                running_since = running_since or time.monotonic()
                told = self._tell_once(told, RUNNING, f"Starting on {job.node or 'the cluster'}")
                if time.monotonic() > running_since + self._patience[1]:
                    raise StartTimeoutError(
                        "The session got its place on the cluster and did not come up in time. Please "
                        "try again. If it happens twice, tell support."
                    )
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._batch.options.start_interval_seconds)

    def _check_wanted(self) -> None:
        if self._given_up:
            raise SessionLostError("The start was cancelled.")

    def _check_wait(self) -> None:
        if time.time() > self._since + self._patience[0]:
            raise NoCapacityError(
                "Nothing became free on the cluster in the time that we wait. Please try later, or a "
                "smaller flavour."
            )

    async def _job(self, *, age: float) -> Job | None:
        snapshot = await self._batch.watch.look(after=self._there_at, age=age)
        job = snapshot.jobs.get(self.session_id)
        if job is not None:
            self.stops_at = job.stops_at
        return job

    # --- what the job says

    def redeem(self, code: str, secret: str) -> dict[str, Any]:
        """Return the launch for the job that has this code."""
        if not self.sealed:
            raise NotFoundError("There is no such job.")
        self.ticket = self.ticket.redeemed(code, secret)
        self._there_at = time.monotonic()
        self._changed.set()
        self._keep()
        return unseal(self.sealed, code)

    def report(self, secret: str, port: int) -> None:
        """Take the port of the job that has this secret."""
        self.ticket = self.ticket.reported(secret, port)
        self._keep()
        self.tell(LISTENING, "Connecting")

    # --- progress

    def tell(self, progress: int, message: str) -> None:
        """Add a line to what the person reads."""
        self._news.add(progress, message)
        self._changed.set()

    def _tell_once(self, told: str, progress: int, message: str) -> str:
        if message != told:
            self._news.add(progress, message)
        return message

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what is told until the start is over."""
        async for event in self._news.follow():
            yield event

    # --- the running session

    async def poll(self) -> int | None:
        """Return None unless the scheduler said for certain that the job has ended."""
        try:
            job = await self._job(age=self._batch.options.interval_seconds)
        except BackendError as error:
            self.log.warning("State of session %s unknown, kept: %s", self.session_id, error.message)
            return None
        if job is not None and job.phase is Phase.WAITING and self.ticket.port:
            await self._end_requeued(job)
        elif job is not None and job.phase is not Phase.ENDED:
            return None
        self.log.info("Session %s: %s", self.session_id, self._batch.why_ended(job, ""))
        return 0

    async def _end_requeued(self, job: Job) -> None:
        """End a job that waits for a second time: what was in the session's memory is gone."""
        self.log.warning("Job %s of session %s was queued again, and is ended.", job.id, self.session_id)
        with contextlib.suppress(BackendError):
            # Else reconciliation does.
            await self._batch.transport.cancel(job)

    async def stop(self, now: bool = False) -> None:
        """End the job, and return when the scheduler says that it is gone."""
        await self._batch.remove(self.session_id)

    async def get_url(self) -> str:
        """Return where the session is; after a restart of the hub once the job has reported. Never raises."""
        url: str = self.server.url
        if self.sealed and self.server.port != self.ticket.port:
            try:
                host, port = await self._wait_for_port()
            except DaasError as error:
                # The hub finds nobody there, and ends what is left.
                self.log.warning("Session %s did not come up: %s", self.session_id, error.message)
                return url
            url = f"http://{host}:{port}{self.server.base_url}"
        return url

    # --- state

    def get_state(self) -> dict[str, Any]:
        """Return what a later hub process needs; valid before the job is submitted."""
        state = dict(super().get_state())
        if self.sealed:
            state |= {
                "ticket": self.ticket.model_dump(),
                "sealed": self.sealed,
                "since": self._since,
                "patience": self._patience,
                "log_name": self.log_name,
            }
        if self.job_id:
            state["job_id"] = self.job_id
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what an earlier hub process recorded."""
        super().load_state(state)
        self.job_id = str(state.get("job_id", ""))
        self.log_name = str(state.get("log_name", ""))
        self.ticket = Ticket.model_validate(state.get("ticket", {}))
        self.sealed = str(state.get("sealed", ""))
        wait, start = state.get("patience", (0.0, 0.0))
        self._patience = float(wait), float(start)
        self._since = float(state.get("since", time.time()))

    def clear_state(self) -> None:
        """Forget the job."""
        super().clear_state()
        self.ticket, self.sealed, self.job_id = Ticket(), "", ""
