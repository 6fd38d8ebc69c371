"""What happened, in words that a person understands."""

from datetime import datetime, timezone
from typing import Any

import pytest

from jupyterhub_daas.core.audit import Actor, AuditAction, AuditEvent, AuditRecord, Head, record_of, row_of
from jupyterhub_daas.core.reconciliation import EndReason
from jupyterhub_daas.errors import AccessError, error_classes
from jupyterhub_daas.services.portal.wording import OBJECTS, WHAT, WHY, tell

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
HUB = Actor.model_validate({"kind": "service", "name": "daas-hub"})


def recorded(**given: Any) -> AuditRecord:
    event = AuditEvent.model_validate(
        {
            "time": NOW,
            "actor": {"kind": "person", "name": "amara"},
            "action": "start",
            "object": {"kind": "session", "key": "brave-curie"},
            **given,
        }
    )
    return record_of(row_of(event, head=Head(6, "x"), recorded_by=HUB, now=NOW))


def test_everything_that_is_recorded_has_words() -> None:
    assert set(WHAT) == set(AuditAction)
    assert len(OBJECTS) == 6
    refusals = {code for code, cls in error_classes().items() if issubclass(cls, AccessError)}
    assert refusals - {"access"} - set(WHY) == set()
    assert {each.value for each in EndReason} - set(WHY) == set()


@pytest.mark.parametrize(
    ("given", "what", "why"),
    [
        ({}, "Session started", ""),
        ({"outcome": "refused", "reason": "not_a_member"}, "Session not started", "not on this proposal"),
        ({"outcome": "failed", "action": "override"}, "Quota changed: failed", ""),
        ({"action": "stop", "reason": "idle"}, "Session ended", "it was not used for too long"),
        ({"action": "stop", "reason": "of_a_facility"}, "Session ended", "of a facility"),
        ({"action": "role", "details": {"change": "revoked", "role": "staff"}}, "Role staff taken back", ""),
        ({"action": "role"}, "Role changed", ""),
    ],
)
def test_what_and_why(given: dict[str, Any], what: str, why: str) -> None:
    told = tell(recorded(**given))
    assert (told.what, told.why) == (what, why)


def test_a_reader_is_not_told_her_own_name() -> None:
    record = recorded()
    assert (tell(record).who, tell(record, "amara").who, tell(record, "bruno").who) == ("amara", "", "amara")
    of_her = recorded(actor={"kind": "person", "name": "sofia"}, object={"kind": "person", "key": "amara"})
    assert (tell(of_her).about, tell(of_her, "amara").about) == ("Account amara", "")
    for_her = recorded(actor={"kind": "person", "name": "sofia"}, on_behalf_of="amara")
    assert (tell(for_her).for_whom, tell(for_her, "amara").for_whom) == ("amara", "")


def test_a_service_is_no_person_of_its_name() -> None:
    assert tell(recorded(actor={"kind": "service", "name": "amara"}), "amara").who == "the portal"
    assert tell(recorded(actor={"kind": "service", "name": "amara"})).who == "the portal (amara)"
    stranger = tell(recorded(actor={"kind": "identity", "name": "sub https://idp"}, outcome="refused"))
    assert (stranger.who, stranger.facts[0]) == ("an identity", ("Who", "sub https://idp"))
    assert (stranger.outcome, stranger.tone) == ("refused", "is-warn")
