"""What a machine fetches: built from the launch and the profile, and nothing else."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from jupyterhub_daas.core.catalogue import Environment, EnvironmentKind, Flavour
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.people import Person
from jupyterhub_daas.core.proposals import Mount, MountMode
from jupyterhub_daas.spawners.backends.machines import MachineOrder, MachineSoftware, build_order
from jupyterhub_daas.spawners.backends.machines.order import Share

MOUNT = Mount(source="/data/20180301/raw", target="proposals/20180301/raw", mode=MountMode.READ_ONLY)
HUBS = {
    "JUPYTERHUB_API_TOKEN": "the-session's-token",
    "JUPYTERHUB_SERVICE_PREFIX": "/user/amara/brave-curie/",
    "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:4711/user/amara/brave-curie/",
    "DAAS_PROPOSAL": "another",
}


def launch(kind: EnvironmentKind = EnvironmentKind.VM) -> Launch:
    """Return a start."""
    return Launch(
        session_id="0123456789abcdef",
        session="brave-curie",
        person=Person(username="amara", uid=2001, gid=2001, groups=("team",)),
        proposal="20180301",
        environment=Environment(key="vm", title="VM", kind=kind),
        backend="openstack",
        profile="vm",
        flavour=Flavour(key="small", title="Small", cpus=1, memory="1G"),  # type: ignore[arg-type]
        mounts=(MOUNT,),
        variables={"DAAS_PROPOSAL": "20180301"},
    )


def order(**software: Any) -> MachineOrder:
    """Return the order of such a start."""
    return build_order(
        launch(),
        MachineSoftware.model_validate(software),
        HUBS,
        groups={"team": 3001},
        home="/home/amara",
        shares=(Share(device="nfs.example:/home", path="/home"),),
    )


def test_an_order_is_the_launch_and_the_software() -> None:
    made = order(variables={"MODE": "fast", "JUPYTERHUB_API_TOKEN": "a facility's own"})
    assert (made.username, made.uid, made.gid, made.groups) == ("amara", 2001, 2001, {"team": 3001})
    assert made.mounts == (MOUNT,)
    assert made.folder == "proposals/20180301"
    assert made.prefix == "/user/amara/brave-curie/"
    assert made.command == ("jupyterhub-singleuser",)
    environment = made.environment
    assert environment["MODE"] == "fast"
    assert environment["DAAS_PROPOSAL"] == "20180301"
    assert "JUPYTERHUB_SERVICE_URL" not in environment
    # Through JSON and back it is the same: that is how it travels.
    assert MachineOrder.model_validate_json(made.model_dump_json()) == made


def test_a_web_application_is_behind_the_server_that_asks_the_hub() -> None:
    made = order(application=["my-server", "--port", "{port}"])
    name, flag = made.command
    assert name == "jupyterhub-singleuser"
    servers = json.loads(flag.removeprefix("--ServerProxy.servers="))
    assert servers == {"application": {"command": ["my-server", "--port", "{port}"], "timeout": 60}}


OPENS: dict[str, tuple[dict[str, Any], EnvironmentKind, str]] = {
    "JupyterLab": ({}, EnvironmentKind.VM, "/lab/tree/proposals/20180301"),
    "a desktop": ({}, EnvironmentKind.DESKTOP, "/desktop/"),
    "an application": ({"application": ["my-server"]}, EnvironmentKind.WEB, "/application/"),
    "what the facility says": ({"default_url": "/tree"}, EnvironmentKind.DESKTOP, "/tree"),
}


@pytest.mark.parametrize(("software", "kind", "url"), OPENS.values(), ids=OPENS.keys())
def test_opens_with_the_right_page(software: dict[str, Any], kind: EnvironmentKind, url: str) -> None:
    assert MachineSoftware.model_validate(software).opens_with(launch(kind)) == url


WRONG: dict[str, dict[str, Any]] = {
    "no command": {"command": []},
    "a system port": {"port": 80},
    "a relative page": {"default_url": "lab"},
    "a variable of another form": {"variables": {"A B": "c"}},
    "something else": {"user_data": "#!/bin/sh"},
}


@pytest.mark.parametrize("software", WRONG.values(), ids=WRONG.keys())
def test_refuses_other_software(software: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MachineSoftware.model_validate(software)


WRONG_SHARES: dict[str, dict[str, str]] = {
    "an option in the device": {"device": "nfs:/a b", "path": "/a"},
    "an option as the device": {"device": "-obind", "path": "/a"},
    "options of several words": {"device": "nfs:/a", "path": "/a", "options": "ro -o rw"},
    "a relative place": {"device": "nfs:/a", "path": "a"},
}


@pytest.mark.parametrize("share", WRONG_SHARES.values(), ids=WRONG_SHARES.keys())
def test_refuses_other_shares(share: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Share.model_validate(share)


def test_nobody_is_root() -> None:
    for wrong in ({"uid": 0}, {"gid": 0}, {"groups": {"wheel": 0}}):
        with pytest.raises(ValidationError):
            MachineOrder.model_validate({**order().model_dump(), **wrong})
