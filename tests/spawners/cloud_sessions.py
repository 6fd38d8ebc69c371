"""Sessions of a real cloud without a hub that runs: a backend, and what it has to know of a session."""

import asyncio
import secrets
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from jupyterhub_daas.core.catalogue import Environment, EnvironmentKind, Flavour
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.people import Person
from jupyterhub_daas.spawners.backends.machines import Bootstrap
from jupyterhub_daas.spawners.backends.openstack import OpenStackBackend
from jupyterhub_daas.spawners.backends.openstack.session import OpenStackSession
from tests.spawners.backends.openstack import OpenStack
from tests.spawners.portal import PROPOSAL
from tests.support.waiting import wait_for

NAME = "brave-curie"
HUB_URL = "https://portal.example/hub/"
SIZES = {"small": (1, 128), "medium": (2, 256), "nowhere": (1, 128), "absurd": (1, 128)}


def backend(lab: OpenStack, folder: Path, *, hub_id: str = "", **more: Any) -> OpenStackBackend:
    """Return a backend of a hub that does not run."""
    options = {
        "cloud": "lab",
        "clouds_file": str(lab.tenant.write_clouds(folder)),
        "hub_url": HUB_URL,
        "network": lab.lab_variables["DAAS_TEST_OS_NETWORK"],
        "interval_seconds": 0.5,
        "request_seconds": 60,
        **more,
    }
    return OpenStackBackend(hub_id=hub_id or secrets.token_hex(4), shared_account=False, options=options)


def launch(lab: OpenStack, flavour: str = "small", **more: Any) -> Launch:
    """Return a start."""
    cpus, memory = SIZES[flavour]
    given = {
        "session_id": secrets.token_hex(8),
        "session": NAME,
        "person": Person(username="amara", uid=20001, gid=20001),
        "proposal": PROPOSAL,
        "environment": Environment(key="jupyter", title="Jupyter", kind=EnvironmentKind.JUPYTER),
        "backend": "openstack",
        "profile": "jupyter",
        "flavour": Flavour(key=flavour, title=flavour, cpus=cpus, memory=memory << 20),
        "options": {"image": lab.image},
        **more,
    }
    return Launch(**given)


def child(wanted: Launch) -> OpenStackSession:
    """Return what of a session's spawner the making of its machine needs."""
    environment = {
        "JUPYTERHUB_API_URL": "http://10.0.0.1:8081/hub/api",
        "JUPYTERHUB_API_TOKEN": "the-token-of-the-session",
        "JUPYTERHUB_ACTIVITY_URL": "http://10.0.0.1:8081/hub/api/users/amara/activity",
        "JUPYTERHUB_SERVICE_PREFIX": "/user/amara/brave-curie/",
    }
    bootstrap = Bootstrap(wanted.session_id, name=NAME, person="amara", keep=lambda: None)
    found = SimpleNamespace(
        bootstrap=bootstrap, build_seconds=120.0, start_seconds=60.0, get_env=lambda: environment
    )
    return cast(OpenStackSession, found)


async def built(found: OpenStackBackend, session_id: str) -> Any:
    """Wait until the cloud built a machine, or gave it up; return it."""

    async def over() -> Any:
        machine = await found.look(session_id, since=asyncio.get_running_loop().time())
        return machine if machine is not None and machine.phase.value != "building" else None

    return await wait_for(over, 120, what="the machine is built")
