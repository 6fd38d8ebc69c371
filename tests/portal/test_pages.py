"""The pages through the real proxy, hub and services, as a browser asks for them."""

import re
from collections.abc import Iterator

import pytest
import requests

from tests.portal.browsing import NAVIGATES, arrive, listed, portal, post
from tests.support.frozen import frozen
from tests.support.stack import Stack, xsrf_of

PUBLIC = ["", "about", "partners", "help"]
PRIVATE = [
    "proposals",
    "proposals/20180301",
    "proposals/20180301/accesses",
    "launch?proposal=20180301",
    "quotas",
    "conditions",
    "activity",
    "audit",
    "audit/export",
]


@pytest.fixture
def amara(stack: Stack) -> requests.Session:
    """A browser of Amara, who accepted the conditions."""
    return arrive(stack, "amara")


# --- public pages and borders


@pytest.mark.parametrize("path", PUBLIC)
def test_public_pages_need_no_hub(stack: Stack, path: str) -> None:
    with frozen(stack.hub_pid()):
        page = requests.get(portal(stack, path), headers=NAVIGATES, timeout=60)
    assert page.status_code == 200
    assert ">Login</a>" in page.text


def test_pages_of_a_person_ask_the_hub_once_in_a_while(stack: Stack, amara: requests.Session) -> None:
    def asked() -> int:
        return len(re.findall(r"GET /hub/\S* \(amara@", stack.log()))

    amara.get(portal(stack, "quotas"), timeout=30).raise_for_status()
    before = asked()
    for _ in range(20):
        amara.get(portal(stack, "quotas"), timeout=30).raise_for_status()
    # Portal, proposals and quotas keep for 15 s who a token is: at most one of these periods ends meanwhile.
    assert asked() - before <= 3


@pytest.mark.parametrize("path", [*PUBLIC, "nothing-here"])
def test_pages_carry_their_security_headers(stack: Stack, path: str) -> None:
    headers = requests.get(portal(stack, path), headers=NAVIGATES, timeout=30).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("path", PRIVATE)
def test_asks_who_is_there(stack: Stack, path: str) -> None:
    answer = requests.get(portal(stack, path), headers=NAVIGATES, timeout=30, allow_redirects=False)
    assert answer.status_code == 302
    assert "/hub/api/oauth2/authorize" in answer.headers["Location"]


def test_the_front_door_leads_a_visitor_to_the_welcome_page(stack: Stack) -> None:
    page = requests.get(stack.url + "/", headers=NAVIGATES, timeout=30)
    assert page.url == portal(stack, "")
    assert "What you need" in page.text


def test_the_front_door_leads_a_person_to_her_proposals(stack: Stack, amara: requests.Session) -> None:
    assert amara.get(stack.url + "/", timeout=30).url == portal(stack, "proposals")


def test_an_address_that_is_no_page_says_so(stack: Stack) -> None:
    page = requests.get(portal(stack, "../portal/nothing"), headers=NAVIGATES, timeout=30)
    assert page.status_code == 404
    assert "There is nothing here" in page.text


def test_static_files_are_served_by_both(stack: Stack) -> None:
    for base in (portal(stack, "static/"), stack.url + "/hub/daas/static/"):
        answer = requests.get(base + "daas.css?v=1", timeout=30)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/css")
        assert "max-age=31" in answer.headers["Cache-Control"]
        assert requests.get(base + "../look.py", timeout=30).status_code == 404


def test_an_api_token_of_a_service_opens_no_page(stack: Stack) -> None:
    headers = {"Authorization": f"token {stack.service_token}", **NAVIGATES}
    answer = requests.get(portal(stack, "proposals"), headers=headers, timeout=30, allow_redirects=False)
    assert answer.status_code == 302


def test_a_cookie_that_has_ended_leads_to_the_login(stack: Stack, amara: requests.Session) -> None:
    stale = requests.Session()
    stale.headers.update(NAVIGATES)
    stale.cookies.set("service-portal", "2|1:0|10:1|14:service-portal|4:eHh4|00", path="/services/portal/")
    answer = stale.get(portal(stack, "proposals"), timeout=30, allow_redirects=False)
    assert answer.status_code == 302
    assert "/hub/api/oauth2/authorize" in answer.headers["Location"]


@pytest.mark.parametrize("path", ["launch", "favourites", "conditions"])
@pytest.mark.parametrize("xsrf", ["", "wrong"])
def test_refuses_a_form_without_the_page_s_own_token(
    stack: Stack, amara: requests.Session, path: str, xsrf: str
) -> None:
    before = stack.log().count("Traceback")
    answer = post(stack, amara, path, _xsrf=xsrf, proposal="20180301", environment="jupyter", version="1")
    assert answer.status_code == 403
    assert "load the page again" in answer.text
    assert stack.log().count("Traceback") == before


