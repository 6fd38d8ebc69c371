"""The account API of a whole portal: who may, what is kept, what is refused."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.support.stack import Stack
from tests.support.waiting import wait_until

VERSION = "2026-01"
TokenOf = Callable[[str], str]

# Method, path, body, whether the person herself may, and the scopes one of which is enough otherwise.
READ, WRITE = "custom:daas:accounts:read", "custom:daas:accounts:write"
LINK = "custom:daas:identities:write"
IDENTITY = {"issuer": "https://a.example", "subject": "routes"}
ROUTES: list[tuple[str, str, Any, bool, tuple[str, ...]]] = [
    ("GET", "people/{u}/standing", None, True, (READ, WRITE)),
    ("GET", "people/{u}/acceptance", None, True, (READ, WRITE)),
    ("PUT", "people/{u}/acceptance", {"version": VERSION}, True, ()),
    ("GET", "people/{u}/favourites", None, True, ()),
    ("PUT", "people/{u}/favourites/20180301", None, True, ()),
    ("DELETE", "people/{u}/favourites/20180301", None, True, ()),
    ("GET", "people/{u}/preferences", None, True, ()),
    ("PUT", "people/{u}/preferences", {"theme": "dark"}, True, ()),
    ("PUT", "people/{u}/block", {"reason": "Test."}, False, (WRITE,)),
    ("DELETE", "people/{u}/block", None, False, (WRITE,)),
    ("GET", "people/{u}/roles", None, True, (READ, WRITE)),
    ("PUT", "people/{u}/roles/staff", {"reason": "Test."}, False, (WRITE,)),
    ("DELETE", "people/{u}/roles/staff", None, False, (WRITE,)),
    ("GET", "blocked", None, False, (READ,)),
    ("GET", "identities?issuer=https://a.example&subject=s", None, False, (READ,)),
    ("GET", "people/{u}/identities", None, True, (READ, WRITE, LINK)),
    ("PUT", "people/{u}/identities", IDENTITY | {"reason": "Test."}, False, (LINK,)),
    ("POST", "people/{u}/identities/unlink", IDENTITY | {"reason": "Test."}, False, (LINK,)),
    ("PUT", "people/{u}/entitled-roles", {"identity": IDENTITY, "roles": []}, False, ()),
    ("GET", "access-requests", None, False, (LINK,)),
    ("POST", "access-requests", {}, False, ()),
    ("POST", "access-requests/1/accept", {"answer": "Test."}, False, ()),
    ("POST", "access-requests/1/decline", {"answer": "Test."}, False, ()),
]
IDS = [f"{route[0]} {route[1]}" for route in ROUTES]


class Accounts:
    """Ask the accounts service."""

    def __init__(self, stack: Stack, token_of: TokenOf) -> None:
        self.stack, self.token_of = stack, token_of

    def __call__(self, method: str, path: str, *, by: str | None = None, **given: Any) -> Any:
        """Return the answer to a person, or to the tests' own service."""
        token = self.token_of(by) if by else ""
        return self.stack.call("accounts", method, path, token=token, **given)


@pytest.fixture
def accounts(fast_stack: Stack, token_of: TokenOf) -> Iterator[Accounts]:
    """Ask, with nobody blocked before and afterwards."""
    ask = Accounts(fast_stack, token_of)
    unblock_all(ask)
    yield ask
    unblock_all(ask)


def unblock_all(ask: Accounts) -> None:
    for person in ask("GET", "blocked").json()["items"]:
        assert ask("DELETE", f"people/{person}/block").status_code == 204


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize(("method", "path", "body", "own", "scopes"), ROUTES, ids=IDS)
class TestWhoMay:
    """Each route, with no token, another person's, the person's own, and services with and without scopes."""

    def test_refuses_without_a_token(
        self, fast_stack: Stack, method: str, path: str, body: Any, own: bool, scopes: tuple[str, ...]
    ) -> None:
        for token in (None, "0" * 32):
            answer = fast_stack.call("accounts", method, path.format(u="amara"), token=token, json=body)
            assert refusal(answer) == (401, "unauthenticated")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    def test_another_person_finds_nothing(
        self, accounts: Accounts, method: str, path: str, body: Any, own: bool, scopes: tuple[str, ...]
    ) -> None:
        answer = accounts(method, path.format(u="amara"), by="bruno", json=body)
        assert refusal(answer) == (404, "not_found")
        # The same answer for somebody who does not exist.
        absent = accounts(method, path.format(u="nobody"), by="bruno", json=body)
        assert absent.text == answer.text

    def test_the_person_herself(
        self, accounts: Accounts, method: str, path: str, body: Any, own: bool, scopes: tuple[str, ...]
    ) -> None:
        answer = accounts(method, path.format(u="amara"), by="amara", json=body)
        if own:
            assert answer.status_code in (200, 204), answer.text
        else:
            assert refusal(answer) == (404, "not_found")

    def test_a_service_without_scopes_finds_nothing(
        self, fast_stack: Stack, method: str, path: str, body: Any, own: bool, scopes: tuple[str, ...]
    ) -> None:
        answer = fast_stack.call(
            "accounts", method, path.format(u="amara"), token=fast_stack.plain_token, json=body
        )
        assert refusal(answer) == (404, "not_found")

    def test_staff_may_what_the_scopes_say(
        self, accounts: Accounts, method: str, path: str, body: Any, own: bool, scopes: tuple[str, ...]
    ) -> None:
        answer = accounts(method, path.format(u="goran"), by="sofia", json=body)
        if scopes:
            assert answer.status_code in (200, 204), answer.text
        else:
            assert refusal(answer) == (404, "not_found")


