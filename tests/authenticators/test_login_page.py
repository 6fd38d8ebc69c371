"""The login page: several providers and sources, their order, and the way that a browser remembers."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from jupyterhub_daas.authenticators.accounts import write_entry
from jupyterhub_daas.authenticators.ways import COOKIE
from tests.authenticators.portal import PASSWORD, Portal
from tests.support.sign_in import first_form, sign_in_with_account, sign_in_with_provider
from tests.support.waiting import wait_until

VISITOR = "a visitor's own password"


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A hub with two providers and two files of accounts: one of people, one of visitors to be linked."""
    folder = tmp_path_factory.mktemp("several")
    visitors = folder / "visitors.yaml"
    write_entry(visitors, "amara", VISITOR)
    write_entry(visitors, "guest", VISITOR)
    source = {
        "kind": "file",
        "key": "visitors",
        "title": "Visitor's account",
        "description": "Made at the <gate>.",
        "path": str(visitors),
        "person": "link",
    }
    made = Portal(folder / "hub", more_sources=[source])
    visitors.chmod(0o644)
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def portal(several: Portal) -> Portal:
    """The hub, with everybody as if nothing had happened yet."""
    several.begin()
    return several


def page(portal: Portal, session: requests.Session, **query: str) -> str:
    """Return the login page."""
    answer = session.get(f"{portal.url}/hub/login", params=query, timeout=30)
    assert answer.status_code == 200
    return answer.text


def shown(text: str) -> tuple[str, str]:
    """Return the page before and inside of *another way*; the second is empty where there is none."""
    first, _, rest = text.partition("<details")
    return first, rest.partition("</details>")[0]


def remember(portal: Portal, session: requests.Session, key: str, wish: str = "yes") -> None:
    """Press a provider's button with the box ticked, or not, and come back without signing in."""
    url = f"{portal.url}/hub/auth/{key}/oauth_login"
    answer = session.get(url, params={"remember": wish}, timeout=30, allow_redirects=False)
    assert answer.status_code == 302


def test_all_ways_are_there_in_their_order(portal: Portal) -> None:
    text = page(portal, portal.visit())
    places = [
        text.index(each)
        for each in ("Log in with UmbrellaID", "Log in with Institute", "Which account?", 'value="accounts"')
    ]
    assert places == sorted(places)
    assert text.index('value="accounts"') < text.index('value="visitors"')
    assert "Made at the &lt;gate&gt;." in text
    assert "<details" not in text
    assert text.count("Remember my choice on this device") == 2


@pytest.mark.parametrize(
    ("username", "password", "source", "status"),
    [
        ("amara", PASSWORD, "accounts", 302),
        ("amara", PASSWORD, "", 302),
        ("amara", PASSWORD, "visitors", 403),
        ("amara", VISITOR, "accounts", 403),
        ("amara", VISITOR, "visitors", 403),
        ("amara", PASSWORD, "elsewhere", 403),
    ],
    ids=[
        "its own",
        "first one",
        "other's password",
        "visitor's password",
        "visitor of that name",
        "no source",
    ],
)
def test_a_name_proves_nothing_in_another_source(
    portal: Portal, username: str, password: str, source: str, status: int
) -> None:
    session = portal.visit()
    answer = sign_in_with_account(session, portal.url, username, password, source=source or "accounts")
    if not source:
        answer = sign_in_with_account(portal.visit(), portal.url, username, password)
    assert answer.status_code == status
    assert (portal.home(session).status_code == 200) is (status == 302)


def test_a_visitors_account_enters_by_its_link_only(portal: Portal) -> None:
    refused = sign_in_with_account(portal.visit(), portal.url, "guest", VISITOR, source="visitors")
    assert refused.status_code == 403
    assert 'data-code="account_unknown"' in refused.text
    assert "file:visitors" in refused.text  # what the user office needs to link it
    portal.services.know("zoe", identity=("file:visitors", "guest"))
    session = portal.visit()
    assert sign_in_with_account(session, portal.url, "guest", VISITOR, source="visitors").status_code == 302
    assert "zoe" in portal.home(session).text


def test_a_remembered_provider_is_first_and_all_others_stay_in_reach(portal: Portal) -> None:
    session = portal.visit()
    remember(portal, session, "institute")
    first, other = shown(page(portal, session, next="/hub/token"))
    assert "Log in with Institute" in first
    assert "UmbrellaID" not in first
    assert "password_input" not in first
    assert "Choose another way to log in" in other
    assert "Log in with UmbrellaID" in other
    assert "password_input" in other
    assert "Log in with Institute" not in other
    assert first.count('name="next" value="/hub/token"') == 1  # where the sign-in leads is kept