def test_refuses_the_hub_s_token_for_a_form_of_the_portal(stack: Stack, amara: requests.Session) -> None:
    amara.get(stack.url + "/hub/home", timeout=30)
    answer = post(stack, amara, "launch", _xsrf=xsrf_of(amara, "/hub/"), proposal="20180301")
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "favourites"), ("POST", "proposals"), ("DELETE", "launch"), ("PUT", "conditions")],
)
def test_refuses_another_method(stack: Stack, amara: requests.Session, method: str, path: str) -> None:
    headers = {"X-XSRFToken": xsrf_of(amara, "/portal/")}
    answer = amara.request(method, portal(stack, path), headers=headers, timeout=30, allow_redirects=False)
    assert answer.status_code == 405


# --- conditions


def test_asks_for_the_conditions_before_anything_else(stack: Stack) -> None:
    bruno = stack.login("bruno")
    for path in ("proposals", "proposals/20180301", "launch?proposal=20180301&environment=jupyter"):
        answer = bruno.get(portal(stack, path), timeout=30)
        assert answer.url.startswith(portal(stack, "conditions?next="))
        assert "I accept these conditions" in answer.text
    refused = post(stack, bruno, "launch", proposal="20180301", environment="jupyter")
    assert refused.status_code == 303
    assert "/conditions?next=" in refused.headers["Location"]

    back = "/services/portal/launch?proposal=20180301&environment=jupyter"
    old = post(stack, bruno, "conditions", version="1999-01", next=back)
    assert "The conditions have changed" in old.text

    shown = re.search(r'name="version" value="([^"]+)"', old.text)
    assert shown
    accepted = post(stack, bruno, "conditions", version=shown[1], next=back)
    assert accepted.status_code == 303
    assert accepted.headers["Location"] == back
    assert "You accepted this version" in bruno.get(portal(stack, "conditions"), timeout=30).text
    assert bruno.get(portal(stack, "proposals"), timeout=30).url == portal(stack, "proposals")


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/services/portal/",
        "/\\evil.example",
        "/hub/logout",
        "javascript:alert(1)",
        "/services/portal/\nSet-Cookie:a",
    ],
)
def test_goes_on_to_pages_of_its_own_only(stack: Stack, amara: requests.Session, elsewhere: str) -> None:
    answer = post(stack, amara, "favourites", identifier="20180301", wanted="no", next=elsewhere)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/services/portal/proposals"


# --- proposals


def test_lists_the_person_s_own_proposals_only(stack: Stack, amara: requests.Session) -> None:
    token = stack.token("amara")
    own = stack.call("proposals", "GET", "people/amara/proposals?limit=100", token=token).json()
    page = amara.get(portal(stack, "proposals"), timeout=30).text
    assert sorted(listed(page)) == sorted(each["identifier"] for each in own["items"])
    assert "20180301" in listed(page)


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        pytest.param("20190417", ["20190417"], id="identifier"),
        pytest.param("porosity of hydrating", ["20190417"], id="title"),
        pytest.param("connected", ["20190417"], id="abstract"),
        pytest.param("ID19", ["20190417", "20181102"], id="instrument"),
    ],
)
def test_finds_by_number_title_abstract_and_beamline(
    stack: Stack, amara: requests.Session, search: str, expected: list[str]
) -> None:
    page = amara.get(portal(stack, "proposals"), params={"search": search}, timeout=30).text
    assert sorted(listed(page)) == sorted(expected)


@pytest.mark.parametrize("column", ["identifier", "title", "abstract", "instrument", "state"])
def test_sorts_by_each_column_both_ways(stack: Stack, amara: requests.Session, column: str) -> None:
    up = amara.get(portal(stack, "proposals"), params={"sort": column}, timeout=30).text
    down = amara.get(portal(stack, "proposals"), params={"sort": f"-{column}"}, timeout=30).text
    assert 'aria-sort="ascending"' in up
    assert 'aria-sort="descending"' in down
    assert sorted(listed(up)) == sorted(listed(down))
    if column in ("identifier", "title", "abstract"):
        assert listed(up) == listed(down)[::-1]
    other = "-" + column if column != "identifier" else ""
    link = f"?sort={other}" if other else "?"
    assert f'<a href="{link}"' in up


