"""The table of roles by entitlement: what each identity of a person gives her, while it is said again.

They belong to the identity that they came with: without its link they are gone.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jupyterhub_daas.core.audit import AuditAction, Author
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.database.engine import answering
from jupyterhub_daas.errors import NotFoundError
from jupyterhub_daas.services.accounts.identities import IdentityStore, leads_to
from jupyterhub_daas.services.accounts.models import EntitledRoles
from jupyterhub_daas.services.accounts.store import entitlement_of
from jupyterhub_daas.services.accounts.tables import entitled_roles
from jupyterhub_daas.services.accounts.telling import person, tell

Held = dict[str, tuple[str, ...]]


class EntitledStore:
    """Keep the roles of identities."""

    def __init__(self, engine: AsyncEngine, identities: IdentityStore, *, hours: float) -> None:
        self._engine, self._identities = engine, identities
        self._holds = timedelta(hours=hours)

    async def replace(self, username: str, given: EntitledRoles, *, author: Author, now: datetime) -> bool:
        """Put the roles of an identity in the place of its former ones; tell whether that changed any."""
        identity, wanted = given.identity, _wanted(given)
        with answering():
            async with self._engine.connect() as connection:
                held, until = await _held(connection, username, identity, now)
        if held == wanted and (not held or until > now + self._holds / 2):
            return False
        async with self._identities.changing(identity, username) as connection:
            if await leads_to(connection, identity) != username:
                raise NotFoundError("There is nothing here for you.")
            held, _ = await _held(connection, username, identity, now)
            own = delete(entitled_roles).filter_by(**identity.model_dump(), username=username)
            await connection.execute(own)
            if wanted:
                rows = [
                    {
                        **identity.model_dump(),
                        "username": username,
                        "role": role,
                        "instruments": list(instruments),
                        "expires_at": now + self._holds,
                    }
                    for role, instruments in wanted.items()
                ]
                await connection.execute(insert(entitled_roles), rows)
            await _tell(connection, username, identity, held, wanted, author=author, now=now)
        return held != wanted


def _wanted(given: EntitledRoles) -> Held:
    return {each.role.value: tuple(sorted(set(each.instruments))) for each in given.roles}


async def _held(
    connection: AsyncConnection, username: str, identity: Identity, now: datetime
) -> tuple[Held, datetime]:
    """Return the roles in force, and until when the first of them holds."""
    query = select(entitled_roles).filter_by(**identity.model_dump(), username=username)
    rows = [row for row in await connection.execute(query) if row.expires_at > now]
    until = min((row.expires_at for row in rows), default=now)
    return {row.role: tuple(row.instruments) for row in rows}, until


async def _tell(
    connection: AsyncConnection,
    username: str,
    identity: Identity,
    held: Held,
    wanted: Held,
    *,
    author: Author,
    now: datetime,
) -> None:
    changes = [("revoked", role, held[role]) for role in held if role not in wanted]
    changes += [("granted", role, wanted[role]) for role in wanted if held.get(role) != wanted[role]]
    for change, role, instruments in changes:
        details = {"change": change, "role": role, "instruments": " ".join(instruments)}
        reason = entitlement_of(identity.issuer)
        await tell(
            connection, AuditAction.ROLE, person(username), by=author, now=now, **details, reason=reason
        )
