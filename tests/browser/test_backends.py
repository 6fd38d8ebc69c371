"""A session of each backend in a real browser: JupyterLab says what it has, and a desktop draws.

It is the same person with the same data everywhere, and she never reads where it runs.
"""

import asyncio
import json
import os
import pwd
from collections.abc import Iterator

import pytest
import requests
from playwright.async_api import expect

from tests.browser.backends import (
    BACKENDS,
    COUNTS,
    CPUS,
    MEMORY,
    NOTEBOOK,
    PASSWORD,
    PROPOSAL,
    lay_out_notebook,
    site_with_all,
)
from tests.browser.people import START_MS, Visitor
from tests.support.stack import Stack

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make accounts and run such a hub")
# What holds a session to its memory there; the lab's Slurm looks at its jobs instead.
HELD = {"local": MEMORY, "kubernetes": MEMORY}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """All backends at one portal, and who uses it."""
    with site_with_all(tmp_path_factory.mktemp("everything")) as found:
        yield found


@pytest.fixture(scope="module")
def site(everything: tuple[Stack, str]) -> Stack:
    """The portal that visitors of these tests open."""
    return everything[0]


@pytest.fixture
async def bruno(visitor: Visitor, everything: tuple[Stack, str]) -> Visitor:
    """The principal investigator of the proposal, at his proposals."""
    await visitor.enter(everything[1], PASSWORD)
    return visitor


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_notebook_says_whose_it_is_what_it_has_and_reads_the_data(
    bruno: Visitor, everything: tuple[Stack, str], backend: str
) -> None:
    lay_out_notebook(everything[0])
    name = await bruno.start(PROPOSAL, f"Jupyter {backend}")
    said = json.loads((await bruno.run_notebook(NOTEBOOK)).removeprefix("RESULT"))
    held = said.pop("held")
    assert said == {
        "uid": pwd.getpwnam(everything[1]).pw_uid,
        "cpus": CPUS,
        "memory": MEMORY,
        "file": COUNTS,
        "writable": False,
    }
    if backend in HELD:
        assert held == HELD[backend]
    # Whoever else finds it has to say who she is.
    address = f"{everything[0].url}/user/{everything[1]}/{name}/api/contents"
    stranger = await asyncio.to_thread(requests.get, address, timeout=60)
    assert stranger.status_code == 403


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_desktop_draws_and_its_terminal_is_the_persons(
    bruno: Visitor, everything: tuple[Stack, str], backend: str
) -> None:
    site, username = everything
    name = await bruno.start(PROPOSAL, f"Desktop {backend}")
    await bruno.page.wait_for_url(f"**/user/{username}/{name}/desktop/**", timeout=START_MS)
    written = site.folder / "data" / PROPOSAL / "processed" / f"from-{backend}"
    command = f"cat raw/counts.txt > processed/{written.name}"
    assert await bruno.type_in_the_desktop(command, written) == COUNTS
    assert written.stat().st_uid == pwd.getpwnam(username).pw_uid
    # More than one colour, and so a picture: the terminal and its text on the background.
    screen = bruno.page.locator("#screen canvas")
    await expect(screen).to_be_visible()
    colours = await screen.evaluate(
        """canvas => new Set(new Uint32Array(canvas.getContext("2d")
            .getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"""
    )
    assert colours > 2
