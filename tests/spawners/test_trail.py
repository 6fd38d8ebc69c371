"""The audit trail tells of each session: who started what, with which data, and how it ended."""

import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from jupyterhub_daas.clients.base import DEADLINE_SECONDS
from jupyterhub_daas.core.audit import AuditEvent
from jupyterhub_daas.errors import QuotaExceededError
from jupyterhub_daas.spawners.records import Record
from jupyterhub_daas.spawners.trail import SessionTrail
from tests.spawners.portal import PROPOSAL, WANTED, Portal
from tests.support.frozen import frozen
from tests.support.waiting import wait_until

NAME = "brave-meitner"
SESSION = "0123456789abcdef"


@pytest.fixture
def told(portal: Portal) -> Callable[..., list[dict[str, Any]]]:
    """Return the events of a session since the test began, the oldest first, when there are enough."""
    began = datetime.now(timezone.utc).isoformat()

    def events(name: str, count: int, action: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            answer = portal.stack.call("accounts", "GET", "audit", params={"from": began, "limit": 200})
            items = [each for each in reversed(answer.json()["items"]) if each["object"]["key"] == name]
            found[:] = [each for each in items if action in (None, each["action"])]
            return len(found) >= count

        wait_until(enough, 15, what=f"{count} events of {name}")
        assert len(found) == count, found
        return found

    return events


def test_a_session_is_told_from_start_to_stop(portal: Portal, told: Any) -> None:
    token = portal.stack.token("amara")
    url = f"/users/amara/servers/{NAME}"
    headers = {"Authorization": f"token {token}"}
    answer = requests.post(portal.stack.api + url, headers=headers, json={"user_options": WANTED}, timeout=60)
    assert answer.status_code in (201, 202)
    portal.wait_ready(NAME)
    session_id = portal.session_id(NAME)
    portal.stop(NAME)
    start, access, stop = told(NAME, 3)
    amara, tests = {"kind": "person", "name": "amara"}, {"kind": "service", "name": "tests"}
    assert [each["action"] for each in (start, access, stop)] == ["start", "data_access", "stop"]
    assert [each["actor"] for each in (start, access, stop)] == [amara, amara, tests]
    assert [each["on_behalf_of"] for each in (start, access, stop)] == [None, None, "amara"]
    assert {each["proposal"] for each in (start, access, stop)} == {PROPOSAL}
    assert {each["request_id"] for each in (start, access, stop)} == {session_id}
    assert {each["outcome"] for each in (start, access, stop)} == {"done"}
    assert {each["recorded_by"]["name"] for each in (start, access, stop)} == {"daas-hub"}
    assert start["details"] == {"environment": "works", "flavour": "small", "backend": "local"}
    assert "(ro)" in access["details"]["folders"]
    accesses = portal.stack.call("accounts", "GET", f"proposals/{PROPOSAL}/accesses", token=token).json()
    latest = accesses["items"][0]
    assert (latest["person"], latest["session"], latest["role"], latest["by"]) == (
        "amara",
        NAME,
        "member",
        "",
    )


def test_a_start_by_others_is_told_on_whose_behalf(portal: Portal, told: Any) -> None:
    portal.start(NAME)
    portal.wait_ready(NAME)
    start, access = told(NAME, 2)
    assert (start["actor"], start["on_behalf_of"]) == ({"kind": "service", "name": "tests"}, "amara")
    assert (access["actor"], access["on_behalf_of"]) == (start["actor"], "amara")
    (latest,) = portal.stack.call("accounts", "GET", f"proposals/{PROPOSAL}/accesses?limit=1").json()["items"]
    assert (latest["person"], latest["by"]) == ("amara", "tests")


def test_staff_who_open_the_data_are_marked(portal: Portal, told: Any) -> None:
    portal.stack.accept_conditions("chiara")
    portal.start(NAME, person="chiara")
    portal.wait_ready(NAME, "chiara")
    (access,) = told(NAME, 1, "data_access")
    assert (access["on_behalf_of"], access["details"]["role"]) == ("chiara", "instrument_scientist")


@pytest.mark.parametrize(
    ("options", "reason", "proposal"),
    [
        ({**WANTED, "proposal": "20190417"}, "not_a_member", "20190417"),
        ({**WANTED, "cmd": "x"}, "invalid_option", None),
    ],
)
def test_a_refusal_is_told_with_its_reason(
    portal: Portal, told: Any, options: Any, reason: str, proposal: str | None
) -> None:
    assert portal.start(NAME, options, person="bruno").status_code in (400, 403)
    (refused,) = told(NAME, 1)
    assert (refused["action"], refused["outcome"], refused["reason"]) == ("start", "refused", reason)
    assert (refused["proposal"], refused["on_behalf_of"]) == (proposal, "bruno")


def test_a_failed_start_is_told_once_and_gave_no_data(portal: Portal, told: Any) -> None:
    portal.start(NAME, {**WANTED, "environment": "dies"})
    (failed,) = told(NAME, 1)
    assert (failed["action"], failed["outcome"], failed["proposal"]) == ("start", "failed", PROPOSAL)
    wait_until(lambda: not portal.model(NAME).get("pending"), 30)
    told(NAME, 1)


def test_the_end_of_a_session_of_a_former_hub_is_told(portal: Portal, told: Any) -> None:
    portal.start(NAME)
    portal.wait_ready(NAME)
    session_id = portal.session_id(NAME)
    told(NAME, 2)
    portal.stack.kill_hub()
    portal.stack.start_hub()
    portal.stop(NAME)
    stop = told(NAME, 1, "stop")[0]
    assert (stop["proposal"], stop["request_id"], stop["on_behalf_of"]) == (PROPOSAL, session_id, "amara")
    assert (stop["actor"]["name"], stop["reason"]) == ("tests", None)


HERS = {"kind": "person", "name": "amara"}
HUBS = {"kind": "service", "name": "daas-hub"}
STAFFS = {"kind": "person", "name": "sofia"}


def end(portal: Portal, body: Any, token: str) -> int:
    """Ask the hub to end the session; return its answer."""
    url = f"{portal.stack.api}/users/amara/servers/{NAME}"
    answer = requests.delete(url, headers={"Authorization": f"token {token}"}, json=body, timeout=60)
    return answer.status_code


def test_an_end_is_told_with_who_asked_for_it_and_why(portal: Portal, told: Any) -> None:
    """Only lifecycle's word for the cause counts; who may not end a session leaves no trace in its end."""
    stack = portal.stack
    token_of = {
        "amara": stack.token("amara"),
        "bruno": stack.token("bruno"),
        "lifecycle": stack.service_token,
    }
    cause = {"reason": "staff", "by": STAFFS}
    for count, (who, body, actor, reason) in enumerate(
        [
            ("amara", {}, HERS, None),
            ("amara", {"cause": cause}, HERS, None),
            ("lifecycle", {"cause": {"reason": "idle"}}, {"kind": "service", "name": "tests"}, "idle"),
            ("lifecycle", {"cause": cause}, STAFFS, "staff"),
        ],
        start=1,
    ):
        portal.start(NAME)
        portal.wait_ready(NAME)
        assert end(portal, {"cause": cause}, token_of["bruno"]) in (403, 404)
        assert end(portal, {"cause": {"reason": "because"}}, token_of["lifecycle"]) == 400
        # Another site could have her browser send her cookies.
        cookies = stack.login("amara")
        forged = cookies.delete(f"{stack.api}/users/amara/servers/{NAME}", timeout=60)
        assert forged.status_code == 403
        assert portal.model(NAME)["ready"]
        assert end(portal, body, token_of[who]) == 204
        stop = told(NAME, count, "stop")[-1]
        assert (stop["actor"], stop["reason"]) == (actor, reason), body
        assert stop["on_behalf_of"] == (None if actor == HERS else "amara")


def test_a_session_that_ends_by_itself_is_told_so(portal: Portal, told: Any) -> None:
    portal.start(NAME)
    portal.wait_ready(NAME)
    portal.leave(NAME)
    # Whoever comes too late did not end it.
    wait_until(lambda: not portal.living(), 30)
    end(portal, {}, portal.stack.token("amara"))
    (stop,) = told(NAME, 1, "stop")
    assert (stop["actor"], stop["reason"], stop["on_behalf_of"]) == (HUBS, "ended_by_itself", "amara")


class Told:
    """A spawner as far as its trail asks it."""

    def __init__(self, **given: Any) -> None:
        self.events: list[AuditEvent] = []
        self.name, self.handler, self.record = "brave-curie", None, Record()
        self.user = SimpleNamespace(name="amara")
        self.deployment = SimpleNamespace(audit=SimpleNamespace(record=self.events.append))
        vars(self).update(given)


@pytest.mark.parametrize(
    "odd",
    [
        {"name": ""},
        {"name": "a\nb\x00" * 1000},
        {"user": SimpleNamespace(name="No Body\n")},
        {"record": Record(ran=True, proposal="../x\n", session_id="'; --")},
        {"handler": SimpleNamespace(current_user=None)},
        {"handler": SimpleNamespace(current_user=SimpleNamespace(kind="user", name=""))},
        {"handler": SimpleNamespace(current_user=SimpleNamespace(kind="user", name="x\n" * 400))},
    ],
    ids=lambda odd: json.dumps(odd, default=str)[:40],
)
def test_odd_things_fail_no_start_and_no_stop(odd: dict[str, Any]) -> None:
    spawner = Told(**odd)
    trail = SessionTrail(spawner)
    trail.stopped()
    trail.begin(SESSION)
    trail.refused(QuotaExceededError("Too much."))
    trail.stopped()
    starts = [each for each in spawner.events if each.action.value == "start"]
    assert [(each.reason, each.request_id) for each in starts] == [("quota_exceeded", SESSION)]


def test_a_session_ends_at_once_although_accounts_hangs(portal: Portal, told: Any) -> None:
    portal.start(NAME)
    portal.wait_ready(NAME)
    told(NAME, 2)
    with frozen(portal.stack.service_pid("accounts")):
        began = time.monotonic()
        portal.stop(NAME)
        assert time.monotonic() - began < DEADLINE_SECONDS
    told(NAME, 1, "stop")
