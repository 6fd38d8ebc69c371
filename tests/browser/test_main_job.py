"""The main job, from the public page to a stopped session, in a real browser on real data."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import DESKTOP
from tests.browser.people import START_MS, Visitor
from tests.support.stack import Stack
from tests.support.umbrella import Umbrella
from tests.support.waiting import wait_for

PROPOSAL = "20180301"
PROC = Path("/proc")


def processes_of(session: str) -> list[str]:
    """Return the commands of all processes on this machine that belong to a session."""
    tag = f"DAAS_SESSION={session}".encode()
    return [
        _read(process / "cmdline")
        for process in PROC.iterdir()
        if tag in _raw(process / "environ").split(b"\0")
    ]


def _raw(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        # No process, or one that ended just now.
        return b""


def _read(path: Path) -> str:
    return _raw(path).replace(b"\0", b" ").decode(errors="replace")


@pytest.fixture
async def bruno(visitor: Visitor) -> Visitor:
    """Bruno, principal investigator of the proposal with spectra, at his proposals."""
    await visitor.enter("bruno")
    return visitor


async def test_a_visitor_reads_what_the_service_is_and_for_whom(visitor: Visitor, site: Stack) -> None:
    await visitor.open("/")
    page = visitor.page
    assert page.url == site.service_url("portal")
    for name in ("What you get", "For whom", "What you need"):
        await expect(page.get_by_role("heading", name=name)).to_be_visible()
    for name in ("About", "Partners"):
        await page.get_by_role("navigation", name="Main").get_by_role("link", name=name).click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Login").click()
    await expect(page.get_by_role("button", name="Log in with UmbrellaID")).to_be_visible()
    await expect(page.get_by_label("Username")).to_be_visible()


async def test_umbrella_conditions_and_proposals(visitor: Visitor, site: Stack, umbrella: Umbrella) -> None:
    page = visitor.page
    await visitor.open("")
    await page.get_by_role("link", name="Log in", exact=True).click()
    await visitor.log_in_with_umbrella(umbrella, "hana")
    await expect(page.get_by_role("heading", name="Conditions of use")).to_be_visible()
    await visitor.open("proposals")
    await expect(page).to_have_url(re.compile(r"/conditions\?next="))
    await page.get_by_role("button", name="I accept these conditions").click()
    await expect(page.get_by_role("heading", name="Proposals", level=1)).to_be_visible()
    row = visitor.row("20200532")
    await expect(row).to_contain_text("Micelle shape in mixed surfactants")
    await expect(row).to_contain_text("With one of two surfactants deuterated")
    await expect(row).to_contain_text("D22")
    await expect(row).to_contain_text("finished")
    await expect(row.get_by_role("button", name="Jupyter")).to_be_visible()
    await expect(row.get_by_role("button", name="Desktop")).to_be_visible()


async def test_searching_sorting_and_favourites(visitor: Visitor) -> None:
    await visitor.enter("amara")
    page = visitor.page
    everything = await visitor.listed()
    assert everything == sorted(everything, reverse=True)
    await page.get_by_role("link", name="Title").click()
    await expect(page.locator('th[aria-sort="ascending"]')).to_contain_text("Title")
    titles = await page.locator("td.is-title").all_inner_texts()
    assert titles == sorted(titles, key=str.casefold)

    await page.get_by_label("Search in proposal").fill("cement")
    await page.get_by_role("button", name="Search").click()
    await expect(visitor.row("20190417")).to_be_visible()
    assert await visitor.listed() == ["20190417"]
    summary = visitor.row("20190417").locator("summary")
    await summary.click()
    await expect(visitor.row("20190417")).to_contain_text("hydration")

    star = visitor.row("20190417").get_by_role("button", name="Favourite")
    await star.click()
    await expect(star).to_have_attribute("aria-pressed", "true")
    await expect(page.locator("#proposal-news")).to_contain_text("is a favourite")
    await visitor.open("proposals")
    await page.get_by_label("Favourites only").check()
    await expect(page).to_have_url(re.compile("favourites=true"))
    assert await visitor.listed() == ["20190417"]
    await visitor.row("20190417").get_by_role("button", name="Favourite").click()
    await expect(page.locator("#proposal-news")).to_contain_text("no favourite any more")
    await visitor.open("proposals?favourites=true")
    await expect(page.get_by_role("heading", name="No favourites yet")).to_be_visible()


async def test_somebody_without_proposals_reads_what_to_do(visitor: Visitor) -> None:
    await visitor.enter("sofia")
    await expect(visitor.page.get_by_role("heading", name="You have no proposals yet")).to_be_visible()
    await expect(visitor.page.get_by_text("ask its principal investigator")).to_be_visible()


async def test_jupyter_with_the_proposal_s_data_runs_the_notebook(bruno: Visitor, site: Stack) -> None:
    await bruno.start(PROPOSAL, "Jupyter")
    result = await bruno.run_notebook("fit-xrf-spectrum.ipynb")
    iron, energy, chromium = (
        float(re.search(pattern, result)[1])  # type: ignore[index]
        for pattern in (r"iron ([\d.]+) ppm", r"Fe Ka ([\d.]+) keV", r"chromium ([\d.]+) %")
    )
    # Iron's Kα₁ line is at 6.404 keV. Without the fit's secondary excitation chromium would be far above.
    assert energy == pytest.approx(6.404, abs=0.01)
    assert iron == pytest.approx(517.3, abs=3)
    assert chromium == pytest.approx(19.8, abs=0.5)
    processed = site.folder / "data" / PROPOSAL / "processed"
    assert (processed / "xrf-results.csv").read_text().startswith("group,fitted area")


async def test_a_desktop_with_the_same_data(bruno: Visitor, site: Stack) -> None:
    page = bruno.page
    name = await bruno.start(PROPOSAL, "Desktop")
    await page.wait_for_url(f"**/user/bruno/{name}/desktop/**", timeout=START_MS)
    written = site.folder / "data" / PROPOSAL / "processed" / "from-the-desktop"
    listed = await bruno.type_in_the_desktop("ls raw > processed/from-the-desktop", written)
    assert "XRFSpectrum.mca" in listed
    running = processes_of(name)
    for program in ("Xvnc|Xtigervnc", "xterm", "openbox"):
        assert any(re.search(program, command) for command in running), running

    await bruno.open("/hub/home")
    await bruno.card(name).get_by_role("button", name="Stop").click()
    await page.get_by_role("button", name="Stop", exact=True).last.click()
    await expect(bruno.card(name)).to_contain_text("stopped", timeout=START_MS)
    await wait_for(lambda: not processes_of(name), 30, what="nothing of the session is left")
    await bruno.open("quotas")
    used = bruno.page.locator("#my-quota [data-dimension=machines] td").nth(1)
    await expect(used).to_have_text("0")


async def test_the_golden_example_and_live_cards(bruno: Visitor, site: Stack, chromium: Browser) -> None:
    page = bruno.page
    first = await bruno.start(PROPOSAL, "Jupyter")
    await bruno.open("/hub/home")
    card = bruno.card(first)
    await expect(card.locator(".daas-pill")).to_have_text(re.compile("starting|running"))
    await expect(card).to_contain_text(PROPOSAL)
    await expect(card).to_contain_text("Jupyter")
    await expect(card).to_contain_text("Small")
    await expect(card).to_contain_text("in 3 days")
    # Never reloaded: the card follows by itself.
    await page.evaluate("window.stillThere = true")
    await expect(card.locator(".daas-pill")).to_have_text("running", timeout=START_MS)
    enter = card.get_by_role("link", name=f"Enter {first}")
    await expect(enter).to_have_attribute("href", re.compile(f"/user/bruno/{first}/"))

    elsewhere = await chromium.new_context(viewport=DESKTOP)
    other = Visitor(site, await elsewhere.new_page())
    await other.enter("bruno")
    names = [first]
    for _ in range(2):
        names.append(await other.start(PROPOSAL, "Jupyter"))
        await other.open("proposals")
    for name in names:
        await expect(bruno.card(name).locator(".daas-pill")).to_have_text("running", timeout=START_MS)
    assert await page.evaluate("window.stillThere")

    await other.open("quotas")
    rows = {
        dimension: (await other.page.locator(f"#my-quota [data-dimension={dimension}] td").all_inner_texts())[
            :3
        ]
        for dimension in ("machines", "cpus", "memory", "storage")
    }
    assert rows == {
        "machines": ["5", "3", "2"],
        "cpus": ["10", "3", "7"],
        "memory": ["30 G", "9 G", "21 G"],
        "storage": ["80 G", "15 G", "65 G"],
    }
    await elsewhere.close()
    assert other.faults == []

    # Stopped by somebody else, and deleted here: both without a reload.
    site.admin("DELETE", f"/users/bruno/servers/{first}")
    await expect(card.locator(".daas-pill")).to_have_text("stopped", timeout=START_MS)
    await card.get_by_role("button", name="Delete").click()
    await page.locator("#confirm-yes").click()
    await expect(card).to_have_count(0)
    assert await page.evaluate("window.stillThere")


async def test_a_stopped_session_starts_again_from_its_card(bruno: Visitor, site: Stack) -> None:
    name = await bruno.start(PROPOSAL, "Jupyter")
    await bruno.page.wait_for_url("**/lab/**", timeout=START_MS)
    site.admin("DELETE", f"/users/bruno/servers/{name}")
    await bruno.open("/hub/home")
    await bruno.card(name).get_by_role("button", name="Start again").click()
    await bruno.page.wait_for_url(f"**/user/bruno/{name}/lab/**", timeout=START_MS)


async def test_the_progress_page_stops_this_start(visitor: Visitor, site: Stack) -> None:
    await visitor.enter("chiara")
    page = visitor.page
    name = await visitor.start(PROPOSAL, "Slow")
    await expect(page.get_by_role("heading", name=f"Starting {name}")).to_be_visible()
    await expect(page.locator("#pending")).to_contain_text(f"Slow for proposal {PROPOSAL}")
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    assert processes_of(name) != []
    await page.get_by_role("button", name="Stop this start").click()
    await page.wait_for_url("**/hub/home", timeout=START_MS)
    await wait_for(lambda: not processes_of(name), 30, what="nothing of the start is left")
    token = site.token("chiara")

    def used() -> int:
        quota = site.call("quotas", "GET", "people/chiara/quota", token=token).json()
        return int(quota["used"]["machines"])

    await wait_for(lambda: used() == 0, 30, what="the quota is free again")
