"""Sessions as jobs of the lab's Slurm, all under the account of a hub that is not root."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyterhub_daas.spawners.backends.names import session_of
from tests.spawners.backends.base import BackendUnderTest
from tests.spawners.portal import small_profile
from tests.support.slurm_lab import SlurmLab, slurm_backend


class Slurm(BackendUnderTest):
    """The lab that everybody shares; only this one's own jobs are looked at."""

    name = "slurm"
    lab = "slurm"
    daemons: tuple[str, ...] = ("slurmctld", "slurmd", "munged")
    patience = 90.0

    def __init__(self, lab: Mapping[str, str]) -> None:
        super().__init__(lab)
        folder = Path(lab["SLURM_CONF"]).parents[1]
        # By hand, with the variables of the lab.
        database = (folder / "etc" / "slurmdbd.conf").exists()
        accounts = os.environ.get("DAAS_SLURM_ACCOUNTS", "").split()
        self.slurm = SlurmLab(folder, accounts=accounts, database=database)
        self.daemons = (*self.daemons, "slurmdbd") if database else self.daemons

    def profile(self, mode: str) -> dict[str, Any]:
        """Any Python will do for a small server."""
        more = {"start_seconds": 8} if mode == "never" else {}
        options: dict[str, Any] = small_profile(mode, **more)["options"]
        return options

    def options(self, folder: Path) -> dict[str, Any]:
        """Give the hub the lab, and people's homes below its own folder."""
        return dict(slurm_backend(self.slurm, homes=str(folder / "homes")))

    def jobs(self, hub_id: str) -> list[tuple[str, str, str]]:
        """Return session, id and node of each job of a hub that has not ended."""
        listed = self.slurm.ask("squeue", "--noheader", "--format=%j|%i|%N").splitlines()
        jobs = [line.split("|") for line in listed]
        return [(session_of(name, hub_id), job, node) for name, job, node in jobs if session_of(name, hub_id)]

    def things(self, hub_id: str) -> frozenset[str]:
        """Ask Slurm for jobs."""
        return frozenset(session for session, _job, _node in self.jobs(hub_id))

    def traces(self, hub_id: str, session_id: str) -> Collection[object]:
        """Return the session's jobs and where they run."""
        return [(job, node) for session, job, node in self.jobs(hub_id) if session == session_id]

    def kill(self, hub_id: str, session_id: str) -> None:
        """Cancel the job as an administrator would."""
        for session, job, _node in self.jobs(hub_id):
            if session == session_id:
                self.slurm.ask("scancel", job)

    def kill_daemon(self, daemon: str) -> None:
        """Kill one of the lab's daemons, or end it where a kill would lose jobs of others."""
        self.slurm.end(daemon)

    def mend(self) -> None:
        """Start what is dead of the lab."""
        self.slurm.mend()

    @contextmanager
    def away(self) -> Iterator[None]:
        """End the controller; jobs run on without it."""
        self.slurm.end("slurmctld")
        try:
            yield
        finally:
            self.slurm.mend()
