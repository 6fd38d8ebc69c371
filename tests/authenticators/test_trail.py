"""The audit trail tells who signed in and who was refused, and a login never waits for it."""

from typing import Any

import pytest
import requests

from jupyterhub_daas.authenticators.trail import MOST_REFUSALS, WINDOW_SECONDS, SignInTrail
from jupyterhub_daas.core.audit import AuditEvent
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import AccountUnknownError, UnauthenticatedError
from tests.authenticators.portal import PASSWORD, Portal
from tests.support.sign_in import sign_in_with_account, sign_in_with_provider
from tests.support.waiting import wait_until


def told(portal: Portal, action: str) -> dict[str, Any]:
    """Return the one event of this kind, without what differs each time."""
    wait_until(lambda: [each for each in portal.services.events if each["action"] == action], 10)
    (event,) = [each for each in portal.services.events if each["action"] == action]
    assert AuditEvent.model_validate(event)
    return {name: value for name, value in event.items() if name not in ("event_id", "time", "request_id")}


def test_a_login_by_a_provider_is_told(portal: Portal) -> None:
    sign_in_with_provider(portal.visit(), portal.url, "", "")
    assert told(portal, "login") == {
        "actor": {"kind": "person", "name": "amara"},
        "on_behalf_of": None,
        "action": "login",
        "object": {"kind": "identity", "key": f"{portal.umbrella.issuer} amara@umbrella.example"},
        "outcome": "done",
        "reason": None,
        "proposal": None,
        "details": {"provider": "umbrella"},
    }


def test_a_login_with_a_facility_account_is_told(portal: Portal) -> None:
    sign_in_with_account(portal.visit(), portal.url, "amara", PASSWORD)
    event = told(portal, "login")
    assert (event["actor"]["name"], event["object"]["key"]) == ("amara", "file:accounts amara")


def test_a_refusal_by_the_gate_is_told(portal: Portal) -> None:
    portal.services.blocked["amara"] = "Please call us."
    sign_in_with_account(portal.visit(), portal.url, "amara", PASSWORD)
    event = told(portal, "denial")
    assert (event["outcome"], event["reason"]) == ("refused", "account_blocked")
    assert (event["actor"]["kind"], event["on_behalf_of"]) == ("identity", "amara")


def test_an_identity_without_a_link_is_told(portal: Portal) -> None:
    portal.umbrella.subject = "stranger@umbrella.example"
    sign_in_with_provider(portal.visit(), portal.url, "", "")
    event = told(portal, "denial")
    name = f"stranger@umbrella.example {portal.umbrella.issuer}"
    assert event["actor"] == {"kind": "identity", "name": name}
    assert (event["reason"], event["on_behalf_of"]) == ("account_unknown", None)


def test_what_was_typed_is_not_told(portal: Portal) -> None:
    sign_in_with_account(portal.visit(), portal.url, "my secret pass phrase", "wrong")
    event = told(portal, "denial")
    assert event["actor"] == {"kind": "unknown", "name": "unknown"}
    assert (event["reason"], event["details"]) == ("unauthenticated", {"cause": "password"})
    assert "secret" not in str(event)


def test_an_answer_that_is_not_a_providers_is_told(portal: Portal) -> None:
    url = f"{portal.url}/hub/auth/umbrella/oauth_callback?state=forged&code=x"
    requests.get(url, timeout=30, headers={"X-Request-Id": "web-7"})
    event = told(portal, "denial")
    assert (event["reason"], event["details"]) == (
        "unauthenticated",
        {"cause": "state", "provider": "umbrella"},
    )
    assert portal.services.events[-1]["request_id"] == "web-7"


@pytest.mark.parametrize(
    "answer", [(500, {}), (404, {}), (200, []), (401, {"error": {"code": "no"}})], ids=str
)
def test_a_login_does_not_need_the_trail(portal: Portal, answer: tuple[int, Any]) -> None:
    portal.services.answers["audit"] = answer
    session = portal.visit()
    assert sign_in_with_account(session, portal.url, "amara", PASSWORD).status_code == 302
    wait_until(lambda: portal.services.asked["audit"], 10)
    assert portal.home(session).status_code == 200
    del portal.services.answers["audit"]
    if answer[0] == 500:
        # Away: told when it is back.
        assert told(portal, "login")["actor"]["name"] == "amara"


class Handler:
    """A request as far as the trail asks it."""

    class request:  # noqa: N801
        """Its headers."""

        headers: dict[str, str] = {}


class Events(list[AuditEvent]):
    """A recorder that keeps."""

    def record(self, event: AuditEvent) -> None:
        self.append(event)


def test_a_flood_of_refusals_is_counted_not_told() -> None:
    events, now = Events(), [0.0]
    trail = SignInTrail(events, clock=lambda: now[0])  # type: ignore[arg-type]
    for _ in range(1000):
        trail.denial(UnauthenticatedError("No."), None, "umbrella", Handler)
    assert len(events) == MOST_REFUSALS
    now[0] += WINDOW_SECONDS
    trail.denial(UnauthenticatedError("No."), None, "umbrella", Handler)
    trail.denial(UnauthenticatedError("No."), None, "umbrella", Handler)
    assert events[-2].details["untold_before"] == str(1000 - MOST_REFUSALS)
    assert "untold_before" not in events[-1].details
    # Logins are people's: they are all told.
    for _ in range(2 * MOST_REFUSALS):
        trail.login("amara", Identity(issuer="i", subject="s"), "", Handler)
    assert len(events) == 3 * MOST_REFUSALS + 2


@pytest.mark.parametrize("subject", ["a\nb\x00c", "x" * 255, "\ud800", "😀" * 200])
def test_odd_identities_are_told_as_far_as_they_can_be_shown(subject: str) -> None:
    events = Events()
    trail = SignInTrail(events)  # type: ignore[arg-type]
    identity = Identity.model_construct(issuer="https://idp.example/" + "y" * 200, subject=subject)
    trail.denial(AccountUnknownError("No."), identity, "p\n", Handler)
    assert len(events) == 1
