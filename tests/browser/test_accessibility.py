"""Every page passes axe-core without a violation, fits the window, and has one heading of the first level.

Each is looked at on a desk, on a phone, and in the dark.
"""

import secrets
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.browser.conftest import DESKTOP
from tests.browser.people import Visitor, overflow, violations
from tests.support.stack import Stack

PHONE: ViewportSize = {"width": 390, "height": 844}
PROPOSAL = "20180301"

PUBLIC = ["", "about", "partners", "help", "nothing-here", "/hub/login", "/hub/nothing-here"]
OWN = [
    "proposals",
    "proposals?search=nothing+has+this",
    "proposals?favourites=true",
    f"proposals/{PROPOSAL}",
    f"proposals/{PROPOSAL}/accesses",
    f"proposals/{PROPOSAL}/accesses?before=1980-01-01T00:00:00.000000Z_1",
    f"launch?proposal={PROPOSAL}",
    f"launch?proposal={PROPOSAL}&environment=jupyter",
    "quotas",
    "help",
    "conditions",
    "activity",
    "activity?before=1980-01-01T00:00:00.000000Z_1",
    "proposals/19990101",
    "/hub/home",
    "/hub/token",
    "/hub/identities",
    "/hub/spawn",
    "/hub/user/bruno/brave-curie/",
    "/hub/nothing-here",
]


async def assert_accessible(page: Page) -> None:
    """Look at the page that is open in all three ways."""
    problems = []
    for size, scheme in ((DESKTOP, "light"), (PHONE, "light"), (PHONE, "dark"), (DESKTOP, "dark")):
        await page.set_viewport_size(size)
        # Without motion: colours that are on their way from light to dark are nobody's.
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        problems += [f"{size['width']} {scheme}: {each}" for each in await violations(page)]
        wide = await overflow(page)
        if wide > 0:
            problems.append(f"{size['width']}: {wide} pixels too wide")
    assert problems == []
    await expect(page.locator("h1")).to_have_count(1)
    assert await page.title() != ""


@pytest.mark.parametrize("path", PUBLIC)
async def test_public_page(visitor: Visitor, path: str) -> None:
    await visitor.open(path)
    await assert_accessible(visitor.page)


@pytest.fixture(scope="module")
async def bruno(chromium: Browser, site: Stack) -> AsyncIterator[Visitor]:
    """Bruno, logged in once for all of these."""
    context = await chromium.new_context(viewport=DESKTOP)
    somebody = Visitor(site, await context.new_page())
    await somebody.enter("bruno")
    yield somebody
    await context.close()


@pytest.mark.parametrize("path", OWN)
async def test_page_of_a_person(bruno: Visitor, path: str) -> None:
    await bruno.open(path)
    await assert_accessible(bruno.page)


@pytest.fixture(scope="module")
async def sofia(chromium: Browser, site: Stack) -> AsyncIterator[Visitor]:
    """Sofia, an administrator, logged in once for all of these."""
    context = await chromium.new_context(viewport=DESKTOP)
    somebody = Visitor(site, await context.new_page())
    await somebody.enter("sofia")
    yield somebody
    await context.close()


@pytest.mark.parametrize("path", ["audit", "audit?action=share", "audit?person=No+Body&since=2026-01-01"])
async def test_page_of_an_administrator(sofia: Visitor, path: str) -> None:
    await sofia.open(path)
    await assert_accessible(sofia.page)


async def test_details_of_events(sofia: Visitor, site: Stack) -> None:
    event = {
        "event_id": secrets.token_hex(16),
        "time": "2001-02-03T12:00:00Z",
        "actor": {
            "kind": "identity",
            "name": "28c5353b8bb34984a8bd4169ba94c606 https://idp.example.org/realm",
        },
        "action": "denial",
        "object": {"kind": "identity", "key": "https://idp.example.org/realm/" + "a" * 80},
        "outcome": "refused",
        "reason": "account_unknown",
        "proposal": PROPOSAL,
        "details": {"provider": "umbrella", "cause": "x" * 120},
    }
    site.call("accounts", "POST", "audit", json=event).raise_for_status()
    await sofia.open("audit?until=2001-02-04")
    await sofia.page.locator(".daas-trail summary").first.click()
    await expect(sofia.page.get_by_text("x" * 120)).to_be_visible()
    await assert_accessible(sofia.page)


async def test_open_menu_and_abstract(bruno: Visitor) -> None:
    await bruno.open("proposals")
    await bruno.page.locator("[data-menu] > summary").click()
    for summary in await bruno.page.locator(".daas-abstract summary").all():
        await summary.click()
    await assert_accessible(bruno.page)