def test_a_token_for_other_services_is_none_here(fast_stack: Stack) -> None:
    token = fast_stack.token("amara", scopes=["access:services!service=quotas", "read:users!user"])
    answer = fast_stack.call("accounts", "GET", "people/amara/standing", token=token)
    assert refusal(answer) == (401, "unauthenticated")


def test_support_reads_standings_and_changes_none(fast_stack: Stack) -> None:
    reads = ["custom:daas:accounts:read", "access:services!service=accounts"]
    token = fast_stack.token("sofia", scopes=reads)
    assert fast_stack.call("accounts", "GET", "people/zoe/standing", token=token).status_code == 200
    answer = fast_stack.call("accounts", "PUT", "people/zoe/block", token=token, json={"reason": "x"})
    assert refusal(answer) == (404, "not_found")


def test_conditions_are_for_everybody_with_a_token(fast_stack: Stack, accounts: Accounts) -> None:
    assert fast_stack.call("accounts", "GET", "conditions", token=None).status_code == 401
    for by in ("amara", "bruno"):
        conditions = accounts("GET", "conditions", by=by).json()
        assert conditions["version"] == VERSION
        assert conditions["title"] == "Conditions of use"
        assert conditions["text"].startswith("1. The service is for the analysis of data")


def test_acceptance_is_kept_with_version_and_first_time(accounts: Accounts) -> None:
    before = accounts("GET", "people/edgar/standing", by="edgar").json()
    assert (before["conditions_accepted"], before["accepted_at"]) == (False, None)
    assert before["conditions_version"] == VERSION
    began = datetime.now(timezone.utc)
    after = accounts("PUT", "people/edgar/acceptance", by="edgar", json={"version": VERSION}).json()
    assert after["conditions_accepted"] is True
    accepted = datetime.fromisoformat(after["accepted_at"].replace("Z", "+00:00"))
    assert began - timedelta(seconds=1) <= accepted <= datetime.now(timezone.utc)
    again = accounts("PUT", "people/edgar/acceptance", by="edgar", json={"version": VERSION}).json()
    assert again == after
    history = accounts("GET", "people/edgar/acceptance", by="edgar").json()
    assert history == {"items": [{"version": VERSION, "accepted_at": after["accepted_at"]}]}


def test_refuses_acceptance_of_another_version(accounts: Accounts) -> None:
    for version in ("2025-07", "2026-02", VERSION + " "):
        answer = accounts("PUT", "people/bruno/acceptance", by="bruno", json={"version": version})
        assert refusal(answer) == (409, "conflict")
        assert answer.json()["error"]["version"] == VERSION
    assert accounts("GET", "people/bruno/acceptance", by="bruno").json() == {"items": []}


@pytest.mark.parametrize(
    "body",
    [{}, {"version": 1}, {"version": ""}, {"version": "x" * 41}, {"version": VERSION, "by": "sofia"}, [], 5],
)
def test_refuses_acceptance_of_another_form(accounts: Accounts, body: Any) -> None:
    answer = accounts("PUT", "people/bruno/acceptance", by="bruno", json=body)
    assert refusal(answer) == (400, "invalid_input")


def test_staff_cannot_accept_for_a_person(fast_stack: Stack) -> None:
    answer = fast_stack.call("accounts", "PUT", "people/bruno/acceptance", json={"version": VERSION})
    assert refusal(answer) == (404, "not_found")


