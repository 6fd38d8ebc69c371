"""The Slurm backend: sessions as jobs, submitted as the person and never as root."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.errors import ConfigurationError
from jupyterhub_daas.spawners.backends.base import parse_options
from jupyterhub_daas.spawners.backends.batch.backend import BatchBackend, runs_as_root
from jupyterhub_daas.spawners.backends.batch.commands import LocalRunner, Runner
from jupyterhub_daas.spawners.backends.batch.jobs import Job
from jupyterhub_daas.spawners.backends.batch.ssh import SshRunner
from jupyterhub_daas.spawners.backends.slurm import words
from jupyterhub_daas.spawners.backends.slurm.capacity import count
from jupyterhub_daas.spawners.backends.slurm.cli import SlurmPrograms
from jupyterhub_daas.spawners.backends.slurm.options import Place, SlurmOptions, SlurmSoftware
from jupyterhub_daas.spawners.backends.slurm.rest import SlurmRest
from jupyterhub_daas.spawners.backends.slurm.tokens import Tokens
from jupyterhub_daas.spawners.backends.slurm.transport import SlurmTransport


class SlurmBackend(BatchBackend):
    """Run sessions on a cluster with Slurm."""

    key = "slurm"
    software_model = SlurmSoftware

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        own = parse_options(SlurmOptions, options, "DaasSpawner.backends.slurm")
        if shared_account and self._is_far(own):
            raise ConfigurationError(
                "A hub that is not on the cluster cannot share its account with sessions.",
                field="DaasSpawner.shared_account",
            )
        self.programs = self._build_way(own)
        self.use(self.programs, own)

    def _build_way(self, own: SlurmOptions) -> SlurmTransport:
        if own.rest is not None:
            tokens = Tokens(own.rest.token_command, claim=own.rest.claim, seconds=own.command_seconds)
            return SlurmRest(own.rest, tokens, hub_id=self.hub_id, seconds=own.command_seconds)
        runner: Runner
        if own.ssh is not None:
            runner = SshRunner(own.ssh, seconds=own.command_seconds)
        else:
            sudo = None if runs_as_root() else own.sudo
            runner = LocalRunner(command_variables(own), seconds=own.command_seconds, sudo=sudo)
        return SlurmPrograms(runner, hub_id=self.hub_id, folder=own.programs, find_account=self.find_account)

    @staticmethod
    def _is_far(own: SlurmOptions) -> bool:
        return own.ssh is not None or own.rest is not None

    @property
    def knows_accounts(self) -> bool:
        """Tell whether the hub's machine has the cluster's accounts."""
        return not self._is_far(cast("SlurmOptions", self.options))

    async def resources(self, flavours: Sequence[Flavour]) -> tuple[Availability, ...]:
        """Return what the cluster has free for these flavours, where some profile lets them go."""
        nodes = await self.programs.nodes()
        found = []
        for flavour in flavours:
            places = cast("list[Place]", self.places_for(flavour))
            if places:
                found.append(count(nodes, flavour, places))
        return tuple(found)

    def why_waiting(self, job: Job) -> str:
        """Say why a job waits."""
        return words.why_waiting(job)

    def why_ended(self, job: Job | None, when: str) -> str:
        """Say why a session ended."""
        return words.why_ended(job, when)


def command_variables(options: SlurmOptions) -> dict[str, str]:
    """Return all that Slurm's programs get of an environment; moments come as seconds of Unix time."""
    variables = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "SLURM_TIME_FORMAT": "%s"}
    return variables | ({"SLURM_CONF": options.conf} if options.conf else {})
