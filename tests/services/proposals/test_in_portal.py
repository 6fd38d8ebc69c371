"""The service in a whole portal: with the hub's own tokens, scopes and roles."""

import pytest
import requests

from tests.support.stack import Stack


@pytest.mark.parametrize(
    "path",
    [
        "people/amara",
        "people/amara/proposals",
        "proposals/20180301",
        "proposals/20180301/members",
        "proposals/20180301/datasets",
        "proposals/20180301/mounts?username=amara",
    ],
)
def test_a_person_sees_her_own_and_nobody_elses(stack: Stack, path: str) -> None:
    assert stack.call("proposals", "GET", path, token=stack.token("amara")).status_code == 200
    assert stack.call("proposals", "GET", path).status_code == 200
    assert stack.call("proposals", "GET", path, token=None).status_code == 401
    for token in (stack.token("edgar"), stack.plain_token):
        answer = stack.call("proposals", "GET", path, token=token)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
    # A token of hers that was not made for this service.
    narrow = stack.token("amara", ["read:users:name!user"])
    assert stack.call("proposals", "GET", path, token=narrow).status_code == 401


def test_staff_by_its_role_sees_everybodys(stack: Stack) -> None:
    token = stack.token("sofia")
    for path in ("people/amara", "people/amara/proposals", "proposals/20180301"):
        assert stack.call("proposals", "GET", path, token=token).status_code == 200


def test_identities_are_for_the_hub(stack: Stack) -> None:
    path = "people?issuer=https://umbrella.example&subject=nobody"
    assert stack.call("proposals", "GET", path).json() == {"items": [], "total": 0}
    assert stack.call("proposals", "GET", path, token=stack.token("amara")).status_code == 404


def test_an_instrument_scientist_sees_her_instruments(stack: Stack) -> None:
    token = stack.token("chiara")
    content = stack.call("proposals", "GET", "people/chiara/proposals?limit=100", token=token).json()
    assert content["total"] == len(content["items"]) > 3
    for each in content["items"]:
        assert "id21" in {instrument["name"] for instrument in each["instruments"]}


def test_nothing_can_be_changed(stack: Stack) -> None:
    token = stack.token("amara")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = stack.call("proposals", method, "proposals/20180301", token=token, json={})
        assert answer.status_code == 405


def test_the_documentation_is_public(stack: Stack) -> None:
    page = requests.get(stack.service_url("proposals") + "docs", timeout=60)
    assert page.status_code == 200
    assert "Proposal-data API" in page.text
