"""Tell the audit trail of a change, within the transaction of the change."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from jupyterhub_daas.core.audit import (
    MAX_KEY,
    Actor,
    ActorKind,
    AuditAction,
    AuditEvent,
    AuditObject,
    Author,
    ObjectKind,
    shown,
)
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.services.accounts.audit import append

OURSELVES = Actor(kind=ActorKind.SERVICE, name="accounts")


def person(username: str) -> AuditObject:
    """Return a person as the object of an event."""
    return AuditObject(kind=ObjectKind.PERSON, key=username)


def identity_object(identity: Identity) -> AuditObject:
    """Return an identity as the object of an event."""
    return AuditObject(kind=ObjectKind.IDENTITY, key=shown(f"{identity.issuer} {identity.subject}", MAX_KEY))


async def tell(
    connection: AsyncConnection,
    action: AuditAction,
    object_: AuditObject,
    *,
    by: Author,
    now: datetime,
    on_behalf_of: str | None = None,
    **details: str,
) -> None:
    """Add an event to the trail; empty details are left out."""
    event = AuditEvent(
        time=now,
        actor=by.actor,
        on_behalf_of=on_behalf_of,
        action=action,
        object=object_,
        request_id=by.request_id,
        details={name: shown(text) for name, text in details.items() if text},
    )
    await append(connection, event, recorded_by=OURSELVES, now=now)
