"""The pages with the keyboard only, and in a browser that runs no script."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import DESKTOP
from tests.browser.people import Visitor
from tests.support.stack import Stack

PROPOSAL = "20180301"


async def focused(page: Page) -> str:
    """Return what the focus is on, as a person would call it."""
    text: str = await page.evaluate(
        "(document.activeElement.innerText || document.activeElement.name || "
        "document.activeElement.id).trim().replace(/\\s+/g, ' ')"
    )
    return text


async def press_until(page: Page, wanted: str, key: str = "Tab") -> None:
    """Go on with the keyboard until the focus is there."""
    for _ in range(60):
        await page.keyboard.press(key)
        if wanted in await focused(page):
            return
    raise AssertionError(f"the keyboard does not reach {wanted!r}")


async def test_the_first_key_leads_past_the_navigation(visitor: Visitor) -> None:
    await visitor.open("about")
    page = visitor.page
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await expect(page.locator("#content")).to_be_focused()


async def test_the_focus_is_seen(visitor: Visitor) -> None:
    await visitor.open("")
    await press_until(visitor.page, "Partners")
    style = await visitor.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    width = await visitor.page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
    assert style == "solid"
    assert width >= 2


async def test_logs_in_stars_and_starts_by_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/hub/login?next=%2Fservices%2Fportal%2Fproposals")
    await press_until(page, "username")
    await page.keyboard.type("bruno")
    await page.keyboard.press("Tab")
    await page.keyboard.type("bruno-facility")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/services/portal/**")
    if "/conditions" in page.url:
        await press_until(page, "I accept these conditions")
        await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Proposals", level=1)).to_be_visible()

    await press_until(page, f"Favourite {PROPOSAL}")
    star = visitor.row(PROPOSAL).get_by_role("button", name="Favourite")
    for state in ("true", "false"):
        await page.keyboard.press("Space")
        await expect(star).to_have_attribute("aria-pressed", state)
        await expect(star).to_be_focused()

    await press_until(page, f"Jupyter for {PROPOSAL}")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("radio", name="Small")).to_be_visible()
    await press_until(page, "choice")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("radio", name="Medium")).to_be_checked()
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile(r"/(spawn-pending|user)/bruno/"))


async def test_reads_the_trail_by_keyboard(visitor: Visitor) -> None:
    await visitor.enter("sofia")
    page = visitor.page
    await press_until(page, "sofia")
    await page.keyboard.press("Enter")
    await press_until(page, "Audit")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Audit", level=1)).to_be_visible()
    await press_until(page, "person")
    await page.keyboard.type("sofia")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("rowheader", name="Signed in").first).to_be_visible()
    await press_until(page, "Details of event")
    await page.keyboard.press("Enter")
    await expect(page.locator(".daas-trail details[open] dl")).to_be_visible()


async def test_the_menu_opens_and_closes_by_keyboard(visitor: Visitor) -> None:
    await visitor.enter("bruno")
    page = visitor.page
    await press_until(page, "bruno")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="Logout")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("link", name="Logout")).to_be_hidden()
    await expect(page.locator("[data-menu] > summary")).to_be_focused()


async def test_the_question_before_a_stop_keeps_the_session_on_escape(visitor: Visitor, site: Stack) -> None:
    await visitor.enter("bruno")
    name = await visitor.start(PROPOSAL, "Jupyter")
    page = visitor.page
    await visitor.open("/hub/home")
    await expect(visitor.card(name).locator(".daas-pill")).to_have_text("running", timeout=90_000)
    await press_until(page, f"Stop {name}")
    await page.keyboard.press("Enter")
    dialog = page.locator("#confirm")
    await expect(dialog).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(visitor.card(name).get_by_role("button", name="Stop")).to_be_focused()
    assert name in site.admin("GET", "/users/bruno").json()["servers"]


@pytest.fixture
async def scriptless(chromium: Browser, site: Stack, _nobody_runs: None) -> AsyncIterator[Visitor]:
    """Somebody whose browser runs no script."""
    context = await chromium.new_context(viewport=DESKTOP, java_script_enabled=False)
    yield Visitor(site, await context.new_page())
    await context.close()


async def test_works_without_script(scriptless: Visitor) -> None:
    await scriptless.enter("amara")
    page = scriptless.page
    await page.get_by_label("Search in proposal").fill("cement")
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("[data-proposal]")).to_have_count(1)

    star = scriptless.row("20190417").get_by_role("button", name="Favourite")
    await star.click()
    await expect(page).to_have_url(scriptless.address("proposals?search=cement"))
    await expect(star).to_have_attribute("aria-pressed", "true")
    await star.click()
    await expect(star).to_have_attribute("aria-pressed", "false")

    await page.get_by_role("link", name="Title").click()
    await expect(page.locator('th[aria-sort="ascending"]')).to_contain_text("Title")
    await page.locator("[data-menu] > summary").click()
    await page.get_by_role("link", name="My activity").click()
    await expect(page.get_by_role("rowheader", name="Conditions of use accepted").first).to_be_visible()
    await page.locator(".daas-trail summary").first.click()
    await expect(page.locator(".daas-trail details[open] dl")).to_be_visible()
    await scriptless.open("proposals?search=cement")
    name = await scriptless.start("20190417", "Jupyter")
    # The page of the progress loads itself again until the session is there.
    await page.wait_for_url(f"**/user/amara/{name}/**", timeout=90_000)
    await scriptless.open("/hub/home")
    await expect(scriptless.card(name)).to_be_visible()
