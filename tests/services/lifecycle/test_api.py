"""The lifecycle API of a whole portal: who may, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.stack import Stack

TokenOf = Callable[[str], str]
END = {"reason": "staff"}

# Method, path, body, whether the person herself may, whether staff may.
ROUTES: list[tuple[str, str, Any, bool, bool]] = [
    ("GET", "people/{u}/sessions", None, True, False),
    ("POST", "people/{u}/end", END, False, True),
    ("POST", "reconcile", None, False, True),
]
IDS = [f"{route[0]} {route[1]}" for route in ROUTES]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize(("method", "path", "body", "own", "staff"), ROUTES, ids=IDS)
class TestWhoMay:
    """Each route, with no token, another person's, the person's own, staff's and a service's."""

    def test_refuses_without_a_token(
        self, fast_stack: Stack, method: str, path: str, body: Any, own: bool, staff: bool
    ) -> None:
        for token in (None, "0" * 32):
            answer = fast_stack.call("lifecycle", method, path.format(u="edgar"), token=token, json=body)
            assert refusal(answer) == (401, "unauthenticated")

    def test_another_person_finds_nothing(
        self,
        fast_stack: Stack,
        token_of: TokenOf,
        method: str,
        path: str,
        body: Any,
        own: bool,
        staff: bool,
    ) -> None:
        answers = [
            fast_stack.call("lifecycle", method, path.format(u=name), token=token_of("bruno"), json=body)
            for name in ("edgar", "nobody")
        ]
        assert [refusal(each) for each in answers] == [(404, "not_found")] * 2
        assert answers[0].text == answers[1].text

    def test_the_person_herself(
        self,
        fast_stack: Stack,
        token_of: TokenOf,
        method: str,
        path: str,
        body: Any,
        own: bool,
        staff: bool,
    ) -> None:
        answer = fast_stack.call(
            "lifecycle", method, path.format(u="edgar"), token=token_of("edgar"), json=body
        )
        if own:
            assert answer.json() == {"items": [], "endings": []}
        else:
            assert refusal(answer) == (404, "not_found")

    def test_staff(
        self,
        fast_stack: Stack,
        token_of: TokenOf,
        method: str,
        path: str,
        body: Any,
        own: bool,
        staff: bool,
    ) -> None:
        answer = fast_stack.call(
            "lifecycle", method, path.format(u="edgar"), token=token_of("sofia"), json=body
        )
        if staff:
            assert answer.status_code in (200, 202)
        else:
            assert refusal(answer) == (404, "not_found")

    def test_a_service_without_scopes_finds_nothing(
        self, fast_stack: Stack, method: str, path: str, body: Any, own: bool, staff: bool
    ) -> None:
        token = fast_stack.plain_token
        answer = fast_stack.call("lifecycle", method, path.format(u="edgar"), token=token, json=body)
        assert refusal(answer) == (404, "not_found")


@pytest.mark.parametrize(
    "body",
    [{}, {"reason": ""}, {"reason": "expired"}, {"reason": ["staff"]}, {"reason": "staff", "all": True}, []],
)
def test_refuses_an_end_without_a_reason_it_knows(fast_stack: Stack, body: Any) -> None:
    answer = fast_stack.call("lifecycle", "POST", "people/edgar/end", json=body)
    assert refusal(answer) == (400, "invalid_input")


@pytest.mark.parametrize("username", ["Edgar", "a%2Fb", "%2e%2e", "x" * 32, "a%00", "%D0%B0"])
def test_staff_finds_nobody_under_a_hostile_name(fast_stack: Stack, username: str) -> None:
    answer = fast_stack.call("lifecycle", "POST", f"people/{username}/end", json=END)
    assert answer.status_code in (400, 404)


@pytest.mark.parametrize("path", ["people/edgar/end", "reconcile"])
def test_refuses_get_where_post_is_due(fast_stack: Stack, path: str) -> None:
    answer = fast_stack.call("lifecycle", "GET", path)
    assert refusal(answer) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


def test_a_round_says_what_it_did(fast_stack: Stack) -> None:
    outcome = fast_stack.call("lifecycle", "POST", "reconcile").json()
    assert set(outcome) == {"released", "activated", "ended", "removed"}


def test_health_names_the_parts(fast_stack: Stack) -> None:
    answer = requests.get(fast_stack.service_url("lifecycle") + "health", timeout=60)
    parts = {"database": True, "hub": True, "quotas": True, "accounts": True, "rounds": True}
    assert (answer.status_code, answer.json()["healthy"], answer.json()["parts"]) == (200, True, parts)


def test_metrics_tell_the_age_of_the_last_good_round(fast_stack: Stack) -> None:
    text = requests.get(fast_stack.service_url("lifecycle") + "metrics", timeout=60).text
    lines = [line for line in text.splitlines() if line.startswith("daas_lifecycle_last_good_round_age")]
    assert 0 <= float(lines[0].split()[1]) < 30
