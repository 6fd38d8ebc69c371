"""Keep the snapshot as the directory is: look whether it changed, have it read, remember what was wrong.

Whatever goes wrong, the last good snapshot stays in use, and health says so.
"""

import asyncio
import logging
import os
import sys
import time
from datetime import datetime, timezone

from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from jupyterhub_daas.errors import DaasError, UpstreamUnavailableError
from jupyterhub_daas.services.proposals.connectors.base import DirectoryError
from jupyterhub_daas.services.proposals.loading import Order, Outcome
from jupyterhub_daas.services.proposals.store import DirectoryStore, SnapshotState

log = logging.getLogger("jupyterhub_daas.services.proposals")

LOOK_SECONDS = 1.0
# A reader that died (of memory, or of the database) may fare better later; a wrong file only after a change.
RETRY_SECONDS = 60.0

AGE = Gauge("daas_directory_age_seconds", "Time since the snapshot in use was read.")
ITEMS = Gauge("daas_directory_items", "What the snapshot in use holds.", ["kind"])
FAILING = Gauge("daas_directory_failing", "1 while the directory can't be read as it is now.")
ERRORS = Counter("daas_directory_errors", "Readings of the directory that failed.")
READING_SECONDS = Gauge("daas_directory_reading_seconds", "Time that the last reading took.")


class DirectoryWatch:
    """Look at the directory and have it read when it changed."""

    def __init__(self, order: Order, store: DirectoryStore) -> None:
        self._order = order
        self._store = store
        self._state: SnapshotState | None = None
        self._problem: DirectoryError | None = None
        self._tried: str | None = None
        self._retry_at: float | None = None
        AGE.set_function(self._age)

    def _age(self) -> float:
        if self._state is None:
            return float("nan")
        return (datetime.now(timezone.utc) - self._state.read_at).total_seconds()

    async def check(self) -> None:
        """Raise if the directory as it is now is not what is in use; names in it are not for everybody."""
        if self._problem is not None:
            line = "" if self._problem.line is None else f" because of an error in line {self._problem.line}"
            used = "none" if self._state is None else f"that of {self._state.read_at:%Y-%m-%d %H:%M} UTC"
            raise DirectoryError(f"The facility's directory can't be read{line}; in use is {used}.")
        if self._state is None:
            raise UpstreamUnavailableError("The facility's directory is being read.", service="directory")

    async def watch(self) -> None:
        """Look again and again."""
        await self._read_state()
        if self._state is not None:
            self._tried = self._state.fingerprint
        seen: str | None = None
        while True:
            now = await self._fingerprint()
            # A file that is being written is left to settle, but the first one is awaited by everybody.
            if now is not None and (now == seen or self._state is None):
                await self._read_if_new(now)
            seen = now
            await asyncio.sleep(LOOK_SECONDS)

    async def _fingerprint(self) -> str | None:
        try:
            return await asyncio.to_thread(self._order.fingerprint)
        except DirectoryError as error:
            self._fail(error)
            self._tried = None
            return None

    async def _read_if_new(self, fingerprint: str) -> None:
        if self._state is not None and fingerprint == self._state.fingerprint:
            # As good as read: perhaps after an error that was taken back.
            self._succeed()
            self._tried = fingerprint
            return
        due = self._retry_at is not None and time.monotonic() >= self._retry_at
        if fingerprint == self._tried and not due:
            return
        self._tried, self._retry_at = fingerprint, None
        started = time.monotonic()
        try:
            outcome = await run_reader(self._order)
        except DaasError as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._fail(DirectoryError(error.message))
            return
        READING_SECONDS.set(time.monotonic() - started)
        if outcome.error is not None:
            self._fail(DirectoryError(outcome.error, line=outcome.line))
            return
        await self._read_state()
        self._succeed()
        log.info("Read the directory in %.1f s: %d changes", time.monotonic() - started, outcome.changes)

    def _fail(self, error: DirectoryError) -> None:
        if self._problem is None or self._problem.message != error.message:
            ERRORS.inc()
            log.error("The directory can't be read, the last good one stays in use: %s", error.message)
        self._problem = error
        FAILING.set(1)

    def _succeed(self) -> None:
        if self._problem is not None:
            log.info("The directory is in order again")
        self._problem = None
        FAILING.set(0)

    async def _read_state(self) -> None:
        self._state = await self._store.snapshot()
        if self._state is not None:
            for kind in ("people", "instruments", "proposals"):
                ITEMS.labels(kind).set(getattr(self._state, kind))


async def run_reader(order: Order) -> Outcome:
    """Have an order done by a process of its own; it ends with this one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "jupyterhub_daas.services.proposals.loading",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # The reader needs nothing of the hub, so it gets no token.
        env={name: value for name, value in os.environ.items() if not name.startswith("JUPYTERHUB_")},
    )
    try:
        answer, _ = await process.communicate(order.model_dump_json().encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        outcome = Outcome.model_validate_json(answer)
    except ValidationError:
        raise UpstreamUnavailableError(
            f"The reader of the directory ended with status {process.returncode}.", service="directory"
        ) from None
    if outcome.away is not None:
        raise UpstreamUnavailableError(outcome.away, service="database")
    return outcome