@pytest.mark.usefixtures("_nobody_runs")
async def test_sessions_their_progress_and_the_question_before_the_end(bruno: Visitor) -> None:
    await bruno.open("proposals")
    name = await bruno.start(PROPOSAL, "Jupyter")
    await bruno.open("/hub/home")
    await expect(bruno.card(name).locator(".daas-pill")).to_have_text("running", timeout=90_000)
    await assert_accessible(bruno.page)
    await bruno.card(name).get_by_role("link", name="Details").click()
    await expect(bruno.page.get_by_role("heading", name=f"Session {name}")).to_be_visible()
    await assert_accessible(bruno.page)
    await bruno.page.get_by_role("link", name="All sessions").click()
    await bruno.card(name).get_by_role("button", name="Stop").click()
    await expect(bruno.page.locator("#confirm")).to_be_visible()
    await assert_accessible(bruno.page)
    await bruno.page.locator("#confirm-yes").click()
    await expect(bruno.card(name).locator(".daas-pill")).to_have_text("stopped", timeout=90_000)
    await assert_accessible(bruno.page)


async def test_the_progress_of_a_start(visitor: Visitor) -> None:
    await visitor.enter("chiara")
    name = await visitor.start(PROPOSAL, "Slow")
    await expect(visitor.page.get_by_role("heading", name=f"Starting {name}")).to_be_visible()
    await visitor.page.get_by_text("All messages").click()
    await assert_accessible(visitor.page)
    await visitor.open("/hub/home")
    await expect(visitor.card(name).locator(".daas-pill")).to_have_text("starting")
    await assert_accessible(visitor.page)


async def test_refusals(visitor: Visitor, site: Stack) -> None:
    await visitor.open("/hub/login")
    await visitor.page.get_by_label("Username").fill("bruno")
    await visitor.page.get_by_label("Password").fill("wrong")
    await visitor.page.get_by_role("button", name="Log in", exact=True).click()
    await assert_accessible(visitor.page)
    await visitor.page.get_by_label("Username").fill("dora")
    await visitor.page.get_by_label("Password").fill("dora-facility")
    await visitor.page.get_by_role("button", name="Log in", exact=True).click()
    await expect(visitor.page.locator("#sign-in-refused")).to_be_visible()
    await assert_accessible(visitor.page)


async def test_a_request_for_access_and_its_answer(visitor: Visitor, sofia: Visitor) -> None:
    await sofia.open("access-requests")
    await expect(sofia.page.get_by_text("Nobody waits")).to_be_visible()
    await assert_accessible(sofia.page)
    page = visitor.page
    await visitor.open("/hub/access-request")
    await expect(page.get_by_role("heading", name="Sign in first")).to_be_visible()
    await assert_accessible(page)
    await visitor.open("/hub/login")
    await page.get_by_label("Username").fill("dora")
    await page.get_by_label("Password").fill("dora-facility")
    await page.get_by_role("button", name="Log in", exact=True).click()
    await page.get_by_role("link", name="Request access").click()
    await page.get_by_label("Your name").fill("Dora")
    await page.get_by_label("Your e-mail address").fill("dora@facility.example")
    await page.get_by_label("What do you need?").fill("Proposal 20180301.\nThank you!")
    await assert_accessible(page)
    await page.get_by_label("What do you need?").press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Your request waits")).to_be_visible()
    await assert_accessible(page)
    await sofia.open("access-requests")
    card = sofia.page.locator("article", has=sofia.page.get_by_role("heading", name="Dora"))
    await card.get_by_text("Decline it").click()
    await assert_accessible(sofia.page)
    await card.get_by_label("Reason").fill("Ask the user office.")
    await card.get_by_role("button", name="Decline").click()
    await sofia.page.get_by_text("declined", exact=True).click()
    await assert_accessible(sofia.page)
    await visitor.open("/hub/access-request")
    await expect(page.get_by_role("heading", name="Your request was declined")).to_be_visible()
    await assert_accessible(page)


async def test_conditions_that_are_not_accepted_yet(visitor: Visitor) -> None:
    await visitor.log_in("edgar")
    await expect(visitor.page.get_by_role("button", name="I accept these conditions")).to_be_visible()
    await assert_accessible(visitor.page)


async def test_a_quota_without_room(bruno: Visitor, site: Stack) -> None:
    body = {"limits": {"machines": 0}, "reason": "test", "expires_at": "2099-01-01T00:00:00Z"}
    site.call("quotas", "PUT", "overrides/person/bruno", json=body).raise_for_status()
    try:
        await bruno.open(f"launch?proposal={PROPOSAL}&environment=jupyter")
        await expect(bruno.page.get_by_text("No flavour fits your quota now")).to_be_visible()
        await assert_accessible(bruno.page)
        await bruno.open("quotas")
        await assert_accessible(bruno.page)
    finally:
        site.call("quotas", "DELETE", "overrides/person/bruno")


async def test_an_empty_list_and_the_administration(visitor: Visitor) -> None:
    await visitor.enter("sofia")
    await assert_accessible(visitor.page)
    await visitor.open("/hub/home")
    await assert_accessible(visitor.page)
    await visitor.open("/hub/admin")
    await expect(visitor.page.get_by_role("heading", name="Administration")).to_be_visible()


async def test_after_the_logout(visitor: Visitor) -> None:
    await visitor.enter("amara")
    await visitor.page.locator("[data-menu] > summary").click()
    await visitor.page.get_by_role("link", name="Logout").click()
    await expect(visitor.page.get_by_role("heading", name="Log in")).to_be_visible()
    await visitor.open("proposals")
    await expect(visitor.page.get_by_label("Username")).to_be_visible()
