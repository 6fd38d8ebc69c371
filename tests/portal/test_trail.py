"""The pages of the audit trail in a whole portal: who sees what, by which filter, and how it is exported."""

import json
import re
import secrets
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from jupyterhub_daas.core.audit import AuditRecord
from tests.portal.browsing import arrive, away, portal
from tests.support.stack import Stack

PROPOSAL, NOT_BRUNOS = "20180301", "20190417"
MISSING = "The page is not there, or it is not yours to see."


def event(**given: Any) -> dict[str, Any]:
    """Return an event of a test's own: nobody else has this person, proposal or time."""
    return {
        "event_id": secrets.token_hex(16),
        "time": "2001-02-03T12:00:00Z",
        "actor": {"kind": "person", "name": "amara"},
        "action": "start",
        "object": {"kind": "session", "key": "brave-curie"},
        **given,
    }


@pytest.fixture(scope="module")
def sofia(stack: Stack) -> requests.Session:
    """A browser of an administrator."""
    return arrive(stack, "sofia")


@pytest.fixture
def amara(stack: Stack) -> requests.Session:
    """A browser of a member of both proposals."""
    return arrive(stack, "amara")


def record(stack: Stack, *events: dict[str, Any]) -> None:
    """Record events, in order."""
    for each in events:
        stack.call("accounts", "POST", "audit", json=each).raise_for_status()


def shown(page: str) -> list[str]:
    """Return the heads of the rows of a page's table."""
    heads = re.findall(r'<th scope="row" role="rowheader">(.*?)</th>', page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", each).split()) for each in heads]


def get(stack: Stack, session: requests.Session, path: str, **query: str) -> requests.Response:
    """Open a page."""
    return session.get(portal(stack, path + ("?" + urlencode(query) if query else "")), timeout=30)


# --- who may see it


@pytest.mark.parametrize("path", ["audit", "audit/export", "audit?person=bruno"])
def test_the_trail_is_absent_for_all_others(stack: Stack, amara: requests.Session, path: str) -> None:
    page = amara.get(portal(stack, path), timeout=30)
    assert (page.status_code, MISSING in page.text) == (404, True)
    assert amara.get(portal(stack, "nothing"), timeout=30).text.count("<h1>") == page.text.count("<h1>")


def test_only_who_may_read_it_is_led_there(
    stack: Stack, amara: requests.Session, sofia: requests.Session
) -> None:
    link = "/services/portal/audit"
    for path in (portal(stack, "proposals"), stack.url + "/hub/home"):
        for session, led in ((amara, False), (sofia, True)):
            page = session.get(path, timeout=30).text
            assert (f'href="{link}"' in page) is led, path
            assert ("/hub/admin" in page) is led, path
            assert '/services/portal/activity"' in page


# --- filters


def test_filters_find_what_they_say(stack: Stack, sofia: requests.Session) -> None:
    person = "zoe-filters"
    record(
        stack,
        event(time="2001-03-01T00:00:00Z", actor={"kind": "person", "name": person}, proposal="P-77"),
        event(
            time="2001-03-02T23:59:59Z",
            on_behalf_of=person,
            outcome="refused",
            reason="quota_exceeded",
            action="start",
        ),
        event(time="2001-03-03T00:00:00Z", action="block", object={"kind": "person", "key": person}),
    )

    def found(**query: str) -> list[str]:
        page = get(stack, sofia, "audit", person=person, **query)
        assert page.status_code == 200
        return shown(page.text)

    block, refused, started = (
        "Account blocked",
        "Session not started refused the quota has no room",
        "Session started",
    )
    assert found() == [block, refused, started]
    assert found(since="2001-03-02") == [block, refused]
    assert found(until="2001-03-02") == [refused, started]
    assert found(since="2001-03-02", until="2001-03-02") == [refused]
    assert found(action="block") == [block]
    assert found(outcome="refused") == [refused]
    assert found(proposal="P-77") == [started]
    page = get(stack, sofia, "audit", person=person, action="link").text
    assert "No event fits" in page
    assert 'value="zoe-filters"' in page


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"since": "yesterday"}, "Write the first day as"),
        ({"until": "2026-02-30"}, "Write the last day as"),
        ({"since": "9999-12-31"}, "Write the first day as"),
        ({"since": "2026-02-02", "until": "2026-02-01"}, "The first day is after the last one."),
        ({"person": "No Body"}, "A username has"),
        ({"person": "<script>alert(1)</script>"}, "A username has"),
        ({"proposal": "../x"}, "A proposal&#39;s number has"),
        ({"action": "hack"}, "Choose one of the listed events."),
        ({"before": "5"}, "Begin again"),
    ],
)
def test_a_form_that_does_not_fit_says_what_to_write(
    stack: Stack, sofia: requests.Session, query: dict[str, str], said: str
) -> None:
    page = get(stack, sofia, "audit", **query)
    assert (page.status_code, said in page.text) == (400, True)
    assert "<script>alert" not in page.text
    assert shown(page.text) == []


