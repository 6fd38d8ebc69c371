"""The OAR backend: sessions as jobs, submitted as the person and never as root."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.spawners.backends.base import parse_options
from jupyterhub_daas.spawners.backends.batch.accounts import account_of_job
from jupyterhub_daas.spawners.backends.batch.backend import BatchBackend, runs_as_root
from jupyterhub_daas.spawners.backends.batch.commands import LocalRunner
from jupyterhub_daas.spawners.backends.batch.jobs import Job
from jupyterhub_daas.spawners.backends.oar import words
from jupyterhub_daas.spawners.backends.oar.capacity import count
from jupyterhub_daas.spawners.backends.oar.cli import OarPrograms
from jupyterhub_daas.spawners.backends.oar.options import OarOptions, OarSoftware, Place

VARIABLES = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class OarBackend(BatchBackend):
    """Run sessions on a cluster with OAR."""

    key = "oar"
    software_model = OarSoftware
    script_is_file = True

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        self._own = parse_options(OarOptions, options, "DaasSpawner.backends.oar")
        sudo = None if runs_as_root() else self._own.sudo
        # What is written as the person is for nobody else.
        runner = LocalRunner(VARIABLES, seconds=self._own.command_seconds, sudo=sudo, umask=0o077)
        self.programs = OarPrograms(runner, self._own, hub_id=hub_id, find_account=account_of_job)
        self.use(self.programs, self._own)

    async def resources(self, flavours: Sequence[Flavour]) -> tuple[Availability, ...]:
        """Return what the cluster has free for these flavours, where some profile lets them go."""
        busy = await self.programs.busy()
        found, known = [], dict[str | None, Mapping[str, Any]]()
        for flavour in flavours:
            conditions = {place.properties for place in cast("list[Place]", self.places_for(flavour))}
            for condition in conditions - known.keys():
                known[condition] = await self.programs.nodes(condition)
            nodes = {number: each for condition in conditions for number, each in known[condition].items()}
            if conditions:
                found.append(count(nodes, busy, flavour, self._own))
        return tuple(found)

    def why_waiting(self, job: Job) -> str:
        """Say why a job waits."""
        return words.why_waiting(job)

    def why_ended(self, job: Job | None, when: str) -> str:
        """Say why a session ended."""
        return words.why_ended(job, when)
