"""The audit part of the account API in a whole portal: who may add, who reads what, and the export."""

import json
import secrets
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest

from jupyterhub_daas.core.audit import BEGINNING, AuditRecord, Head, row_of
from tests.services.accounts.test_api import Accounts, refusal
from tests.support.lone_service import LoneService
from tests.support.stack import PYTHON, ROOT, Stack

TokenOf = Callable[[str], str]
# A proposal of amara's and bruno's, and one of which bruno is no member.
SHARED, NOT_BRUNOS = "20180301", "20190417"


@pytest.fixture
def accounts(fast_stack: Stack, token_of: TokenOf) -> Accounts:
    return Accounts(fast_stack, token_of)


def event(**given: Any) -> dict[str, Any]:
    return {
        "event_id": secrets.token_hex(16),
        "time": datetime.now(timezone.utc).isoformat(),
        "actor": {"kind": "person", "name": "amara"},
        "action": "data_access",
        "object": {"kind": "session", "key": "brave-curie"},
        "proposal": SHARED,
        "details": {"folders": "data/raw (ro)"},
        **given,
    }


# Method, path, body, who of a member, another person and a service without scopes may.
ROUTES: list[tuple[str, str, bool, bool]] = [
    ("POST", "audit", False, False),
    ("GET", "audit", False, False),
    ("GET", "audit?person=amara", True, False),
    ("GET", "audit?person=amara&action=login&limit=1", True, False),
    ("GET", "audit?actor=amara", False, False),
    ("GET", f"audit?proposal={NOT_BRUNOS}", False, False),
    ("GET", "audit/export", False, False),
    ("GET", "audit/state", False, False),
    ("GET", f"proposals/{NOT_BRUNOS}/accesses", True, False),
]


@pytest.mark.parametrize(("method", "path", "own", "other"), ROUTES, ids=[f"{r[0]} {r[1]}" for r in ROUTES])
class TestWhoMay:
    """Each route with no token, by a service without scopes, by another person, the right one and staff."""

    def test_refuses_without_a_token(
        self, fast_stack: Stack, method: str, path: str, own: bool, other: bool
    ) -> None:
        for token in (None, "0" * 32):
            answer = fast_stack.call("accounts", method, path, token=token, json=event())
            assert refusal(answer) == (401, "unauthenticated")

    def test_a_service_without_scopes_finds_nothing(
        self, fast_stack: Stack, method: str, path: str, own: bool, other: bool
    ) -> None:
        answer = fast_stack.call("accounts", method, path, token=fast_stack.plain_token, json=event())
        assert refusal(answer) == (404, "not_found")

    def test_another_person_finds_nothing(
        self, accounts: Accounts, method: str, path: str, own: bool, other: bool
    ) -> None:
        assert refusal(accounts(method, path, by="bruno", json=event())) == (404, "not_found")

    def test_the_person_herself(
        self, accounts: Accounts, method: str, path: str, own: bool, other: bool
    ) -> None:
        answer = accounts(method, path, by="amara", json=event())
        assert (answer.status_code == 200) is own, answer.text
        if not own:
            assert refusal(answer) == (404, "not_found")

    def test_staff_reads_and_services_write(
        self, accounts: Accounts, method: str, path: str, own: bool, other: bool
    ) -> None:
        by_staff = accounts(method, path, by="sofia", json=event())
        assert (by_staff.status_code == 200) is (method == "GET"), by_staff.text
        by_service = accounts(method, path, json=event())
        assert by_service.status_code == (201 if method == "POST" else 200), by_service.text


def test_an_event_is_kept_with_who_recorded_it(accounts: Accounts) -> None:
    given = event(request_id="r-7", outcome="failed", reason="start_timeout", on_behalf_of="zoe")
    answer = accounts("POST", "audit", json=given)
    assert answer.status_code == 201
    record = answer.json()
    assert record["recorded_by"] == {"kind": "service", "name": "tests"}
    found = accounts("GET", "audit?person=zoe&limit=1").json()["items"]
    assert found == [record]
    again = accounts("POST", "audit", json=given)
    assert (again.status_code, again.json()) == (200, record)
    other = accounts("POST", "audit", json={**given, "reason": "other"})
    assert refusal(other) == (409, "conflict")
    assert other.json()["error"]["field"] == "event_id"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"time": "2026-03-01T12:00:00"}, "time"),
        ({"time": 5}, "time"),
        ({"action": "hack"}, "action"),
        ({"actor": {"kind": "person", "name": "a\nb"}}, "actor.name"),
        ({"hash": BEGINNING}, "hash"),
        ({"number": 1}, "number"),
        ({"details": {"a": "x" * 501}}, "details.a"),
        ({"event_id": "x"}, "event_id"),
    ],
)
def test_refuses_events_of_another_form(accounts: Accounts, given: dict[str, Any], field: str) -> None:
    answer = accounts("POST", "audit", json=event(**given))
    assert refusal(answer) == (400, "invalid_input")
    assert answer.json()["error"]["field"] == field


@pytest.mark.parametrize(
    "query",
    [
        "person=No Body",
        "person=amara&person=bruno",
        "from=yesterday",
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "limit=0",
        "limit=201",
        "before=5",
        "before=2026-01-01T00:00:00Z_1",
        "offset=0",
        "action=hack",
        "proposal=../x",
        "unknown=1",
        "actor=",
        "actor=%00",
    ],
)
def test_refuses_queries_of_another_form(accounts: Accounts, query: str) -> None:
    assert refusal(accounts("GET", f"audit?{query}")) == (400, "invalid_input")


