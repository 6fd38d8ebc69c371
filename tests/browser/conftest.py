"""A whole portal with its identity provider and real data, and a real browser in front of it."""

import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import yaml
from playwright.async_api import Browser, BrowserContext, ViewportSize, async_playwright, expect

from demo.data import write_proposals
from tests.browser.people import Visitor
from tests.support.stack import DEMO, ISSUER, Stack
from tests.support.umbrella import Umbrella
from tests.support.waiting import wait_until

# A part of its own, see scripts/test.
collect_ignore = [] if "DAAS_TEST_VM_GUEST" in os.environ else ["test_vm_guest.py"]

CHROMIUM = "/usr/bin/chromium-headless-shell"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
# Five seconds, as Playwright has it, are few for a page beside other tests.
expect.set_options(timeout=30_000)


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
    portal = Stack(tmp_path_factory.mktemp("site"), extra=extra, settings=_with_something_slow())
    directory = portal.folder / "facility.yaml"
    directory.write_text(directory.read_text().replace(ISSUER, umbrella.issuer))
    write_proposals(directory, portal.folder / "data")
    if portal.prefix:
        subprocess.run(["chown", "-R", str(portal.uid), str(portal.folder)], check=True)
    _give_hana_an_account(umbrella, yaml.safe_load(directory.read_text()))
    umbrella.start(portal.url)
    try:
        yield portal.start()
    finally:
        portal.stop()


def _give_hana_an_account(umbrella: Umbrella, directory: dict[str, Any]) -> None:
    """Let somebody in whom no other test knows: she has accepted nothing yet."""
    everybody = json.loads((DEMO / "people.json").read_text())
    subject = directory["people"]["hana"]["identities"][0]["subject"]
    everybody["hana"] = {
        **everybody["amara"],
        "sub": subject,
        "name": "Hana Sato",
        "password": "hana-umbrella",
    }
    umbrella.people.write_text(json.dumps(everybody))


def _with_something_slow() -> dict[str, Any]:
    """Offer instrument scientists an environment that never comes up: its progress can be looked at."""
    offered = yaml.safe_load((DEMO / "daas.yaml").read_text())
    offered["environments"]["slow"] = {"title": "Slow", "kind": "jupyter"}
    offered["profiles"]["slow"] = {
        "environment": "slow",
        "backend": "local",
        "flavours": ["small"],
        "roles": ["instrument_scientist"],
        "options": {"command": ["sh", "-c", "sleep 600"], "start_seconds": 600},
    }
    return {name: offered[name] for name in ("environments", "profiles")}


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
