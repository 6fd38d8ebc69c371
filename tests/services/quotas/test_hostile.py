"""Hostile bodies, names and queries: a clear answer, and nothing held."""

import json
from typing import Any

import pytest

from tests.services.quotas.portal import BODY, ID, Quotas, code_of
from tests.services.quotas.support import new_id

LONG = "x" * 10_000
HOSTILE = [
    {"person": "../amara"},
    {"person": "amara\n"},
    {"person": LONG},
    {"proposal": LONG},
    {"proposal": "../../etc"},
    {"session": "a\nb"},
    {"environment": 'x"'},
    {"resources": {"machines": -1}},
    {"resources": {"machines": 10**30}},
    {"resources": {"machines": 1.5}},
    {"resources": {"machines": "1"}},
    {"resources": {"machines": True}},
    {"resources": {"cpus": float("nan")}},
    {"resources": {"cpus": float("inf")}},
    {"resources": {"memory": 1e300}},
    {"resources": {"disks": 1}},
    {"resources": None},
    {"expires_at": "9999-12-31T23:59:59-12:00"},
    {"idle_seconds": 10**30},
    {"hold_seconds": 10**30},
    {"admin": True},
    {"state": "active"},
]


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: str(change)[:40])
def test_refuses_hostile_bodies(quotas: Quotas, change: dict[str, Any]) -> None:
    session_id = new_id()
    answer = quotas.call("PUT", f"reservations/{session_id}", data=json.dumps({**BODY, **change}))
    assert (answer.status_code, code_of(answer)) == (400, "invalid_input")
    assert answer.json()["error"]["field"].split(".")[0] == next(iter(change))
    assert LONG[:100] not in answer.text
    # Nothing was held under it.
    assert quotas.call("PATCH", f"reservations/{session_id}", json={"state": "active"}).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"null", 400),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 60_000, 400),
        (b'{"person": "' + b"x" * 70_000, 413),
    ],
    ids=["empty", "null", "list", "half", "not-utf8", "deep", "large"],
)
def test_refuses_what_is_no_json_of_ours(quotas: Quotas, body: bytes, status: int) -> None:
    for method in ("PUT", "PATCH"):
        assert quotas.call(method, f"reservations/{new_id()}", data=body).status_code == status


@pytest.mark.parametrize("state", ["released", "lapsed", "", None, 1, ["active"]])
def test_refuses_every_other_change(quotas: Quotas, state: object) -> None:
    assert quotas.call("PATCH", f"reservations/{ID}", json={"state": state}).status_code == 400


@pytest.mark.parametrize(
    "session_id",
    [
        "x",
        ID.upper(),
        f"{ID}0",
        f"{ID}%0A",
        "%2e%2e%2fadmin",
        "%00",
        f"..%2F{ID}",
        "a" * 4000,
        "%F0%9D%9F%8E" * 16,
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_refuses_what_is_no_session_id(quotas: Quotas, method: str, session_id: str) -> None:
    body = {"PUT": BODY, "PATCH": {"state": "active"}}.get(method)
    assert quotas.call(method, f"reservations/{session_id}", json=body).status_code == 400


@pytest.mark.parametrize("name", ["%2e%2e", "amara%0A", "AMARA", "a" * 4000, "%00", "%F0%9F%A6%84"])
def test_no_hostile_name_finds_anything(quotas: Quotas, name: str) -> None:
    for kind in ("people", "proposals"):
        found = quotas.call("GET", f"{kind}/{name}/quota")
        assert (found.status_code, code_of(found)) == (404, "not_found")


@pytest.mark.parametrize(
    "query",
    [
        "reservations?state=gone",
        "reservations?state=",
        "reservations?person=../x",
        "reservations?limit=0",
        "reservations?limit=1001",
        "reservations?offset=-1",
        "reservations?offset=99999999999999999999",
        "reservations?sort=person",
        "reservations?state=held&state=active",
        "reservations?proposal=%FF",
        "usage?by=colour",
        "usage?format=xml",
        "usage?from=yesterday",
        "usage?from=2026-02-30",
        "usage?from=1700000000",
        "usage?from=2026-03-01T00:00:00",
        "usage?from=2026-03-02&to=2026-03-01",
        "usage?from=2026-03-01&to=2026-03-01",
        "usage?from=1970-01-01&to=2026-03-01",
        "usage?from=0000-01-01",
    ],
)
def test_refuses_hostile_queries(quotas: Quotas, query: str) -> None:
    answer = quotas.call("GET", query)
    assert (answer.status_code, code_of(answer)) == (400, "invalid_input")
