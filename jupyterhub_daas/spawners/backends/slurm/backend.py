"""The Slurm backend: sessions as jobs, submitted as the person and never as root."""

import math
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, cast

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Environment, Flavour, Profile
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.errors import ConfigurationError
from jupyterhub_daas.spawners.backends.base import parse_options
from jupyterhub_daas.spawners.backends.batch.accounts import account_of_job
from jupyterhub_daas.spawners.backends.batch.backend import BatchBackend
from jupyterhub_daas.spawners.backends.batch.commands import LocalRunner
from jupyterhub_daas.spawners.backends.batch.jobs import Job, margin
from jupyterhub_daas.spawners.backends.batch.options import Software
from jupyterhub_daas.spawners.backends.slurm import words
from jupyterhub_daas.spawners.backends.slurm.capacity import count
from jupyterhub_daas.spawners.backends.slurm.cli import SlurmPrograms
from jupyterhub_daas.spawners.backends.slurm.options import Place, SlurmOptions, SlurmSoftware


class SlurmBackend(BatchBackend):
    """Run sessions on a cluster with Slurm."""

    key = "slurm"
    software_model = SlurmSoftware

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        own = parse_options(SlurmOptions, options, "DaasSpawner.backends.slurm")
        root = os.geteuid() == 0
        if shared_account and root:
            raise ConfigurationError(
                "A hub that runs as root cannot share its account with sessions.",
                field="DaasSpawner.shared_account",
            )
        runner = LocalRunner(
            command_variables(own), seconds=own.command_seconds, sudo=None if root else own.sudo
        )
        self.programs = SlurmPrograms(runner, hub_id=hub_id, folder=own.programs, find_account=account_of_job)
        self.use(self.programs, own)
        # Where sessions of a flavour may go, by profile: a profile names places, a flavour does not.
        self._offers: dict[str, tuple[tuple[str, ...], SlurmSoftware]] = {}

    def check_profile(self, profile: Profile, environment: Environment) -> None:
        """Refuse a profile whose options are wrong."""
        super().check_profile(profile, environment)
        software = parse_options(SlurmSoftware, profile.options, f"profiles.{profile.key}.options")
        self._offers[profile.key] = profile.flavours, software

    async def resources(self, flavours: Sequence[Flavour]) -> tuple[Availability, ...]:
        """Return what the cluster has free for these flavours, where some profile lets them go."""
        nodes = await self.programs.nodes()
        found = []
        for flavour in flavours:
            offers = [software for keys, software in self._offers.values() if flavour.key in keys]
            places = [software.place(flavour, ()) for software in offers]
            if places:
                found.append(count(nodes, flavour, places))
        return tuple(found)

    def why_waiting(self, job: Job) -> str:
        """Say why a job waits."""
        return words.why_waiting(job)

    def why_ended(self, job: Job | None, when: str) -> str:
        """Say why a session ended."""
        return words.why_ended(job, when)

    def longest(self, profile: Profile, flavour: Flavour, roles: tuple[Role, ...]) -> timedelta | None:
        """Return the walltime, less what an end in order needs."""
        own = parse_options(SlurmSoftware, profile.options, f"profiles.{profile.key}.options")
        walltime = timedelta(hours=own.place(flavour, roles).walltime_hours)
        return walltime - margin(walltime)

    def place_of(self, software: Software, launch: Launch) -> tuple[Place, int]:
        """Return partition, account and so on, and the walltime in minutes."""
        place = cast("SlurmSoftware", software).place(launch.flavour, launch.roles)
        minutes = math.ceil(place.walltime_hours * 60)
        if launch.expires_at is not None:
            # A session that ends earlier finds a place earlier; the rest is for its end in order.
            left = launch.expires_at - datetime.now(timezone.utc)
            minutes = min(minutes, max(1, math.ceil(left.total_seconds() / 60) + 2))
        return place, minutes


def command_variables(options: SlurmOptions) -> dict[str, str]:
    """Return all that Slurm's programs get of an environment; moments come as seconds of Unix time."""
    variables = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "SLURM_TIME_FORMAT": "%s"}
    return variables | ({"SLURM_CONF": options.conf} if options.conf else {})
