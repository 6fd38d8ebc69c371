"""What a hub does in its project of a cloud: find the parts of a machine, make it, list all, remove one.

Whatever is made carries the hub's mark and the session's id from the first, in the same request, so that it
is found again although the answer was lost. Only what carries both is ever removed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from openstack.connection import Connection

from jupyterhub_daas.core.names import SESSION_ID, matches
from jupyterhub_daas.errors import BackendError, BackendUnavailableError
from jupyterhub_daas.spawners.backends.names import session_of, thing_name
from jupyterhub_daas.spawners.backends.openstack.cloud import Cloud, Refused, lets_in
from jupyterhub_daas.spawners.backends.openstack.options import IMAGE, OpenStackOptions, Placing
from jupyterhub_daas.spawners.backends.openstack.server import (
    HUB,
    SESSION,
    Machine,
    Parts,
    Request,
    Subject,
    build_port,
    build_server,
    build_volume,
    read_machine,
    tag_of,
)
from jupyterhub_daas.spawners.backends.openstack.words import GONE

# How long what the cloud's administrators rarely change is believed.
KEPT_SECONDS = 300.0
POLICIES = {Placing.SPREAD: "soft-anti-affinity", Placing.PACK: "soft-affinity"}
# In these states of a volume it can be deleted.
LOOSE = ("available", "error", "error_restoring", "error_extending", "error_managing")
DELETED_AGAIN_SECONDS = 20.0
MOST_TRIES = 10


class Project:
    """One hub's machines in one project."""

    def __init__(self, cloud: Cloud, options: OpenStackOptions, hub_id: str) -> None:
        self.cloud, self.hub_id = cloud, hub_id
        self._options = options
        self._kept: dict[object, tuple[float, Any]] = {}

    # --- the parts of a machine

    async def find_parts(self, image: str, flavor: str, groups: Sequence[str]) -> Parts:
        """Find all that a machine is made of; raise BackendError with a code for what is not there."""
        found, digest, size = await self._keep(("image", image), lambda: self._find_image(image))
        return Parts(
            image=found,
            digest=digest,
            image_bytes=size,
            flavor=await self._keep(("flavor", flavor), lambda: self._find("compute", "flavor", flavor)),
            network=await self._keep(
                "network", lambda: self._find("network", "network", self._options.network)
            ),
            security_groups=tuple([await self._group(each) for each in groups]),
            server_group=await self._keep("server group", self._find_server_group)
            if self._options.placing
            else None,
        )

    async def _group(self, name: str) -> str:
        found: str = await self._keep(("group", name), lambda: self._find_group(name))
        return found

    async def _keep(self, key: object, find: Callable[[], Awaitable[Any]]) -> Any:
        at, value = self._kept.get(key, (float("-inf"), None))
        if time.monotonic() - at > KEPT_SECONDS:
            value = await find()
            self._kept[key] = time.monotonic(), value
        return value

    def forget(self) -> None:
        """Forget what was found: the cloud refused something, perhaps because that is gone."""
        self._kept.clear()

    async def _find_image(self, pinned: str) -> tuple[str, str, int]:
        match = IMAGE.fullmatch(pinned)
        name = match["name"] if match else pinned
        listed = await self.cloud.ask(lambda c: list(c.image.images(name=name, status="active")))
        for each in sorted(listed, key=lambda image: str(image.created_at), reverse=True):
            digests = {str(each.hash_algo): each.hash_value, "md5": each.checksum}
            if match is None or digests.get(match["algorithm"]) == match["digest"]:
                digest = f"{each.hash_algo}:{each.hash_value}"[:255]
                return each.id, digest, max(int(each.size or 0), int(each.min_disk or 0) << 30)
        if listed:
            raise _missing("the image of this environment has another content than it should", "digest")
        raise _missing("the image of this environment", "image")

    async def _find(self, service: str, kind: str, name: str) -> str:
        def find(connection: Connection) -> Any:
            return getattr(getattr(connection, service), f"find_{kind}")(name)

        found = await self.cloud.ask(find)
        if found is None:
            raise _missing(f"the {kind} {name}", kind)
        return str(found.id)

    async def _find_group(self, name: str) -> str:
        # Of this project: an administrator sees groups of all, and names are not unique.
        found = await self.cloud.ask(
            lambda c: list(c.network.security_groups(name=name, project_id=c.current_project_id))
        )
        if len(found) != 1:
            raise _missing(f"the one security group {name}", "group")
        return str(found[0].id)

    async def _find_server_group(self) -> str:
        if self._options.placing is None:
            raise ValueError("no placing is wanted")
        policy = POLICIES[self._options.placing]
        name = f"{tag_of(self.hub_id)}-{policy}"

        def find(connection: Connection) -> str:
            for each in connection.compute.server_groups():
                if each.name == name:
                    return str(each.id)
            return str(connection.compute.create_server_group(name=name, policy=policy).id)

        return await self.cloud.ask(find)

    # --- making

    async def make_machine(
        self, subject: Subject, parts: Parts, user_data: str, expect: Callable[[tuple[str, ...]], None]
    ) -> None:
        """Make a port, a volume where machines have one, and a machine; `expect` gets its addresses first."""
        options, hub_id = self._options, self.hub_id
        port, addresses = await self.make_port(build_port(subject, parts, hub_id))
        expect(addresses)
        volume = None
        if options.boot_from_volume:
            volume = await self.make_volume(build_volume(subject, parts, options, hub_id))
        request = build_server(
            subject, parts, options, hub_id=hub_id, port=port, volume=volume, user_data=user_data
        )
        await self.make_server(request)

    async def set_groups(self, machine_id: str, groups: Sequence[str]) -> None:
        """Give a machine's port these security groups in place of those that it has."""
        wanted = [await self._group(name) for name in groups]
        for port in await self._ports_of(machine_id):
            port_id = port.id
            await self.cloud.ask(lambda c: c.network.update_port(port_id, security_groups=wanted))  # noqa: B023

    async def make_port(self, request: Request) -> tuple[str, tuple[str, ...]]:
        """Make a port, or find the one of this name; return its id and its addresses."""
        found = await self._made(
            lambda c: next(
                iter(c.network.ports(name=request["name"], description=request["description"])), None
            ),
            lambda c: c.network.create_port(**request),
        )
        return found.id, tuple(each["ip_address"] for each in found.fixed_ips)

    async def make_volume(self, request: Request) -> str:
        """Make a volume from an image and wait until it is there."""
        found = await self._made(
            lambda c: next((v for v in c.block_storage.volumes(name=request["name"])), None),
            lambda c: c.block_storage.create_volume(**request),
        )
        volume_id = str(found.id)
        while found.status not in ("available", "in-use"):
            if str(found.status).startswith("error"):
                raise BackendError(
                    "The cloud could not make the machine's disk. Please tell the support team, code "
                    "openstack-volume.",
                    reason="openstack-volume",
                )
            await asyncio.sleep(self._options.interval_seconds)
            found = await self.patiently(
                lambda: self.cloud.ask(lambda c: c.block_storage.get_volume(volume_id))
            )
        return volume_id

    async def make_server(self, request: Request) -> None:
        """Make a server; a port is good for one, so that there are never two."""

        def find(connection: Connection) -> Any:
            listed = connection.compute.servers(details=False, name=f"^{request['name']}$")
            return next((each for each in listed), None)

        await self._made(find, lambda c: c.compute.create_server(**request))

    async def _made(self, find: Callable[[Connection], Any], make: Callable[[Connection], Any]) -> Any:
        """Make something; after an answer that was lost, look whether it is there before trying again."""
        again = False

        async def attempt() -> Any:
            nonlocal again
            if again and (found := await self.cloud.ask(find)) is not None:
                return found
            again = True
            try:
                return await self.cloud.ask(make)
            except Refused as refused:
                if refused.status == 409 and "in use" in refused.words:
                    raise BackendUnavailableError("The cloud does not answer now.") from refused
                raise

        return await self.patiently(attempt)

    async def patiently(self, action: Callable[[], Awaitable[Any]]) -> Any:
        """Repeat an action while the cloud does not answer; the caller's deadline ends it."""
        while True:
            try:
                return await action()
            except BackendUnavailableError as error:
                if not lets_in(error):
                    raise
            await asyncio.sleep(self._options.interval_seconds)

    # --- what there is

    async def machines(self) -> list[Machine]:
        """Return all machines of this hub that are not gone."""
        listed = await self.cloud.ask(lambda c: list(c.compute.servers(tags=tag_of(self.hub_id))))
        read = [read_machine(each) for each in listed if each.status not in GONE]
        return [each for each in read if each.metadata.get(HUB) == self.hub_id]

    async def _ports(self) -> list[Any]:
        listed = await self.cloud.ask(lambda c: list(c.network.ports(description=tag_of(self.hub_id))))
        return [each for each in listed if session_of(each.name or "", self.hub_id)]

    async def _volumes(self) -> list[Any]:
        if not self._options.boot_from_volume:
            return []
        listed = await self.cloud.ask(lambda c: list(c.block_storage.volumes(details=True)))
        return [each for each in listed if (each.metadata or {}).get(HUB) == self.hub_id]

    async def sessions(self) -> frozenset[str]:
        """Return the session ids of all machines, ports and volumes of this hub."""
        machines, attached = await asyncio.gather(self.machines(), self.attached())
        return attached | {each.session_id for each in machines if matches(SESSION_ID, each.session_id)}

    async def attached(self) -> frozenset[str]:
        """Return the session ids of all ports and volumes of this hub."""
        ports, volumes = await asyncio.gather(self._ports(), self._volumes())
        found = {session_of(each.name, self.hub_id) for each in ports}
        found |= {str(each.metadata.get(SESSION)) for each in volumes}
        return frozenset(each for each in found if matches(SESSION_ID, each))

    # --- the end

    async def remove(self, session_id: str) -> None:
        """Delete all that a session has, and return when the cloud says that it is gone."""
        deleted_at: dict[str, float] = {}
        while servers := [each for each in await self.machines() if each.session_id == session_id]:
            for each in servers:
                # A deletion that was accepted may get lost with the service that should carry it out.
                if time.monotonic() - deleted_at.get(each.id, float("-inf")) > DELETED_AGAIN_SECONDS:
                    deleted_at[each.id] = time.monotonic()
                    await self._delete("compute", "server", each.id)
            await asyncio.sleep(min(0.5, self._options.interval_seconds))
        await self._clear(lambda: self._ports_of(session_id), "network", "port")
        await self._clear(lambda: self._volumes_of(session_id), "block_storage", "volume")

    async def _ports_of(self, session_id: str) -> list[Any]:
        name = thing_name(self.hub_id, session_id)
        return [each for each in await self._ports() if each.name == name]

    async def _volumes_of(self, session_id: str) -> list[Any]:
        return [each for each in await self._volumes() if each.metadata.get(SESSION) == session_id]

    async def _clear(self, find: Callable[[], Awaitable[list[Any]]], service: str, kind: str) -> None:
        """Delete until nothing is found any more; what is on its way out already is refused for a while."""
        tries = 0
        while left := await find():
            tries += 1
            for each in left:
                if kind == "volume" and each.status not in LOOSE:
                    continue
                try:
                    await self._delete(service, kind, each.id)
                except Refused:
                    if tries > MOST_TRIES:
                        raise
            await asyncio.sleep(min(0.5, self._options.interval_seconds))

    async def _delete(self, service: str, kind: str, identity: str) -> None:
        try:
            await self.cloud.ask(lambda c: getattr(getattr(c, service), f"delete_{kind}")(identity))
        except Refused as refused:
            if refused.status != 404:
                raise


def _missing(what: str, kind: str) -> BackendError:
    code = f"openstack-{kind}"
    return BackendError(
        f"The cloud does not have what this environment needs: {what}. Please tell the support team, "
        f"code {code}.",
        reason=code,
    )
