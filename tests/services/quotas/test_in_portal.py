"""The service in a whole portal: with the hub's own tokens, scopes and roles, and the real neighbours."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.services.quotas.support import asking, new_id
from tests.support.stack import Stack


def body(**given: object) -> dict[str, object]:
    return {**json.loads(asking(person="edgar", proposal="20190417").model_dump_json()), **given}


@pytest.mark.parametrize(
    "path", ["people/amara/quota", "proposals/20180301/quota", "reservations?person=amara"]
)
def test_a_person_sees_her_own_and_nobody_elses(stack: Stack, path: str) -> None:
    assert stack.call("quotas", "GET", path, token=stack.token("amara")).status_code == 200
    assert stack.call("quotas", "GET", path).status_code == 200
    assert stack.call("quotas", "GET", path, token=None).status_code == 401
    for token in (stack.token("edgar"), stack.plain_token):
        answer = stack.call("quotas", "GET", path, token=token)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    # A token of hers that was not made for this service.
    narrow = stack.token("amara", ["read:users:name!user"])
    assert stack.call("quotas", "GET", path, token=narrow).status_code == 401


def test_roles_come_from_accounts(stack: Stack) -> None:
    def machines(person: str) -> object:
        return stack.call("quotas", "GET", f"people/{person}/quota").json()["limits"]["machines"]

    assert (machines("amara"), machines("chiara"), machines("sofia")) == (5, 8, None)
    assert stack.call("quotas", "GET", "people/nobody/quota").status_code == 404


def test_an_instrument_scientist_sees_what_is_left_for_her_proposals(stack: Stack) -> None:
    quota = stack.call("quotas", "GET", "proposals/20180301/quota", token=stack.token("chiara"))
    assert quota.json()["limits"]["machines"] == 20


def test_an_administrator_overrides_and_holds_nothing(stack: Stack) -> None:
    token, path = stack.token("sofia"), "overrides/person/bruno"
    made = stack.call(
        "quotas", "PUT", path, token=token, json={"limits": {"machines": 6}, "reason": "beamtime"}
    )
    assert (made.status_code, made.json()["recorded_by"]) == (201, "sofia")
    assert stack.call("quotas", "DELETE", path, token=token).status_code == 204
    assert stack.call("quotas", "GET", "usage", token=token).status_code == 200
    refused = stack.call("quotas", "PUT", f"reservations/{new_id()}", token=token, json=body())
    assert refused.status_code == 404


def test_nobody_changes_a_quota_or_a_reservation_of_her_own(stack: Stack) -> None:
    token = stack.token("edgar")
    for method, path, content in (
        ("PUT", f"reservations/{new_id()}", body()),
        ("PUT", "overrides/person/edgar", {"limits": {"machines": 99}, "reason": "please"}),
        ("DELETE", "overrides/person/edgar", None),
        ("GET", "overrides", None),
        ("GET", "usage", None),
        ("GET", "reservations", None),
    ):
        assert stack.call("quotas", method, path, token=token, json=content).status_code == 404


def test_thirty_at_once_against_five(stack: Stack) -> None:
    ids = [new_id() for _ in range(30)]

    def reserve(session_id: str) -> int:
        return stack.call("quotas", "PUT", f"reservations/{session_id}", json=body()).status_code

    try:
        with ThreadPoolExecutor(30) as pool:
            assert Counter(pool.map(reserve, ids)) == {201: 5, 409: 25}
        quota = stack.call("quotas", "GET", "people/edgar/quota", token=stack.token("edgar")).json()
        assert (quota["used"]["machines"], quota["available"]["machines"]) == (5, 0)
    finally:
        for session_id in ids:
            stack.call("quotas", "DELETE", f"reservations/{session_id}")
    quota = stack.call("quotas", "GET", "people/edgar/quota", token=stack.token("edgar")).json()
    assert quota["used"]["machines"] == 0