def test_pages_hold_each_event_once(stack: Stack, sofia: requests.Session) -> None:
    person = "zoe-pages"
    count = 53
    record(
        stack,
        *(event(time="2001-04-01T00:00:00Z", actor={"kind": "person", "name": person}) for _ in range(count)),
    )
    page = get(stack, sofia, "audit", person=person).text
    numbers = re.findall(r'data-event="(\d+)"', page)
    assert len(numbers) == 50
    assert "Latest events" not in page
    (earlier,) = re.findall(r'href="(\?[^"]+)" rel="next"', page)
    rest = sofia.get(portal(stack, "audit" + earlier.replace("&amp;", "&")), timeout=30).text
    numbers += re.findall(r'data-event="(\d+)"', rest)
    assert len(set(numbers)) == len(numbers) == count
    assert 'rel="next"' not in rest
    assert "Latest events" in rest


def test_shows_the_chain_as_the_command_prints_it(stack: Stack, sofia: requests.Session) -> None:
    record(stack, event())
    page = get(stack, sofia, "audit").text
    state = stack.call("accounts", "GET", "audit/state").json()
    assert "follow each other without a break" in page
    number = int(re.findall(r"<code>(\d+):[0-9a-f]{64}</code>", page)[0])
    assert 0 < number <= state["number"]


def test_what_was_recorded_is_escaped(stack: Stack, sofia: requests.Session) -> None:
    record(
        stack,
        event(
            actor={"kind": "identity", "name": "<b>x</b>"},
            on_behalf_of="zoe-escaped",
            object={"kind": "identity", "key": "<i>y</i>"},
            details={"cause": "<script>alert(1)</script>"},
        ),
    )
    page = get(stack, sofia, "audit", person="zoe-escaped").text
    for text in ("<b>x", "<i>y", "<script>alert"):
        assert text not in page
    assert "&lt;script&gt;alert(1)" in page


# --- export


def test_the_export_has_all_events_of_its_days(stack: Stack, sofia: requests.Session) -> None:
    record(stack, *(event(time=f"2001-05-{day:02d}T23:59:59Z") for day in (1, 2, 2, 3)))
    answer = get(stack, sofia, "audit/export", since="2001-05-02", until="2001-05-02", person="ignored")
    assert answer.headers["Content-Type"] == "application/jsonl; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="audit_2001-05-02_2001-05-02.jsonl"'
    records = [AuditRecord.model_validate(json.loads(line)) for line in answer.text.splitlines()]
    assert [each.time.day for each in records] == [2, 2]
    assert get(stack, sofia, "audit/export", since="1999-01-01", until="1999-01-02").text == ""
    wrong = get(stack, sofia, "audit/export", since="2001-05-03", until="2001-05-02")
    assert (wrong.status_code, "Content-Disposition" in wrong.headers) == (400, False)


def test_the_pages_say_that_accounts_is_away(stack: Stack, sofia: requests.Session) -> None:
    with away(stack, "accounts"):
        for path in ("audit", "activity"):
            page = get(stack, sofia, path)
            assert (page.status_code, "the account service" in page.text) == (503, True)
            assert "Traceback" not in page.text


