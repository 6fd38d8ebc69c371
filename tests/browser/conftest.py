"""A whole portal with its identity provider and real data, and a real browser in front of it."""

import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from demo.data import write_proposals
from tests.browser.people import Visitor
from tests.support.stack import ISSUER, Stack
from tests.support.umbrella import Umbrella
from tests.support.waiting import wait_until

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESKTOP = {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def umbrella(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Umbrella]:
    """The identity provider, not started yet."""
    provider = Umbrella(tmp_path_factory.mktemp("umbrella"))
    yield provider
    provider.stop()


@pytest.fixture(scope="session")
def site(umbrella: Umbrella, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A portal of its own, whose proposals hold the demo's data."""
    extra = f"c.DaasAuthenticator.providers = {[umbrella.settings()]!r}\n"
    portal = Stack(tmp_path_factory.mktemp("site"), extra=extra)
    directory = portal.folder / "facility.yaml"
    directory.write_text(directory.read_text().replace(ISSUER, umbrella.issuer))
    write_proposals(directory, portal.folder / "data")
    if portal.prefix:
        subprocess.run(["chown", "-R", str(portal.uid), str(portal.folder)], check=True)
    umbrella.start(portal.url)
    try:
        yield portal.start()
    finally:
        portal.stop()


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A browser that nobody has used yet."""
    fresh = await chromium.new_context(viewport=DESKTOP)
    fresh.set_default_timeout(30_000)
    yield fresh
    await fresh.close()


@pytest.fixture
def _nobody_runs(site: Stack) -> Iterator[None]:
    """Delete all sessions afterwards."""
    yield
    wait_until(lambda: _deleted(site), 60, what="all sessions are deleted")


def _deleted(site: Stack) -> bool:
    users = site.admin("GET", "/users", params={"include_stopped_servers": 1}).json()
    names = [(user["name"], name) for user in users for name in user["servers"] if name]
    for person, name in names:
        site.admin("DELETE", f"/users/{person}/servers/{name}", json={"remove": True})
    return not names


@pytest.fixture
async def visitor(
    context: BrowserContext, site: Stack, _nobody_runs: None, request: pytest.FixtureRequest
) -> AsyncIterator[Visitor]:
    """Somebody at the portal; no page of ours may have a fault in its scripts or its security policy."""
    somebody = Visitor(site, await context.new_page())
    yield somebody
    # The last page that was seen, for whoever reads why a test failed.
    await somebody.screenshot(request.node.name)
    assert somebody.faults == []