def test_favourites(accounts: Accounts) -> None:
    path = "people/edgar/favourites"
    for identifier in ("20190417", "20180301", "20190417"):
        assert accounts("PUT", f"{path}/{identifier}", by="edgar").status_code == 204
    assert accounts("GET", path, by="edgar").json() == {"items": ["20190417", "20180301"]}
    for identifier in ("20190417", "20180301", "20180301"):
        answer = accounts("DELETE", f"{path}/{identifier}", by="edgar")
        assert (answer.status_code, answer.content) == (204, b"")
    assert accounts("GET", path, by="edgar").json() == {"items": []}


@pytest.mark.parametrize(
    "identifier", ["%2e%2e", "a%2Fb", "-a", "a" * 65, "a%0Ab", "a%00", "%D0%B0", "a'b", "a%20b"]
)
def test_refuses_hostile_identifiers(accounts: Accounts, identifier: str) -> None:
    answer = accounts("PUT", f"people/edgar/favourites/{identifier}", by="edgar")
    assert answer.status_code in (400, 404)
    assert accounts("GET", "people/edgar/favourites", by="edgar").json() == {"items": []}


def test_preferences_are_replaced_whole(accounts: Accounts) -> None:
    path = "people/edgar/preferences"
    given = {"theme": "dark", "keyboard": "de-ch", "note": "ünï 🔬 <b>"}
    assert accounts("PUT", path, by="edgar", json=given).json() == given
    assert accounts("GET", path, by="edgar").json() == given
    fifty = {f"n{number}": "x" * 200 for number in range(50)}
    assert accounts("PUT", path, by="edgar", json=fifty).status_code == 200
    assert accounts("GET", path, by="edgar").json() == fifty


@pytest.mark.parametrize(
    "body",
    [
        {f"n{number}": "" for number in range(51)},
        {"theme": "x" * 201},
        {"theme": "a\nb"},
        {"theme": "a\x00b"},
        {"theme": 1},
        {"theme": None},
        {"theme": {"a": "b"}},
        {"": "x"},
        {"Theme": "x"},
        {"a b": "x"},
        {"n" * 41: "x"},
        ["theme"],
        "theme",
        None,
    ],
)
def test_refuses_preferences_of_another_form(accounts: Accounts, body: Any) -> None:
    path = "people/edgar/preferences"
    assert accounts("PUT", path, by="edgar", json={"kept": "yes"}).status_code == 200
    given = (
        {"data": "null", "headers": {"Content-Type": "application/json"}} if body is None else {"json": body}
    )
    assert refusal(accounts("PUT", path, by="edgar", **given)) == (400, "invalid_input")
    assert accounts("GET", path, by="edgar").json() == {"kept": "yes"}


def test_block_and_unblock(accounts: Accounts) -> None:
    began = datetime.now(timezone.utc) - timedelta(seconds=1)
    body = {"reason": "  Credentials were shared. "}
    standing = accounts("PUT", "people/zoe/block", by="sofia", json=body).json()
    assert standing["blocked"]["reason"] == "Credentials were shared."
    since = datetime.fromisoformat(standing["blocked"]["since"].replace("Z", "+00:00"))
    assert began <= since <= datetime.now(timezone.utc)
    assert accounts("GET", "people/zoe/standing").json() == standing
    assert accounts("GET", "blocked").json() == {"items": ["zoe"]}
    assert accounts("DELETE", "people/zoe/block", by="sofia").status_code == 204
    assert accounts("GET", "people/zoe/standing").json()["blocked"] is None
    assert accounts("GET", "blocked").json() == {"items": []}


@pytest.mark.parametrize(
    "body",
    [{}, {"reason": ""}, {"reason": "   "}, {"reason": "a\nb"}, {"reason": "x" * 501}, {"reason": None}],
)
def test_refuses_a_block_without_a_reason(accounts: Accounts, body: Any) -> None:
    assert refusal(accounts("PUT", "people/zoe/block", json=body)) == (400, "invalid_input")
    assert accounts("GET", "people/zoe/standing").json()["blocked"] is None


def test_nobody_blocks_herself(accounts: Accounts) -> None:
    answer = accounts("PUT", "people/sofia/block", by="sofia", json={"reason": "Holidays."})
    assert refusal(answer) == (409, "conflict")
    assert accounts("GET", "people/sofia/standing").json()["blocked"] is None


def test_a_blocked_person_reads_why(accounts: Accounts) -> None:
    accounts("PUT", "people/amara/block", json={"reason": "Please call us."})
    standing = accounts("GET", "people/amara/standing", by="amara")
    # Her token lives as long as the hub lets it; where it does, she reads the reason.
    assert standing.status_code in (200, 401)
    if standing.status_code == 200:
        assert standing.json()["blocked"]["reason"] == "Please call us."


