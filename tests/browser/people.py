"""What a person does at the portal, in the words of its pages."""

import re
from pathlib import Path
from typing import Any

from playwright.async_api import ConsoleMessage, Locator, Page, expect

from tests.support.stack import Stack, node_modules
from tests.support.umbrella import Umbrella
from tests.support.waiting import wait_for

FORBIDDEN = re.compile(r"Content Security Policy|Uncaught|is not defined")
# For a machine that is busy with other tests: where all is well nobody waits that long.
START_MS = RUN_MS = 300_000


class Visitor:
    """Somebody with a browser."""

    def __init__(self, site: Stack, page: Page) -> None:
        self.site, self.page = site, page
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and FORBIDDEN.search(message.text):
            self._note(message.text)

    def _note(self, text: str) -> None:
        # What JupyterLab and the desktop's viewer say is not ours.
        if "/user/" not in self.page.url:
            self.faults.append(f"{self.page.url}: {text}")

    def address(self, path: str) -> str:
        """Return the address of a page of the portal, or of the hub."""
        return self.site.url + path if path.startswith("/") else self.site.service_url("portal") + path

    async def open(self, path: str) -> None:
        """Open a page."""
        await self.page.goto(self.address(path))

    async def log_in(self, person: str, password: str = "") -> None:
        """Log in with a facility account; without a password with the demo's."""
        await self.open("/hub/login?next=%2Fservices%2Fportal%2Fproposals")
        await self.page.get_by_label("Username").fill(person)
        await self.page.get_by_label("Password").fill(password or f"{person}-facility")
        await self.page.get_by_role("button", name="Log in", exact=True).click()
        await self.page.wait_for_url("**/services/portal/**")

    async def log_in_with_umbrella(self, umbrella: Umbrella, login: str) -> None:
        """Log in at the identity provider."""
        await self.page.get_by_role("button", name="Log in with UmbrellaID").click()
        await self.page.get_by_label("Login name").fill(login)
        await self.page.get_by_label("Password").fill(umbrella.password_of(login))
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url("**/services/portal/**")

    async def enter(self, person: str, password: str = "") -> None:
        """Log in as somebody who has accepted the conditions, and be at the proposals."""
        await self.log_in(person, password)
        accept = self.page.get_by_role("button", name="I accept these conditions")
        if await accept.count():
            await accept.click()
        await expect(self.page.get_by_role("heading", name="Proposals", level=1)).to_be_visible()

    def row(self, identifier: str) -> Locator:
        """Return a proposal's row."""
        return self.page.locator(f'[data-proposal="{identifier}"]')

    def card(self, name: str) -> Locator:
        """Return a session's card."""
        return self.page.locator(f'article[data-session="{name}"]')

    async def listed(self) -> list[str]:
        """Return the proposals of the page, in order."""
        found: list[str] = await self.page.locator("[data-proposal]").evaluate_all(
            "rows => rows.map(row => row.dataset.proposal)"
        )
        return found

    async def start(self, identifier: str, environment: str, flavour: str = "Small") -> str:
        """Start a session and return its name; the page is then that of its progress, or beyond."""
        await self.row(identifier).get_by_role("button", name=f"{environment} for {identifier}").click()
        choice = self.page.get_by_role("radio", name=flavour)
        if await choice.count():
            await choice.check()
            await self.page.get_by_role("button", name="Start").click()
        await self.page.wait_for_url(re.compile(r"/(spawn-pending|user)/"))
        match = re.search(r"/(?:spawn-pending|user)/[^/]+/([a-z0-9-]+)", self.page.url)
        assert match, self.page.url
        return match[1]

    async def run_notebook(self, name: str) -> str:
        """Open a notebook of the proposal's processed data in JupyterLab and run it; return its last line."""
        page = self.page
        await page.wait_for_url("**/lab/**", timeout=START_MS)
        files = page.locator(".jp-DirListing-content")
        await expect(files.get_by_text("raw", exact=True)).to_be_visible(timeout=START_MS)
        await files.get_by_text("processed", exact=True).dblclick()
        await files.get_by_text(name).dblclick()
        await expect(page.locator(".jp-Notebook")).to_be_visible()
        await expect(page.get_by_text(re.compile(r"Python 3 .*\| Idle"))).to_be_visible(timeout=START_MS)
        await page.get_by_role("menuitem", name="Run", exact=True).click()
        await page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        # All cells have run when this one has, and it is in view.
        last = page.locator(".jp-OutputArea-output").get_by_text(re.compile("^RESULT"))
        await expect(last).to_be_visible(timeout=RUN_MS)
        return await last.inner_text()

    async def type_in_the_desktop(self, command: str, result: Path) -> str:
        """Have the desktop's terminal run a command that writes a file; return what it wrote."""
        await expect(self.page.locator("#status")).to_contain_text("Connected", timeout=START_MS)

        ready = result.with_name(f"{result.name}-ready")

        async def reads_keys() -> bool:
            # The terminal may not be there yet, or come while this is typed, of which no end is a command.
            await self.page.locator("#screen canvas").click(position={"x": 200, "y": 200})
            await self.page.keyboard.type(f"touch {result.parent.name}/{ready.name}\n", delay=15)
            return ready.exists()

        await wait_for(reads_keys, 60, what="the desktop's terminal reads what is typed")
        await self.page.keyboard.type(f"{command}\n", delay=15)
        return await wait_for(
            lambda: _content_of(result), 60, what=f"{result.name}, made in the desktop's terminal"
        )

    async def screenshot(self, name: str) -> None:
        """Keep a picture of the page beside the portal's logs."""
        await self.page.screenshot(path=self.site.folder / f"{name}.png")


def _content_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def violations(page: Page) -> list[str]:
    """Return what axe-core finds wrong with a page."""
    source: str = (Path(node_modules()) / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    # Evaluated, not loaded: the pages' security policy forbids scripts of others.
    await page.evaluate(source)
    result: dict[str, Any] = await page.evaluate("axe.run()")
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]}"
        for each in result["violations"]
        for node in each["nodes"]
    ]


async def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    wide: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wide
