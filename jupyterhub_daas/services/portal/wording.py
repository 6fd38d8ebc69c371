"""The audit trail in the words of people: what happened, to what, and why."""

from datetime import datetime
from typing import NamedTuple

from jupyterhub_daas.core.audit import Actor, ActorKind, AuditAction, AuditOutcome, AuditRecord, ObjectKind

WHAT = {
    AuditAction.LOGIN: "Signed in",
    AuditAction.DENIAL: "Not let in",
    AuditAction.LINK: "Identity linked",
    AuditAction.UNLINK: "Identity unlinked",
    AuditAction.ROLE: "Role changed",
    AuditAction.BLOCK: "Account blocked",
    AuditAction.UNBLOCK: "Block lifted",
    AuditAction.ACCEPTANCE: "Conditions of use accepted",
    AuditAction.RELEASE: "Lock-out lifted",
    AuditAction.OVERRIDE: "Quota changed",
    AuditAction.START: "Session started",
    AuditAction.STOP: "Session ended",
    AuditAction.SHARE: "Session shared",
    AuditAction.DATA_ACCESS: "Data opened in a session",
    AuditAction.ACCESS_REQUEST: "Access requested",
    AuditAction.ALARM: "Alarm",
}
WHAT_DID_NOT = {
    AuditAction.DENIAL: "Not let in",
    AuditAction.LINK: "Identity not linked",
    AuditAction.UNLINK: "Identity not unlinked",
    AuditAction.START: "Session not started",
    AuditAction.SHARE: "Session not shared",
}
WHY = {
    # Refusals
    "account_blocked": "the account is blocked",
    "account_unknown": "the facility knows no such account",
    "conditions_not_accepted": "the conditions of use are not accepted",
    "no_entry": "on no proposal, and without a role",
    "not_a_member": "not on this proposal",
    "not_found": "there is nothing of this kind for this person",
    "profile_not_allowed": "the environment is not offered for this role or instrument",
    "proposal_closed": "the proposal is closed",
    "quota_exceeded": "the quota has no room",
    "too_many_attempts": "too many attempts",
    "unauthenticated": "the name or the password was wrong",
    # Alarms
    "code_late": "a machine's code was used too late",
    "code_replayed": "a machine's code was used a second time",
    "foreign_address": "a machine's code was used from another address",
    "wrong_code": "somebody asked for a machine's session with a wrong code",
    # Faults
    "backend_unavailable": "the machines do not answer",
    "no_capacity": "no machine is free",
    "session_lost": "it was lost while it started",
    "start_timeout": "it did not come up in time",
    "upstream_answer": "a part of the service gave a wrong answer",
    "upstream_unavailable": "a part of the service was away",
    # Ends
    "blocked": "the account was blocked",
    "ended_by_itself": "it ended by itself",
    "expired": "its lifetime was over",
    "idle": "it was not used for too long",
    "membership": "no longer on the proposal",
    "no_reservation": "it held no resources any more",
    "staff": "staff ended it",
    "unlinked": "the identity was unlinked",
}
OBJECTS = {
    ObjectKind.PERSON: "Account",
    ObjectKind.IDENTITY: "Identity",
    ObjectKind.PROPOSAL: "Proposal",
    ObjectKind.SESSION: "Session",
    ObjectKind.CONDITIONS: "Version",
    ObjectKind.PORTAL: "Page",
}
TONES = {AuditOutcome.REFUSED: "is-warn", AuditOutcome.FAILED: "is-danger"}


class Told(NamedTuple):
    """One event for a page; `who` and `for_whom` are empty where they go without saying."""

    number: int
    time: datetime
    what: str
    who: str
    for_whom: str
    about: str
    proposal: str
    outcome: str
    tone: str
    why: str
    facts: tuple[tuple[str, str], ...]


def tell(record: AuditRecord, reader: str | None = None) -> Told:
    """Return an event in words; `reader` is who reads about herself."""
    who = name_of(record.actor, reader)
    for_whom = record.on_behalf_of or ""
    return Told(
        number=record.number,
        time=record.time,
        what=what_of(record),
        who="" if reader is not None and who == reader else who,
        for_whom="" if for_whom == reader else for_whom,
        about=_about(record, reader),
        proposal=record.proposal or "",
        outcome="" if record.outcome is AuditOutcome.DONE else record.outcome.value,
        tone=TONES.get(record.outcome, ""),
        why=WHY.get(record.reason or "", words(record.reason or "")),
        facts=_facts(record),
    )


def what_of(record: AuditRecord) -> str:
    """Return what happened, or what did not."""
    if record.outcome is not AuditOutcome.DONE:
        return WHAT_DID_NOT.get(record.action, f"{WHAT[record.action]}: {record.outcome.value}")
    change, role = record.details.get("change"), record.details.get("role")
    if record.action is AuditAction.ROLE and change and role:
        return f"Role {words(role)} {'given' if change == 'granted' else 'taken back'}"
    if record.action is AuditAction.ACCESS_REQUEST and change != "made":
        return f"Request for access {words(change or 'answered')}"
    return WHAT[record.action]


def name_of(actor: Actor, reader: str | None = None) -> str:
    """Return who acted, so that nobody takes a service for a person of its name."""
    if actor.kind is ActorKind.SERVICE:
        return f"the portal ({actor.name})" if reader is None else "the portal"
    return {ActorKind.PERSON: actor.name, ActorKind.IDENTITY: "an identity"}.get(actor.kind, "somebody")


def words(slug: str) -> str:
    """Return a key as words."""
    return slug.replace("_", " ")


def _about(record: AuditRecord, reader: str | None) -> str:
    own = record.object.kind is ObjectKind.PERSON and record.object.key == reader
    if own or record.object.kind is ObjectKind.PORTAL:
        return ""
    return f"{OBJECTS[record.object.kind]} {record.object.key}"


def _facts(record: AuditRecord) -> tuple[tuple[str, str], ...]:
    facts = [(words(name).capitalize(), text) for name, text in record.details.items() if text]
    if record.actor.kind is ActorKind.IDENTITY:
        facts.insert(0, ("Who", record.actor.name))
    if record.reason:
        facts.append(("Code", record.reason))
    if record.request_id:
        facts.append(("Request", record.request_id))
    return (*facts, ("Event", f"{record.number}, recorded by {record.recorded_by.name}"))