def test_what_is_searched_for_is_escaped(stack: Stack, amara: requests.Session) -> None:
    page = amara.get(portal(stack, "proposals"), params={"search": '"><script>x</script>'}, timeout=30).text
    assert "<script>x" not in page
    assert "Nothing found" in page


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "page=99999999", "sort=password", "sort=title;drop", "search=" + "x" * 201]
)
def test_refuses_a_query_that_does_not_fit(stack: Stack, amara: requests.Session, query: str) -> None:
    answer = amara.get(portal(stack, f"proposals?{query}"), timeout=30)
    assert answer.status_code == 400
    assert "This could not be done" in answer.text


def test_a_proposal_of_others_looks_like_one_that_is_not_there(stack: Stack, amara: requests.Session) -> None:
    token = stack.token("amara")
    own = stack.call("proposals", "GET", "people/amara/proposals?limit=100", token=token).json()["items"]
    every = stack.call("proposals", "GET", "people/fatima/proposals?limit=100").json()["items"]
    foreign = next(p["identifier"] for p in every if p["identifier"] not in {o["identifier"] for o in own})
    pages = [
        amara.get(portal(stack, f"{path}{identifier}"), timeout=30)
        for identifier in (foreign, "19990101")
        for path in ("proposals/", "launch?environment=jupyter&proposal=")
    ]
    assert {page.status_code for page in pages} == {404}
    assert len({page.text.replace(foreign, "19990101") for page in pages}) == 1


def test_shows_a_proposal_with_its_members_experiments_and_datasets(
    stack: Stack, amara: requests.Session
) -> None:
    page = amara.get(portal(stack, "proposals/20180301"), timeout=30).text
    assert "Bruno Ferreira" in page
    assert "principal investigator" in page
    assert "12 March 2018" in page
    assert "raw/XRFSpectrum.mca" in page
    assert 'name="environment" value="desktop"' in page


def test_finds_datasets_of_a_proposal(stack: Stack, amara: requests.Session) -> None:
    page = amara.get(portal(stack, "proposals/20180301?search=steel"), timeout=30).text
    assert "raw/Steel.spe" in page
    assert "raw/XRFSpectrum.mca" not in page


# --- favourites


@pytest.fixture
def starred(stack: Stack, amara: requests.Session) -> Iterator[str]:
    """A proposal that becomes no favourite again afterwards."""
    yield "20180301"
    stack.call("accounts", "DELETE", "people/amara/favourites/20180301", token=stack.token("amara"))


def test_stars_without_script_and_shows_favourites_only(
    stack: Stack, amara: requests.Session, starred: str
) -> None:
    page = amara.get(portal(stack, "proposals?favourites=true"), timeout=30).text
    assert "No favourites yet" in page
    back = "/services/portal/proposals?search=2018"
    answer = post(stack, amara, "favourites", identifier=starred, wanted="yes", next=back)
    assert answer.headers["Location"] == back
    page = amara.get(portal(stack, "proposals?favourites=true"), timeout=30).text
    assert listed(page) == [starred]
    assert 'aria-pressed="true"' in page


def test_stars_with_the_page_s_script(stack: Stack, amara: requests.Session, starred: str) -> None:
    url = portal(stack, f"api/v1/favourites/{starred}")
    headers = {"X-XSRFToken": xsrf_of(amara, "/portal/"), "Sec-Fetch-Mode": "cors"}
    assert amara.put(url, headers=headers, timeout=30).status_code == 204
    assert listed(amara.get(portal(stack, "proposals?favourites=true"), timeout=30).text) == [starred]
    assert amara.delete(url, headers=headers, timeout=30).status_code == 204
    assert listed(amara.get(portal(stack, "proposals?favourites=true"), timeout=30).text) == []


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_stars_only_for_the_person_herself(
    stack: Stack, amara: requests.Session, starred: str, method: str
) -> None:
    url = portal(stack, f"api/v1/favourites/{starred}")
    assert requests.request(method, url, timeout=30).status_code == 401
    assert amara.request(method, url, headers={"X-XSRFToken": "wrong"}, timeout=30).status_code == 401
    service = {"Authorization": f"token {stack.service_token}"}
    assert requests.request(method, url, headers=service, timeout=30).status_code == 404
    person = {"Authorization": f"token {stack.token('amara')}"}
    assert requests.request(method, url, headers=person, timeout=30).status_code == 204


# --- the contract


def test_serves_its_contract(stack: Stack) -> None:
    text = requests.get(portal(stack, "openapi.yaml"), timeout=30).text
    assert "/api/v1/favourites/{identifier}" in text
    assert requests.get(portal(stack, "docs"), timeout=30).status_code == 200
    assert requests.get(portal(stack, "health"), timeout=30).json()["healthy"] is True
    assert "daas_requests" in requests.get(portal(stack, "metrics"), timeout=30).text