def test_a_remembered_provider_is_never_gone_to_unasked(portal: Portal) -> None:
    session = portal.visit()
    remember(portal, session, "institute")
    portal.institute.subject = "stranger@institute.example"
    answer = session.get(f"{portal.url}/hub/home", timeout=30)
    assert urlsplit(answer.url).path == "/hub/login"
    refused = sign_in_with_provider(session, portal.url, "", "", key="institute")
    assert refused.status_code == 403
    again = session.get(f"{portal.url}/hub/login", timeout=30)  # where *Log in again* leads
    assert urlsplit(again.url).path == "/hub/login"
    assert "Choose another way to log in" in again.text


def test_remembered_accounts_are_first_with_their_source_chosen(portal: Portal) -> None:
    session = portal.visit()
    form = {"remember": "yes"}
    signed_in = post_account(portal, session, "amara", PASSWORD, "accounts", form)
    assert signed_in.status_code == 302
    session.get(f"{portal.url}/hub/logout", timeout=30)
    first, other = shown(page(portal, session))
    assert 'id="source-accounts" value="accounts" required checked' in " ".join(first.split())
    assert "Log in with UmbrellaID" in other
    post_account(portal, session, "guest", VISITOR, "visitors", form)
    first, _ = shown(page(portal, session))
    assert 'id="source-visitors" value="visitors" required checked' in " ".join(first.split())


def post_account(
    portal: Portal, session: requests.Session, username: str, password: str, source: str, more: dict[str, str]
) -> requests.Response:
    """Send the form for accounts with further fields."""
    found = first_form(page(portal, session), "password")
    assert found is not None
    data = {**found[1], "username": username, "password": password, "source": source, **more}
    return session.post(f"{portal.url}/hub/login", data=data, timeout=30, allow_redirects=False)


def test_a_box_that_is_not_ticked_forgets_and_a_link_changes_nothing(portal: Portal) -> None:
    session = portal.visit()
    remember(portal, session, "umbrella")
    sign_in_with_provider(session, portal.url, "", "", key="institute")  # by a link without the form's fields
    assert session.cookies.get(COOKIE) == "umbrella"
    remember(portal, session, "institute", wish="no")
    assert COOKIE not in session.cookies
    assert "<details" not in page(portal, portal.visit())


@pytest.mark.parametrize("value", ["gone", "accounts:gone", "<script>", "accounts:", "x" * 3000, '"', "a;b"])
def test_a_remembered_way_that_is_not_there_any_more_is_none(portal: Portal, value: str) -> None:
    answer = portal.visit().get(
        f"{portal.url}/hub/login", headers={"Cookie": f"{COOKIE}={value}"}, timeout=30
    )
    assert answer.status_code == 200
    assert "<details" not in answer.text
    assert "<script>" not in re.sub(r"<script>\s*$", "", answer.text.partition("<body")[2])


def test_the_cookie_holds_the_way_and_nothing_about_anybody(portal: Portal) -> None:
    session = portal.visit()
    post_account(portal, session, "amara", PASSWORD, "accounts", {"remember": "yes"})
    held = next(each for each in session.cookies if each.name == COOKIE)
    assert held.value.strip('"') == "accounts:accounts"
    assert held.has_nonstandard_attr("HttpOnly")
    assert held.get_nonstandard_attr("SameSite") == "Lax"


def test_a_remembered_provider_that_is_away_opens_the_other_ways(portal: Portal) -> None:
    session = portal.visit()
    remember(portal, session, "institute")
    portal.institute.away.add("discovery")

    def opened() -> bool:
        text = page(portal, session)
        return "Institute does not answer" in text and re.search(r"<details[^>]*\bopen\b", text) is not None

    try:
        wait_until(opened, 30)
    finally:
        portal.institute.away.clear()
    portal.wait_for_providers()


def test_a_wrong_password_leaves_source_name_and_the_other_ways(portal: Portal) -> None:
    session = portal.visit()
    answer = sign_in_with_account(session, portal.url, "guest", "wrong", source="visitors")
    assert answer.status_code == 403
    text = " ".join(answer.text.split())
    assert 'id="source-visitors" value="visitors" required checked' in text
    assert 'value="guest"' in text
    assert "Log in with UmbrellaID" in text
    assert "wrong" not in re.sub("Wrong username or password", "", answer.text)
