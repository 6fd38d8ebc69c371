"""Sessions as jobs of the lab's OAR, all under the account of a hub that is not root."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from jupyterhub_daas.spawners.backends.names import session_of
from tests.spawners.backends.base import BackendUnderTest
from tests.spawners.portal import small_profile
from tests.support.oar_lab import OarLab, oar_backend
from tests.support.stack import Stack


class Oar(BackendUnderTest):
    """The lab that everybody shares; only this one's own jobs are looked at."""

    name = "oar"
    lab = "oar"
    daemons = ("Almighty", "postgres")
    patience = 120.0
    # Its jobs take longest to start and end; chance has its server killed in the second.
    chaos_rounds = 2

    def __init__(self, lab: Mapping[str, str]) -> None:
        super().__init__(lab)
        self.oar = OarLab(Path(lab["DAAS_OAR_LAB"]))
        self._inside = ExitStack()
        self._inside.enter_context(self.oar.network())

    def close(self) -> None:
        """Leave the lab's network."""
        self._inside.close()

    def profile(self, mode: str) -> dict[str, Any]:
        """Any Python will do for a small server."""
        more = {"start_seconds": 8} if mode == "never" else {}
        options: dict[str, Any] = small_profile(mode, **more)["options"]
        return options

    def options(self, folder: Path) -> dict[str, Any]:
        """Keep people's homes below the hub's own folder."""
        return oar_backend(homes=str(folder / "homes"))

    def build_stack(
        self, folder: Path, *, extra: str = "", configure: Mapping[str, Any] | None = None, **settings: Any
    ) -> Stack:
        """Build a portal inside the lab."""
        return self.oar.admit(super().build_stack(folder, extra=extra, configure=configure, **settings))

    def jobs(self, hub_id: str) -> list[tuple[str, int, object]]:
        """Return session, number and node of each job of a hub that has not ended."""
        named = [
            (session_of(str(job["name"]), hub_id), number, job["assigned_network_address"])
            for number, job in self.oar.jobs().items()
        ]
        return [each for each in named if each[0]]

    def things(self, hub_id: str) -> frozenset[str]:
        """Ask OAR for jobs."""
        return frozenset(session for session, _job, _node in self.jobs(hub_id))

    def traces(self, hub_id: str, session_id: str) -> Collection[object]:
        """Return the session's jobs and where they run."""
        return [(job, node) for session, job, node in self.jobs(hub_id) if session == session_id]

    def kill(self, hub_id: str, session_id: str) -> None:
        """Delete the job as an administrator would."""
        self.oar.delete(*(job for session, job, _node in self.jobs(hub_id) if session == session_id))

    def kill_daemon(self, daemon: str) -> None:
        """End the lab's server or its database."""
        self.oar.end(daemon)

    def mend(self) -> None:
        """Start what is dead of the lab."""
        self.oar.mend()

    @contextmanager
    def away(self) -> Iterator[None]:
        """End the database, without which nobody knows anything; jobs run on."""
        self.oar.end("postgres")
        try:
            yield
        finally:
            self.oar.mend()