@pytest.mark.parametrize("username", ["Amara", "a%2Fb", "%2e%2e", "x" * 32, "a%00", "%D0%B0mara", "a'--"])
def test_staff_finds_no_account_under_a_hostile_name(accounts: Accounts, username: str) -> None:
    for method, path, body in (
        ("GET", "standing", None),
        ("PUT", "block", {"reason": "x"}),
        ("PUT", "roles/staff", {"reason": "x"}),
    ):
        assert accounts(method, f"people/{username}/{path}", json=body).status_code in (400, 404)
    assert accounts("GET", "blocked").json() == {"items": []}


def test_roles_of_the_settings_file_count(accounts: Accounts) -> None:
    standing = accounts("GET", "people/chiara/standing", by="chiara").json()
    given = {"role": "instrument_scientist", "instruments": ["id21"], "expires_at": None}
    assert standing["roles"] == [given]
    held = accounts("GET", "people/chiara/roles", by="chiara").json()["items"]
    nothing = {"reason": None, "granted_by": None, "granted_at": None}
    assert held == [{**given, **nothing, "source": "settings"}]


def test_roles_of_staff_count_besides_those_of_the_settings_file(accounts: Accounts) -> None:
    path = "people/chiara/roles/instrument_scientist"
    body = {"instruments": ["bm05"], "reason": "Helps there."}
    standing = accounts("PUT", path, by="sofia", json=body).json()
    assert [(each["role"], each["instruments"]) for each in standing["roles"]] == [
        ("instrument_scientist", ["id21"]),
        ("instrument_scientist", ["bm05"]),
    ]
    held = accounts("GET", "people/chiara/roles", by="sofia").json()["items"]
    assert [(each["source"], each["reason"], each["granted_by"]) for each in held] == [
        ("settings", None, None),
        ("staff", "Helps there.", "sofia"),
    ]
    assert accounts("DELETE", path, by="sofia").status_code == 204
    assert len(accounts("GET", "people/chiara/standing").json()["roles"]) == 1
    # What is left is the settings file's.
    assert refusal(accounts("DELETE", path, by="sofia")) == (409, "conflict")


def test_a_role_ends_with_its_expiry(accounts: Accounts) -> None:
    path = "people/zoe/roles/teacher"
    expiry = datetime.now(timezone.utc) + timedelta(seconds=2)
    body = {"expires_at": expiry.isoformat(), "reason": "A class."}
    standing = accounts("PUT", path, json=body).json()
    assert [each["role"] for each in standing["roles"]] == ["teacher"]
    wait_until(lambda: accounts("GET", "people/zoe/standing").json()["roles"] == [], 10)
    assert datetime.now(timezone.utc) >= expiry
    # The list for staff still tells of it.
    assert [each["role"] for each in accounts("GET", "people/zoe/roles").json()["items"]] == ["teacher"]
    assert accounts("DELETE", path).status_code == 204


@pytest.mark.parametrize(
    ("role", "body", "expected"),
    [
        ("king", {"reason": "x"}, (404, "not_found")),
        ("Admin", {"reason": "x"}, (404, "not_found")),
        ("staff", {}, (400, "invalid_input")),
        ("staff", {"reason": "x", "expires_at": "2020-01-01T00:00:00Z"}, (400, "invalid_input")),
        ("staff", {"reason": "x", "expires_at": "2099-01-01T00:00:00"}, (400, "invalid_input")),
        ("staff", {"reason": "x", "expires_at": 4_000_000_000}, (400, "invalid_input")),
        ("staff", {"reason": "x", "instruments": ["ID 21"]}, (400, "invalid_input")),
        ("staff", {"reason": "x", "instruments": [f"id{n}" for n in range(51)]}, (400, "invalid_input")),
        ("staff", {"reason": "x", "username": "zoe"}, (400, "invalid_input")),
        ("instrument_scientist", {"reason": "x"}, (400, "invalid_input")),
    ],
)
def test_refuses_roles_of_another_form(
    accounts: Accounts, role: str, body: Any, expected: tuple[int, str]
) -> None:
    assert refusal(accounts("PUT", f"people/zoe/roles/{role}", json=body)) == expected
    assert accounts("GET", "people/zoe/roles").json() == {"items": []}


def test_a_person_gives_herself_no_role(accounts: Accounts) -> None:
    answer = accounts("PUT", "people/bruno/roles/admin", by="bruno", json={"reason": "Me."})
    assert refusal(answer) == (404, "not_found")
    assert accounts("GET", "people/bruno/standing").json()["roles"] == []
