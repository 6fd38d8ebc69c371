"""Where a bank's machines are in the cloud: in the hub's project, under a mark apart from its sessions'.

A machine stays under that mark when a session has it, and is found by its own id; so nothing of it has to be
renamed at a claim, and what a crash left is one of either kind.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jupyterhub_daas.errors import BackendError
from jupyterhub_daas.spawners.backends.machines.idle import IdleMachines
from jupyterhub_daas.spawners.backends.openstack.cloud import Refused, telling, told
from jupyterhub_daas.spawners.backends.openstack.options import OpenStackProfileOptions
from jupyterhub_daas.spawners.backends.openstack.server import Machine, Parts, Subject
from jupyterhub_daas.spawners.backends.openstack.words import Phase
from jupyterhub_daas.spawners.bank import Condition

if TYPE_CHECKING:
    from jupyterhub_daas.spawners.backends.openstack.backend import OpenStackBackend


class OpenStackBank:
    """Make, list and end machines that nobody has yet."""

    def __init__(self, backend: "OpenStackBackend", idle: IdleMachines) -> None:
        self._backend, self._idle = backend, idle
        self._project = backend.bank_project

    async def image_of(self, profile: str) -> str:
        """Return the digest of the profile's image."""
        return (await self._parts(profile))[0].digest

    async def machines(self) -> Mapping[str, Condition]:
        """Return which there are, and in which condition."""
        with telling():
            listed, left = await asyncio.gather(self._project.machines(), self._project.attached())
        self._idle.expect({each.session_id: each.addresses for each in listed})
        # A port or a volume without a machine: what is recorded of it will never come up.
        found = dict.fromkeys(left, Condition.FAILED)
        return found | {each.session_id: self._condition(each) for each in listed}

    def _condition(self, machine: Machine) -> Condition:
        if machine.phase in (Phase.ENDED, Phase.FAILED):
            return Condition.FAILED
        return Condition.UP if self._idle.has_called(machine.session_id) else Condition.COMING

    async def make(self, machine_id: str, profile: str, image: str) -> None:
        """Make a machine, unless it is there."""
        parts, storage = await self._parts(profile)
        if parts.digest != image:
            raise BackendError(
                "The image of the environment has changed meanwhile.", reason="openstack-digest"
            )
        with telling():
            if machine_id in await self._project.sessions():
                return
        user_data = self._backend.user_data(machine_id, self._idle.code_of(machine_id))
        try:
            await self._project.make_machine(
                Subject(machine_id, storage=storage), parts, user_data, lambda addresses: None
            )
        except Refused as refused:
            self._backend.project.forget()
            raise told(refused) from refused

    async def remove(self, machine_id: str) -> None:
        """End a machine, with its port and its volume."""
        with telling():
            await self._project.remove(machine_id)
        self._idle.forget(machine_id)

    async def open_to(self, machine_id: str, groups: Sequence[str]) -> None:
        """Let a machine's port have the security groups of the session that got it."""
        with telling():
            await self._project.set_groups(machine_id, groups)

    async def _parts(self, key: str) -> tuple[Parts, int]:
        profile, flavour = self._backend.banked_profile(key)
        own = OpenStackProfileOptions.model_validate(dict(profile.options))
        with telling():
            parts = await self._backend.find_parts(own, flavour.key, self._backend.options.security_groups)
        return parts, flavour.storage
