"""The page "Sign-in methods" with a browser: what a person sees before and after she confirms."""

from playwright.async_api import ViewportSize, expect

from tests.browser.people import Visitor, overflow, violations
from tests.support.umbrella import Umbrella

PHONE: ViewportSize = {"width": 390, "height": 844}


async def test_a_person_finds_her_methods_and_confirms(visitor: Visitor, umbrella: Umbrella) -> None:
    await visitor.open("/hub/login")
    await visitor.log_in_with_umbrella(umbrella, "edgar")
    page = visitor.page
    await visitor.open("/hub/identities")
    await expect(page.get_by_role("heading", name="Sign-in methods")).to_be_visible()
    await expect(page.get_by_text(umbrella.subject_of("edgar"))).to_be_visible()
    await expect(page.get_by_text("Unlink it")).to_have_count(0)

    await page.get_by_role("link", name="Sign in with UmbrellaID").click()
    # The provider knows her from a moment ago, and asks all the same.
    await page.get_by_label("Login name").fill("edgar")
    await page.get_by_label("Password").fill(umbrella.password_of("edgar"))
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/hub/identities")
    await page.get_by_text("Unlink it").click()
    await expect(page.get_by_role("button", name="Unlink")).to_be_visible()
    await expect(page.get_by_text("All providers that can be used here are linked")).to_be_visible()
    await visitor.screenshot("sign-in-methods")
    await page.set_viewport_size(PHONE)
    assert await violations(page) == []
    assert await overflow(page) <= 0
    await visitor.screenshot("sign-in-methods-phone")
