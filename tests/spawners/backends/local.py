"""Sessions as processes of this machine."""

import os
import signal
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from jupyterhub_daas.spawners.backends.local import processes
from tests.spawners.backends.base import BackendUnderTest
from tests.spawners.portal import small_profile


class Local(BackendUnderTest):
    """The machine itself: no lab."""

    name = "local"

    def profile(self, mode: str) -> dict[str, Any]:
        """Any Python will do for a small server."""
        more = {"start_seconds": 4} if mode == "never" else {}
        options: dict[str, Any] = small_profile(mode, **more)["options"]
        return options

    def things(self, hub_id: str) -> frozenset[str]:
        """Look into the process table."""
        return processes.find_sessions(hub_id)

    def traces(self, hub_id: str, session_id: str) -> Collection[object]:
        """Return the living processes of the session."""
        return processes.find_family(hub_id, session_id).members

    def kill(self, hub_id: str, session_id: str) -> None:
        """Kill every process of the session, supervisors first."""
        for pid in sorted(processes.find_family(hub_id, session_id).members):
            # One supervisor may have noticed the other's end and be at it already.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def away(self) -> AbstractContextManager[None]:
        """Do nothing: a hub cannot lose the machine that it runs on."""
        return nullcontext()