# --- one's own


def test_a_person_sees_what_is_about_her(stack: Stack, amara: requests.Session) -> None:
    now = datetime.now(timezone.utc)
    record(
        stack,
        event(
            time=(now + timedelta(minutes=2)).isoformat(),
            action="role",
            actor={"kind": "person", "name": "sofia"},
            object={"kind": "person", "key": "amara"},
            details={"change": "granted", "role": "instrument_scientist", "reason": "Helps there."},
        ),
        event(time=(now + timedelta(minutes=1)).isoformat(), actor={"kind": "person", "name": "bruno"}),
    )
    page = get(stack, amara, "activity").text
    heads = shown(page)
    assert heads[0] == "Role instrument scientist given"
    assert "Helps there." in page
    assert "sofia" in page
    assert "Signed in" in heads
    assert "Conditions of use accepted" in heads
    assert "bruno" not in page
    # The query of the administrator's page changes nothing here.
    assert shown(get(stack, amara, "activity", person="bruno").text) == heads


def test_says_that_there_is_nothing_earlier(stack: Stack, amara: requests.Session) -> None:
    page = get(stack, amara, "activity", before="1980-01-01T00:00:00.000000Z_1")
    assert (page.status_code, "Nothing earlier" in page.text) == (200, True)
    assert get(stack, amara, "activity", before="x").status_code == 400


# --- who had the data of a proposal


@pytest.fixture(scope="module")
def _accessed(stack: Stack) -> None:
    def access(person: str, role: str, **given: Any) -> dict[str, Any]:
        details = {"folders": "proposals/x/raw (ro)", "role": role}
        return event(
            actor={"kind": "person", "name": person},
            action="data_access",
            proposal=NOT_BRUNOS,
            details=details,
            **given,
        )

    record(
        stack,
        *(access("edgar", "principal_investigator", time=f"2001-06-01T00:00:{n:02d}Z") for n in range(55)),
        access("lars", "local_contact", time="2001-06-02T00:00:00Z"),
        access("sofia", "member", time="2001-06-03T00:00:00Z", on_behalf_of="edgar"),
    )


@pytest.mark.usefixtures("_accessed")
def test_members_see_who_had_their_data(stack: Stack, amara: requests.Session) -> None:
    page = get(stack, amara, f"proposals/{NOT_BRUNOS}").text
    assert "Who accessed this data" in page
    assert len(shown(page.partition('id="accesses"')[2].partition("daas-quota")[0])) == 5
    assert "All accesses" in page
    first = get(stack, amara, f"proposals/{NOT_BRUNOS}/accesses").text
    heads = shown(first)
    assert len(heads) == 50
    assert "started by sofia" in first
    assert re.search(r'local contact\s*<span class="daas-pill">facility</span>', first)
    (earlier,) = re.findall(r'href="(\?[^"]+)" rel="next"', first)
    path = f"proposals/{NOT_BRUNOS}/accesses"
    rest = shown(amara.get(portal(stack, path + earlier), timeout=30).text)
    assert len(rest) >= 7


@pytest.mark.usefixtures("_accessed")
def test_others_find_no_more_than_of_an_absent_proposal(stack: Stack) -> None:
    bruno = arrive(stack, "bruno")
    answers = []
    for identifier in (NOT_BRUNOS, "19990101"):
        page = get(stack, bruno, f"proposals/{identifier}/accesses")
        answers.append((page.status_code, page.text.replace(identifier, "")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


def test_says_that_nobody_had_the_data(stack: Stack) -> None:
    edgar = arrive(stack, "edgar")
    listed = stack.call("proposals", "GET", "people/edgar/proposals", params={"limit": 100}).json()["items"]
    unused = [
        each["identifier"]
        for each in listed
        if not stack.call("accounts", "GET", f"proposals/{each['identifier']}/accesses").json()["items"]
    ]
    page = get(stack, edgar, f"proposals/{unused[0]}").text
    assert "No session has had it so far." in page
    assert "Nobody yet" in get(stack, edgar, f"proposals/{unused[0]}/accesses").text
