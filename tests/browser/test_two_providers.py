"""UmbrellaID and the facility's own provider on one login page: real providers, real browsers, to the end."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest
import yaml
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, expect

from tests.browser.conftest import DESKTOP
from tests.browser.people import Visitor, overflow, violations
from tests.support.stack import ISSUER, Stack
from tests.support.umbrella import Umbrella
from tests.support.waiting import wait_for

# The provider allows its clocks 15 seconds before an access token counts as ended.
SOON = 60.0
SIZES: tuple[ViewportSize, ...] = (DESKTOP, {"width": 390, "height": 800})

Open = Callable[[], Awaitable[Visitor]]


class Facility(NamedTuple):
    """The portal and its two providers."""

    site: Stack
    umbrella: Umbrella
    keycloak: Umbrella


@pytest.fixture(scope="module")
def facility(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    """A portal with two real providers; access tokens end at once, so that refresh tokens are needed."""
    umbrella = Umbrella(tmp_path_factory.mktemp("umbrella"), access_token_seconds=2)
    keycloak = Umbrella(tmp_path_factory.mktemp("keycloak"), access_token_seconds=2, name="Facility")
    providers = [umbrella.settings(), keycloak.settings(key="keycloak")]
    extra = f"c.DaasAuthenticator.providers = {providers!r}\nc.DaasAuthenticator.auth_refresh_age = 1\n"
    site = Stack(tmp_path_factory.mktemp("site"), extra=extra)
    directory = site.folder / "facility.yaml"
    directory.write_text(directory.read_text().replace(ISSUER, umbrella.issuer))
    umbrella.start(site.url)
    keycloak.start(site.url, key="keycloak")
    _link(directory, "bruno", keycloak)
    try:
        yield Facility(site.start(), umbrella, keycloak)
    finally:
        site.stop()
        umbrella.stop()
        keycloak.stop()


def _link(directory: Path, person: str, provider: Umbrella) -> None:
    content = yaml.safe_load(directory.read_text())
    link = {"issuer": provider.issuer, "subject": provider.subject_of(person)}
    content["people"][person]["identities"] = [link]
    directory.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture
async def visitors(facility: Facility, chromium: Browser) -> AsyncIterator[Open]:
    """Further browsers, each of somebody else; no page of ours may have a fault in them."""
    opened: list[tuple[BrowserContext, Visitor]] = []

    async def another() -> Visitor:
        context = await chromium.new_context(viewport=DESKTOP)
        context.set_default_timeout(30_000)
        visitor = Visitor(facility.site, await context.new_page())
        opened.append((context, visitor))
        return visitor

    yield another
    for context, visitor in opened:
        await context.close()
        assert visitor.faults == []


async def sign_in(
    visitor: Visitor, provider: Umbrella, login: str, *, title: str, remember: bool = False
) -> None:
    """Sign in by a provider's button and its own form."""
    page = visitor.page
    await visitor.open("/hub/login")
    if remember:
        await page.get_by_label("Remember my choice on this device").first.check()
    await page.get_by_role("button", name=f"Log in with {title}").click()
    await page.wait_for_url(f"{provider.issuer}/**")
    await expect(page.get_by_text(f"{title} (demo)").first).to_be_visible()
    await page.get_by_label("Login name").fill(login)
    await page.get_by_label("Password").fill(provider.password_of(login))
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/services/portal/**")


async def is_signed_in(visitor: Visitor) -> bool:
    """Tell whether a page of the hub still opens."""
    await visitor.open("/hub/token")
    return urlsplit(visitor.page.url).path == "/hub/token"


async def test_both_sign_in_keys_rotate_tokens_are_renewed_and_one_signs_out(
    facility: Facility, visitors: Open
) -> None:
    site, umbrella, keycloak = facility
    amara, bruno = await visitors(), await visitors()
    await sign_in(amara, umbrella, "amara", title="UmbrellaID")
    await sign_in(bruno, keycloak, "bruno", title="Facility")
    for visitor, name in ((amara, "amara"), (bruno, "bruno")):
        await expect(visitor.page.locator(".daas-account-name")).to_have_text(name)

    # Both grants go on by their refresh tokens, each at its own provider.
    async def renewed() -> bool:
        assert await is_signed_in(amara)
        assert await is_signed_in(bruno)
        return all(provider.granted("refresh_token") > 0 for provider in (umbrella, keycloak))

    await wait_for(renewed, SOON, what="both providers renewed a token")

    # One signs out: at the portal and at her provider, and at no other.
    await amara.open("/hub/logout")
    await amara.page.wait_for_url(f"{site.url}/hub/login")
    assert not await is_signed_in(amara)
    await amara.open("/hub/auth/umbrella/oauth_login")
    await expect(amara.page.get_by_label("Login name")).to_be_visible()
    assert await is_signed_in(bruno)

    # New keys of one provider are found by themselves.
    umbrella.stop()
    umbrella.start(site.url)
    await wait_for(lambda: _offered(amara, "UmbrellaID"), SOON, what="the provider is back")
    await sign_in(amara, umbrella, "amara", title="UmbrellaID")
    assert await is_signed_in(amara)


async def _offered(visitor: Visitor, title: str) -> bool:
    await visitor.open("/hub/login")
    return f"{title} does not answer" not in await visitor.page.content()


async def test_a_provider_leads_nowhere_else_after_a_logout(facility: Facility, visitors: Open) -> None:
    site, _, keycloak = facility
    bruno = await visitors()
    await sign_in(bruno, keycloak, "bruno", title="Facility")
    for elsewhere in ("https://evil.example/", f"{site.url}.evil.example/hub/login", f"{site.url}/hub/token"):
        query = {"client_id": "hub", "post_logout_redirect_uri": elsewhere}
        answer = await bruno.page.goto(f"{keycloak.issuer}/session/end?{urlencode(query)}")
        assert answer is not None
        assert answer.status == 400
        assert bruno.page.url.startswith(keycloak.issuer)
    for query_text in (
        "next=https://evil.example/",
        "next=//evil.example",
        "post_logout_redirect_uri=https://e.example",
    ):
        await bruno.page.goto(f"{site.url}/hub/logout?{query_text}")
        await bruno.page.wait_for_url(re.compile(re.escape(site.url) + "/hub/log(in|out)"))


async def test_an_account_of_the_one_is_nobody_at_the_other(facility: Facility, visitors: Open) -> None:
    _, umbrella, keycloak = facility
    # The same person, with the same name, e-mail and even subject: linked at UmbrellaID, not at the other.
    stranger = await visitors()
    page = stranger.page
    await stranger.open("/hub/login")
    await page.get_by_role("button", name="Log in with Facility").click()
    await page.get_by_label("Login name").fill("amara")
    await page.get_by_label("Password").fill(keycloak.password_of("amara"))
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="You are signed in, but…")).to_be_visible()
    assert keycloak.subject_of("amara") == umbrella.subject_of("amara")
    await expect(page.get_by_text(keycloak.issuer)).to_be_visible()
    assert await violations(page) == []


async def test_the_remembered_way_comes_first_by_keyboard_and_without_script(
    facility: Facility, chromium: Browser
) -> None:
    site, _, keycloak = facility
    context = await chromium.new_context(viewport=DESKTOP, java_script_enabled=False)
    context.set_default_timeout(30_000)
    try:
        visitor = Visitor(site, await context.new_page())
        page = visitor.page
        await sign_in(visitor, keycloak, "bruno", title="Facility", remember=True)
        await context.clear_cookies(name=re.compile("jupyterhub|_session|_interaction"))
        for size in SIZES:
            await page.set_viewport_size(size)
            await visitor.open("/hub/login")
            await expect(page.get_by_role("button", name="Log in with Facility")).to_be_visible()
            await expect(page.get_by_role("button", name="Log in with UmbrellaID")).to_be_hidden()
            await expect(page.get_by_label("Username")).to_be_hidden()
            await visitor.screenshot(f"remembered-{size['width']}")
            other = page.get_by_text("Choose another way to log in")
            await other.focus()
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("button", name="Log in with UmbrellaID")).to_be_visible()
            await expect(page.get_by_label("Username")).to_be_visible()
            await visitor.screenshot(f"remembered-open-{size['width']}")
    finally:
        await context.close()


async def test_the_login_page_fits_and_is_accessible(facility: Facility, visitors: Open) -> None:
    visitor = await visitors()
    page: Page = visitor.page
    await visitor.open("/hub/login")
    for remembered in (False, True):
        if remembered:
            await page.get_by_label("Remember my choice on this device").first.check()
            await page.get_by_role("button", name="Log in with Facility").click()
            await page.wait_for_url(f"{facility.keycloak.issuer}/**")
            await visitor.open("/hub/login")
            await page.get_by_text("Choose another way to log in").click()
        for size in SIZES:
            await page.set_viewport_size(size)
            assert await violations(page) == []
            assert await overflow(page) <= 0
            await visitor.screenshot(f"login-{remembered}-{size['width']}")
