"""The images of sessions keep the contract of images/, and say what is in them."""

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from images.contract import check_image
from tests.support.labs import Labs
from tests.support.podman_images import KINDS, SessionImages

ROOT = Path(__file__).resolve().parents[1]
HUB = metadata.version("jupyterhub")
SAME = f"jupyterhub=={HUB}"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab of Podman needs root")


@pytest.fixture(scope="module")
def images(labs: Labs) -> SessionImages:
    """The images, built on the lab's Debian."""
    return SessionImages(labs.up("podman"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_keeps_the_contract(images: SessionImages, kind: str) -> None:
    assert check_image(images.inspect(kind)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_labels_say_what_an_image_holds(images: SessionImages, kind: str) -> None:
    (image,) = images.inspect(kind)
    labels = image["Labels"]
    software = json.loads(labels["jupyterhub-daas/software"])
    assert {name: software[name] for name in ("jupyterhub", "jupyterlab")} == {
        name: metadata.version(name) for name in ("jupyterhub", "jupyterlab")
    }
    assert "h5py" in software
    assert ("deb:tigervnc-standalone-server" in software) == (kind != "jupyter")
    assert labels["jupyterhub-daas/kind"] == kind
    assert labels["org.opencontainers.image.base.digest"].startswith("sha256:")
    # For a registry that shows annotations.
    assert {name: image["Annotations"].get(name) for name in labels if "buildah" not in name} == {
        name: value for name, value in labels.items() if "buildah" not in name
    }


@pytest.mark.parametrize(
    ("options", "kind", "wanted", "words"),
    [
        pytest.param((), "jupyter", "jupyterhub==0.1", f"is {HUB}, and the hub has 0.1", id="version"),
        pytest.param((), "jupyter", "batchspawner==1", "batchspawner is not there", id="package"),
        pytest.param((), "desktop", SAME, "vncserver is not on PATH", id="no desktop"),
        pytest.param(("--user=0:0",), "jupyter", SAME, "is root", id="root"),
        pytest.param(("--env=MIRROR_PASSWORD=x",), "jupyter", SAME, "MIRROR_PASSWORD", id="secret"),
        pytest.param(("--tmpfs=/home/me",), "jupyter", SAME, "below /home", id="home"),
        pytest.param(
            ("--env=PATH=/usr/bin",),
            "jupyter",
            "pip==0",
            "singleuser is not on PATH",
            id="no server",
        ),
    ],
)
def test_what_breaks_the_contract_is_not_built(
    images: SessionImages, options: tuple[str, ...], kind: str, wanted: str, words: str
) -> None:
    done = images.run("jupyter", "/usr/local/bin/daas-contract", "check", kind, wanted, options=options)
    assert done.returncode == 1
    assert words in done.stderr


GOOD: dict[str, Any] = {
    "Id": "0123456789abcdef",
    "Config": {
        "User": "1000:1000",
        "Entrypoint": ["tini", "-g", "--"],
        "ExposedPorts": {"8888/tcp": {}},
        "Env": ["PATH=/usr/bin"],
        "Labels": {"jupyterhub-daas/software": "{}"},
    },
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param({}, None, id="good"),
        pytest.param({"ExposedPorts": None}, None, id="no port"),
        pytest.param({"User": ""}, "its user is ''", id="no user"),
        pytest.param({"User": "0:0"}, "its user is '0'", id="root by number"),
        pytest.param({"User": "jovyan"}, "its user is 'jovyan'", id="a name, which no cluster can check"),
        pytest.param({"Entrypoint": None}, "does not reap", id="no entrypoint"),
        pytest.param({"Entrypoint": ["/bin/sh", "-c"]}, "does not reap", id="shell"),
        pytest.param({"ExposedPorts": {"80/tcp": {}}}, "port 80/tcp", id="privileged port"),
        pytest.param({"Env": ["PIP_TOKEN=x"]}, "PIP_TOKEN", id="secret"),
        pytest.param({"Labels": None}, "jupyterhub-daas/software", id="no label"),
    ],
)
def test_the_configuration_is_checked(changed: dict[str, Any], words: str | None) -> None:
    found = check_image([{**GOOD, "Config": {**GOOD["Config"], **changed}}])
    assert len(found) == (0 if words is None else 1)
    assert all(words in breach for breach in found if words)


def test_a_desktop_begins_alike_in_an_image_and_on_the_machine() -> None:
    local = ROOT / "jupyterhub_daas" / "spawners" / "backends" / "local" / "desktop.sh"
    assert (ROOT / "images" / "desktop" / "desktop.sh").read_text() == local.read_text()
