"""What is offered fits together, or is refused with its place."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from jupyterhub_daas.core.catalogue import Catalogue, EnvironmentKind
from jupyterhub_daas.core.resources import Resources

G = 1 << 30
OFFER: dict[str, Any] = {
    "environments": {
        "jupyter": {"title": "Jupyter", "kind": "jupyter"},
        "desktop": {"title": "Desktop", "kind": "desktop"},
    },
    "flavours": {
        "small": {"title": "Small", "cpus": 1, "memory": "3G", "storage": "5G"},
        "large": {"title": "Large", "cpus": 4, "memory": "12G", "gpus": 1},
    },
    "profiles": {
        "jupyter": {"environment": "jupyter", "backend": "local", "flavours": ["small", "large"]},
        "desktop": {
            "environment": "desktop",
            "backend": "local",
            "flavours": ["small", "large"],
            "default_flavour": "large",
        },
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(OFFER)
    *above, last = path.split(".")
    target = content
    for part in above:
        target = target[part]
    target[last] = value
    return content


def test_each_entry_takes_its_key_from_its_place() -> None:
    catalogue = Catalogue.model_validate(OFFER)
    assert catalogue.environments["desktop"].key == "desktop"
    assert catalogue.environments["desktop"].kind is EnvironmentKind.DESKTOP
    assert catalogue.profiles["jupyter"].key == "jupyter"


def test_refuses_an_entry_with_the_key_of_another() -> None:
    for path in ("environments.jupyter.key", "flavours.small.key", "profiles.jupyter.key"):
        with pytest.raises(ValidationError):
            Catalogue.model_validate(changed(path, "other"))


def test_the_first_flavour_is_the_default() -> None:
    catalogue = Catalogue.model_validate(OFFER)
    assert catalogue.profiles["jupyter"].default_flavour == "small"
    assert catalogue.profiles["desktop"].default_flavour == "large"


def test_a_flavour_holds_one_machine() -> None:
    flavours = Catalogue.model_validate(OFFER).flavours
    assert flavours["small"].resources == Resources(machines=1, cpus=1, memory=3 * G, storage=5 * G, gpus=0)
    assert flavours["large"].resources.gpus == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("environments.Bad Key", {"title": "x", "kind": "web"}, id="key with space"),
        pytest.param("environments.jupyter.kind", "vr", id="unknown kind"),
        pytest.param("environments.jupyter.title", "", id="no title"),
        pytest.param("environments.jupyter.command", "rm", id="unknown field"),
        pytest.param("flavours.small.cpus", -1, id="negative cpus"),
        pytest.param("flavours.small.cpus", float("nan"), id="cpus not a number"),
        pytest.param("flavours.small.cpus", float("inf"), id="infinite cpus"),
        pytest.param("flavours.small.cpus", True, id="cpus are true"),
        pytest.param("flavours.small.memory", "3X", id="unknown unit"),
        pytest.param("flavours.small.memory", -1, id="negative memory"),
        pytest.param("flavours.small.memory", "9999999P", id="huge memory"),
        pytest.param("flavours.small.gpus", 0.5, id="half a gpu"),
        pytest.param("profiles.jupyter.environment", "vm", id="environment that is not there"),
        pytest.param("profiles.jupyter.flavours", ["small", "huge"], id="flavour that is not there"),
        pytest.param("profiles.jupyter.flavours", [], id="no flavour"),
        pytest.param("profiles.jupyter.default_flavour", "huge", id="default that is not offered"),
        pytest.param("profiles.jupyter.backend", "../local", id="backend that climbs"),
        pytest.param("profiles.jupyter.roles", ["king"], id="unknown role"),
        pytest.param("profiles.jupyter.instruments", ["ID 21"], id="instrument that is no name"),
        pytest.param("profiles", [], id="list of profiles"),
        pytest.param("profiles.jupyter", "local", id="profile that is a text"),
    ],
)
def test_refuses_an_offer_that_does_not_fit(path: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Catalogue.model_validate(changed(path, value))


def test_nothing_may_be_offered() -> None:
    assert dict(Catalogue.model_validate({}).profiles) == {}
