"""Sessions of Podman from our images in a real browser: JupyterLab runs a cell, and a desktop draws.

The person has no account on this machine: the container runs by her numbers alone.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.people import Visitor
from tests.spawners.backends.podman import Podman, held
from tests.support.labs import Labs
from tests.support.podman_images import CONTAINERS, SessionImages
from tests.support.stack import Stack

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab of Podman needs root")

PERSON, PROPOSAL = "bruno", "20180301"
CPUS, MEMORY = 1, 1 << 30
COUNTS = "counts of the beamtime"
# A container's first start reads all of its image from a disk that others use.
COLD_SECONDS = 240
NOTEBOOK = "what-a-session-has.ipynb"

# With software of the image: the proposal's file is HDF5.
CELL = """
import json, os
from pathlib import Path
import h5py

def limit(*names):
    return next(Path(name).read_text().split()[0] for name in names if Path(name).exists())

with h5py.File("../raw/counts.h5") as file:
    counts = file["counts"].asstr()[()]
print("RESULT", json.dumps({
    "uid": os.getuid(),
    "home": os.environ["HOME"],
    "memory": int(limit("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max")),
    "quota": int(limit("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max")),
    "counts": counts,
    "writable": os.access("../raw", os.W_OK),
}))
"""


def _settings(images: SessionImages) -> dict[str, Any]:
    """Offer what a facility would: an environment for each image, pinned by digest."""
    return {
        "flavours": {"small": {"title": "Small", "cpus": CPUS, "memory": "1G", "storage": "1G"}},
        "environments": {kind: {"title": kind.title(), "kind": kind} for kind in CONTAINERS},
        "profiles": {
            kind: {
                "environment": kind,
                "backend": "podman",
                "flavours": ["small"],
                "options": {"image": images.names[kind], "start_seconds": COLD_SECONDS},
            }
            for kind in CONTAINERS
        },
    }


def _notebook() -> str:
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": []}
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    content = {"cells": [{**cell, "source": CELL}], "metadata": {"kernelspec": kernel}}
    return json.dumps({**content, "nbformat": 4, "nbformat_minor": 5})


def _fill(proposal: Path, uid: int) -> None:
    """Give the proposal its data: readable for everybody, results writable for the person."""
    import h5py

    with h5py.File(proposal / "raw" / "counts.h5", "w") as file:
        file["counts"] = COUNTS
    (proposal / "raw" / "counts.txt").write_text(COUNTS)
    (proposal / "processed" / NOTEBOOK).write_text(_notebook())
    for path in (proposal / "processed", proposal / "processed" / NOTEBOOK):
        os.chown(path, uid, -1)


@pytest.fixture(scope="module")
def site(labs: Labs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A portal whose sessions are containers from our images."""
    lab = labs.up("podman")
    images = SessionImages(lab)
    with held(alone=False):
        # It may have been killed meanwhile, and started again by whoever did.
        backend = Podman(labs.up("podman"))
        stack = backend.build_stack(tmp_path_factory.mktemp("images"), **_settings(images))
        try:
            stack.start()
            uid = stack.call("proposals", "GET", f"people/{PERSON}").json()["uid"]
            _fill(stack.folder / "data" / PROPOSAL, uid)
            yield stack
        finally:
            stack.stop()


@pytest.fixture
async def bruno(visitor: Visitor) -> Visitor:
    """The principal investigator of the proposal, at his proposals."""
    await visitor.enter(PERSON)
    return visitor


async def test_a_notebook_runs_with_the_software_of_its_image(bruno: Visitor, site: Stack) -> None:
    name = await bruno.start(PROPOSAL, "Jupyter")
    await bruno.page.wait_for_url(f"**/user/{PERSON}/{name}/lab/**", timeout=COLD_SECONDS * 1000)
    said = json.loads((await bruno.run_notebook(NOTEBOOK)).removeprefix("RESULT"))
    assert said == {
        "uid": site.call("proposals", "GET", f"people/{PERSON}").json()["uid"],
        "home": f"/home/{PERSON}",
        "memory": MEMORY,
        "quota": CPUS * 100_000,
        "counts": COUNTS,
        "writable": False,
    }


async def test_a_desktop_draws_and_types(bruno: Visitor, site: Stack) -> None:
    name = await bruno.start(PROPOSAL, "Desktop")
    await bruno.page.wait_for_url(f"**/user/{PERSON}/{name}/desktop/**", timeout=COLD_SECONDS * 1000)
    written = site.folder / "data" / PROPOSAL / "processed" / "from-the-desktop"
    command = f"cat raw/counts.txt > processed/{written.name}"
    assert await bruno.type_in_the_desktop(command, written) == COUNTS
    assert written.stat().st_uid == site.call("proposals", "GET", f"people/{PERSON}").json()["uid"]
    screen = bruno.page.locator("#screen canvas")
    await expect(screen).to_be_visible()
    # More than one colour, and so a picture: the terminal and its text on the background.
    colours = await screen.evaluate(
        """canvas => new Set(new Uint32Array(canvas.getContext("2d")
            .getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"""
    )
    assert colours > 2
