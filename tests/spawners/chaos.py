"""Kill parts of a portal at random moments while sessions start and stop, and see what is left.

Each round is decided by its number alone, so that one which failed can be tried again.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import requests

from jupyterhub_daas.core.names import ADJECTIVES
from tests.spawners.backends import BackendUnderTest
from tests.spawners.portal import PROPOSAL, Portal
from tests.support.postgres import Postgres
from tests.support.waiting import wait_until

SERVICES = ("proposals", "quotas", "accounts", "lifecycle", "portal")
PEOPLE = ("amara", "bruno")
KEPT, KEPT_BY = "keen-raman", "amara"
STARTS = {"proposal": PROPOSAL, "environment": "works"}
# A session may have to wait for its backend, for services that the hub looks after every half minute, and for
# what lifecycle finds after that.
SETTLES_SECONDS = 180.0


class Chaos:
    """A portal whose parts are killed in turn; one session of it has to outlive them all."""

    def __init__(self, portal: Portal, backend: BackendUnderTest, database: Postgres) -> None:
        self.portal, self.backend, self.database = portal, backend, database
        self.parts: Mapping[str, Callable[[], None]] = {
            "hub": portal.stack.kill_hub,
            "database": database.stop,
            **{name: partial(self._kill_service, name) for name in SERVICES},
            **{name: partial(backend.kill_daemon, name) for name in backend.daemons},
        }
        portal.start(KEPT, STARTS, KEPT_BY)
        portal.wait_ready(KEPT, KEPT_BY)
        self._kept = self._traces()

    def _traces(self) -> object:
        session_id = self.portal.session_id(KEPT, KEPT_BY)
        return session_id, self.backend.traces(self.portal.hub_id, session_id)

    def _kill_service(self, name: str) -> None:
        # One that ended by itself a moment ago is not there to be killed.
        with suppress(LookupError, ProcessLookupError):
            os.kill(self.portal.stack.service_pid(name), signal.SIGKILL)

    def round(self, number: int) -> str:
        """Have people start and stop sessions, kill one part, mend it; return which it was."""
        chance = random.Random(number)
        part = chance.choice(sorted(self.parts))
        asked, enough, ended = [0], chance.randrange(2, 9), threading.Event()

        def churn(person: str, name: str) -> None:
            while not ended.is_set():
                # What is away refuses, or does not answer at all: she tries again.
                with suppress(requests.RequestException):
                    self.portal.start(name, STARTS, person)
                    asked[0] += 1
                    self.portal.stack.admin("DELETE", f"/users/{person}/servers/{name}")

        names = [(person, f"{word}-bohr") for person, word in zip(PEOPLE * 2, ADJECTIVES, strict=False)]
        with ThreadPoolExecutor(len(names)) as pool:
            for person, name in names:
                pool.submit(churn, person, name)
            # By what was done, not by the clock: a machine may be slow.
            wait_until(lambda: asked[0] >= enough, SETTLES_SECONDS, what="some starts were asked for")
            self.parts[part]()
            ended.set()
        self._mend(part)
        begin = time.monotonic()
        wait_until(self._is_settled, SETTLES_SECONDS, what=f"all agree after round {number}, {part} killed")
        assert self._traces() == self._kept, f"round {number}, {part} killed"
        print(f"round {number}: {part} killed, all agree after {time.monotonic() - begin:.0f} s", flush=True)
        return part

    def _mend(self, part: str) -> None:
        if part == "hub":
            self.portal.stack.start_hub()
        elif part == "database":
            self.database.start()
        self.backend.mend()

    def _is_settled(self) -> bool:
        try:
            return self.portal.is_settled() and self._is_accounted()
        except requests.RequestException:
            return False

    def _is_accounted(self) -> bool:
        """Tell whether each session either runs or has an end, and nobody's quota counts anything else."""
        everything = self.portal.stack.call("quotas", "GET", "reservations", params={"limit": 1000})
        everything.raise_for_status()
        open_ones = {each["session_id"] for each in everything.json()["items"] if each["ended_at"] is None}
        used = [self._machines(person) for person in PEOPLE]
        return open_ones == self.portal.living() and sum(used) == len(open_ones)

    def _machines(self, person: str) -> float:
        answer = self.portal.stack.call("quotas", "GET", f"people/{person}/quota")
        answer.raise_for_status()
        return float(answer.json()["used"]["machines"])