def test_nobody_reads_others_by_asking_twice(accounts: Accounts) -> None:
    for query in ("person=bruno&person=amara", "person=amara&person=bruno", "person=amara%00", "person="):
        answer = accounts("GET", f"audit?{query}", by="bruno")
        assert answer.status_code in (400, 404)


def test_a_person_sees_what_staff_did_to_her(accounts: Accounts) -> None:
    body = {"reason": "Teaches."}
    accounts("PUT", "people/yuri/roles/teacher", by="sofia", json=body, headers={"X-Request-Id": "web-1"})
    accounts("DELETE", "people/yuri/roles/teacher", by="sofia")
    page = accounts("GET", "audit?person=yuri&action=role&limit=2").json()
    revoked, granted = page["items"]
    assert granted["actor"] == revoked["actor"] == {"kind": "person", "name": "sofia"}
    assert granted["object"] == {"kind": "person", "key": "yuri"}
    assert granted["details"] == {"change": "granted", "role": "teacher", "reason": "Teaches."}
    assert granted["request_id"] == "web-1"
    assert revoked["details"] == {"change": "revoked", "role": "teacher"}
    assert revoked["request_id"] not in (None, "web-1")


def test_members_see_who_had_their_data_and_no_more(accounts: Accounts) -> None:
    accounts("POST", "audit", json=event(request_id="secret-1", actor={"kind": "person", "name": "chiara"}))
    accounts("POST", "audit", json=event(action="stop"))
    accounts("POST", "audit", json=event(proposal=NOT_BRUNOS))
    for by in ("amara", "bruno"):
        page = accounts("GET", f"proposals/{SHARED}/accesses?limit=1", by=by).json()
        (latest,) = page["items"]
        time = latest.pop("time")
        assert latest == {
            "person": "chiara",
            "session": "brave-curie",
            "folders": "data/raw (ro)",
            "role": "",
            "by": "",
        }
        assert datetime.fromisoformat(time.replace("Z", "+00:00")) <= datetime.now(timezone.utc)
        assert page["next"] is not None
        earlier = accounts("GET", f"proposals/{SHARED}/accesses", params={"before": page["next"]}, by=by)
        assert latest not in earlier.json()["items"]
    # A proposal that is not there answers like one that is not hers.
    absent = accounts("GET", "proposals/19990101/accesses", by="bruno")
    forbidden = accounts("GET", f"proposals/{NOT_BRUNOS}/accesses", by="bruno")
    assert refusal(absent) == refusal(forbidden) == (404, "not_found")
    for identifier in ("a%2Fb", "%2e%2e", "a%00"):
        assert accounts("GET", f"proposals/{identifier}/accesses", by="bruno").status_code in (400, 404)


def test_the_export_is_a_chain_in_the_order_of_time(accounts: Accounts) -> None:
    began = datetime.now(timezone.utc)
    for number in range(3):
        moment = began + timedelta(milliseconds=number)
        accounts("POST", "audit", json=event(time=moment.isoformat(), details={"n": str(number)}))
    accounts("POST", "audit", json=event(time=(began + timedelta(hours=1)).isoformat()))
    interval = {"from": began.isoformat(), "to": (began + timedelta(minutes=1)).isoformat()}
    answer = accounts("GET", "audit/export", params=interval, by="sofia")
    assert answer.headers["Content-Type"] == "application/jsonl; charset=utf-8"
    records = [AuditRecord.model_validate(json.loads(line)) for line in answer.text.splitlines()]
    assert [each.details["n"] for each in records] == ["0", "1", "2"]
    for before, after in pairwise(records):
        head = Head(before.number, before.hash)
        row = row_of(after, head=head, recorded_by=after.recorded_by, now=after.recorded_at)
        assert (after.number, after.previous, after.hash) == (before.number + 1, before.hash, row["hash"])
    nothing = {"from": "2001-01-01T00:00:00Z", "to": "2001-01-02T00:00:00Z"}
    assert accounts("GET", "audit/export", params=nothing).text == ""
    wrong = accounts("GET", "audit/export", params={"from": "2001-01-02", "person": "amara"})
    assert refusal(wrong) == (400, "invalid_input")


def test_the_trail_of_a_running_portal_is_whole(fast_stack: Stack, accounts: Accounts) -> None:
    command = [PYTHON, "-m", "jupyterhub_daas.cli", "audit", "verify"]
    command += ["--state", str(fast_stack.folder / "state")]
    accounts("POST", "audit", json=event())
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    number = int(done.stdout.rpartition(" ")[2].partition(":")[0])
    state = accounts("GET", "audit/state", by="sofia").json()
    assert (state["number"], state["broken"]) == (number, None)
    assert done.stdout.strip().endswith(f"{number}:{state['hash']}")


@pytest.mark.parametrize("urls", ['{"proposals": "http://127.0.0.1:9/services/proposals/"}', "{}"])
def test_members_wait_while_proposals_is_away(
    fast_stack: Stack, token_of: TokenOf, tmp_path: Any, urls: str
) -> None:
    service = LoneService(
        "accounts",
        tmp_path,
        hub_api_url=f"http://127.0.0.1:{fast_stack.hub_port}/hub/api",
        environment={"DAAS_SERVICE_URLS": urls},
    ).start()
    try:
        path = f"proposals/{SHARED}/accesses"
        assert refusal(service.call("GET", path, token=token_of("amara"))) == (503, "upstream_unavailable")
        assert service.call("GET", path, token=token_of("sofia")).status_code == 200
    finally:
        service.end()
