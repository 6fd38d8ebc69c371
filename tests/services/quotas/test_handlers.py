"""Every route with no token, another's and the right one; and neighbours that are away."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.services.quotas.neighbours import ALL_SCOPES, Neighbours
from tests.services.quotas.portal import BODY, ID, SETTINGS, Quotas, code_of
from tests.services.quotas.support import new_id
from tests.support.waiting import wait_until

READ, OVERRIDE, WRITE, USAGE = ALL_SCOPES
OVERRIDE_BODY = {"limits": {"machines": 7}, "reason": "beamtime"}

ROUTES = [
    pytest.param("GET", "people/amara/quota", None, [READ, "amara"], id="quota-of-a-person"),
    pytest.param("GET", "proposals/20180301/quota", None, [READ, "amara"], id="quota-of-a-proposal"),
    pytest.param("GET", "reservations", None, [READ], id="all-reservations"),
    pytest.param("GET", "reservations?person=amara", None, [READ, "amara"], id="own-reservations"),
    pytest.param("PUT", f"reservations/{ID}", BODY, [WRITE], id="reserve"),
    pytest.param("PATCH", f"reservations/{ID}", {"state": "held"}, [WRITE], id="prolong"),
    pytest.param("PATCH", f"reservations/{ID}", {"state": "active"}, [WRITE], id="activate"),
    pytest.param("DELETE", f"reservations/{ID}", None, [WRITE], id="release"),
    pytest.param("GET", "usage", None, [USAGE], id="usage"),
    pytest.param("GET", "usage?format=csv", None, [USAGE], id="usage-csv"),
    pytest.param("GET", "overrides", None, [OVERRIDE], id="overrides"),
    pytest.param("PUT", "overrides/person/chiara", OVERRIDE_BODY, [OVERRIDE], id="override"),
    pytest.param("DELETE", "overrides/person/chiara", None, [OVERRIDE], id="no-override"),
]


@pytest.fixture(autouse=True)
def _neighbours_as_usual(neighbours: Neighbours) -> Iterator[None]:
    yield
    neighbours.away.clear()
    neighbours.roles.clear()


@pytest.mark.parametrize(("method", "path", "body", "allowed"), ROUTES)
@pytest.mark.parametrize("token", [None, "forged", "elsewhere"])
def test_refuses_who_is_not_known_here(
    quotas: Quotas, method: str, path: str, body: Any, allowed: list[str], token: str | None
) -> None:
    answer = quotas.call(method, path, token=token, json=body)
    assert (answer.status_code, code_of(answer)) == (401, "unauthenticated")
    assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize(("method", "path", "body", "allowed"), ROUTES)
def test_answers_to_the_right_token_and_to_no_other(
    quotas: Quotas, method: str, path: str, body: Any, allowed: list[str]
) -> None:
    for token in (*ALL_SCOPES, "none", "amara", "bruno"):
        if token in allowed:
            continue
        answer = quotas.call(method, path, token=token, json=body)
        assert (token, answer.status_code, code_of(answer)) == (token, 404, "not_found")
    for token in allowed:
        answer = quotas.call(method, path, token=token, json=body)
        assert (token, answer.status_code) in {(token, status) for status in (200, 201, 204)}


def test_absent_and_forbidden_answer_alike(quotas: Quotas) -> None:
    def answer(path: str, token: str) -> bytes:
        found = quotas.call("GET", path, token=token)
        assert found.status_code == 404
        return found.content

    assert answer("people/amara/quota", "bruno") == answer("people/nobody/quota", "bruno")
    assert answer("people/nobody/quota", READ)
    assert answer("proposals/20190417/quota", "amara") == answer("proposals/19990101/quota", "amara")


def test_a_person_reads_nobody_elses_reservations(quotas: Quotas) -> None:
    for path in ("reservations?person=bruno", "reservations", "reservations?proposal=20190417"):
        assert quotas.call("GET", path, token="amara").status_code == 404
    # The first of two values must not open what the second reads.
    twice = quotas.call("GET", "reservations?person=amara&person=bruno", token="amara")
    assert twice.status_code in (400, 404)
    twice = quotas.call("GET", "reservations?person=bruno&person=amara", token="amara")
    assert twice.status_code in (400, 404)


def test_the_golden_example_through_the_api(quotas: Quotas, neighbours: Neighbours) -> None:
    neighbours.tokens["golden"] = {**neighbours.tokens["amara"], "name": "golden"}
    neighbours.people.add("golden")
    g = 1 << 30
    for _ in range(3):
        made = quotas.call("PUT", f"reservations/{new_id()}", json={**BODY, "person": "golden"})
        assert made.status_code == 201
    quota = quotas.call("GET", "people/golden/quota", token="golden").json()
    assert quota == {
        "limits": {"machines": 5, "cpus": 10, "memory": 30 * g, "storage": 80 * g, "gpus": None},
        "used": {"machines": 3, "cpus": 3, "memory": 9 * g, "storage": 15 * g, "gpus": 0},
        "available": {"machines": 2, "cpus": 7, "memory": 21 * g, "storage": 65 * g, "gpus": None},
        "default_flavour": "small",
    }


def test_a_reservation_from_held_to_released(quotas: Quotas) -> None:
    path = f"reservations/{new_id()}"
    body = {
        **BODY,
        "proposal": "20190417",
        "instruments": ["id21"],
        "expires_at": "2026-05-01T10:00:00+02:00",
    }
    made = quotas.call("PUT", path, json=body)
    assert (made.status_code, made.json()["state"]) == (201, "held")
    assert made.json()["expires_at"] == "2026-05-01T08:00:00Z"
    assert quotas.call("PUT", path, json=body).status_code == 200
    other = quotas.call("PUT", path, json={**body, "flavour": "large"})
    assert (other.status_code, code_of(other)) == (409, "conflict")
    later = quotas.call("PATCH", path, json={"state": "held", "expires_at": "2026-05-02T08:00:00Z"})
    assert (later.json()["state"], later.json()["expires_at"]) == ("held", "2026-05-02T08:00:00Z")
    moved = quotas.call("PATCH", path, json={"state": "active", "expires_at": "2026-05-03T08:00:00Z"})
    assert moved.status_code == 400
    assert quotas.call("PATCH", path, json={"state": "active"}).json()["state"] == "active"
    assert quotas.call("PATCH", path, json={"state": "held"}).status_code == 409
    listed = quotas.call("GET", "reservations?person=amara&proposal=20190417&state=active", token="amara")
    assert [item["session_id"] for item in listed.json()["items"]] == [path.split("/")[1]]
    for _ in range(2):
        assert quotas.call("DELETE", path).status_code == 204
    listed = quotas.call("GET", "reservations?proposal=20190417&state=released")
    assert path.split("/")[1] in {item["session_id"] for item in listed.json()["items"]}
    assert quotas.call("PUT", path, json=body).status_code == 409
    assert quotas.call("PATCH", path, json={"state": "active"}).status_code == 409
    assert quotas.call("PATCH", f"reservations/{new_id()}", json={"state": "active"}).status_code == 404


def test_thirty_at_once_against_five(quotas: Quotas, neighbours: Neighbours) -> None:
    neighbours.people.add("thirty")
    barrier = threading.Barrier(30)

    def reserve(_: int) -> tuple[int, str]:
        barrier.wait(20)
        answer = quotas.call("PUT", f"reservations/{new_id()}", json={**BODY, "person": "thirty"})
        return answer.status_code, answer.json().get("error", {}).get("scope", "")

    with ThreadPoolExecutor(30) as pool:
        assert Counter(pool.map(reserve, range(30))) == {(201, ""): 5, (409, "person"): 25}
    used = quotas.call("GET", "people/thirty/quota").json()["used"]
    assert used["machines"] == 5


def test_the_same_id_at_once_is_one_reservation(quotas: Quotas, neighbours: Neighbours) -> None:
    neighbours.people.add("twice")
    path, barrier = f"reservations/{new_id()}", threading.Barrier(8)

    def reserve(_: int) -> int:
        barrier.wait(20)
        return quotas.call("PUT", path, json={**BODY, "person": "twice"}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(reserve, range(8))) == {201: 1, 200: 7}
    assert quotas.call("GET", "people/twice/quota").json()["used"]["machines"] == 1


def test_a_refusal_says_all_that_a_page_needs(quotas: Quotas) -> None:
    body = {**BODY, "resources": {"machines": 1, "cpus": 11}}
    answer = quotas.call("PUT", f"reservations/{new_id()}", json=body)
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["message"].startswith("This start does not fit your quota for cpus")
    assert {name: error[name] for name in ("code", "scope", "dimension", "limit", "asked")} == {
        "code": "quota_exceeded",
        "scope": "person",
        "dimension": "cpus",
        "limit": 10,
        "asked": 11,
    }


@pytest.mark.parametrize(
    "query", ["", "?from=2026-03-01&to=2026-04-01", "?from=2026-03-01T00:00:00Z", "?to=2026-03-01"]
)
def test_usage_takes_dates_and_moments(quotas: Quotas, query: str) -> None:
    answer = quotas.call("GET", f"usage{query}")
    assert answer.status_code == 200
    assert set(answer.json()) == {"from", "to", "by", "items", "total"}


def test_usage_as_a_spreadsheet(quotas: Quotas, neighbours: Neighbours) -> None:
    neighbours.people.add("counted")
    path = f"reservations/{new_id()}"
    quotas.call("PUT", path, json={**BODY, "person": "counted"})
    quotas.call("PATCH", path, json={"state": "active"})
    answer = quotas.call("GET", "usage?by=person&format=csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="usage-by-person.csv"'
    lines = answer.text.splitlines()
    assert lines[0] == "person,sessions,machine_seconds,cpu_seconds,memory_byte_seconds,gpu_seconds"
    assert any(line.startswith("counted,1,") for line in lines)


def test_overrides_are_told_to_the_audit_trail(quotas: Quotas, neighbours: Neighbours) -> None:
    neighbours.events.clear()
    path = "overrides/proposal/20190417"
    quotas.call("PUT", path, token="sofia", json=OVERRIDE_BODY, headers={"X-Request-Id": "web-3"})
    quotas.call("DELETE", path, token="sofia")
    # There is none any more: nothing is done, and nothing told.
    quotas.call("DELETE", path, token="sofia")
    quotas.call("PUT", "overrides/person/chiara", token="sofia", json=OVERRIDE_BODY)
    wait_until(lambda: len(neighbours.events) >= 3, 10, what="three events")
    recorded, removed, of_person = neighbours.events
    assert recorded["actor"] == {"kind": "person", "name": "sofia"}
    assert recorded["object"] == {"kind": "proposal", "key": "20190417"}
    assert (recorded["action"], recorded["proposal"]) == ("override", "20190417")
    assert recorded["request_id"] == "web-3"
    limits = '{"limits":{"machines":7}}'
    assert recorded["details"] == {"change": "recorded", "reason": "beamtime", "limits": limits}
    assert removed["details"] == {"change": "removed"}
    assert (of_person["object"], of_person["proposal"]) == ({"kind": "person", "key": "chiara"}, None)
    assert quotas.call("DELETE", "overrides/person/chiara", token="sofia").status_code == 204


def test_an_override_by_the_one_who_recorded_it(quotas: Quotas, neighbours: Neighbours) -> None:
    neighbours.people.add("over")
    body = {
        "limits": {"machines": 6, "memory": None},
        "reason": "beamtime",
        "expires_at": "2999-01-01T00:00:00Z",
    }
    made = quotas.call("PUT", "overrides/person/over", token="sofia", json=body)
    assert made.status_code == 201
    assert made.json() | {"recorded_at": None} == {
        **body,
        "scope": "person",
        "key": "over",
        "recorded_by": "sofia",
        "recorded_at": None,
    }
    assert quotas.call("GET", "people/over/quota").json()["limits"]["machines"] == 6
    assert quotas.call("PUT", "overrides/person/over", token="sofia", json=body).status_code == 200
    assert made.json()["key"] in {item["key"] for item in quotas.call("GET", "overrides").json()["items"]}
    for _ in range(2):
        assert quotas.call("DELETE", "overrides/person/over").status_code == 204
    assert quotas.call("GET", "people/over/quota").json()["limits"]["machines"] == 5


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("overrides/person/UPPER", 400),
        ("overrides/person/x%0A", 400),
        ("overrides/proposal/%2e%2e", 400),
        ("overrides/facility/x", 404),
    ],
)
def test_refuses_overrides_of_nobody(quotas: Quotas, path: str, status: int) -> None:
    assert quotas.call("PUT", path, json=OVERRIDE_BODY).status_code == status
    assert quotas.call("DELETE", path).status_code == status


def test_roles_count_and_admins_bypass(quotas: Quotas, neighbours: Neighbours) -> None:
    neighbours.people |= {"staffed", "rooted"}
    neighbours.roles |= {"staffed": ["staff"], "rooted": ["admin"]}
    assert quotas.call("GET", "people/staffed/quota").json()["limits"]["machines"] == 8
    assert quotas.call("GET", "people/rooted/quota").json()["limits"]["machines"] is None


@pytest.mark.parametrize("away", ["accounts", "proposals"])
def test_grants_nothing_while_a_neighbour_is_away(quotas: Quotas, neighbours: Neighbours, away: str) -> None:
    person = f"without-{away}"
    neighbours.people.add(person)
    neighbours.away.add(away)
    path = f"reservations/{new_id()}"
    answer = quotas.call("PUT", path, json={**BODY, "person": person})
    assert (answer.status_code, code_of(answer)) == (503, "upstream_unavailable")
    assert answer.json()["error"]["service"] == away
    assert quotas.call("DELETE", path).status_code == 204
    health = requests.get(quotas.url + "health", timeout=60)
    assert (health.status_code, health.json()["parts"][away]) == (503, False)
    neighbours.away.clear()
    # When it is back all works without a restart.
    assert quotas.call("PUT", path, json={**BODY, "person": person}).status_code == 201
    assert requests.get(quotas.url + "health", timeout=60).status_code == 200


def test_says_that_the_hub_is_away(quotas: Quotas, neighbours: Neighbours) -> None:
    neighbours.away.add("hub")
    neighbours.tokens["late"] = neighbours.tokens["all"]
    assert quotas.call("GET", "overrides", token="late").status_code == 503
    neighbours.away.clear()
    assert quotas.call("GET", "overrides", token="late").status_code == 200


def test_shows_metrics(quotas: Quotas, neighbours: Neighbours) -> None:
    neighbours.people.add("metered")
    for machines in (1, 9):
        body = {**BODY, "person": "metered", "resources": {"machines": machines}}
        quotas.call("PUT", f"reservations/{new_id()}", json=body)
    shown = requests.get(quotas.url + "metrics", timeout=60).text
    assert 'daas_quota_decisions_total{outcome="granted"}' in shown
    assert 'daas_quota_decisions_total{outcome="refused_person"}' in shown
    assert 'daas_quota_held{dimension="machines"}' in shown


def test_serves_its_contract(quotas: Quotas) -> None:
    assert "openapi: 3.1.0" in requests.get(quotas.url + "openapi.yaml", timeout=60).text
    page = requests.get(quotas.url + "docs", timeout=60)
    assert page.status_code == 200
    assert "Let go of what a session holds" in page.text


def test_held_reservations_lapse_without_any_request(neighbours: Neighbours, tmp_path: Path) -> None:
    quotas = Quotas(tmp_path, neighbours).start()
    try:
        made = quotas.call("PUT", f"reservations/{new_id()}", json={**BODY, "hold_seconds": 1})
        assert made.status_code == 201

        def lapsed() -> bool:
            return "daas_quota_lapsed_total 1.0" in requests.get(quotas.url + "metrics", timeout=60).text

        wait_until(lapsed, 20)
    finally:
        assert quotas.stop() == 0


def test_logs_neither_tokens_nor_tracebacks(quotas: Quotas) -> None:
    quotas.call("GET", "reservations", token="secret-of-somebody")
    assert "secret-of-somebody" not in quotas.log()
    assert "token-of-quotas" not in quotas.log()
    assert "Task exception was never retrieved" not in quotas.log()
    # A neighbour that is away leaves its trace, with the reason; nothing else may.
    for trace in quotas.log().split("Traceback (most recent call last)")[1:]:
        assert "UpstreamUnavailableError" in trace


def test_refuses_to_start_on_settings_that_are_wrong(neighbours: Neighbours, tmp_path: Path) -> None:
    quotas = Quotas(tmp_path, neighbours, settings={**SETTINGS, "quotas": {"default": {"machines": -1}}})
    quotas.start(wait=False)
    assert quotas.wait() == 1
    assert "quotas.default.machines" in quotas.log()
    assert "Traceback" not in quotas.log()
